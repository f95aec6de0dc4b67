"""Agents are asked in their order, the first that does not pass decides, and what one does wrong costs its client a 451."""

from __future__ import annotations

import asyncio
import inspect

import pytest
from tests.doubles.policy import Counted, view
from tests.doubles.timers import StillTimers

from mailmoat import maillog
from mailmoat._native import Address, Stage
from mailmoat.mailauth.results import AuthResult, Method, Status
from mailmoat.metrics import AGENT_ERRORS, AGENT_TIMEOUTS
from mailmoat.policy.agent import Agent
from mailmoat.policy.pipeline import Pipeline, PipelineRule
from mailmoat.policy.verdict import PASS, Accept, Discard, Pass, Reject, Reply, Report, Rule, Tempfail

SESSION = view()
BOB = Address.parse("bob@b.test")


class No(Rule):
    """The rule of the agents here."""

    NO = "no"


NO = Reject(Reply(550, "5.7.1", "No"), No.NO)
VERDICTS = [
    NO,
    Tempfail(Reply(451, "4.7.1", "Later"), No.NO),
    Report(Reply(550, "5.1.1", "No"), No.NO),
    Discard(No.NO),
]


def agent(label, verdict, asked, *, stage="rcpt", waits=False):
    """An agent that listens to one stage; `verdict` may be an exception."""

    def answer():
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def at_once(self, view):
        asked.append((label, view))
        return answer()

    async def later(self, view):
        asked.append((label, view))
        await asyncio.sleep(0)
        return answer()

    return type(label, (Agent,), {"name": label, f"on_{stage}": later if waits else at_once})(None)


class Bench:
    """A pipeline of these agents, what it counted, and its timers."""

    def __init__(self, *agents):
        self.timers, self.metrics = StillTimers(), Counted()
        self.pipeline = Pipeline(agents, self.timers, self.metrics, 30)

    @property
    def counted(self):
        return self.metrics.counted

    def ask(self, stage=Stage.RCPT):
        """The verdict, and whether it had to be waited for."""
        verdict = self.pipeline.run(stage, SESSION)
        if not inspect.isawaitable(verdict):
            return verdict, False

        async def main():
            return await verdict

        return asyncio.run(main()), True


@pytest.fixture
def failures(monkeypatch):
    told = []
    monkeypatch.setattr(
        maillog._stream, "write", lambda name, level, fields: told.append({"event": name, "level": level} | fields)
    )
    return told


@pytest.mark.parametrize("waits", [False, True])
def test_all_are_asked_in_order_with_the_view(waits):
    asked = []
    bench = Bench(*(agent(label, PASS, asked, waits=waits) for label in "abc"))
    assert bench.ask() == (PASS, waits)
    assert asked == [(label, SESSION) for label in "abc"]
    assert bench.timers.owners == {}, "a deadline is left"


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_first_that_does_not_pass_decides(verdict, waits):
    asked = []
    before = agent("before", Pass((b"X: 1\r\n",)), asked)
    after = agent("after", Tempfail(Reply(450, "4.0.0", "other"), No.NO), asked)
    assert Bench(before, agent("decides", verdict, asked, waits=waits), after).ask() == (verdict, waits)
    assert [label for label, _ in asked] == ["before", "decides"]


@pytest.mark.parametrize("waiting", ["", "a", "b", "ac", "abc"])
@pytest.mark.parametrize("stage", [Stage.RCPT, Stage.END_OF_HEADERS])
def test_what_is_passed_is_gathered_in_order(stage, waiting):
    carol = Address.parse("carol@b.test")
    result = AuthResult(Method.SPF, Status.PASS, "smtp.helo", "b.test")
    dropped, redirected = ((), (carol,)) if stage is Stage.RCPT else ((BOB, carol), ())
    says = {
        "a": Pass((b"X-a: 1\r\n",), dropped=dropped[:1]),
        "b": Pass((b"X-b: 1\r\n",), (result,), dropped[1:]),
        "c": Pass((), (result,), redirected=redirected, tarpit=3),
    }
    name = stage.name.lower()
    agents = [agent(label, verdict, [], stage=name, waits=label in waiting) for label, verdict in says.items()]
    verdict, waited = Bench(*agents).ask(stage)
    assert verdict == Pass((b"X-a: 1\r\n", b"X-b: 1\r\n"), (result, result), dropped, redirected, 3)
    assert waited == bool(waiting), "agents that answer at once need no task"


