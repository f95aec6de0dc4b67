"""Whatever goes wrong between a verdict and the wire ends the session with a 421 and a line in the log, however late it is."""

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

from mailmoat.events import Event
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Discard, Pass, Rule

STAMP = Pass((b"X-Seen: 1\r\n",))


class JointRule(Rule):
    """The rule of the agents here."""

    JOINT = "joint"


class Stamper(Agent):
    """Stamps at MAIL, at once."""

    name = "stamper"

    def on_mail(self, view):
        return STAMP


class LateStamper(Agent):
    """Stamps at MAIL, and has to be waited for."""

    name = "stamper"

    async def on_mail(self, view):
        return STAMP


class Sharer(Agent):
    """Waits at MAIL for work that is cancelled, as by another session that waited for it."""

    name = "sharer"

    async def on_mail(self, view):
        work = asyncio.get_running_loop().create_future()
        work.cancel()
        return await work


class Discarder(Agent):
    """Keeps nothing; has to be waited for once, so that a client can send far ahead."""

    name = "discarder"

    async def on_helo(self, view):
        return PASS

    def on_end_of_data(self, view):
        return Discard(JointRule.JOINT)


@pytest.fixture
def play(tmp_path):
    def play(agent, octets):
        settings = script.load_settings(tuple(sorted({**script.DEFAULTS, "limits.message_rate": "off"}.items())))
        world = virtual.World(settings, tmp_path, known=script.KNOWN, agents=(agent(None),))
        with world.running():
            world.transport.queue(octets)
            world.loop.settle()
            world.end()
        return [line for _, line in world.said], [fields for name, fields in world.log if name is Event.SESSION_FAILED]

    return play


@pytest.mark.parametrize("agent", [Stamper, LateStamper])
def test_a_fault_of_the_pipeline_ends_the_session(play, monkeypatch, agent):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(Pass, "and_then", broken)
    said, failed = play(agent, b"HELO c.test\r\nMAIL FROM:<a@c.test>\r\n")
    assert said[2:] == ["421 4.3.0 mx.example.test Local error in processing; session t-1", "(closes)"]
    assert [line["session"] for line in failed] == ["t-1"]


def test_messages_that_are_discarded_may_be_many_in_one_buffer(play):
    mail = b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\n"
    said, failed = play(Discarder, b"HELO c.test\r\n" + 1000 * mail + b"QUIT\r\n")
    assert (failed, said[-2][:3], len(said)) == ([], "221", 2 + 4 * 1000 + 2)


def test_work_of_an_agent_that_was_cancelled_leaves_no_session_open(play):
    said, failed = play(Sharer, b"HELO c.test\r\nMAIL FROM:<a@c.test>\r\nQUIT\r\n")
    assert said[2] == "451 4.3.0 Local error in processing; session t-1"
    assert (failed, said[3][:3]) == ([], "221")
