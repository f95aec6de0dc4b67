"""Authentication results go with a message as values, whatever stands in its header section."""

from __future__ import annotations

import sys
from pathlib import Path

from mailmoat.mailauth.results import Method, Status
from mailmoat.mailauth.stored_results import decode
from mailmoat.reports.governor import Suppressed, judge

sys.path.insert(0, str(Path(__file__).parent))

import script

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
    assert judge(message.reverse_path, enabled=True, copy_to=None, results=results) is Suppressed.FORGED
