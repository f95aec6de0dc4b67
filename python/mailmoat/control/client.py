"""The command's side of the control socket: ask a running server, or the worker that owns one partition.

Workers come and go, and one that was killed leaves its socket behind until another adopts its partition. So the sockets below the spool
directory are tried one after the other, until one answers. Raises ControlError with a sentence for an administrator.
"""

from __future__ import annotations

import socket  # noqa: TID251 - the commands' end of the control socket
from contextlib import suppress
from typing import TYPE_CHECKING

from mailmoat.control.channel import MOST_ANSWER, NAME, TIME, ControlError, decode, encode
from mailmoat.directory.paths import directory_of
from mailmoat.net.unix_socket import short_path

if TYPE_CHECKING:
    from pathlib import Path

    from mailmoat.control.channel import Document


def ask(spool_dir: Path, command: str, **arguments: object) -> Document:
    """Return the result of a command on any worker of the server that runs there."""
    line = encode({"command": command, **arguments})
    for directory in _directories(spool_dir):
        answer = _ask(directory, line)
        if answer is not None:
            return _result(answer)
    raise ControlError(f"no server runs on {spool_dir}, or none of its workers accepts mail yet")


def ask_owner(spool_dir: Path, tag: str, command: str, **arguments: object) -> Document | None:
    """Return the result of a command on the worker that owns a partition; None when none listens there."""
    answer = _ask(spool_dir / "partitions" / tag, encode({"command": command, **arguments}))
    return None if answer is None else _result(answer)


def ask_directory(spool_dir: Path, command: str, **arguments: object) -> Document:
    """Return the result of a command on the directory process of the server that runs there."""
    answer = _ask(directory_of(spool_dir), encode({"command": command, **arguments}))
    if answer is None:
        raise ControlError(f"no directory process runs on {spool_dir}: start the server, with a row in [[directories]]")
    return _result(answer)


def _directories(spool_dir: Path) -> list[Path]:
    """Return the partitions that have a socket, the newest first."""
    made: dict[Path, int] = {}
    try:
        for directory in (spool_dir / "partitions").iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):
                made[directory] = (directory / NAME).lstat().st_mtime_ns
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise ControlError(f"{error.filename}: {error.strerror}; run this as root or as the server's account") from None
    return sorted(made, key=lambda path: made[path], reverse=True)


def _ask(directory: Path, line: bytes) -> bytes | None:
    """Return what the worker answers; None when none listens there."""
    try:
        return _speak(directory, line)
    except PermissionError:
        where = directory / NAME
        raise ControlError(f"{where}: permission denied; run this as root or as the server's account") from None
    except OSError:
        return None


def _speak(directory: Path, line: bytes) -> bytes:
    with short_path(directory / NAME) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIME)
        connection.connect(path)
        connection.sendall(line)
        return _read(connection)


def _read(connection: socket.socket) -> bytes:
    octets = bytearray()
    while part := connection.recv(1 << 16):
        octets += part
        if len(octets) > MOST_ANSWER:
            raise ControlError("the server's answer is too long")
    return bytes(octets)


def _result(answer: bytes) -> Document:
    if not answer.endswith(b"\n"):
        raise ControlError("the server ended before it had answered; try again")
    document = decode(answer)
    if "error" in document:
        raise ControlError(str(document["error"]))
    result: Document = document["ok"]
    return result