@pytest.mark.parametrize("waiting", ["", "first", "later", "both"])
def test_each_of_several_targets_is_judged_by_the_later_agents(waiting):
    targets = tuple(Address.parse(f"{name}@b.test") for name in ("ann", "bob", "cid"))
    judged = []

    def later(self, view):
        judged.append(str(view.recipient))
        if view.recipient == targets[1]:
            return Pass((b"X-b: 1\r\n",), redirected=targets[:1])
        return NO if view.recipient.local == "bad" else PASS

    async def waits(self, view):
        await asyncio.sleep(0)
        return later(self, view)

    agents = [
        agent("first", Pass((b"X-a: 1\r\n",), redirected=targets), [], waits=waiting in {"first", "both"}),
        type("later", (Agent,), {"name": "later", "on_rcpt": waits if waiting in {"later", "both"} else later})(None),
    ]
    verdict, waited = Bench(*agents).ask()
    assert judged == ["ann@b.test", "bob@b.test", "cid@b.test"]
    assert verdict == Pass((b"X-a: 1\r\n", b"X-b: 1\r\n"), redirected=(targets[0], targets[0], targets[2]))
    assert waited == bool(waiting)

    bad = Address.parse("bad@b.test")
    agents[0] = agent("first", Pass(redirected=(targets[0], bad, targets[2])), [])
    assert Bench(*agents).ask()[0] == NO
    assert judged[3:] == ["ann@b.test", "bad@b.test"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_thousand_targets_are_one_verdict(monkeypatch, waits):
    targets = tuple(Address.parse(f"user{number}@b.test") for number in range(1000))
    verdict, made, check = Pass(redirected=targets), [], Pass.__post_init__
    monkeypatch.setattr(Pass, "__post_init__", lambda self: (made.append(self), check(self))[1])
    answer, _ = Bench(agent("first", verdict, []), agent("later", PASS, [], waits=waits)).ask()
    assert answer == verdict
    assert len(made) <= 3, "one for each target would hold the loop for 6 ms"


@pytest.mark.parametrize("waits", [False, True])
def test_accept_passes_and_skips_the_rest(waits):
    asked = []
    agents = [
        agent("before", Pass((b"X: 1\r\n",)), asked),
        agent("accepts", Accept(Pass((b"Y: 1\r\n",))), asked, waits=waits),
        agent("after", NO, asked),
    ]
    assert Bench(*agents).ask() == (Pass((b"X: 1\r\n", b"Y: 1\r\n")), waits)
    assert [label for label, _ in asked] == ["before", "accepts"]


@pytest.mark.parametrize("waits", [False, True])
def test_one_that_raises_costs_a_451_and_is_named_in_the_log(failures, waits):
    asked = []
    broken = agent("broken", ValueError("secret of the house\r\n250 ok"), asked, waits=waits)
    bench = Bench(broken, agent("after", NO, asked))
    verdict, _ = bench.ask()
    assert isinstance(verdict, Tempfail)
    assert (verdict.rule, verdict.detail) == (PipelineRule.AGENT_FAILED, "broken")
    assert (verdict.reply.code, verdict.reply.enhanced) == (451, "4.3.0")
    assert "t-1" in verdict.reply.text
    assert "secret" not in str(verdict.reply), "the text of an exception never reaches the wire"
    assert [label for label, _ in asked] == ["broken"]
    assert bench.counted == [AGENT_ERRORS]
    (line,) = failures
    assert (line["event"], line["agent"], line["session"], line["level"]) == ("agent-failed", "broken", "t-1", "error")
    assert line["stage"] == "rcpt"
    assert "secret of the house" in line["error"]


@pytest.mark.parametrize("waits", [False, True])
def test_one_whose_own_work_was_cancelled_is_one_that_fails(failures, waits):
    """As when two sessions wait for one task of an agent, and the first is over."""

    class Shares(Agent):
        name = "shares"

        def on_rcpt(self, view):
            if waits:
                return self.later()
            raise asyncio.CancelledError  # the result of a cancelled task

        async def later(self):
            work = asyncio.get_running_loop().create_task(asyncio.sleep(0))
            work.cancel()
            return await work

    bench = Bench(Shares(None), agent("after", NO, []))
    verdict, _ = bench.ask()
    assert (verdict.rule, verdict.detail, bench.counted) == (PipelineRule.AGENT_FAILED, "shares", [AGENT_ERRORS])
    assert bench.timers.owners == {}


def test_one_that_raises_after_another_was_waited_for(failures):
    bench = Bench(agent("waits", PASS, [], waits=True), agent("broken", KeyError("x"), []))
    verdict, waited = bench.ask()
    assert (verdict.reply.code, waited, bench.counted) == (451, True, [AGENT_ERRORS])
    assert failures[0]["agent"] == "broken"


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("answer", [None, True, "550 no"])
def test_one_that_gives_no_verdict_is_one_that_fails(failures, answer, waits):
    verdict, _ = Bench(agent("odd", answer, [], waits=waits), agent("after", PASS, [])).ask()
    assert (verdict.reply.code, failures[0]["agent"]) == (451, "odd")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    ("verdict", "stages"),
    [
        (Report(Reply(550, "5.1.1", "No"), No.NO), ["rcpt"]),
        (Discard(No.NO), ["rcpt", "data", "end_of_headers", "end_of_data"]),
        (Pass(redirected=(BOB,)), ["rcpt"]),
        (Accept(Pass(dropped=(BOB,))), ["end_of_headers", "end_of_data"]),
    ],
)
def test_a_verdict_of_another_stage_is_no_pass(failures, verdict, stages, waits):
    taken = []
    for stage in list(Stage)[:-1]:
        name = stage.name.lower()
        found, _ = Bench(agent("odd", verdict, [], stage=name, waits=waits)).ask(stage)
        if getattr(found, "rule", None) is not PipelineRule.AGENT_FAILED:
            taken.append(name)
    assert taken == stages
    assert {line["agent"] for line in failures} == {"odd"}


