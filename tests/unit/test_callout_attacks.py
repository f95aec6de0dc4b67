"""Next hops that are hostile, odd, overloaded or change their minds: nobody who exists is refused, and what is held is bounded."""

from __future__ import annotations

import asyncio
import time
from itertools import count

import pytest
import uvloop
from tests.doubles.next_hop import NextHop
from tests.unit.test_callout import asking, only, presence, said, settings_for, settled

from mailmoat._native import Address
from mailmoat.callout.opening import open_next_hop
from mailmoat.directory.directory import Presence
from mailmoat.directory_process.live.lookups import LiveLookups
from mailmoat.directory_process.live.opening import live_rows
from mailmoat.errors import SourceError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged

ANN = Address.parse("ann@local.test")


def endless(_line):
    """A reply of a thousand lines."""
    return "\n".join(["250-more"] * 1000 + ["250 end"])


def among(known, otherwise):
    """A rule for RCPT: those in a list are accepted, which may change."""
    return lambda line: "250 2.1.5 ok" if line.partition("<")[2].rpartition(">")[0] in known else otherwise


ODD = {
    "421 at the greeting": {"greeting": "421 4.3.2 busy"},
    "421 at EHLO": {"EHLO": "421 4.3.2 busy"},
    "421 at MAIL": {"MAIL": "421 4.3.2 busy"},
    "421 at RCPT": {"RCPT": "421 4.7.0 too many errors"},
    "4xx at RCPT": {"RCPT": "450 4.2.0 greylisted"},
    "452 at RCPT": {"RCPT": "452 4.5.3 too many recipients"},
    "552 at RCPT": {"RCPT": "552 too many recipients"},
    "552 with a status": {"RCPT": "552 5.2.2 full"},
    "no null sender": {"MAIL": "550 5.1.8 we refuse the null sender"},
    "no null sender, said late": {"RCPT": "550 5.1.7 null sender refused"},
    "other address status": {"RCPT": "550 5.1.0 sender rejected"},
    "policy": {"RCPT": "550 5.7.1 blocked"},
    "blocked without a status": {"RCPT": "550 your host is on a list"},
    "endless at EHLO": {"EHLO": endless},
    "endless at RCPT": {"RCPT": endless},
    "endless line": {"RCPT": "250 " + "x" * 100_000},
    "garbage": {"RCPT": "HTTP/1.1 400 Bad Request"},
    "354 at RCPT": {"RCPT": "354 go"},
    "codes that differ": {"RCPT": "550-5.1.1 unknown\n250 ok"},
    "closes at RCPT": {"RCPT": ""},
    "STARTTLS that fails": {"EHLO": "250-hop\n250 STARTTLS", "STAR": "454 4.7.0 no"},
}


@pytest.mark.parametrize("rules", ODD.values(), ids=ODD)
@pytest.mark.parametrize("pipelining", [True, False])
def test_nobody_is_absent_because_a_next_hop_is_odd(rules, pipelining):
    offers = {} if pipelining else {"EHLO": "250 hop.test"}

    async def case(source):
        try:
            answer = await source.lookup(ANN)
        except SourceError:
            return
        assert answer.presence is not Presence.ABSENT

    asking(NextHop(**offers | rules), case, timeout="2")


def test_a_next_hop_that_answers_with_lf_251_or_252_is_understood():
    for reply in ("251 2.1.5 forwarded", "252 2.1.5 I shall try"):

        async def case(source):
            assert await presence(source, "ann@local.test") is Presence.EXISTS

        asking(NextHop(RCPT=reply), case)


def test_a_next_hop_that_takes_one_recipient_or_message_a_session_is_asked_all_the_same():
    for limits in ("RCPTMAX=1", "MAILMAX=1", "RCPTDOMAINMAX=1"):
        hop = NextHop(EHLO=f"250-hop.test\n250-PIPELINING\n250 LIMITS {limits}", RCPT=only("ann@local.test"))

        async def case(source):
            for _ in range(3):
                assert await presence(source, "ann@local.test") is Presence.EXISTS
                assert await presence(source, "eve@local.test") is Presence.ABSENT

        asking(hop, case)


def test_a_next_hop_that_closes_after_a_refusal_is_asked_all_the_same():
    hop = NextHop(RCPT=only("ann@local.test"), RSET="")

    async def case(source):
        for _ in range(3):
            assert await presence(source, "ann@local.test") is Presence.EXISTS
            assert await presence(source, "eve@local.test") is Presence.ABSENT

    asking(hop, case)


def test_a_connection_is_left_before_a_next_hop_slows_it_down():
    """Postfix slows a session down after ten errors, and ends it after twenty, unless a message was taken meanwhile."""
    hop = NextHop(RCPT=only("postmaster@local.test"))

    async def case(source):
        for number in range(25):
            assert await presence(source, f"a{number}@local.test") is Presence.ABSENT

    asking(hop, case)
    assert hop.accepted == 3


