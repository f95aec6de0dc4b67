"""What a next hop last offered in its reply to EHLO or LHLO, so that nothing is accepted that it could not take.

It is learned from each connection and kept in a file in the spool directory, from which the other workers read it within a second,
and a later start reads what was true last, for a next hop that is away then. Until anything is known of a next hop it is taken to offer
everything but BINARYMIME.

Never waits for the network. An error of the file system is logged; then only a later start has less to begin with.
RFC 5321 2.2.1, RFC 1870, RFC 3030, RFC 6152, RFC 6531.
"""

from __future__ import annotations

import stat
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from mailmoat import clock, files, maillog
from mailmoat.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from mailmoat.delivery.hosts import Host

FILE_NAME: Final = "next-hop.json"
"""That of the default route."""
FILE_NAMES: Final = "next-hop*.json"
"""What all of them match."""
TRACE_ROOM: Final = 8192
"""Octets of the next hop's limit that are kept for the fields we add."""
LONGEST_FILE: Final = 4096
"""Octets of the file; what is longer is not ours."""
STALE: Final = 60.0
"""Seconds after which a next hop that does not take every text is asked again: perhaps nothing it takes is sent any more."""


class Offers(msgspec.Struct, frozen=True):
    """Extensions that decide whether a message can be delivered; the default is a next hop that accepts every text."""

    eight_bit: bool = True
    smtputf8: bool = True
    size: int = 0
    """Octets of the largest message; 0 when no limit is given. The standard has twenty digits for it (RFC 1870 3)."""
    binary: bool = False
    """BINARYMIME with CHUNKING: few next hops offer it, and a binary message for one that does not is lost (RFC 3030 3)."""

    def __post_init__(self) -> None:
        """Raise ValueError for offers that no next hop can make."""
        if not 0 <= self.size < 1 << 64:
            raise ValueError(f"a size of {self.size} octets")

    def room(self, limit: int) -> int:
        """Return the octets of the largest content to accept where our own limit is `limit`; 0 is no limit, in both."""
        if not self.size:
            return limit
        # Of a limit that our own fields would fill, half.
        most = max(self.size - TRACE_ROOM, self.size // 2, 1)
        return min(limit, most) if limit else most


def common(offers: Collection[Offers]) -> Offers:
    """Return what all of them offer; of none, what is assumed until it is known better."""
    sizes = [each.size for each in offers if each.size]
    return Offers(
        eight_bit=all(each.eight_bit for each in offers),
        smtputf8=all(each.smtputf8 for each in offers),
        size=min(sizes, default=0),
        binary=bool(offers) and all(each.binary for each in offers),
    )


ANY_TEXT: Final = Offers()
"""A next hop that accepts every message that is not binary; this is assumed until it is known better."""


class _Kept(msgspec.Struct, frozen=True):
    """The file."""

    next_hop: str
    offers: Offers


def remove_others(spool_dir: Path, learned: Iterable[Learned]) -> None:
    """Remove the files of next hops that no route has any more."""
    kept = {each.file for each in learned}
    for file in spool_dir.glob(FILE_NAMES):
        if file not in kept:
            with suppress(OSError):
                file.unlink()


def file_name_of(destination: str) -> str:
    """Return the name of the file for a destination that is not the default route's."""
    return f"next-hop-{blake2b(destination.encode(), digest_size=8).hexdigest()}.json"


class Learned:
    """The offers of one next hop as known to one worker; `changed` is called with each new value."""

    def __init__(
        self, spool_dir: Path, next_hop: str, changed: Callable[[Offers], None], *, file_name: str = FILE_NAME
    ) -> None:
        """Take the next hop by the name of its destination, and the name of the file in which its offers are kept."""
        self.file = spool_dir / file_name
        """Where its offers are kept."""
        self._name = next_hop
        self._changed = changed
        self._stamp = (0, 0)
        self._at = clock.monotonic()
        self._by_host: dict[Host | None, Offers] = {}
        self.offers = ANY_TEXT

    def stale(self) -> bool:
        """Return whether to ask the next hop again: it does not take every text, and a while has passed. True once a while."""
        now = clock.monotonic()
        if msgspec.structs.replace(self.offers, binary=False) == ANY_TEXT or now - self._at < STALE:
            return False
        self._at = now
        return True

    def learn(self, offers: Offers, host: Host | None = None) -> None:
        """Take what the next hop has just said; one of several servers, where it has those: what all of them take counts."""
        self._at = clock.monotonic()
        self._by_host[host] = offers
        offers = common(self._by_host.values())
        if offers != self.offers:
            self._take(offers)
            self._write()

    def refresh(self) -> None:
        """Take what another worker wrote, or an earlier start."""
        try:
            found = self.file.stat()
            if (found.st_ino, found.st_mtime_ns) == self._stamp:
                return
            self._stamp = (found.st_ino, found.st_mtime_ns)
            if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST_FILE:
                maillog.event(Event.NEXT_HOP_NOT_READ, path=str(self.file), detail="not written by this server")
                return
            kept = msgspec.json.decode(self.file.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            maillog.event(Event.NEXT_HOP_NOT_READ, path=str(self.file), detail=str(error))
            return
        if kept.next_hop == self._name and kept.offers != self.offers:
            self._take(kept.offers)

    def _take(self, offers: Offers) -> None:
        self.offers = offers
        maillog.event(
            Event.NEXT_HOP_OFFERS,
            next_hop=self._name,
            eight_bit=offers.eight_bit,
            smtputf8=offers.smtputf8,
            size=offers.size,
            binary=offers.binary,
        )
        self._changed(offers)

    def _write(self) -> None:
        try:
            files.replace(self.file, msgspec.json.encode(_Kept(self._name, self.offers)))
        except OSError as error:
            maillog.event(Event.NEXT_HOP_NOT_KEPT, path=str(self.file), detail=str(error))