def test_nothing_waits_for_an_agent_that_is_notified(failures):
    Bench(agent("odd", None, [], stage="disconnect", waits=True)).pipeline.disconnected(SESSION)
    assert failures[0]["agent"] == "odd"


# --- deadlines ---


def hanging(ends):
    """An agent that never answers; `ends` gets how that ended."""

    class Hanging(Agent):
        name = "hanging"

        async def on_rcpt(self, view):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

    return Hanging(None)


def in_a_task(bench, *acts):
    """What comes of asking in a task, after these acts, each in a turn of its own; the task is handed to them."""

    async def main():
        task = asyncio.ensure_future(bench.pipeline.run(Stage.RCPT, SESSION))
        for act in acts:
            await asyncio.sleep(0)
            act(task)
        return await asyncio.wait_for(task, 5)

    return asyncio.run(main())


def test_one_that_is_late_is_cancelled_and_costs_a_451(failures):
    ends, asked = [], []
    bench = Bench(hanging(ends), agent("after", NO, asked))
    verdict = in_a_task(bench, lambda task: bench.timers.pass_all())
    assert verdict.reply == Reply(451, "4.3.0", "Local error in processing; session t-1")
    assert (verdict.rule, verdict.detail) == (PipelineRule.AGENT_TIMED_OUT, "hanging")
    assert (ends, asked, bench.counted) == (["cancelled"], [], [AGENT_TIMEOUTS])
    (line,) = failures
    assert (line["event"], line["agent"], line["seconds"]) == ("agent-timed-out", "hanging", 30)


def test_the_end_of_the_session_cancels_the_agent_and_leaves_no_deadline():
    ends = []
    bench = Bench(hanging(ends))
    with pytest.raises(asyncio.CancelledError):
        in_a_task(bench, lambda task: task.cancel())
    assert (ends, bench.counted, bench.timers.owners) == (["cancelled"], [], {})


def test_a_session_that_ends_with_the_deadline_is_over():
    bench = Bench(hanging([]))

    def both(task):
        bench.timers.pass_all()
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        in_a_task(bench, both)
    assert bench.counted == []


@pytest.mark.parametrize("answer", [PASS, NO, ValueError("x")])
def test_one_that_answers_its_cancelling_is_late_all_the_same(failures, answer):
    class Stubborn(Agent):
        name = "stubborn"

        async def on_rcpt(self, view):
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                if isinstance(answer, Exception):
                    raise answer from None
                return answer

    bench = Bench(Stubborn(None), agent("after", NO, []))
    verdict = in_a_task(bench, lambda task: bench.timers.pass_all())
    assert (verdict.rule, bench.counted) == (PipelineRule.AGENT_TIMED_OUT, [AGENT_TIMEOUTS])


def test_each_agent_has_a_deadline_of_its_own():
    bench = Bench(*(agent(label, PASS, [], waits=True) for label in "ab"), agent("c", PASS, []))
    made = []
    after = bench.timers.after
    bench.timers.after = lambda seconds, owner: made.append(seconds) or after(seconds, owner)
    assert bench.ask() == (PASS, True)
    assert made == [30, 30]


# --- values ---


