"""The boundary between Python and Rust: typed, documented, held to the built module by mypy.stubtest.

Bytes, str, ints and frozen classes cross; never callbacks, settings, sockets, the loop, or exceptions for a peer's bad input.
An *owner* or *waiter* is any Python object: it is kept and handed back, never called.
"""

from typing import TypedDict, final, type_check_only

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

@final
class Partition:
    """A partition of the spool, owned by this process: what it has told as stored is on disk (RFC 5321 4.5.5, 6.1).

    Make it after fork, and close it before the process ends. `create`, `adopt`, `schedule` and `close` block on the disk, without
    the GIL; everything else only hands over to the writer thread. A method given a queue id raises ValueError when that is not of
    this partition, OSError when the partition is closed.
    """

    @staticmethod
    def create(spool_dir: str) -> Partition:
        """A fresh partition; makes the directories that are missing. Raises OSError."""
    @staticmethod
    def adopt(spool_dir: str) -> Partition | None:
        """One whose owner is gone, or None. The whole database is checked first.

        Raises OSError naming a partition that cannot be used. A damaged one has then been moved to `damaged` below the spool
        directory: log it and call again for the next. An orphan that `list_spool` looks at in that instant may be missed: call
        again later.
        """
    @property
    def tag(self) -> str:
        """Its name: every queue id of it begins with this."""
    @property
    def descriptor(self) -> int:
        """An eventfd, readable while there are completions to fetch; valid as long as this object."""
    @property
    def loose_dir(self) -> str:
        """Directory for content files being received; what an owner before left there is deleted on adoption."""
    @property
    def healthy(self) -> bool:
        """Whether messages can be taken: the last commit worked and the disk has room.

        While False, inserts fail; recovery is tried once a second.
        """
    @property
    def count(self) -> int:
        """Messages in it."""
    def next_queue_id(self) -> str:
        """A queue id never given before; spent by one insert, also by one that fails."""
    def insert(self, waiter: object, message: Message) -> None:
        """Store; completed when it is on disk. A content file is linked: the message's own path stays good while it lives."""
    def settle(
        self, waiter: object | None, queue_id: str, outcomes: list[tuple[int, int, str]], due: int, attempts: int
    ) -> None:
        """Store (recipient index, state, reply) of an attempt, the next due time in milliseconds since the epoch, the attempts.

        Kept and tried again while the disk fails; a waiter is told when it is on disk. Raises ValueError on an
        unknown state.
        """
    def remove(self, queue_id: str) -> None:
        """Delete with the next commit; kept and tried again while the disk fails."""
    def load(self, waiter: object, queue_id: str) -> None:
        """Read; completed with the message."""
    def completions(self) -> list[tuple[object, str | None, Message | None]]:
        """What was completed since the last call, in that order: (waiter, error text for the log or None, message of a load)."""
    def schedule(self) -> list[tuple[str, int, int]]:
        """(queue id, due in milliseconds since the epoch, attempts) of every message, oldest first. Raises OSError."""
    def close(self) -> None:
        """Commit what waits, then give the partition up, or remove it when it is empty. Again: nothing.

        Raises OSError when something could not be committed; the lock is released all the same. Completions can still be fetched.
        """

@type_check_only
class SpoolEntry(TypedDict):
    """One message in the spool, without its content."""

    queue_id: str
    arrival: int  # milliseconds since the epoch
    due: int  # milliseconds since the epoch
    attempts: int
    reverse_path: str
    size: int  # octets of trace fields and content
    recipients: list[tuple[str, int, str]]  # (address, state, reply)
    partition: str  # tag
    owned: bool  # a process owns the partition now

def list_spool(spool_dir: str) -> list[SpoolEntry]:
    """Every message of every partition, also those of a running server; reads only. Raises OSError."""

def count_spool(spool_dir: str) -> int:
    """Number of messages in all partitions; reads only. Raises OSError."""

# --- wheel ---
