"""Callouts to a real Postfix and a real Exim, which refuse unknown recipients as they do it by default."""

from __future__ import annotations

import asyncio
import subprocess

import pytest
import uvloop
from tests import dovecot
from tests.integration.conftest import answers, free_port, wait_for
from tests.integration.test_sending_mtas import Exim
from tests.namespace import alone
from tests.needs import find_peer
from tests.postfix import Postfix

from mailmoat._native import Address
from mailmoat.callout.opening import open_next_hop
from mailmoat.directory.directory import Presence
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged

POSTFIX = """
myhostname = hub.test
mydestination =
inet_interfaces = 127.0.0.1
relay_domains = local.test
relay_recipient_maps = inline:{{ ann@local.test=x }}
relay_transport = discard:
mynetworks = 127.0.0.0/8
smtpd_error_sleep_time = 60s
smtpd_reject_unlisted_recipient = yes
smtpd_recipient_restrictions = {restrictions}
"""
SMTPD = "127.0.0.1:{port} inet n - n - - smtpd\ndiscard unix - - n - - discard\n"
EXIM = """
primary_hostname = hub.test
spool_directory = {spool}
log_file_path = {spool}/log/%slog
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
acl_smtp_rcpt = rcpt
disable_ipv6

begin acl
rcpt:
  require domains = local.test
          verify = recipient
  accept

begin routers
known:
  driver = redirect
  domains = local.test
  local_parts = ann : postmaster
  data = :blackhole:
"""


def answered(hop: int | str, *addresses: str) -> list[Presence]:
    """What the next hop, at a port or with a URL, says of addresses, asked one after the other on its connections."""
    settings = Settings(
        hostname="mx.local.test",
        relay={"local_domains": "local.test"},
        delivery={"next_hop": hop if isinstance(hop, str) else f"smtp://127.0.0.1:{hop}"},
        directories=[{"name": "hops", "url": "next_hop:", "mode": "live", "timeout": "20"}],
    )

    async def main():
        source = open_next_hop(settings, merged(settings.directory, settings.directories[0]))
        try:
            said = [(await source.lookup(Address.parse(address))).presence for address in addresses]
            await asyncio.gather(*source._tests)
            assert source.domains.doubts == {}
        finally:
            await source.close()
        return said

    return uvloop.run(main())


@pytest.mark.peer("postfix")
@pytest.mark.parametrize(
    ("restrictions", "unknown"),
    [
        ("permit_mynetworks, reject", Presence.ABSENT),
        ("check_sender_access static:reject, permit", Presence.UNKNOWN),
    ],
    ids=["unlisted", "policy"],
)
def test_postfix(public, restrictions, unknown):
    with alone():
        port = free_port()
        main = POSTFIX.format(restrictions=restrictions)
        with Postfix(public, main, SMTPD.format(port=port)) as postfix:
            postfix.wait(port)
            known, absent, again = answered(port, "ann@local.test", "eve@local.test", "Ann@local.test")
    assert absent is unknown
    assert known is again is (Presence.EXISTS if unknown is Presence.ABSENT else Presence.UNKNOWN)


@pytest.mark.peer("postfix")
def test_postfix_is_not_given_reasons_to_slow_us_down(public):
    """It holds what it says after ten errors of a session, here for longer than a callout may take, and ends it after twenty."""
    with alone():
        port = free_port()
        with Postfix(
            public, POSTFIX.format(restrictions="permit_mynetworks, reject"), SMTPD.format(port=port)
        ) as postfix:
            postfix.wait(port)
            known, *guesses = answered(port, "ann@local.test", *(f"a{number}@local.test" for number in range(45)))
        log = postfix.log.read_text()
    assert known is Presence.EXISTS
    assert set(guesses) == {Presence.ABSENT}
    assert "too many errors" not in log


@pytest.mark.peer("dovecot")
def test_dovecot_by_lmtp_at_a_socket():
    with dovecot.storing("ann@local.test") as store:
        said = answered(f"lmtp://{store.socket}", "eve@local.test", "ann@local.test", "eve@local.test")
        assert store.messages("ann@local.test") == []
    assert said == [Presence.UNKNOWN, Presence.EXISTS, Presence.ABSENT], "it has no postmaster"


@pytest.mark.peer("exim4")
def test_exim(public):
    home, port = public / "exim", free_port()
    home.mkdir()
    with alone():
        exim = Exim(find_peer("exim4"), home, port)
        exim.config.write_text(EXIM.format(spool=exim.spool, port=port))
        with subprocess.Popen([*exim.command, "-bdf"], env=exim.environment) as daemon:
            try:
                wait_for(lambda: answers(port), 30, "greeting of Exim")
                said = answered(port, "eve@local.test", "ann@local.test", "eve@local.test")
            finally:
                daemon.terminate()
                daemon.wait(30)
    assert said == [Presence.ABSENT, Presence.EXISTS, Presence.ABSENT]
    assert "rejected RCPT <eve@local.test>" in (exim.spool / "log" / "mainlog").read_text()
