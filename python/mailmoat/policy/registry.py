"""The agents, in their order of priority. There is no other registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.recipient_filter import RecipientFilter
from mailmoat.policy.relay import Relay

if TYPE_CHECKING:
    from mailmoat.directory import Directory
    from mailmoat.policy.agent import Agent
    from mailmoat.policy.sender_id import SenderId
    from mailmoat.settings import Settings


def agents(settings: Settings, directory: Directory | None, sender_id: SenderId | None = None) -> tuple[Agent, ...]:
    """Relay control first: a recipient elsewhere is never looked up in our directory. Sender ID is None when it is off."""
    listed = (Relay(settings), RecipientFilter(settings, directory), sender_id)
    return tuple(agent for agent in listed if agent is not None)
