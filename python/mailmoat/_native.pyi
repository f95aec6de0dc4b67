"""The boundary between Python and Rust: typed, documented, held to the built module by mypy.stubtest.

Bytes, str, ints and frozen classes cross; never callbacks, settings, sockets, the loop, or exceptions for a peer's bad input.
An *owner* or *waiter* is any Python object: it is kept and handed back, never called.
"""

from typing import final

# --- message ---

@final
class Message:
    """Envelope, trace fields and content of one message; never changes."""

    def __new__(
        cls,
        *,
        queue_id: str,
        arrival: int,
        reverse_path: str,
        recipients: list[str],
        content: bytes,
        trace: bytes = b"",
        smtputf8: bool = False,
    ) -> Message: ...
    @property
    def queue_id(self) -> str: ...
    @property
    def arrival(self) -> int:
        """Milliseconds since the epoch."""
    @property
    def due(self) -> int:
        """Next attempt, milliseconds since the epoch, as it was stored."""
    @property
    def attempts(self) -> int: ...
    @property
    def reverse_path(self) -> str:
        """Without angle brackets; empty for the null reverse-path."""
    @property
    def recipients(self) -> list[tuple[str, int, str]]:
        """(address, state, reply); state 0 pending, 1 delivered, 2 failed and a report owed, 3 failed and closed."""
    @property
    def smtputf8(self) -> bool: ...
    @property
    def eight_bit(self) -> bool: ...
    @property
    def session_id(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def size(self) -> int:
        """Octets of trace fields and content."""
    @property
    def content_path(self) -> str | None:
        """The content file, or None while the content is in memory."""
    def octets(self) -> bytes:
        """Trace fields and content; of a content file the trace fields alone."""

# --- address ---

# --- client ---

# --- session ---

# --- shared ---

# --- snapshot ---

@final
class Directory:
    """A compiled recipient directory, mapped read-only; OSError when `path` is no whole snapshot of this version."""

    def __new__(cls, path: str) -> Directory: ...
    def lookup(self, key: str, domain: str) -> int:
        """Of the address with this `Address.key` and `Address.domain`: 0 absent, 1 listed, 2 its `@domain` is listed, 3 excluded
        by `!address`, 4 the snapshot is damaged and nothing is known."""
    def line(self, key: str, domain: str) -> int:
        """The line of the source file that decided; 0 for none."""
    @property
    def entries(self) -> int:
        """Different entries."""
    @property
    def stamp(self) -> tuple[int, int, int]:
        """Of the source it was compiled from: time of last change in nanoseconds, octets, inode."""
    @property
    def default_domain(self) -> str:
        """What was appended to entries without a domain."""

def compile_directory(source_path: str, target_path: str, default_domain: str = "") -> tuple[int, list[str]]:
    """Compiles a recipient file: (different entries, problems). With problems (at most 20 and a count of the rest, each names
    line and mend) `target_path` is left as it is; else it is replaced whole. OSError when a file cannot be read or written."""

# --- spool ---

# --- wheel ---
