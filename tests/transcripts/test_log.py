"""What a session's line says of a message that was not kept."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

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
