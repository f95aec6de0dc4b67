"""The verified name of a session's client: found while the dialogue goes on, and never waited for.

What is known when the message is complete is stamped on it, if it comes from outside (RFC 8601 2.7.3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mailmoat.mailauth.header import iprev

if TYPE_CHECKING:
    import asyncio

    from mailmoat._native import Session
    from mailmoat.policy.client import Client
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


def stamp(names: ReverseNames, client: Client, receiver: str) -> bytes:
    """Return the field Authentication-Results for a message of this client; nothing while nothing is known, and for clients inside."""
    found = names.known(client.address) if client.trust.judged else None
    return b"" if found is None else iprev(receiver, client.address, found.result, found.name)
