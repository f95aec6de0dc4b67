"""The agents, in their order of priority. There is no other registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.recipient_filter import RecipientFilter
from mailmoat.policy.relay import Relay

if TYPE_CHECKING:
    from mailmoat.directory import Directory
    from mailmoat.policy.agent import Agent
    from mailmoat.settings import Settings


def agents(settings: Settings, directory: Directory | None) -> tuple[Agent, ...]:
    """Relay control first: a recipient elsewhere is never looked up in our directory."""
    return (Relay(settings), RecipientFilter(settings, directory))
