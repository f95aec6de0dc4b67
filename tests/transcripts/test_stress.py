"""Idle clients do not lock others out: near the limit the longest idle go, and no one that is at work."""

import sys
from pathlib import Path

import pytest

from mailmoat.metrics import IDLE_CLOSED, WORKERS_STRESSED

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

MOST, NEAR = 40, 36
HELLO = b"HELO c.test\r\n"
MAIL = HELLO + b"MAIL FROM:<>\r\n"
DATA = MAIL + b"RCPT TO:<alice@example.test>\r\nDATA\r\n"
GONE = "421 4.3.2 mx.example.test Too many connections; closing idle ones"


class Crowd:
    """Clients of one worker, each from an address of its own."""

    def __init__(self, world):
        self.world = world
        self.clients = {}

    def come(self, name, octets=b""):
        transport, heard = self.world.connect(f"198.51.100.{len(self.clients)}")
        self.clients[name] = transport, heard
        if octets:
            transport.send(octets)
        self.wait(0.01)

    def fill(self, count, octets=b""):
        for _ in range(count):
            self.come(f"filler {len(self.clients)}", octets)

    def wait(self, seconds):
        self.world.loop.advance(self.world.loop.now_ms + round(seconds * 1000))

    def tick(self):
        self.world.receiver.stress.tick(self.world.receiver.connections)
        self.world.loop.settle()

    def gone(self):
        """Those that were told to make way, in the order they came."""
        return [name for name, (_, heard) in self.clients.items() if heard[-2:] == [GONE, "closes"]]

    def metric(self, index):
        return self.world.shared.sum(index)


@pytest.fixture
def crowd(tmp_path, request):
    settings = {**script.DEFAULTS, **getattr(request, "param", {})}
    world = virtual.World(
        script.load_settings(tuple(sorted(settings.items()))), tmp_path, known=script.KNOWN, most=MOST
    )
    with world.running():
        made = Crowd(world)
        yield made
        for transport, _ in made.clients.values():
            transport.vanish()
        world.end()


def test_the_longest_idle_without_a_transaction_goes_first(crowd):
    crowd.world.transport.vanish()
    crowd.come("in data", DATA)
    crowd.come("in a transaction", MAIL)
    crowd.come("a", HELLO)
    crowd.come("b")
    crowd.come("c", DATA + b".\r\n")
    crowd.fill(NEAR - 5, DATA)
    crowd.wait(2)
    crowd.clients["a"][0].send(b"NOOP\r\n")
    crowd.wait(2)
    assert not crowd.gone()
    assert crowd.metric(WORKERS_STRESSED) == 0
    order = []
    for number in range(6):
        crowd.come(f"new {number}", DATA)
        order += [name for name in crowd.gone() if name not in order]
    assert order == ["b", "c", "a", "in a transaction"]
    assert crowd.metric(IDLE_CLOSED) == 4
    assert crowd.metric(WORKERS_STRESSED) == 1
    assert [name for name, _ in crowd.world.log if name.startswith("stress")] == ["stress-began"]
    # And the one in DATA ends its message.
    crowd.clients["in data"][0].send(b".\r\n")
    assert crowd.clients["in data"][1][-1].startswith("250 2.6.0")


@pytest.mark.parametrize("crowd", [{"tarpit.time": "60"}], indirect=True)
def test_who_is_at_work_is_not_idle(crowd):
    """Held, waiting for the disk, sending content, or answered less than a second ago."""
    crowd.fill(10, b"XYZZY\r\n")
    crowd.fill(10, DATA)
    crowd.world.store.seconds = 60
    crowd.fill(10, DATA + b".\r\n")
    crowd.wait(20)
    crowd.world.transport.send(b"NOOP\r\n")
    crowd.fill(9)
    crowd.tick()
    assert not crowd.gone()
    assert crowd.metric(IDLE_CLOSED) == 0
    crowd.wait(1)
    crowd.come("one more")
    assert crowd.metric(IDLE_CLOSED) == 1, "one of them has been idle for a second now"


