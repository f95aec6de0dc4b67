"""`[policy]`: the agents that judge clients and messages."""

from pydantic import Field

from mailmoat.settings.fields import Names, Wait
from mailmoat.settings.section import Section


class PolicySettings(Section):
    """The agents that judge clients and messages."""

    agents: Names = Field(
        default=(),
        description="Agents of other packages, in this order, by the names of their entry points (docs/agents.md). Changes at a restart only.",
    )
    agent_time: Wait = Field(
        default=30.0,
        description="Wait for the answer of one agent, in seconds; then the client gets 451 for that command.",
    )