def test_a_refusal_without_a_status_counts_only_while_the_domain_is_served():
    known = ["ann@local.test"]
    hop = NextHop(RCPT=among(known, "550 no"))

    async def case(source):
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        await settled(source)
        assert await presence(source, "eve@local.test") is Presence.ABSENT
        known.clear()  # it refuses us from now on, for every address
        assert await presence(source, "bob@local.test") is Presence.UNKNOWN

    asking(hop, case)


@pytest.mark.parametrize("reply", ["550 5.1.1 unknown", "550 unknown"])
def test_a_next_hop_that_has_lost_its_recipients_makes_nobody_absent(reply):
    known = ["ann@local.test", "bob@local.test"]
    hop = NextHop(RCPT=among(known, reply))

    async def case(source):
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        assert await presence(source, "eve@local.test") is Presence.ABSENT
        known.clear()
        assert await presence(source, "bob@local.test") is Presence.UNKNOWN
        known.extend(["ann@local.test", "bob@local.test"])
        assert await presence(source, "bob@local.test") is Presence.EXISTS
        assert await presence(source, "eve@local.test") is Presence.ABSENT

    asking(hop, case)


def test_one_recipient_that_is_removed_makes_nobody_else_unknown():
    known = ["ann@local.test", "bob@local.test"]
    hop = NextHop(RCPT=among(known, "550 5.1.1 unknown"))

    async def case(source):
        assert await presence(source, "bob@local.test") is Presence.EXISTS
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        known.remove("ann@local.test")
        assert await presence(source, "ann@local.test") is Presence.ABSENT
        assert await presence(source, "eve@local.test") is Presence.ABSENT

    asking(hop, case)


def test_refusals_at_the_same_time_share_their_proof():
    hop = NextHop(RCPT=only("ann@local.test", otherwise="550 no"))

    async def case(source):
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        await settled(source)
        asked = [presence(source, f"a{number}@local.test") for number in range(200)]
        assert set(await asyncio.gather(*asked)) == {Presence.ABSENT}

    asking(hop, case, concurrency=50)
    proofs = [line for line in said(hop) if line == "RCPT TO:<ann@local.test>"]
    assert len(proofs) <= 1 + 60, "not one for each"


def lookups_of(hop, **more):
    """The rows of the settings as the directory process has them."""
    settings = settings_for(hop, **more)
    (row,) = live_rows(settings)
    return LiveLookups([row]), row.source


def test_a_next_hop_that_holds_refusals_longer_than_we_wait_is_no_outage():
    """As our own tar pit does: a client that is refused waits."""

    def rcpt(line):
        if "ann" in line or "bob" in line:
            return "250 ok"
        time.sleep(1.0)
        return "550 5.1.1 unknown"

    hop = NextHop(RCPT=rcpt)

    async def main():
        lookups, source = lookups_of(hop, timeout="0.5")
        assert (await lookups.ask(ANN)).presence is Presence.EXISTS
        await settled(source)
        guesses = [Address.parse(f"a{number}@local.test") for number in range(4)]
        held = await asyncio.gather(*map(lookups.ask, guesses))
        assert {reply.presence for reply in held} == {Presence.UNKNOWN}, "nobody waits so long"
        await asyncio.sleep(1.0)
        assert (await lookups.ask(Address.parse("bob@local.test"))).presence is Presence.EXISTS
        assert {(await lookups.ask(guess)).presence for guess in guesses} == {Presence.ABSENT}, "kept"
        assert lookups.report()[0].error == ""
        await lookups.close()

    with hop:
        uvloop.run(main())


def test_connections_are_bounded_over_all_next_hops():
    domains = [f"d{number}.test" for number in range(12)]
    hops = [NextHop(RCPT=only(f"postmaster@{domain}")) for domain in domains]
    settings = Settings(
        hostname="mx.local.test",
        relay={"local_domains": ", ".join(domains)},
        routes=[
            {"domains": domain, "next_hop": f"smtp://127.0.0.1:{hop.port}"}
            for domain, hop in zip(domains, hops, strict=True)
        ],
        directories=[{"name": "hops", "url": "next_hop:", "mode": "live", "concurrency": 6}],
    )

    async def main():
        source = open_next_hop(settings, merged(settings.directory, settings.directories[0]))
        peak, numbers = 0, count()
        for domain in domains:
            asked = [presence(source, f"a{next(numbers)}@{domain}") for _ in range(6)]
            assert set(await asyncio.gather(*asked)) == {Presence.ABSENT}
            peak = max(peak, sum(hop.open for hop in hops))
        assert peak <= 6
        await source.close()

    uvloop.run(main())
    for hop in hops:
        hop.stop()


def test_messages_and_callouts_share_the_connections_of_a_route():
    hop = NextHop()

    async def case(source):
        asked = [presence(source, f"a{number}@local.test") for number in range(100)]
        assert set(await asyncio.gather(*asked)) == {Presence.EXISTS}

    asking(hop, case)
    assert hop.peak <= 5, "a quarter of delivery.connections"


