"""XCLIENT: who the client of a session is, once a server in front has said so.

Trust follows from the new address alone, as if it had connected itself: a server in front that names an address in `relay.networks`
makes an internal client, which is its administrator's word. What is not said stays; but a name belongs to its address, and an identity
to the client that has authenticated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from mailmoat import maillog
from mailmoat._native import End
from mailmoat.auth.authenticator import Identity
from mailmoat.events import Event

if TYPE_CHECKING:
    from mailmoat._native import NextClient, Session, Step
    from mailmoat.policy.client import Client, TrustRules
    from mailmoat.receive.receiver import Receiver
    from mailmoat.receive.view import View


XCLIENT: Final = "XCLIENT"
"""The mechanism of who has authenticated to a server in front."""


def next_client(said: NextClient, before: Client, trust: TrustRules) -> Client:
    """Return the client that XCLIENT says in place of the one before; an address that is not known is empty."""
    address = before.address if said.address is None else said.address
    name, identity = (before.name, before.identity) if address == before.address else ("", None)
    if said.name is not None:
        name = said.name
    if said.login is not None:
        identity = Identity(said.login, XCLIENT) if said.login else None
    listener = before.listener
    if said.destination:
        listener = replace(listener, host=said.destination)
    if said.destination_port:
        listener = replace(listener, port=int(said.destination_port))
    granted = trust.of(address) if identity is None else trust.authenticated(trust.of(address), identity)
    return replace(before, address=address, name=name, listener=listener, trust=granted, identity=identity)


def replace_client(receiver: Receiver, view: View, session: Session, source: bytes) -> tuple[bytes, Step]:
    """Make the session that of the client which XCLIENT says; `source` counts the one before. Return what counts it now, and the step."""
    said, before = cast("NextClient", session.next_client), view.client
    client = next_client(said, before, receiver.trust)
    view.client = client
    maillog.event(
        Event.CLIENT_REPLACED,
        session=view.session_id,
        front_server=before.address,
        client=client.address,
        client_name=client.name,
        port=said.port,
        helo=said.helo_name,
        login=said.login,
    )
    if client.address != before.address:
        admission = receiver.limiter.admit(client.address, limited=client.trust.judged)
        receiver.limiter.give_back(source)
        source = admission.source
        if admission.refused:
            return source, session.stop(End.TOO_MANY_CONNECTIONS, "4.7.0", admission.text)
    return source, session.replace_client(client.address, client.trust.exempt)
