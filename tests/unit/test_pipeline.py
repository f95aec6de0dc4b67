"""Agents are asked in their order, the first that does not pass decides, and what one does wrong costs its client a 451."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace

import pytest

from mailmoat import maillog
from mailmoat._native import Address, Stage
from mailmoat.policy.agent import PASS, Agent, Discard, Pass, Reject, Reply, Report, Tempfail
from mailmoat.policy.pipeline import Pipeline

SESSION = SimpleNamespace(session_id="s1", peer="192.0.2.1", hello="h", reverse_path=None, head=b"")
BOB = Address.parse("bob@b.test")
NO = Reject(Reply(550, "5.7.1", "No"), "no")
VERDICTS = [
    NO,
    Tempfail(Reply(451, "4.7.1", "Later"), "later"),
    Report(Reply(550, "5.1.1", "No"), "no"),
    Discard("junk"),
]


def agent(label, verdict, asked, *, stage="rcpt", waits=False):
    """An agent that listens to one stage; `verdict` may be an exception."""

    def answer():
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def at_once(self, *arguments):
        asked.append((label, arguments))
        return answer()

    async def later(self, *arguments):
        asked.append((label, arguments))
        await asyncio.sleep(0)
        return answer()

    return type(label, (Agent,), {"name": label, f"on_{stage}": later if waits else at_once})()


def ask(pipeline, stage=Stage.RCPT, recipient=BOB):
    """The verdict, and whether it had to be waited for."""
    verdict = pipeline.run(stage, SESSION, recipient)
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


def never():
    pytest.fail("no agent has raised")


@pytest.mark.parametrize("waits", [False, True])
def test_all_are_asked_in_order_with_session_and_recipient(waits):
    asked = []
    pipeline = Pipeline([agent(label, PASS, asked, waits=waits) for label in "abc"], never)
    assert ask(pipeline) == (PASS, waits)
    assert asked == [(label, (SESSION, BOB)) for label in "abc"]


def test_stages_without_recipient_are_asked_with_the_session_alone():
    asked = []
    pipeline = Pipeline([agent("a", PASS, asked, stage="mail")], never)
    assert ask(pipeline, Stage.MAIL, None) == (PASS, False)
    assert asked == [("a", (SESSION,))]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_first_that_does_not_pass_decides(verdict, waits):
    asked = []
    before = agent("before", Pass((b"X: 1\r\n",)), asked)
    after = agent("after", Tempfail(Reply(450, "4.0.0", "other"), "other"), asked)
    pipeline = Pipeline([before, agent("decides", verdict, asked, waits=waits), after], never)
    assert ask(pipeline) == (verdict, waits)
    assert [label for label, _ in asked] == ["before", "decides"]


@pytest.mark.parametrize("waiting", ["", "a", "b", "ac", "abc"])
def test_stamps_are_gathered_in_order(waiting):
    agents = [agent(label, Pass((f"X-{label}: 1\r\n".encode(),)), [], waits=label in waiting) for label in "abc"]
    verdict, waited = ask(Pipeline(agents, never))
    assert verdict == Pass((b"X-a: 1\r\n", b"X-b: 1\r\n", b"X-c: 1\r\n"))
    assert waited == bool(waiting), "agents that answer at once need no task"


@pytest.mark.parametrize("waiting", ["", "a", "b", "ab"])
def test_dropped_recipients_add_up(waiting):
    carol = Address.parse("carol@b.test")
    says = {"a": Pass((b"X: 1\r\n",), (BOB,)), "b": Pass(dropped=(carol,)), "c": PASS}
    agents = [agent(label, verdict, [], waits=label in waiting) for label, verdict in says.items()]
    verdict, _ = ask(Pipeline(agents, never))
    assert verdict == Pass((b"X: 1\r\n",), (BOB, carol))


@pytest.mark.parametrize("waits", [False, True])
def test_one_that_raises_costs_a_451_and_is_named_in_the_log(failures, waits):
    asked, counted = [], []
    broken = agent("broken", ValueError("secret of the house\r\n250 ok"), asked, waits=waits)
    pipeline = Pipeline([broken, agent("after", NO, asked)], lambda: counted.append(1))
    verdict, _ = ask(pipeline)
    assert isinstance(verdict, Tempfail)
    assert (verdict.reply.code, verdict.reply.enhanced) == (451, "4.3.0")
    assert "s1" in verdict.reply.text
    assert "secret" not in str(verdict.reply), "the text of an exception never reaches the wire"
    assert [label for label, _ in asked] == ["broken"]
    assert counted == [1]
    (line,) = failures
    assert (line["event"], line["agent"], line["session"], line["level"]) == ("agent-failed", "broken", "s1", "error")
    assert "secret of the house" in line["error"]


def test_one_that_raises_after_another_was_waited_for(failures):
    counted = []
    agents = [agent("waits", PASS, [], waits=True), agent("broken", KeyError("x"), [])]
    verdict, waited = ask(Pipeline(agents, lambda: counted.append(1)))
    assert (verdict.reply.code, waited, counted) == (451, True, [1])
    assert failures[0]["agent"] == "broken"


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("answer", [None, True, "550 no"])
def test_one_that_gives_no_verdict_is_one_that_fails(failures, answer, waits):
    verdict, _ = ask(Pipeline([agent("odd", answer, [], waits=waits), agent("after", PASS, [])], lambda: None))
    assert (verdict.reply.code, failures[0]["agent"]) == (451, "odd")


def test_a_stage_nobody_listens_to_is_not_asked():
    pipeline = Pipeline([agent("a", NO, []), agent("b", NO, [], stage="end_of_data")], never)
    assert pipeline.asked == 1 << Stage.RCPT | 1 << Stage.END_OF_DATA
    assert pipeline.listens(Stage.RCPT)
    assert not pipeline.listens(Stage.MAIL)
    assert ask(pipeline, Stage.MAIL, None) == (PASS, False)


def test_the_end_of_a_connection_is_told_to_those_who_listen_and_to_no_one_else(failures):
    asked, counted = [], []
    agents = [
        agent("first", ValueError("x"), asked, stage="disconnect"),
        agent("second", None, asked, stage="disconnect"),
        agent("third", NO, asked),
    ]
    pipeline = Pipeline(agents, lambda: counted.append(1))
    assert pipeline.listens(Stage.DISCONNECT)
    assert pipeline.asked == 1 << Stage.RCPT, "the session machine has nobody to ask for"
    pipeline.ended(SESSION)
    assert [label for label, _ in asked] == ["first", "second"], "one that raises keeps the news from no other"
    assert counted == [1]
    assert failures[0]["agent"] == "first"


def test_without_agents_everything_passes():
    pipeline = Pipeline([], never)
    assert pipeline.asked == 0
    assert [ask(pipeline, stage) for stage in Stage] == [(PASS, False)] * len(Stage)
