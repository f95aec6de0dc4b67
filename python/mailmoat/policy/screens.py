"""Which agents are asked in a session, and at which stages only if something speaks against its client or its message.

Each agent says itself which clients it is concerned with (`Agent.concerns`) and what has to hold for it to pass (`Agent.passes_if`); both are
told to Rust once for each kind of client. There the conditions are looked up before a stage is asked about, so a message that nothing
speaks against costs no Python but for agents that have no conditions. Decides nothing, never raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat._native import Screen, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mailmoat._native import Condition, Tables
    from mailmoat.policy.client import Client, ClientKind, Trust
    from mailmoat.policy.pipeline import AgentMethod

MOST: int = 64
"""Agents of a stage that can be told apart; where there are more, all are asked."""


class Screens:
    """The screens of one worker; `crossed` are stages that its sessions stop at though no agent is asked, as `1 << stage` bits."""

    def __init__(self, stages: Sequence[Sequence[AgentMethod]], tables: Tables, crossed: int) -> None:
        self._stages = stages[: Stage.DISCONNECT]
        self._tables, self._crossed = tables, crossed
        self._fit = all(len(methods) <= MOST for methods in stages)
        self._known: dict[tuple[Trust, bool, bool], Screen] = {}

    def of(self, client: Client) -> Screen | None:
        """Return the screen of a client's session; None where all agents have to be asked."""
        # The same as `client.kind`, made in a quarter of the time: asked for by each session.
        screen = self._known.get((client.trust, client.listener.submission, client.tls is not None))
        if screen is None and self._fit:
            screen = self._known[client.kind] = self._make(client.kind)
        return screen

    def _make(self, kind: ClientKind) -> Screen:
        stages = [[_conditions(method, kind) for method in methods] for methods in self._stages]
        return Screen(self._tables, stages, self._crossed)


def _conditions(method: AgentMethod, kind: ClientKind) -> Sequence[Condition] | None:
    """Return what has to hold for an agent to pass; nothing for one that is not concerned, None for one that is always asked."""
    return method.agent.passes_if(method.stage) if method.agent.concerns(kind) else ()
