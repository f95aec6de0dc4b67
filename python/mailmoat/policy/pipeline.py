"""Asks the agents in their order; the first that does not pass decides.

A stage whose agents all answer at once is answered at once, without
a task; otherwise `run` returns an awaitable. An agent that raises becomes `451 4.3.0` and a log line with its name: exception
text never reaches the wire.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, cast

from mailmoat import maillog
from mailmoat._native import Stage
from mailmoat.policy.agent import PASS, Agent, Discard, Pass, Reject, Reply, Report, Tempfail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from mailmoat._native import Address
    from mailmoat.policy.agent import SessionView, Verdict

    Asked = Callable[..., Verdict | Awaitable[Verdict]]


DECISIONS = (Report, Reject, Tempfail, Discard)
"""Verdicts that end the asking."""


class Pipeline:
    """The agents of one worker, by stage."""

    def __init__(self, agents: Sequence[Agent], on_agent_error: Callable[[], None]) -> None:
        self._on_agent_error = on_agent_error
        self._stages: tuple[tuple[tuple[str, Asked], ...], ...] = tuple(
            tuple((agent.name, getattr(agent, method)) for agent in agents if _overrides(agent, method))
            for method in (f"on_{stage.name.lower()}" for stage in Stage)
        )

    @property
    def asked(self) -> int:
        """The stages some agent listens to, as a set of `1 << stage` bits; DISCONNECT is not asked of the session machine."""
        return sum(1 << stage for stage in Stage if self.listens(stage) and stage is not Stage.DISCONNECT)

    def listens(self, stage: Stage) -> bool:
        """Whether some agent listens to this stage."""
        return bool(self._stages[stage])

    def run(self, stage: Stage, session: SessionView, recipient: Address | None = None) -> Verdict | Awaitable[Verdict]:
        """The verdict at a stage, at once or as an awaitable; never raises."""
        arguments = (session,) if recipient is None else (session, recipient)
        agents = iter(self._stages[stage])
        return self._next(agents, arguments, PASS)

    def ended(self, session: SessionView) -> None:
        """Tell every agent that wants to know that the connection is gone; never raises."""
        for name, told in self._stages[Stage.DISCONNECT]:
            try:
                told(session)
            except Exception as error:  # noqa: BLE001 - the same joint
                self._failed(name, error, (session,))

    def _next(
        self,
        agents: Iterator[tuple[str, Asked]],
        arguments: tuple[object, ...],
        passed: Pass,
    ) -> Verdict | Awaitable[Verdict]:
        for name, asked in agents:
            try:
                verdict = asked(*arguments)
            except Exception as error:  # noqa: BLE001 - the joint between us and an agent
                return self._failed(name, error, arguments)
            if verdict is PASS:
                continue
            if isinstance(verdict, Pass):
                passed = passed.and_then(verdict)
            elif inspect.isawaitable(verdict):
                return self._wait(name, verdict, agents, arguments, passed)
            else:
                return self._decided(name, verdict, arguments)
        return passed

    async def _wait(
        self,
        name: str,
        awaited: Awaitable[Verdict],
        agents: Iterator[tuple[str, Asked]],
        arguments: tuple[object, ...],
        passed: Pass,
    ) -> Verdict:
        try:
            verdict = await awaited
        except Exception as error:  # noqa: BLE001 - the same joint
            return self._failed(name, error, arguments)
        if not isinstance(verdict, Pass):
            return self._decided(name, verdict, arguments)
        rest = self._next(agents, arguments, passed.and_then(verdict))
        return rest if isinstance(rest, (Pass, *DECISIONS)) else await rest

    def _decided(self, name: str, verdict: Verdict, arguments: tuple[object, ...]) -> Verdict:
        """What an agent gave instead of a pass; the type is a promise that nobody has checked yet."""
        if isinstance(verdict, DECISIONS):
            return verdict
        return self._failed(name, TypeError(f"gave {type(verdict).__name__} for a verdict"), arguments)

    def _failed(self, name: str, error: Exception, arguments: tuple[object, ...]) -> Tempfail:
        session = cast("SessionView", arguments[0])
        maillog.agent_failed(name, error, session_id=session.session_id)
        self._on_agent_error()
        return Tempfail(
            Reply(451, "4.3.0", f"Local error in processing; session {session.session_id}"), f"{name} failed"
        )


def _overrides(agent: Agent, method: str) -> bool:
    return getattr(type(agent), method) is not getattr(Agent, method)
