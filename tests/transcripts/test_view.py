"""What an agent sees of a session: the header as it will be kept and as it came, the client, and nothing that moves the session."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

from mailmoat._native import Address
from mailmoat.policy.agent import Agent
from mailmoat.policy.client import STRANGER, Trust
from mailmoat.policy.verdict import PASS

FORGED = b"Authentication-Results: mx.example.test; spf=pass\r\nX-MS-Exchange-Organization-SCL: -1\r\n"
HEADER = b"From: a@c.test\r\nSubject: x\r\n"
MAIL = b"HELO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n" + FORGED + HEADER


class Watcher(Agent):
    """Keeps what it sees at each stage."""

    name = "watcher"

    def __init__(self):
        self.seen = {}

    def _look(self, stage, view):
        names = ("helo_name", "reverse_path", "recipients", "submitter", "header", "received_header")
        self.seen[stage] = {name: getattr(view, name) for name in names}
        self.view = view
        return PASS

    def on_connect(self, view):
        return self._look("connect", view)

    def on_helo(self, view):
        return self._look("helo", view)

    def on_rcpt(self, view):
        self.recipient = view.recipient
        return self._look("rcpt", view)

    def on_end_of_headers(self, view):
        return self._look("end_of_headers", view)

    def on_disconnect(self, view):
        self._look("disconnect", view)


@pytest.fixture
def watch(tmp_path):
    def watch(**settings):
        pairs = {**script.DEFAULTS, **{name.replace("__", "."): value for name, value in settings.items()}}
        watcher = Watcher()
        world = virtual.World(
            script.load_settings(tuple(sorted(pairs.items()))), tmp_path, known=script.KNOWN, agents=(watcher,)
        )
        with world.running():
            world.transport.send(MAIL + b"\r\nbody\r\n.\r\n")
            world.end()
        return watcher, world

    return watch


def test_the_header_is_seen_both_ways(watch):
    watcher, world = watch()
    seen = watcher.seen["end_of_headers"]
    assert seen["received_header"] == FORGED + HEADER + b"\r\n"
    assert seen["header"] == HEADER + b"\r\n"
    kept = "".join(f"{line[2:]}\r\n" for _, line in world.said if line.startswith("| "))
    assert kept.encode().endswith(b"+0000\r\n" + seen["header"] + b"body\r\n"), "it is what is kept"


@pytest.mark.parametrize("setting", ["relay__networks", "senderid__internal_servers"])
def test_nothing_is_taken_out_of_the_header_of_a_believed_client(watch, setting):
    watcher, _ = watch(**{setting: "192.0.2.0/24"})
    seen = watcher.seen["end_of_headers"]
    assert seen["header"] == seen["received_header"] == FORGED + HEADER + b"\r\n"
    assert watcher.view.client.trust.believed


def test_each_stage_shows_what_is_known_by_then(watch):
    watcher, _ = watch()
    alice, sender = Address.parse("alice@example.test"), Address.parse("a@c.test")
    assert watcher.recipient == alice
    assert [(stage, seen["helo_name"], seen["reverse_path"], seen["recipients"]) for stage, seen in watcher.seen.items()] == [
        ("connect", "", None, ()),
        ("helo", "c.test", None, ()),
        ("rcpt", "c.test", sender, ()),
        ("end_of_headers", "c.test", sender, (alice,)),
        ("disconnect", "c.test", None, ()),
    ]  # fmt: skip
    assert watcher.seen["rcpt"]["header"] == b""


def test_the_client_has_its_listener_and_trust(watch):
    client = watch()[0].view.client
    assert (client.address, client.trust, client.listener.port) == ("192.0.2.1", STRANGER, 25)
    trusted = watch(tarpit__exempt_networks="192.0.2.1")[0].view.client
    assert trusted.trust == Trust(exempt=True)


def test_nothing_that_moves_the_session_is_in_sight(watch):
    view = watch()[0].view
    assert {name for name in dir(view) if not name.startswith("_")} == {
        "client", "declared_size", "header", "helo_name", "received_header", "recipient", "recipients", "reverse_path", "session_id", "submitter",
    }  # fmt: skip
