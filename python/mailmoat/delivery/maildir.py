"""Final delivery into a Maildir.

Promises: when `deliver_into` returns, the message is on disk under its name in `new/`, file and directory synced; before that a
reader sees nothing of it. The name follows from queue id and recipients alone, so a delivery repeated after a crash finds the
first one while that lies in `new/`. An address chooses a directory below the configured path and never anything else, and two
addresses that are not the same never choose the same one.

It blocks, so it belongs into a thread. Raises OSError: nothing was delivered, try again later; what it
left in `tmp/` at a crash is cleared by Maildir readers after 36 hours. RFC 5321 4.4 (Return-Path at final delivery);
cr.yp.to/proto/maildir.html.
"""

from __future__ import annotations

import os
import re
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailmoat import files
from mailmoat._native import address_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mailmoat._native import Message

CHUNK: Final = 1024 * 1024
"""Octets of a content file read at once."""


def targets(template: Path, recipients: Iterable[str]) -> dict[Path, list[str]]:
    """Which Maildir each recipient has: `{local}` and `{domain}` in the template stand for the parts of its address.

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
    """Write the message into the Maildir at `path`, made if missing, and return where it lies.

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
    """`time.unique.host` as Maildir names are, with `/` and `:` of the host spelled out."""
    digest = blake2b("\0".join(sorted(recipients)).encode(errors="surrogateescape"), digest_size=6).hexdigest()
    host = hostname.replace("/", r"\057").replace(":", r"\072")
    return f"{message.arrival // 1000}.Q{message.queue_id}R{digest}.{host}"


def _local_form(message: Message, recipients: Sequence[str]) -> Iterator[bytes]:
    """The message as files hold it: delivery fields on top, lines ended by LF alone."""
    fields = [f"Return-Path: <{message.reverse_path}>", *(f"Delivered-To: {recipient}" for recipient in recipients)]
    yield "".join(f"{_one_line(field)}\n" for field in fields).encode(errors="surrogateescape")
    yield message.octets().replace(b"\r\n", b"\n")
    if message.content_path is not None:
        yield from _file_lines(Path(message.content_path))


def _file_lines(path: Path) -> Iterator[bytes]:
    """A content file in pieces with LF line ends; a CR at the end of a piece waits for its LF."""
    held = b""
    with path.open("rb", buffering=0) as content:
        while chunk := content.read(CHUNK):
            piece = held + chunk
            held = b"\r" if piece.endswith(b"\r") else b""
            yield piece.removesuffix(held).replace(b"\r\n", b"\n")
    yield held


def _one_line(field: str) -> str:
    return re.sub(r"[\r\n\0]", " ", field)