class OnSix(NextHop):
    host = "::1"


class Octets:
    """A connection to which each octet is written by itself."""

    def __init__(self, connection):
        self._connection = connection

    def sendall(self, octets):
        for octet in octets:
            self._connection.sendall(bytes([octet]))


class OctetByOctet(NextHop):
    def _converse(self, connection, lines, number, **more):
        super()._converse(Octets(connection), lines, number, **more)


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        (OnSix, {}),
        (OctetByOctet, {}),
        (OctetByOctet, {"EHLO": "250-hop.test\n250-8BITMIME\n250 ENHANCEDSTATUSCODES"}),
        (NextHop, {"EHLO": "250 hop.test"}),
        (NextHop, {"EHLO": "502 5.5.1 no", "HELO": "250 hop.test"}),
    ],
    ids=["IPv6", "octets", "octets, no PIPELINING", "no extension", "HELO"],
)
def test_a_next_hop_is_asked_however_it_answers(kind, rules):
    hop = kind(RCPT=only("ann@local.test"), **rules)
    address = f"[{hop.host}]" if ":" in hop.host else hop.host
    settings = Settings(
        hostname="mx.local.test",
        relay={"local_domains": "local.test"},
        delivery={"next_hop": f"smtp://{address}:{hop.port}"},
        directories=[{"name": "hops", "url": "next_hop:", "mode": "live"}],
    )

    async def main():
        source = open_next_hop(settings, merged(settings.directory, settings.directories[0]))
        for _ in range(2):
            assert await presence(source, "ann@local.test") is Presence.EXISTS
            await settled(source)
            assert await presence(source, "eve@local.test") is Presence.ABSENT
        assert (await source.lookup(ANN)).entry.startswith(f"smtp://{address}:{hop.port}: 250 2.1.5 ok")
        await source.close()

    with hop:
        uvloop.run(main())
    assert hop.accepted == 1
    assert hop.contents == []


@pytest.mark.parametrize(
    ("second", "then"),
    [("250 2.1.5 ok", Presence.EXISTS), ("550 5.1.1 unknown", Presence.ABSENT), ("450 4.2.0 later", Presence.UNKNOWN)],
)
def test_greylisting_is_not_kept_and_no_outage(second, then):
    hop = NextHop(RCPT=["450 4.2.0 greylisted", second, "250 2.1.5 postmaster"])

    async def main():
        lookups, source = lookups_of(hop)
        assert (await lookups.ask(ANN)).presence is Presence.UNKNOWN
        assert lookups.known(ANN) is None
        assert (await lookups.ask(ANN)).presence is then
        await settled(source)
        assert lookups.report()[0].error == ""
        await lookups.close()

    with hop:
        uvloop.run(main())


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "RSET"])
def test_a_421_in_the_middle_is_said_of_nobody(verb, pipelining):
    usual = {"MAIL": "250 ok", "RCPT": only("ann@local.test"), "RSET": "250 ok"}
    offers = {} if pipelining else {"EHLO": "250 hop.test"}
    hop = NextHop(**offers | usual)

    async def case(source):
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        await settled(source)
        hop.rules[verb] = ["421 4.3.2 shutting down", usual[verb]]
        for address in ("eve@local.test", "ann@local.test"):
            try:
                found = await presence(source, address)
            except SourceError:
                continue
            assert found in {Presence.UNKNOWN, Presence.EXISTS if address.startswith("ann") else Presence.ABSENT}
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        assert await presence(source, "eve@local.test") is Presence.ABSENT

    asking(hop, case)


TOO_MANY = "550 5.1.1 said once more"


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    "rules",
    [
        {"RCPT": lambda line: f"{only('ann@local.test')(line)}\n{TOO_MANY}"},
        {"RSET": f"{TOO_MANY}\n250 2.0.0 ok"},
        {"RSET": f"250 2.0.0 ok\n{TOO_MANY}"},
        {"MAIL": f"{TOO_MANY}\n250 2.1.0 ok"},
        {"MAIL": f"250 2.1.0 ok\n{TOO_MANY}"},
        {"MAIL": ["250 2.1.0 ok", f"{TOO_MANY}\n250 2.1.0 ok"]},
    ],
    ids=[
        "behind RCPT",
        "before that to RSET",
        "behind that to RSET",
        "before MAIL",
        "behind MAIL",
        "before the next MAIL",
    ],
)
def test_a_reply_too_many_is_taken_for_no_answer(rules, pipelining):
    """Whether it comes with the one before it or in a read of its own."""
    offers = {} if pipelining else {"EHLO": "250 hop.test"}
    hop = NextHop(**offers | {"RCPT": only("ann@local.test")} | rules)

    async def case(source):
        for address, wrong in [("ann@local.test", Presence.ABSENT), ("eve@local.test", Presence.EXISTS)] * 4:
            try:
                assert await presence(source, address) is not wrong
            except SourceError:
                continue

    asking(hop, case, timeout="2")
