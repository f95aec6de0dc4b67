"""Asks the agents of a stage in their order; the first that does not pass decides.

A stage whose agents all answer at once is answered at once, without a task and without a timer; otherwise `run` returns an awaitable.
Each wait for one agent has a deadline on the worker's timers: then its awaitable is cancelled. An agent that raises, answers with
something else than a verdict of the stage, or is late is `451 4.3.0` and a line in the log with its name: exception text never
reaches the wire.
Cancelling what `run` returned cancels the agent. Never raises for what an agent does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Never, Protocol, TypeAlias, cast

from mailmoat import maillog
from mailmoat._native import Stage
from mailmoat.events import Event
from mailmoat.metrics import AGENT_ERRORS, AGENT_TIMEOUTS
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Accept, Discard, Pass, Reject, Reply, Report, Rule, Tempfail
from mailmoat.runtime.deadline import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mailmoat._native import Address
    from mailmoat.metrics import Metrics
    from mailmoat.policy.agent import SessionView
    from mailmoat.policy.verdict import Conclusion, Verdict
    from mailmoat.runtime.timers import Timers

    Agents: TypeAlias = "Iterator[AgentMethod]"


ALL: Final = 2**64 - 1
"""A set of all agents of a stage: bits by their places, `Session.asked`."""
KEPT: Final = 1024
"""Sets that are kept at hand."""


class PipelineRule(Rule):
    """Why the pipeline refuses in place of an agent."""

    AGENT_FAILED = "agent-failed"
    AGENT_TIMED_OUT = "agent-timed-out"


class Redirectable(Protocol):
    """A view at RCPT: later agents see the recipient that an earlier one has put in place of the one that was asked about."""

    recipient: Address


class AgentMethod(NamedTuple):
    """The method of an agent for one stage."""

    name: str
    ask: Callable[[SessionView], Verdict | Awaitable[Verdict]]
    stage: Stage
    agent: Agent


class _Judged:
    """Targets that pass, and what is carried for all of them: made into one verdict at the end, as there may be a thousand."""

    def __init__(self, passed: Pass) -> None:
        self._carried = [passed]
        self._targets: list[Address] = []

    def add(self, target: Address, conclusion: Pass) -> None:
        """Add a target with what was said of it: it may go to others itself."""
        self._targets.extend(conclusion.redirected or (target,))
        if conclusion is not PASS:
            self._carried.append(conclusion)

    def all(self) -> Pass:
        """Return what is said of all of them."""
        return Pass.of(self._carried, tuple(self._targets))


class Pipeline:
    """The agents of one worker, by stage; each has `agent_time` seconds for an answer it does not give at once."""

    def __init__(self, agents: Sequence[Agent], timers: Timers, metrics: Metrics, agent_time: float) -> None:
        self._timers = timers
        self._metrics = metrics
        self._agent_time = agent_time
        self.stages = tuple(_methods(agents, stage) for stage in Stage)
        """The methods of the agents that listen to a stage, in their order."""
        self._some = lru_cache(KEPT)(self._select)

    @property
    def asked(self) -> int:
        """The stages some agent listens to, as a set of `1 << stage` bits; DISCONNECT is not asked of the session machine."""
        return sum(1 << stage for stage in Stage if self.listens(stage) and stage is not Stage.DISCONNECT)

    def listens(self, stage: Stage) -> bool:
        """Return whether some agent listens to this stage."""
        return bool(self.stages[stage])

    def run(self, stage: Stage, view: SessionView, asked: int = ALL) -> Conclusion | Awaitable[Conclusion]:
        """Ask the agents of a stage, or those whose places among them are in `asked`; the awaitable is to be awaited in a task."""
        methods = self.stages[stage] if asked == ALL else self._some(stage, asked)
        return self._next(iter(methods), view, PASS)

    def disconnected(self, view: SessionView) -> None:
        """Notify the agents that listen to it that the connection is closed."""
        for method in self.stages[Stage.DISCONNECT]:
            try:
                answer = method.ask(view)
                if isinstance(answer, Coroutine):
                    answer.close()
                    raise TypeError("on_disconnect cannot be async: nothing waits for it")  # noqa: TRY301 - as if it had raised
            except Exception as error:  # noqa: BLE001 - the joint between us and an agent
                self._failed(method, error, view)

    def _select(self, stage: Stage, asked: int) -> tuple[AgentMethod, ...]:
        return tuple(method for place, method in enumerate(self.stages[stage]) if asked >> place & 1)

    def _next(self, agents: Agents, view: SessionView, passed: Pass) -> Conclusion | Awaitable[Conclusion]:
        for method in agents:
            try:
                verdict = method.ask(view)
            except BaseException as error:  # noqa: BLE001 - the same joint: not even `sys.exit` of an agent ends others' sessions
                return self._failed(method, error, view)
            if verdict is not PASS:
                return self._after(method, verdict, agents, view, passed)
        return passed

    def _after(
        self,
        method: AgentMethod,
        verdict: Verdict | Awaitable[Verdict],
        agents: Agents,
        view: SessionView,
        passed: Pass,
    ) -> Conclusion | Awaitable[Conclusion]:
        """Return what follows from one answer: the next agent, or the end of the stage."""
        match verdict:
            case Pass() | Accept() | Report() | Discard() if not _fits(verdict, method.stage):
                return self._failed(method, _of_another_stage(verdict, method.stage), view)
            case Pass():
                return self._passed(verdict, agents, view, passed.and_then(verdict))
            case Report() | Reject() | Tempfail() | Discard():
                return verdict
            case Accept(carried=carried):
                return passed.and_then(carried)
            case Awaitable():
                return self._wait(method, verdict, agents, view, passed)
        return self._failed(method, _no_verdict(verdict), view)

    def _passed(
        self, verdict: Pass, agents: Agents, view: SessionView, passed: Pass
    ) -> Conclusion | Awaitable[Conclusion]:
        """Return what the later agents say, of each of the addresses that get the message."""
        match verdict.redirected:
            case ():
                return self._next(agents, view, passed)
            case (target,):
                cast("Redirectable", view).recipient = target
                return self._next(agents, view, passed)
        return self._each(tuple(agents), view, verdict.redirected, passed)

    def _each(
        self, agents: Sequence[AgentMethod], view: SessionView, targets: Sequence[Address], passed: Pass
    ) -> Conclusion | Awaitable[Conclusion]:
        """Ask about each of several targets; the first conclusion that does not pass is that about all."""
        judged = _Judged(passed)
        for place, target in enumerate(targets):
            cast("Redirectable", view).recipient = target
            conclusion = self._next(iter(agents), view, PASS)
            if isinstance(conclusion, Awaitable):
                return self._each_later(conclusion, agents, view, targets[place:], judged)
            if not isinstance(conclusion, Pass):
                return conclusion
            judged.add(target, conclusion)
        return judged.all()

    async def _each_later(
        self,
        first: Awaitable[Conclusion],
        agents: Sequence[AgentMethod],
        view: SessionView,
        targets: Sequence[Address],
        judged: _Judged,
    ) -> Conclusion:
        """Go on with the targets from the one about which `first` says something."""
        answer: Conclusion | Awaitable[Conclusion] = first
        for place, target in enumerate(targets):
            if place:
                cast("Redirectable", view).recipient = target
                answer = self._next(iter(agents), view, PASS)
            conclusion = await answer if isinstance(answer, Awaitable) else answer
            if not isinstance(conclusion, Pass):
                return conclusion
            judged.add(target, conclusion)
        return judged.all()

    async def _wait(
        self, method: AgentMethod, awaited: Awaitable[Verdict], agents: Agents, view: SessionView, passed: Pass
    ) -> Conclusion:
        name, task = method.name, cast("asyncio.Task[object]", asyncio.current_task())
        deadline = Deadline(task)
        key = self._timers.after(self._agent_time, deadline)
        try:
            verdict = await awaited
        except asyncio.CancelledError as error:
            if deadline.ends_this():
                return self._timed_out(name, view)
            if task.cancelling():
                raise  # the session is over
            return self._failed(method, error, view)  # its own work was cancelled, by whomever
        except GeneratorExit:
            raise  # this coroutine is closed
        except BaseException as error:  # noqa: BLE001 - the same joint
            return self._timed_out(name, view) if deadline.ends_this() else self._failed(method, error, view)
        finally:
            self._timers.cancel(key)
        if deadline.ends_this():
            return self._timed_out(name, view)
        rest = self._after(method, verdict, agents, view, passed)
        return rest if isinstance(rest, (Pass, Report, Reject, Tempfail, Discard)) else await rest

    def _failed(self, method: AgentMethod, error: BaseException, view: SessionView) -> Tempfail:
        maillog.agent_failed(method.name, error, session_id=view.session_id, stage=method.stage.name.lower())
        self._metrics.add(AGENT_ERRORS)
        return _not_now(PipelineRule.AGENT_FAILED, method.name, view)

    def _timed_out(self, name: str, view: SessionView) -> Tempfail:
        maillog.event(Event.AGENT_TIMED_OUT, agent=name, session=view.session_id, seconds=self._agent_time)
        self._metrics.add(AGENT_TIMEOUTS)
        return _not_now(PipelineRule.AGENT_TIMED_OUT, name, view)


def _not_now(rule: PipelineRule, name: str, view: SessionView) -> Tempfail:
    return Tempfail(Reply(451, "4.3.0", f"Local error in processing; session {view.session_id}"), rule, name)


def _no_verdict(answer: Never) -> TypeError:
    """Return what is wrong with an answer that is not a verdict."""
    return TypeError(f"answered with {type(answer).__name__}, which is no verdict")


def _fits(verdict: Pass | Accept | Report | Discard, stage: Stage) -> bool:
    """Return whether the session can do all of it at this stage: it would ignore the rest."""
    match verdict:
        case Pass(redirected=redirected, dropped=dropped):
            return (not redirected or stage is Stage.RCPT) and (not dropped or stage > Stage.DATA)
        case Accept(carried=carried):
            return _fits(carried, stage)
        case Report():
            return stage is Stage.RCPT
        case Discard():
            return stage >= Stage.RCPT


def _of_another_stage(verdict: Pass | Accept | Report | Discard, stage: Stage) -> TypeError:
    return TypeError(f"answered with {verdict} at {stage.name}, where it means nothing")


def _methods(agents: Sequence[Agent], stage: Stage) -> tuple[AgentMethod, ...]:
    name = f"on_{stage.name.lower()}"
    return tuple(AgentMethod(one.name, getattr(one, name), stage, one) for one in agents if _overrides(one, name))


def _overrides(agent: Agent, method: str) -> bool:
    return getattr(type(agent), method) is not getattr(Agent, method)
