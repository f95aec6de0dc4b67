"""Next hops and clients of the tests' own: a recording SMTP or LMTP server told what to answer, and clients that note every 250."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Self


@dataclass
class Received:
    """One message as it was taken."""

    sender: str
    recipients: list[str]
    content: bytes
    connection: int


class NextHop:
    """An SMTP (or LMTP) server in threads.

    `replies[verb]`: a reply, a list of them by turn (the last stays), or a function of the command line; None says nothing more,
    "" drops the connection. Verbs: `greeting`, the commands, `end` (of data). For DATA and `end` the line is `<sender>`; under LMTP
    `end` is asked once for each recipient, with the recipient for line.
    """

    def __init__(self, port: int = 0, *, lmtp: bool = False, start: bool = True, **replies) -> None:
        self.port, self.lmtp = port, lmtp
        self.replies = {
            "greeting": "220 hop.test",
            "EHLO": "250-hop.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000",
            "DATA": "354 go on",
            "QUIT": "221 bye",
            **replies,
        }
        self.replies.setdefault("LHLO", self.replies["EHLO"])
        self.messages: list[Received] = []
        self.accepted = 0
        self.lock = threading.Lock()
        self.listener: socket.socket | None = None
        self.sockets: set[socket.socket] = set()
        if start:
            self.start()

    def start(self) -> NextHop:
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """As if its machine died: nobody listens and every connection is gone."""
        listener, self.listener = self.listener, None
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self.lock:
            for connection in self.sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def to(self, recipient: str) -> list[Received]:
        return [message for message in list(self.messages) if recipient in message.recipients]

    def ids(self) -> Counter[str]:
        """How often each `Message-ID: <id@...>` has come."""
        found = (re.search(rb"(?mi)^message-id: <([^@>]+)", message.content) for message in list(self.messages))
        return Counter(match[1].decode() for match in found if match)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(connection, self.accepted), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.sockets.add(connection)
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            self._converse(connection, lines, number)
        with self.lock:
            self.sockets.discard(connection)

    def _reply(self, verb: str, line: str) -> str | None:
        reply = self.replies.get(verb, "250 2.0.0 ok")
        with self.lock:
            if isinstance(reply, list):
                return reply.pop(0) if len(reply) > 1 else reply[0]
        return reply(line) if callable(reply) else reply

    def _converse(self, connection: socket.socket, lines, number: int) -> None:
        verb, line, sender, recipients = "greeting", "", "", []
        while True:
            reply = "503 5.5.1 no recipients" if verb == "DATA" and not recipients else self._reply(verb, line)
            if reply == "":
                return
            if reply is None:
                lines.read()
                return
            connection.sendall(reply.encode("latin-1") + b"\r\n")
            if verb == "QUIT":
                return
            good = reply.startswith("2")
            if verb == "MAIL" and good:
                sender, recipients = _path(line), []
            elif verb == "RCPT" and good:
                recipients.append(_path(line))
            elif verb == "DATA" and reply.startswith("354"):
                if not self._take(connection, lines, Received(sender, recipients, b"", number)):
                    return
                sender, recipients = "", []
            octets = lines.readline()
            if not octets:
                return
            line = octets.decode("latin-1").strip()
            verb = line[:4].upper()
            line = f"<{sender}>" if verb == "DATA" else line

    def _take(self, connection: socket.socket, lines, message: Received) -> bool:
        """The content, and the reply or replies to its end."""
        content = []
        while (octets := lines.readline()) != b".\r\n":
            if not octets:
                return False
            content.append(octets[1:] if octets.startswith(b".") else octets)
        message.content = b"".join(content)
        asked = message.recipients if self.lmtp else [f"<{message.sender}>"]
        replies = [self._reply("end", recipient) for recipient in asked]
        if None in replies:
            lines.read()
        if not all(replies):
            return False
        if self.lmtp:
            pairs = zip(asked, replies, strict=True)
            message.recipients = [recipient for recipient, reply in pairs if reply.startswith("2")]
        if any(reply.startswith("2") for reply in replies):
            # Before the reply: whoever sees the message gone from the spool finds it here.
            self.messages.append(message)
        connection.sendall("".join(f"{reply}\r\n" for reply in replies).encode())
        return True


def _path(line: str) -> str:
    return line.partition("<")[2].partition(">")[0]


class Client:
    """An SMTP session on a plain socket."""

    def __init__(self, port: int, timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb")
        self.expect("220")
        self.say("EHLO client.test", "250")

    def reply(self) -> str:
        """The next whole reply; EOFError when the connection ends first."""
        text = []
        while True:
            line = self.lines.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            text.append(line.decode().rstrip())
            if line[3:4] != b"-":
                return "\n".join(text)

    def expect(self, code: str) -> str:
        reply = self.reply()
        assert reply.startswith(code), reply
        return reply

    def say(self, line: str, code: str) -> str:
        self.socket.sendall(line.encode() + b"\r\n")
        return self.expect(code)

    def send(self, name: str, *recipients: str, sender: str = "sender@remote.test", body: bytes = b"body\r\n") -> str:
        """A message with `Message-ID: <name@remote.test>`; gives the reply to its end, which was a 250."""
        to = "".join(f"RCPT TO:<{recipient}>\r\n" for recipient in recipients)
        self.socket.sendall(f"MAIL FROM:<{sender}>\r\n{to}DATA\r\n".encode())
        for code in ("250", *["250"] * len(recipients), "354"):
            self.expect(code)
        head = f"From: <{sender}>\r\nMessage-ID: <{name}@remote.test>\r\nSubject: {name}\r\n\r\n"
        self.socket.sendall((head.encode() + body).replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return self.expect("250")

    def close(self) -> None:
        self.lines.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
