"""What agents pass on with a message: stamps and results, each kept as long as what it was made for.

What an agent gives at CONNECT is for every message of the session, at HELO for those until the next HELO, later for the one transaction.
Pure functions over a tuple: most sessions carry nothing, and an empty tuple costs them nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Stage

if TYPE_CHECKING:
    from mailmoat._native import Session
    from mailmoat.mailauth.results import AuthResult
    from mailmoat.policy.verdict import Pass

SESSION: Final = 0
HELO: Final = -1

Carried = tuple[tuple[int, "Pass"], ...]
"""Each with the number of its transaction (1, 2 ...), `SESSION` or `HELO`."""


def carry(carried: Carried, session: Session, passed: Pass) -> Carried:
    """Add what was passed at the session's stage, and leave out what is over."""
    numbers = {
        Stage.CONNECT: SESSION,
        Stage.HELO: HELO,
        Stage.MAIL: session.transactions + 1,
    }
    number = numbers.get(session.stage, session.transactions)
    kept = (one for one in carried if one[0] == SESSION or (one[0] == HELO) != (number == one[0]))
    return (*kept, (number, passed)) if passed.stamps or passed.results else tuple(kept)


def of_message(carried: Carried, session: Session) -> tuple[bytes, tuple[AuthResult, ...]]:
    """Return stamps, one below the other and each once, and results for the message of the running transaction."""
    if not carried:
        return b"", ()
    mine = [passed for number, passed in carried if number in (SESSION, HELO, session.transactions)]
    stamps = dict.fromkeys(stamp for passed in mine for stamp in passed.stamps)  # several recipients may have the same
    return b"".join(stamps), tuple(result for passed in mine for result in passed.results)
