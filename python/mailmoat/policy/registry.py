"""The agents, in their order. There is no other registry.

Those that the settings list come in between: an `Accept` of theirs can spare a message the checks of its sender, but neither open
a relay nor let an unknown recipient in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from mailmoat.policy.agents.back_pressure import BackPressure
from mailmoat.policy.agents.bounce_tags import BounceTags
from mailmoat.policy.agents.connection_filter import ConnectionFilter
from mailmoat.policy.agents.connection_gate import ConnectionGate
from mailmoat.policy.agents.dns_lists import DnsLists
from mailmoat.policy.agents.escalating_tarpit import EscalatingTarpit
from mailmoat.policy.agents.forwarded_clients import ForwardedClients
from mailmoat.policy.agents.forwarded_dns_lists import ForwardedDnsLists
from mailmoat.policy.agents.helo_checks import HeloChecks
from mailmoat.policy.agents.next_hop_limits import NextHopLimits
from mailmoat.policy.agents.rate_limits import MessageRate, RecipientRate
from mailmoat.policy.agents.recipient_filter import RecipientFilter
from mailmoat.policy.agents.relay import Relay
from mailmoat.policy.agents.reputation_filter import ReputationFilter
from mailmoat.policy.agents.sender_filter import SenderFilter
from mailmoat.policy.agents.sender_id import SenderId
from mailmoat.policy.agents.sender_login import SenderLogin
from mailmoat.policy.agents.submission import Submission
from mailmoat.policy.agents.submitter import Submitter
from mailmoat.policy.agents.tls_required import TlsRequired

if TYPE_CHECKING:
    from mailmoat.policy.agent import Agent
    from mailmoat.policy.services import Services

FIRST: Final[tuple[type[Agent], ...]] = (
    BackPressure, TlsRequired, Submission, SenderLogin, MessageRate, RecipientRate, EscalatingTarpit, ConnectionGate,
    ConnectionFilter, ForwardedClients, DnsLists, ForwardedDnsLists, HeloChecks, SenderFilter, ReputationFilter, BounceTags, Relay, RecipientFilter,
    NextHopLimits,
)  # fmt: skip
"""Back pressure first, which spares all others their work, and limits before what costs more to find out. A client or a sender that is blocked is refused before relay
control, so that it learns nothing of our domains; relay control comes before the recipient filter: a recipient elsewhere is never looked up in our directory. The limits of next hops come after it, as they are those of who gets the mail of an alias. Tags are removed before both, which see the recipient without."""
LAST: Final[tuple[type[Agent], ...]] = (Submitter, SenderId)
"""What the client said of the submitter comes before what the message says."""


def agents(services: Services) -> tuple[Agent, ...]:
    """Make the agents that these settings list or switch on."""
    settings = services.settings
    listed = cast("tuple[type[Agent], ...]", settings.extensions)
    return tuple(kind(services) for kind in (*FIRST, *listed, *LAST) if kind.is_on(settings))
