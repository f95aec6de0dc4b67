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

@final
class Address:
    """A mailbox in its one normalised form; compares and hashes by value."""

    @staticmethod
    def parse(text: str) -> Address:
        """A mailbox without angle brackets; ValueError with a plain sentence that names what is wrong."""
    @property
    def local(self) -> str:
        """Unquoted, in NFC, its case kept."""
    @property
    def domain(self) -> str:
        """A-labels in lower case, or a literal such as `[192.0.2.1]`; empty when none was given."""
    @property
    def key(self) -> str:
        """Key of the recipient directory: the rendered form, ASCII letters of the local part in lower case."""
    @property
    def needs_smtputf8(self) -> bool:
        """The local part is not ASCII (RFC 6531 3.3)."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

def normalise_address(text: str) -> str:
    """The normalised form of a mailbox without angle brackets; ValueError as `Address.parse`."""

def address_key(text: str) -> str:
    """The directory key of a mailbox without angle brackets; ValueError as `Address.parse`."""

def normalise_domain(text: str) -> str:
    """The normalised form of a domain or address literal; ValueError with a plain sentence."""

# --- client ---

# --- session ---

# --- shared ---

# --- snapshot ---

# --- spool ---

# --- wheel ---
