"""What a client that hangs up while held still takes: its place among the held, of its source and of the host, as long as it would
have waited; and nothing beyond that.
"""

import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from mailmoat.metrics import CONNECTIONS, HELD_SESSIONS, TARPIT_EVICTIONS

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

GUESS = b"HELO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@example.test>\r\n"
PEER = "192.0.2.1"


@pytest.fixture
def make(tmp_path):
    def make(**settings):
        pairs = {
            **script.DEFAULTS,
            "tarpit.time": "5",
            **{key.replace("__", "."): value for key, value in settings.items()},
        }
        return virtual.World(
            script.load_settings(tuple(sorted(pairs.items()))), tmp_path, known=script.KNOWN, peer=PEER
        )

    return make


def taken(world):
    """Connections of the host, held replies, connections of the source."""
    packed = ip_address(PEER).packed
    count = world.shared.source_enter(0, packed)[0] - 1
    world.shared.source_leave(0, packed)
    return world.shared.sum(CONNECTIONS), world.shared.sum(HELD_SESSIONS), count


def test_a_reset_while_held_frees_the_session_at_once_and_its_places_when_the_hold_is_over(make):
    world = make()
    with world.running():
        world.transport.send(GUESS)
        world.loop.advance(virtual.START_MS + 2_000)
        world.transport.vanish()
        world.loop.settle()
        assert world.receiver.connections == set()
        assert [name for name, _ in world.log] == ["recipient-refused", "session-ended"]
        assert taken(world) == (1, 1, 1)
        world.loop.advance(virtual.START_MS + 4_990)
        assert taken(world) == (1, 1, 1)
        world.loop.advance(virtual.START_MS + 5_020)
        assert taken(world) == (0, 0, 0)
        world.end()


def test_hanging_up_guesses_no_faster_than_waiting(make):
    """A hundred places of a source and five seconds a guess: twenty guesses a second, whoever waits or not."""
    world = make()
    guesses, refused = 0, 0
    with world.running():
        while world.loop.now_ms < virtual.START_MS + 20_000:
            transport, heard = world.connect(PEER)
            if heard[0].startswith("220"):
                transport.send(GUESS)
                world.loop.advance(world.loop.now_ms + 10)  # no reply so soon: unknown
                assert not heard[3:]
                guesses += 1
                transport.vanish()
            else:
                assert heard[0].startswith("421 mx.example.test Too many connections from your address")
                refused += 1
                world.loop.advance(world.loop.now_ms + 10)
        assert refused
        assert guesses <= 100 * (20 / 5 + 1)
        world.end()


def test_places_of_those_who_left_are_evicted_with_the_others_oldest_first(make):
    world = make(tarpit__max_held="3")
    with world.running():
        clients = []
        for number in range(5):
            transport, heard = world.connect(f"198.51.100.{number}")
            transport.send(GUESS)
            clients.append((transport, heard))
            if number < 2:
                transport.vanish()
            world.loop.advance(world.loop.now_ms + 100)
        # The two that left were the oldest: their places made room for the fourth and the fifth, who wait with the third.
        assert [len(heard) for _, heard in clients] == [3, 3, 3, 3, 3]
        assert len(world.held) == 3
        assert world.shared.sum(TARPIT_EVICTIONS) == 2
        assert world.shared.sum(CONNECTIONS) == 4
        world.loop.advance(world.loop.now_ms + 5_000)
        assert [heard[-1] for _, heard in clients[2:]] == ["550 5.1.1 User unknown"] * 3
        for transport, _ in clients[2:]:
            transport.vanish()
        world.end()


def test_a_reset_found_in_the_very_turn_its_hold_ends_leaves_nothing(make):
    world = make(tarpit__time="2")
    with world.running():
        world.transport.send(GUESS)
        world.loop.advance(virtual.START_MS + 500)
        world.transport.end_input()  # from now on the kernel is asked every second
        world.transport.vanish()
        world.loop.now_ms += 3_000  # a busy worker is late for both
        world.loop.settle()
        assert taken(world) == (0, 0, 0)
        world.end()


def test_a_worker_that_ends_does_not_wait_for_those_who_left(make):
    world = make(tarpit__time="60")
    with world.running():
        world.transport.send(GUESS)
        world.transport.vanish()
        world.loop.settle()
        assert world.receiver.connections == set()
        assert len(world.held) == 1
        world.end()
