"""The output of the log: encoding, gathering, and a stream that nothing waits for.

Promises: no line is longer than `MAX_LINE`, and whole lines go out in pieces of at most PIPE_BUF octets where that makes a write
whole or nothing (pipe, terminal, socket), so that the lines of processes on one stream are not mixed; a stream
that is full is written again when it has room; at most `MAX_WAITING` octets wait; lost lines are counted and reported. The mode of the stream as others see it (a shell, a parent) is not changed
where the system lets us have a description of our own.
"""

from __future__ import annotations

import json
import os
import select
import socket  # noqa: TID251 - a log can be a socket (systemd's), and only send() has a way not to wait on it
import stat
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from mailmoat import clock
from mailmoat.events import Event
from mailmoat.shortening import shortened

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

Format = Literal["auto", "json", "human"]

MAX_LINE: Final = 4000
"""Octets of a line; PIPE_BUF is 4096 on Linux."""
MAX_WAITING: Final = 4 * 1024 * 1024
"""Octets of lines kept for a reader that does not read."""
_LENGTHS: Final = ((60, 400), (30, 200), (16, 100), (8, 50), (4, 25), (2, 12))
"""Values of a list and characters of a text that a line which is too long is cut to, until it fits."""
_AT_ONCE: Final = select.PIPE_BUF
_AT_ONCE_FILE: Final = 64 * 1024
_PATIENCE_MS: Final = 1000
_LINE_ENDS: Final = tuple((mark.encode(), f"\\u{ord(mark):04x}".encode()) for mark in "\x85\u2028\u2029")


