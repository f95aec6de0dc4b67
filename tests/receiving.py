"""A message as a session makes it, without a server: for tests of what is kept of a content."""

from __future__ import annotations

from mailmoat import _native


def config(incoming_dir, **changes):
    """A session's configuration that asks nobody and limits nothing."""
    limits = dict.fromkeys(
        (
            "asked", "tarpit_time", "tarpit_max_session", "auth_time", "auth_failures", "local_part", "domain", "path", "command_line", "text_line", "recipients", "null_sender_recipients",
            "message_size", "header_size", "memory_content", "content_memory", "workers", "hops", "errors", "idle_commands",
        ),
        0,
    )  # fmt: skip
    names = {"hostname": "mx.example.test", "default_domain": "", "incoming_dir": str(incoming_dir)}
    rules = {"bare_newline": "refuse", "nul_in_header": "refuse", "submitter": False, "chunking": True}
    return _native.SessionConfig(**(names | limits | rules | changes))


def accept(of, content, *, firewall=None, piece=1 << 20, queue_id="q1", stamps=b""):
    """The message that becomes of this content, or the reply that refuses it."""
    session = _native.Session(of, "s1", "192.0.2.1", False)
    session.connect()
    session.receive(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.test>\r\nDATA\r\n")
    session.output()
    octets = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    octets = b"." + octets if content.startswith(b".") else octets
    step = _native.Step.NEED_INPUT
    for at in range(0, len(octets), piece):
        step = session.receive(octets[at : at + piece])
    if step is not _native.Step.COMMIT:
        return session.output().decode()
    return session.message(queue_id=queue_id, arrival=0, date="DATE", stamps=stamps, firewall=firewall)


def whole(message):
    """All octets of the message."""
    content = message.open_content()
    return message.octets() + (content.read(message.size) if content else b"")


def kept(message):
    """All of the message below our own Received."""
    return whole(message).partition(b"\tDATE\r\n")[2]
