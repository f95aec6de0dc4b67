"""What the log says of a message that was not kept, and of a peer that is gone before it was seen."""

import sys
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
