"""The agents, in their order of priority. There is no other registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.policy.agents.recipient_filter import RecipientFilter
from mailmoat.policy.agents.relay import Relay
from mailmoat.policy.agents.sender_id import SenderId
from mailmoat.policy.agents.submitter import Submitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailmoat.directory.directory import Directory
    from mailmoat.mailauth.spf.checker import Checker
    from mailmoat.policy.agent import Agent
    from mailmoat.settings import Settings


def agents(settings: Settings, directory: Directory | None, senders: tuple[Agent, ...] = ()) -> tuple[Agent, ...]:
    """Relay control first: a recipient elsewhere is never looked up in our directory. `senders` come last; none when it is off."""
    return (Relay(settings), RecipientFilter(settings, directory), *senders)


def sender_agents(settings: Settings, checker: Checker, count: Callable[[int], None]) -> tuple[Agent, ...]:
    """Those that judge senders: what the client itself said of the submitter comes before what the message says."""
    sender_id = SenderId(settings, checker, count)
    return (Submitter(settings, checker, count), sender_id) if settings.senderid.submitter else (sender_id,)
