"""The verified name of a session's client: found while the dialogue goes on, and never waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from mailmoat._native import Session
    from mailmoat.receive.view import View
    from mailmoat.resolver.reverse_names import ReverseNames


def learn(names: ReverseNames, view: View, session: Session, loop: asyncio.AbstractEventLoop) -> None:
    """Put the name into the view and the session when it is known; else have it looked up."""
    address = view.client.address
    found = names.known(address)
    if found is None:
        names.look_up(address, loop)
    elif found.name:
        view.client = replace(view.client, name=found.name)
        session.peer_name(found.name)