@pytest.mark.parametrize(
    ("code", "enhanced", "text"),
    [
        (250, "2.0.0", "ok"), (354, "3.0.0", "go on"), (550, "4.7.1", "x"), (450, "5.7.1", "x"), (550, "", "x"),
        (550, "5.7.1", ""), (550, "5.7.1", "a\r\n250 b"), (550, "5.7.1", "ü"), (550, "5.7.1", "x" * 501), ("550", "5.7.1", "x"),
        (55000, "5.7.1", "x"), (560, "5.7.1", "x"), (True, "5.7.1", "x"), (550, None, "x"), (550, "5.7.1", None),
    ],
)  # fmt: skip
def test_a_reply_that_could_not_be_sent_is_not_made(code, enhanced, text):
    with pytest.raises(ValueError, match="not a reply"):
        Reply(code, enhanced, text)


def test_a_reply_shows_what_a_stranger_wrote_in_one_line_of_ascii():
    reply = Reply.showing(550, "5.7.1", "Unable to relay for bü\r\n" + "x" * 600)
    assert reply.text.startswith("Unable to relay for b?  xx")
    assert len(f"{reply}\r\n") == 512
    assert Reply.showing(550, "5.7.1", "No") == Reply(550, "5.7.1", "No")


@pytest.mark.parametrize("verdict", [Reject, Tempfail, Report])
def test_a_reply_fits_its_verdict_and_a_rule_is_no_free_text(verdict):
    good, bad = Reply(550, "5.7.1", "No"), Reply(450, "4.7.1", "Later")
    if verdict is Tempfail:
        good, bad = bad, good
    assert verdict(good, No.NO).reply is good
    with pytest.raises(ValueError, match="with the reply"):
        verdict(bad, No.NO)
    with pytest.raises(TypeError, match="for a rule"):
        verdict(good, "no")


@pytest.mark.parametrize(
    "stamp",
    [
        b"X: 1",
        b"X 1\r\n",
        b"X: 1\r\n\r\nbody",
        b"X: 1\r\nbad line\r\n",
        b" X: 1\r\n",
        b"X: \0\r\n",
        b"X: a\rb\r\n",
        b"",
    ],
)
def test_a_stamp_that_is_no_header_field_is_not_made(stamp):
    with pytest.raises(ValueError, match="not a header field"):
        Pass((stamp,))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pass(stamps=[b"X: 1\r\n"]),
        lambda: Pass(stamps=("X: 1\r\n",)),
        lambda: Pass(results=("spf=pass",)),
        lambda: Pass(dropped=[BOB]),
        lambda: Pass(dropped="bob@b.test"),
        lambda: Pass(redirected=("bob@b.test",)),
        lambda: Pass(redirected=[BOB]),
        lambda: Accept(None),
        lambda: Discard("no"),
    ],
)
def test_a_verdict_that_could_not_be_carried_out_is_not_made(make):
    with pytest.raises(TypeError):
        make()


def test_the_longer_tarpit_counts():
    assert Pass(tarpit=2).and_then(Pass(tarpit=5)).and_then(PASS).tarpit == 5
    assert PASS.and_then(Pass(tarpit=0)).tarpit == 0
    for seconds in (-1, 241, float("nan")):
        with pytest.raises(ValueError, match="not between"):
            Pass(tarpit=seconds)


def test_a_stamp_may_be_folded():
    assert Pass((b"X: 1\r\n\t2\r\n 3\r\n",)).stamps


# --- stages ---


def test_a_stage_nobody_listens_to_is_not_asked():
    bench = Bench(agent("a", NO, []), agent("b", NO, [], stage="end_of_data"))
    pipeline = bench.pipeline
    assert pipeline.asked == 1 << Stage.RCPT | 1 << Stage.END_OF_DATA
    assert pipeline.listens(Stage.RCPT)
    assert not pipeline.listens(Stage.MAIL)
    assert bench.ask(Stage.MAIL) == (PASS, False)


def test_the_end_of_a_connection_is_told_to_those_who_listen_and_to_no_one_else(failures):
    asked = []
    agents = [
        agent("first", ValueError("x"), asked, stage="disconnect"),
        agent("second", None, asked, stage="disconnect"),
        agent("third", NO, asked),
    ]
    bench = Bench(*agents)
    pipeline = bench.pipeline
    assert pipeline.listens(Stage.DISCONNECT)
    assert pipeline.asked == 1 << Stage.RCPT, "the session machine has nobody to ask for"
    pipeline.disconnected(SESSION)
    assert [label for label, _ in asked] == ["first", "second"], "one that raises keeps the news from no other"
    assert bench.counted == [AGENT_ERRORS]
    assert failures[0]["agent"] == "first"


def test_without_agents_everything_passes():
    bench = Bench()
    assert bench.pipeline.asked == 0
    assert [bench.ask(stage) for stage in Stage] == [(PASS, False)] * len(Stage)