class LogStream:
    """Standard output, or another descriptor, as a place for lines."""

    def __init__(self) -> None:
        self._stream_fd = -1
        self._fd = -1
        self._socket: socket.socket | None = None
        self._human = False
        self._at_once = _AT_ONCE
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = False
        self._waiting: deque[bytes] = deque()
        self._waiting_octets = 0
        self._lost = 0
        self._lost_logged = 0
        self._count: Callable[[int], None] | None = None
        self._second = self._ms = -1
        self._second_text = self._ms_text = ""
        self._encoder = msgspec.json.Encoder(enc_hook=str)

    def open(self, stream_fd: int, *, human: bool) -> None:
        """Write to `stream_fd` from now on; the same stream again keeps what was opened for it."""
        self._human = human
        if stream_fd == self._stream_fd:
            return
        if self._stream_fd >= 0:
            self.flush()
            self._release()
        self._stream_fd = stream_fd
        self._fd = stream_fd
        self._at_once = _AT_ONCE
        mode = os.fstat(stream_fd).st_mode
        if stat.S_ISREG(mode):
            self._at_once = _AT_ONCE_FILE
        elif stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(stream_fd))
        else:
            self._fd = _own_description(stream_fd)

    def bind_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gather lines until the end of the loop's turn."""
        self._loop = loop
        self._scheduled = False

    def count_lost(self, count: Callable[[int], None]) -> None:
        """Tell `count` of lines that are lost."""
        self._count = count

    def forget(self) -> None:
        """Forget, in a forked child, the parent's loop, its waiting lines and its count of lost lines."""
        self._loop = None
        self._scheduled = False
        self._waiting.clear()
        self._waiting_octets = self._lost = self._lost_logged = 0

    def close(self) -> None:
        """Write what waits, for at most a second, and let go of the loop."""
        loop, self._loop = self._loop, None
        if loop is not None and self._scheduled and not loop.is_closed():
            loop.remove_writer(self._fd)
        self._scheduled = False
        deadline = clock.monotonic_ms() + _PATIENCE_MS
        self.flush()
        while self._waiting and (left := deadline - clock.monotonic_ms()) > 0:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(left)
            self.flush()
        if self._waiting:
            self._lose(sum(piece.count(b"\n") for piece in self._waiting))
            self._waiting.clear()
            self._waiting_octets = 0
        self.tell_lost()

    def write(self, name: str, level: str, fields: dict[str, Any]) -> None:
        """Put one line in the queue; empty fields are left out."""
        if self._fd < 0:
            return
        if self._waiting_octets >= MAX_WAITING:
            self._lose(1)
            return
        # Mostly there is no empty one, and all() is far faster than to make the fields anew.
        kept = fields if all(fields.values()) else {key: value for key, value in fields.items() if value or value == 0}
        if self._lost != self._lost_logged:
            kept["lines_lost"] = self._lost_logged = self._lost
        line = self._line(name, level, kept)
        self._waiting.append(line)
        self._waiting_octets += len(line)
        if self._loop is None:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn_ends)

    def flush(self) -> None:
        """Write whole lines until none waits or the stream takes no more."""
        while self._waiting:
            piece = self._next_piece()
            try:
                written = self._write(piece)
            except BlockingIOError:
                self._waiting.appendleft(piece)
                return
            except OSError:  # the reader is gone or the disk is full: the next line reports it
                self._lose(piece.count(b"\n") + sum(line.count(b"\n") for line in self._waiting))
                self._waiting.clear()
                self._waiting_octets = 0
                return
            self._waiting_octets -= written
            if written < len(piece):
                self._waiting.appendleft(piece[written:])

    def tell_lost(self) -> None:
        """Say how many lines were lost, unless that was logged; if the stream is full, later."""
        if self._loop is None:
            self.flush()
        if self._fd < 0 or self._waiting or self._lost == self._lost_logged:
            return
        line = self._line(Event.LOG_LINES_LOST, Event.LOG_LINES_LOST.level, {"lines_lost": self._lost})
        with suppress(OSError):
            rest = line[self._write(line) :]
            self._lost_logged = self._lost
            if rest:
                self._waiting.append(rest)
                self._waiting_octets += len(rest)

    def _lose(self, lines: int) -> None:
        self._lost += lines
        if self._count is not None:
            self._count(lines)

    def _write(self, piece: bytes) -> int:
        return self._socket.send(piece, socket.MSG_DONTWAIT) if self._socket else os.write(self._fd, piece)

    def _next_piece(self) -> bytes:
        """Take as many lines as go out at once, at least one."""
        lines = [self._waiting.popleft()]
        size = len(lines[0])
        while self._waiting and size + len(self._waiting[0]) <= self._at_once:
            size += len(self._waiting[0])
            lines.append(self._waiting.popleft())
        return b"".join(lines)

    def _turn_ends(self) -> None:
        if self._loop is None:
            return
        self.flush()
        if self._waiting:
            self._loop.add_writer(self._fd, self._writable)
        else:
            self._scheduled = False

    def _writable(self) -> None:
        self.flush()
        if not self._waiting and self._loop is not None:
            self._loop.remove_writer(self._fd)
            self._scheduled = False
            self.tell_lost()

    def _release(self) -> None:
        """Close what was opened for the stream, never the stream."""
        if self._loop is not None and self._scheduled:
            self._loop.remove_writer(self._fd)
            self._scheduled = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        elif self._fd != self._stream_fd:
            os.close(self._fd)

    def _line(self, name: str, level: str, fields: dict[str, Any]) -> bytes:
        make = self._human_line if self._human else self._json_line
        line = make(name, level, fields)
        if len(line) <= MAX_LINE:
            return line
        plain = cast("dict[str, Any]", msgspec.to_builtins(fields, enc_hook=str, str_keys=True))
        for values, characters in _LENGTHS:
            line = make(name, level, shortened(plain, values, characters))
            if len(line) <= MAX_LINE:
                return line
        return make(name, level, {"left_out": "all"})

    def _now(self) -> str:
        now = clock.wall_ms()
        if now != self._ms:  # the messages of one commit are logged together
            second, rest = divmod(now, 1000)
            if second != self._second:
                self._second, self._second_text = second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
            self._ms, self._ms_text = now, f"{self._second_text}.{rest:03}Z"
        return self._ms_text

    def _json_line(self, name: str, level: str, fields: dict[str, Any]) -> bytes:
        whole = {"time": self._now(), "level": level, "event": name, **fields}
        try:
            line = self._encoder.encode(whole)
        except (ValueError, TypeError, OverflowError):  # half a surrogate pair, a key that is no text
            return json.dumps(msgspec.to_builtins(whole, enc_hook=str, str_keys=True)).encode() + b"\n"
        if not line.isascii():
            for character, escaped in _LINE_ENDS:
                line = line.replace(character, escaped)
        return line + b"\n"

    def _human_line(self, name: str, level: str, fields: dict[str, Any]) -> bytes:
        shown = "".join(f" {key}={_shown(value)}" for key, value in fields.items())
        return f"{self._now()} {level:7} {name}{shown}\n".encode(errors="backslashreplace")


def timestamp(ms: int) -> str:
    """Return `ms` since the epoch in the format of the log (RFC 3339, UTC, milliseconds)."""
    second, rest = divmod(clock.dated(ms), 1000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def _own_description(stream_fd: int) -> int:
    """Open the pipe or terminal behind `stream_fd` once more, so that not waiting is our mode alone."""
    try:
        return os.open(f"/proc/self/fd/{stream_fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # another owner's pipe, no /proc, or its reader is gone
        os.set_blocking(stream_fd, False)
        return stream_fd


def _shown(value: object) -> str:
    """Return a value for a terminal: controls, line ends and what could pass for another field are quoted and escaped."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return "{" + " ".join(f"{_shown(key)}={_shown(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(entry) for entry in value) + "]"
    text = str(value)
    plain = text and text.isprintable() and not any(mark in text for mark in " \"'=[]{},")
    return text if plain else repr(text)