def test_who_takes_no_replies_is_idle_and_gone_at_once(crowd):
    """It has sent more than one turn takes, so its session wants a turn; but that turn waits for the peer."""
    crowd.world.transport.vanish()
    for name in ("deaf", "deaf with its reply owed"):
        crowd.come(name, HELLO)
        crowd.clients[name][0].stop_reading()
    crowd.clients["deaf"][0].send(b"NOOP\r\n" * 40)
    crowd.world.store.seconds = 60
    crowd.clients["deaf with its reply owed"][0].send(DATA.removeprefix(HELLO) + b".\r\n")
    crowd.fill(NEAR - 2, DATA)
    crowd.wait(2)
    crowd.come("new", DATA)
    crowd.come("newer", DATA)
    assert [name for name, (_, heard) in crowd.clients.items() if heard[-1] == "aborts"] == ["deaf"]
    assert crowd.metric(IDLE_CLOSED) == 1


def test_a_trickle_of_octets_is_no_command(crowd):
    crowd.fill(NEAR - 1, DATA)
    crowd.come("trickles")
    for octet in b"NOOP but never its end":
        crowd.wait(0.5)
        crowd.clients["trickles"][0].send(bytes([octet]))
        crowd.world.transport.send(b"NOOP\r\n")
    crowd.come("new")
    assert crowd.gone() == ["trickles"]


def test_the_time_for_a_command_shrinks_under_stress_alone(crowd):
    crowd.fill(3, MAIL)
    crowd.fill(4, DATA)
    sending = list(crowd.clients.values())[3:]
    crowd.fill(6, DATA)
    crowd.wait(60)
    crowd.tick()
    assert not crowd.gone()
    crowd.world.transport.send(b"NOOP\r\n")
    crowd.fill(23, HELLO)
    crowd.tick()
    assert set(crowd.gone()) == {"filler 0", "filler 1", "filler 2"}
    crowd.wait(9)
    crowd.world.transport.send(b"NOOP\r\n")
    crowd.tick()
    assert len(crowd.gone()) == 3
    for transport, _ in sending:
        transport.send(b"x" * 1100)
    crowd.wait(1.5)
    crowd.tick()
    assert len(crowd.gone()) == 32, "those without a transaction, too, and content that does not come"
    assert [heard[-1][:3] for _, heard in crowd.clients.values()].count("354") == 4
    # Room again: no stress, the time is what it was.
    crowd.tick()
    assert crowd.metric(WORKERS_STRESSED) == 0
    assert [name for name, _ in crowd.world.log if name.startswith("stress")] == ["stress-began", "stress-ended"]
    crowd.come("patient")
    crowd.wait(60)
    crowd.tick()
    assert "patient" not in crowd.gone()


@pytest.mark.parametrize("crowd", [{"limits.connections": "10"}], indirect=True)
def test_at_the_limit_of_the_host_an_idle_one_makes_way_before_anybody_is_refused(crowd):
    crowd.come("idle")
    crowd.fill(8, DATA)
    crowd.tick()
    assert crowd.metric(WORKERS_STRESSED) == 1
    crowd.wait(1.5)
    crowd.world.transport.send(b"NOOP\r\n")
    crowd.come("new")
    assert crowd.gone() == ["idle"]
    assert crowd.clients["new"][1][0].startswith("220")
    crowd.come("one too many")
    assert crowd.clients["one too many"][1] == ["421 mx.example.test Too many connections; try again later", "closes"]


def test_a_flood_of_mute_clients_never_fills_the_worker(crowd):
    for _ in range(100):
        crowd.fill(2)
        crowd.wait(0.1)
    assert len(crowd.world.receiver.connections) <= NEAR + 1
    crowd.come("mail", DATA + b".\r\n")
    assert crowd.clients["mail"][1][-1].startswith("250 2.6.0")


def test_giving_room_back_loses_no_connection_and_no_turn(crowd):
    crowd.world.transport.vanish()
    crowd.come("first", HELLO)
    crowd.come("at work", DATA)
    crowd.fill(NEAR - 2, HELLO)
    crowd.wait(2)
    crowd.world.receiver.fit()
    assert len(crowd.world.receiver.connections) == NEAR
    crowd.fill(1, HELLO)
    assert crowd.gone() == ["first"]
