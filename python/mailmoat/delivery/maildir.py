"""Final delivery into a Maildir.

Promises: when `deliver` returns, the message is on disk under its name in `new/`, file and directory synced; before that a reader
sees nothing of it. The name depends on queue id and recipients alone, so a delivery repeated after a crash finds the first one
while that is in `new/`. An address chooses a directory below the configured path and never anything else, and two different
addresses never choose the same one.

`deliver` blocks, so it belongs into a thread. It raises OSError: nothing was delivered, try again
later; what it left in `tmp/` at a crash is removed by Maildir readers after 36 hours. RFC 5321 4.4 (Return-Path at final
delivery); cr.yp.to/proto/maildir.html.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailmoat import clock, files
from mailmoat._native import Outcome, RecipientState, address_key
from mailmoat.delivery.attempt import AttemptRecord, outcome_of_all
from mailmoat.reports.requests import wants_success

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator, Sequence

    from mailmoat._native import ContentReader, Message
    from mailmoat.delivery.attempt import Attempt

CHUNK: Final = 1024 * 1024
"""Octets of a content file read at once."""
WRITERS: Final = 8
"""Messages written at the same time."""


class MaildirTransport:
    """Writes messages into Maildirs, in a thread, because the disk is waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, hostname: str) -> None:
        self._loop = loop
        self._path = path
        self._hostname = hostname
        # Its own threads: a disk that hangs must not keep those busy that read the spool and the files of the settings.
        self._threads = ThreadPoolExecutor(WRITERS, "maildir")
        self.connections = 0

    def submit(self, attempt: Attempt) -> None:
        """Write the message once for each Maildir its recipients have."""
        self.connections += 1
        started = clock.monotonic()
        written = self._loop.run_in_executor(self._threads, self._write, attempt)

        def done(future: asyncio.Future[list[Outcome]]) -> None:
            self.connections -= 1
            if error := future.exception():
                # A mistake of ours; its text is for the log alone.
                self._loop.call_exception_handler({"message": "writing into a Maildir failed", "exception": error})
                outcomes = outcome_of_all(attempt, RecipientState.PENDING, "451 4.3.0 Internal error")
            else:
                outcomes = future.result()
            seconds = clock.monotonic() - started
            record = AttemptRecord(next_hop=f"maildir:{self._path}", peer="maildir", reused=False, seconds=seconds)
            attempt.finished(outcomes, record)

        written.add_done_callback(done)

    async def probe(self) -> None:
        """Do nothing: there is nothing to ask."""

    def close(self) -> None:
        """Do nothing: writing ends by itself."""

    def abort(self) -> None:
        """Do nothing: writing cannot be ended; it takes no longer than the disk does."""

    def _write(self, attempt: Attempt) -> list[Outcome]:
        """Treat each Maildir on its own: one that cannot be written makes no other get the message twice."""
        message = attempt.message
        recipients = message.recipients
        addresses = {recipients[index].address: index for index in attempt.indexes}
        outcomes: list[Outcome] = []
        for path, sharing in targets(self._path, addresses).items():
            try:
                written = deliver(path, message, recipients=sharing, hostname=self._hostname)
                state, reply = RecipientState.DELIVERED, f"250 2.0.0 {written}"
            except OSError as error:
                # No path is named: bounces go to anybody.
                state, reply = RecipientState.PENDING, f"451 4.3.0 Maildir not writable: {error.strerror}"
            for index in (addresses[address] for address in sharing):
                reports = (
                    state is RecipientState.DELIVERED and message.reverse_path and wants_success(recipients[index])
                )
                outcomes.append(Outcome(index, RecipientState.PLACED if reports else state, reply))
        return outcomes


def targets(template: Path, recipients: Iterable[str]) -> dict[Path, list[str]]:
    """Return which Maildir each recipient has: `{local}` and `{domain}` in the template stand for the parts of its address.

    All spellings of one mailbox are one: both parts are in small letters; `/`, `%`, a leading dot and what no file name should
    hold are percent-encoded.
    """
    found: dict[Path, list[str]] = {}
    for recipient in recipients:
        local, _, domain = _key(recipient).rpartition("@") if "@" in recipient else (_key(recipient), "", "")
        parts = {"{local}": _file_name(local), "{domain}": _file_name(domain)}
        path = Path(re.sub(r"\{local\}|\{domain\}", lambda mark: parts[mark[0]], str(template)))  # noqa: B023 - called at once
        found.setdefault(path, []).append(recipient)
    return found


def deliver(path: Path, message: Message, *, recipients: Sequence[str], hostname: str) -> str:
    """Write the message into the Maildir at `path`, created if missing, and return its path.

    `recipients` are those of this Maildir: one file for all, with a `Delivered-To` field for each.
    """
    for directory in (path / "tmp", path / "new", path / "cur"):
        files.make_directory(directory)
    final = path / "new" / _unique_name(message, recipients, hostname)
    if final.exists():
        files.sync_directory(final.parent)
    else:
        with files.replacing(final, path / "tmp") as file:
            file.writelines(_local_form(message, recipients))
    return str(final)


def _key(recipient: str) -> str:
    try:
        return address_key(recipient)
    except ValueError:  # longer than usual, by setting
        return recipient


def _file_name(part: str) -> str:
    lower = part.encode(errors="surrogateescape").lower()
    encoded = re.sub(rb"[\x00-\x1f\x7f/%\\]", lambda octet: b"%%%02X" % octet[0][0], lower)
    return os.fsdecode(re.sub(rb"\A\.", b"%2E", encoded) or b"%")


def _unique_name(message: Message, recipients: Sequence[str], hostname: str) -> str:
    """Return `time.unique.host` as in Maildir names, with `/` and `:` of the host encoded."""
    digest = blake2b("\0".join(sorted(recipients)).encode(errors="surrogateescape"), digest_size=6).hexdigest()
    host = hostname.replace("/", r"\057").replace(":", r"\072")
    return f"{message.arrival // 1000}.Q{message.queue_id}R{digest}.{host}"


def _local_form(message: Message, recipients: Sequence[str]) -> Iterator[bytes]:
    """Yield the message as files hold it: delivery fields on top, lines ended by LF alone; a binary one as it is (RFC 3030 3)."""
    fields = [f"Return-Path: <{message.reverse_path}>", *(f"Delivered-To: {recipient}" for recipient in recipients)]
    top = "".join(f"{_one_line(field)}\n" for field in fields).encode(errors="surrogateescape")
    content = message.open_content()
    if message.parameters.get("BODY") == "BINARYMIME":
        yield top.replace(b"\n", b"\r\n") + message.octets()
        if content is not None:
            yield from _pieces(content)
        return
    yield top + message.octets().replace(b"\r\n", b"\n")
    if content is not None:
        yield from _file_lines(content)


def _file_lines(content: ContentReader) -> Iterator[bytes]:
    """Yield a content file in pieces with LF line ends; a CR at the end of a piece waits for its LF."""
    held = b""
    for chunk in _pieces(content):
        piece = held + chunk
        held = b"\r" if piece.endswith(b"\r") else b""
        yield piece.removesuffix(held).replace(b"\r\n", b"\n")
    yield held


def _pieces(content: ContentReader) -> Iterator[bytes]:
    """Yield a content file as it is."""
    while chunk := content.read(CHUNK):
        yield chunk


def _one_line(field: str) -> str:
    return re.sub(r"[\r\n\0]", " ", field)
