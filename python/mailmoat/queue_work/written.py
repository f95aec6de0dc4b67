"""Actions as an administrator writes them on a command line; ValueError with a plain sentence for what is wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat._native import normalise_address
from mailmoat.runtime.actions import Bounce, Redirect
from mailmoat.settings.next_hop import NOT_A_NEXT_HOP, parse_next_hop
from mailmoat.settings.sections.routes import in_common, redirected
from mailmoat.supervisor.own_address import loops_of

if TYPE_CHECKING:
    from mailmoat.runtime.actions import Action
    from mailmoat.settings import Settings

ROUTES: Final = "routes"
_CODES: Final = re.compile(r"5\d\d 5\.\d{1,3}\.\d{1,3} .")
_CODE: Final = "554 5.0.0"
"""Other undefined status, permanent (RFC 3463 3.1): no next hop has refused it."""


def bounce_of(reason: str) -> Bounce:
    """Return the bounce that gives a reason, with a code in front unless it has one."""
    text = reason.strip()
    if not text:
        raise ValueError("the reason is empty")
    return Bounce(text if _CODES.match(text) else f"{_CODE} {text}")


def redirect_of(target: str) -> Redirect:
    """Return the redirection to addresses with commas between them, to a next hop, or, as `routes`, to where the settings say."""
    if target == ROUTES:
        return Redirect()
    if "@" in target and "://" not in target and not target.startswith("maildir:"):
        return Redirect(
            to=tuple(normalise_address(one.strip().removeprefix("<").removesuffix(">")) for one in target.split(","))
        )
    try:
        return Redirect(next_hop=str(parse_next_hop(target)))
    except ValueError as error:
        wrong = str(error)
        if wrong == NOT_A_NEXT_HOP:
            wrong = (
                "neither an address nor a next hop; write one, such as alice@example.com or smtp://host:25, or routes"
            )
        raise ValueError(f"{target}: {wrong}") from None


def examine(action: Action, settings: Settings) -> None:
    """Refuse a next hop at which messages would only wait: one that cannot have what `[delivery]` asks of it, or is this server."""
    if not isinstance(action, Redirect) or not action.next_hop:
        return
    redirected(in_common(settings.delivery), action.next_hop)
    if loops := loops_of(parse_next_hop(action.next_hop), settings):
        raise ValueError(loops[0])
