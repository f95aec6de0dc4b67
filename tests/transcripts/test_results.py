"""Authentication results go with a message as values, whatever stands in its header section."""

from __future__ import annotations

import sys
from pathlib import Path

from mailmoat.mailauth.results import AuthResult, Method, Status
from mailmoat.mailauth.stored_results import decode
from mailmoat.policy.agent import Agent
from mailmoat.policy.verdict import PASS, Pass
from mailmoat.reports.governor import Suppressed, judge

sys.path.insert(0, str(Path(__file__).parent))

import script
import virtual

FORGED_MESSAGE = """
config senderid.enabled=on
agent helo stamps X-Early: yes
agent end_of_data stamps X-Late: yes
dns fail.test TXT v=spf1 -all
S: 220 ...
C: EHLO fail.test
C: MAIL FROM:<victim@fail.test>
C: RCPT TO:<alice@example.test>
C: DATA
C: From: victim@fail.test
C:
C: x
C: .
C: QUIT
"""


def test_an_agent_that_stamps_earlier_does_not_hide_that_the_sender_is_forged(tmp_path):
    player = script.Player(script.read(FORGED_MESSAGE), tmp_path, "whole")
    (message,) = player.world.store.partition.messages.values()
    assert message.octets().startswith(b"X-"), "our Authentication-Results is not on top"
    results = decode(message.results)
    found = [(result.method, result.identity, result.status) for result in results]
    assert (Method.SPF, "smtp.mailfrom", Status.FAIL) in found
    assert {result.domain for result in results} == {"fail.test"}
    assert judge(message.reverse_path, enabled=True, results=results) is Suppressed.FORGED


class Helo(Agent):
    """Vouches for one HELO name."""

    name = "helo"

    def on_helo(self, view):
        if view.helo_name != "good.test":
            return PASS
        return Pass((b"X-Helo: good.test\r\n",), (AuthResult(Method.SPF, Status.PASS, "smtp.helo", "good.test"),))


def test_what_was_found_of_a_helo_name_ends_with_the_next_one(tmp_path):
    settings = script.load_settings(tuple(sorted(script.DEFAULTS.items())))
    world = virtual.World(settings, tmp_path, known=script.KNOWN, agents=(Helo(None),))
    mail = b"MAIL FROM:<a@c.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n.\r\n"
    with world.running():
        world.transport.send(b"EHLO good.test\r\n" + mail + b"EHLO other.test\r\n" + mail)
        world.end()
    good, other = world.store.partition.messages.values()
    assert (good.octets()[:7], [result.domain for result in decode(good.results)]) == (b"X-Helo:", ["good.test"])
    assert (other.octets()[:9], decode(other.results)) == (b"Received:", ())
