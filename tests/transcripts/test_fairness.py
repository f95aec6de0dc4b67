"""One busy client is one turn: whatever it sends, the others of its worker are served between its turns. Work is counted, not timed."""

import sys
from itertools import groupby
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

COMMANDS = 16
"""Of one connection in one turn."""
BEGIN = b"HELO c.test\r\nMAIL FROM:<>\r\n"


@pytest.fixture
def world(tmp_path):
    pairs = {**script.DEFAULTS, "limits.idle_commands": "0", "limits.message_size": "0", "tarpit.time": "0"}
    made = virtual.World(script.load_settings(tuple(sorted(pairs.items()))), tmp_path, known=script.KNOWN)
    with made.running():
        yield made
        made.end()


@pytest.mark.parametrize(
    "flood",
    [
        BEGIN + b"RCPT TO:<alice@example.test>\r\n" * 2000,
        BEGIN + b"".join(b"RCPT TO:<r%d@example.test>\r\n" % number for number in range(15)),
        b"NOOP\r\n" * 5000,
        b"HELO c.test\r\n" * 3000,
        BEGIN + b"RCPT TO:<alice@example.test>\r\nRSET\r\nMAIL FROM:<>\r\n" * 700,
    ],
    ids=["recipients", "refused recipients", "NOOP", "HELO", "transactions"],
)
def test_a_flood_of_commands_waits_for_the_others_after_each_turn(world, flood):
    heard = []
    busy = [world.connect(f"192.0.2.{number}", heard=heard)[0] for number in range(10, 15)]
    good, answers = world.connect("192.0.2.9")
    heard.clear()
    served = []
    for number, transport in enumerate(busy):
        transport._heard = lambda octets, number=number: served.extend([number] * octets.count(b"\r\n"))
        transport.queue(flood)
    good._heard = lambda octets: served.append("good")
    good.queue(b"NOOP\r\n")
    world.loop.settle()
    assert served.index("good") <= COMMANDS * len(busy)
    assert max(len(list(turn)) for _, turn in groupby(served)) <= COMMANDS
    assert [served.count(number) for number in range(5)] == [served.count(0)] * 5
    for transport in (*busy, good):
        transport.vanish()
    assert answers


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"XYZZY\r\n"], ids=["idle", "wrong"])
def test_who_makes_no_progress_is_served_after_the_others_and_few_at_once(world, command):
    heard = []
    idlers = [world.connect(f"192.0.2.{number}", heard=heard)[0] for number in range(10, 60)]
    for transport in idlers:
        transport.send(command * COMMANDS)
    good, _ = world.connect("192.0.2.9")
    heard.clear()
    served, turn = [], [0]

    def count_turns():
        turn[0] += 1
        if turn[0] < 20:
            world.loop.call_soon(count_turns)

    for number, transport in enumerate((*idlers, good)):
        transport._heard = lambda octets, number=number: served.append((turn[0], number))
        transport.queue(command)
    count_turns()
    world.loop.settle()
    assert [number for _, number in served] == [len(idlers), *range(len(idlers))]
    turns = [len(list(group)) for _, group in groupby(turn for turn, _ in served[1:])]
    assert turns == [16, 16, 16, 2]
    for transport in (*idlers, good):
        transport.vanish()


def test_a_turn_reads_one_buffer_of_a_content(world):
    """The rest waits in the kernel until the others have been served."""
    busy, heard = world.connect("192.0.2.9")
    busy.send(BEGIN + b"RCPT TO:<alice@example.test>\r\nDATA\r\n")
    assert heard[-1][:3] == "354"
    reads = []
    take, turns = busy.protocol.buffer_updated, [0]

    def count_turns():
        turns[0] += 1
        if turns[0] < 100:
            world.loop.call_soon(count_turns)

    busy.protocol = Counted(busy.protocol, lambda octets: (reads.append((turns[0], octets)), take(octets)))
    count_turns()
    content = (b"x" * 70 + b"\r\n") * 10_000
    busy.queue(b"Subject: x\r\n\r\n" + content + b".\r\n")
    world.loop.settle()
    assert sum(octets for _, octets in reads) == len(content) + 17
    assert max(sum(octets for _, octets in turn) for _, turn in groupby(reads, key=lambda read: read[0])) == 131_072
    assert reads[0][1] == 16_384  # the larger buffer only once there is so much
    assert heard[-1].startswith("250 2.6.0")
    busy.vanish()


def test_one_that_does_not_take_its_replies_is_not_served_on(world):
    """What it has pipelined is worked on no further than one turn: its replies would fill our memory."""
    deaf, heard = world.connect("192.0.2.9")
    deaf.stop_reading()
    deaf.send(b"HELP\r\n" * 2000)
    unread = deaf._unread
    assert unread.count(b"\r\n") <= 2 * COMMANDS
    assert not heard[1:]
    deaf.read_again()
    world.loop.settle()
    assert len(heard) == 1 + 2000
    deaf.vanish()


class Counted:
    """A protocol whose reads are counted."""

    def __init__(self, protocol, buffer_updated):
        self._protocol = protocol
        self.buffer_updated = buffer_updated

    def __getattr__(self, name):
        return getattr(self._protocol, name)
