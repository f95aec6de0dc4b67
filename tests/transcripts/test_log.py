"""What the log says of a message that was not kept, and of a peer that is gone before it was seen."""

import sys
from ipaddress import ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest
import script
import virtual

from mailmoat.settings.listener import parse_listener

MAIL = b"HELO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n.\r\nQUIT\r\n"


def test_a_message_that_was_not_kept_has_no_queue_id(tmp_path):
    settings = script.load_settings(tuple(sorted(script.DEFAULTS.items())))
    world = virtual.World(settings, tmp_path, known=script.KNOWN, peer="192.0.2.1")
    world.store.trouble = "No space left on device"
    with world.running():
        world.transport.send(MAIL)
        world.end()
    (line,) = [fields for name, fields in world.log if name == "session-ended"]
    assert not line.get("queue_ids")
    assert [transaction.queue_id for transaction in line["transactions"]] == [""]
    assert line["octets"] == 0


@pytest.mark.parametrize(("peer", "lines"), [("", []), ("192.0.2.1", ["proxy-refused"])], ids=["reset", "a stranger"])
def test_a_check_of_the_balancer_is_no_stranger_that_speaks_the_proxy_protocol(tmp_path, peer, lines):
    """One that is reset at once has no address any more."""
    pairs = {**script.DEFAULTS, "listen": "proxy://127.0.0.1:2525", "listen_proxy_networks": "127.0.0.0/8"}
    settings = script.load_settings(tuple(sorted(pairs.items())))
    world = virtual.World(
        settings, tmp_path, known=script.KNOWN, peer=peer, listener=parse_listener("proxy://192.0.2.25:25")
    )
    assert world.transport.is_closing()
    assert [name for name, _ in world.log] == lines


def test_what_xclient_and_xforward_say_is_logged(tmp_path):
    networks = {"smtp.xclient_networks": "192.0.2.1", "smtp.xforward_networks": "192.0.2.1"}
    settings = script.load_settings(tuple(sorted({**script.DEFAULTS, **networks}.items())))
    world = virtual.World(settings, tmp_path, known=script.KNOWN, peer="192.0.2.1")
    with world.running():
        world.transport.send(b"XCLIENT ADDR=198.51.100.7 NAME=a.test LOGIN=ann+3D1 HELO=pc.test PORT=99\r\n")
        hello, mail = MAIL.split(b"\r\n", 1)
        world.transport.send(hello + b"\r\nXFORWARD ADDR=203.0.113.9 IDENT=4Xy PORT=[UNAVAILABLE]\r\n" + mail)
        world.end()
    lines = dict(world.log)
    replaced = {"front_server": "192.0.2.1", "client": "198.51.100.7", "client_name": "a.test", "login": "ann=1"}
    assert lines["client-replaced"].items() >= (replaced | {"helo": "pc.test", "port": "99"}).items()
    assert lines["message-accepted"]["origin"] == {"address": "203.0.113.9", "queue_id": "4Xy"}
    for event in ("message-accepted", "session-ended"):
        assert lines[event]["client_name"] == "a.test"
        assert (lines[event]["client"], lines[event]["helo"]) == ("198.51.100.7", "pc.test")


def test_a_session_has_one_place_in_the_limits_whoever_its_client_is(tmp_path):
    """The world's end looks that the source of the connection is given back."""
    pairs = {**script.DEFAULTS, "smtp.xclient_networks": "192.0.2.1", "limits.connections_per_source": "1"}
    world = virtual.World(script.load_settings(tuple(sorted(pairs.items()))), tmp_path, peer="192.0.2.1")
    count = lambda address: world.shared.source_enter(0, ip_address(address).packed)[0]  # noqa: E731 - with the one just added
    with world.running():
        world.transport.send(b"XCLIENT ADDR=198.51.100.7\r\n")
        assert (count("192.0.2.1"), count("198.51.100.7")) == (1, 2)
        world.shared.source_leave(0, ip_address("192.0.2.1").packed)
        world.transport.send(b"XCLIENT ADDR=192.0.2.1\r\n")
        world.transport.send(b"XCLIENT ADDR=198.51.100.7\r\n")
        assert world.said[-2][1] == "421 4.7.0 mx.example.test Too many connections from your address; try again later"
        assert world.said[-1][1] == "(closes)"
        world.shared.source_leave(0, ip_address("198.51.100.7").packed)
        world.end()
