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

# --- spool ---

# --- wheel ---
