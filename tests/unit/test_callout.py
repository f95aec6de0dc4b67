"""Callouts: what replies mean, and next hops that answer, hang, refuse, accept everything or refuse late; over the loopback."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from tests.doubles.directory_source import live_row
from tests.doubles.next_hop import NextHop

from mailmoat import clock, maillog
from mailmoat._native import Address, Outcome, RecipientState
from mailmoat.callout import domains as domains_module
from mailmoat.callout import source as source_module
from mailmoat.callout.domains import LATE_TIME, LOST_TIME, TEST_TIME, Domains, Doubt
from mailmoat.callout.judgement import Judgement, is_unknown_recipient, judge
from mailmoat.callout.opening import mistakes, open_next_hop
from mailmoat.callout.source import TEST_NAME
from mailmoat.directory.directory import Presence
from mailmoat.directory_process.live.lookups import LiveLookups
from mailmoat.directory_process.live.upstreams import FAILURES
from mailmoat.errors import SourceError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged

DELIVERED, FAILED, PENDING = RecipientState.DELIVERED, RecipientState.FAILED, RecipientState.PENDING


@pytest.mark.parametrize(
    ("state", "reply", "meaning"),
    [
        (DELIVERED, "250 2.1.5 ok", Judgement.EXISTS),
        (DELIVERED, "251 2.1.5 forwarded", Judgement.EXISTS),
        (FAILED, "550 5.1.1 User unknown", Judgement.ABSENT),
        (FAILED, "551 5.1.6 moved", Judgement.ABSENT),
        (FAILED, "553 5.1.3 bad syntax", Judgement.ABSENT),
        (FAILED, "550 5.1.10 RESOLVER.ADR.RecipientNotFound", Judgement.ABSENT),
        (FAILED, "550 5.2.1 disabled", Judgement.ABSENT),
        (FAILED, "550-5.1.1 two / 550 5.1.1 lines", Judgement.ABSENT),
        (FAILED, "550 unknown user", Judgement.UNPROVEN),
        (FAILED, "550", Judgement.UNPROVEN),
        (FAILED, "550 5.7.1 Relaying denied", Judgement.UNSURE),
        (FAILED, "550 5.1.8 bad sender's system address", Judgement.UNSURE),
        (FAILED, "550 5.1.7 bad sender", Judgement.UNSURE),
        (FAILED, "550 5.1.2 no such domain", Judgement.UNSURE),
        (FAILED, "550 5.6.7 no SMTPUTF8", Judgement.UNSURE),
        (FAILED, "554 5.1.1 no", Judgement.UNSURE),
        (FAILED, "554 no", Judgement.UNSURE),
        (FAILED, "500 What?", Judgement.UNSURE),
        (FAILED, "503 5.5.1 MAIL first", Judgement.UNSURE),
        (PENDING, "450 4.2.0 greylisted", Judgement.UNSURE),
        (PENDING, "450 4.1.1 unverified", Judgement.UNSURE),
        (PENDING, "552 5.2.2 full", Judgement.UNSURE),
        (PENDING, "550 5.7.1 no null sender", Judgement.OUTAGE),
        (PENDING, "421 4.4.2 Timed out waiting for the reply to RCPT", Judgement.OUTAGE),
        (PENDING, "451 4.5.0 The next hop broke the protocol: x", Judgement.OUTAGE),
    ],
)
def test_what_a_reply_means(state, reply, meaning):
    assert judge(Outcome(0, state, reply), reached=True) is meaning


@pytest.mark.parametrize("reply", ["521 5.3.2 takes no messages", "421 4.4.1 No connection", "454 4.7.5 TLS", "550 x"])
def test_without_a_connection_it_is_an_outage(reply):
    assert judge(Outcome(0, FAILED, reply), reached=False) is Judgement.OUTAGE


def test_what_a_failed_delivery_says_of_the_recipient():
    assert is_unknown_recipient("550 5.1.1 User unknown")
    assert not is_unknown_recipient("550 5.7.1 content refused")
    assert not is_unknown_recipient("550 content refused"), "said of the message as much as of the recipient"
    assert not is_unknown_recipient("expired")


def settings_for(hop, **more) -> Settings:
    return Settings(
        hostname="mx.local.test",
        relay={"local_domains": "local.test, other.test"},
        delivery={"next_hop": f"{hop.kind}://127.0.0.1:{hop.port}"},
        directories=[{"name": "hops", "url": "next_hop:", "mode": "live"} | more],
    )


def asking(hop, case, **more):
    """Run `case(source)` for a next hop."""
    settings = settings_for(hop, **more)
    row = merged(settings.directory, settings.directories[0])

    async def main():
        source = open_next_hop(settings, row)
        try:
            return await case(source)
        finally:
            await source.close()

    with hop:
        return uvloop.run(main())


async def presence(source, address):
    return (await source.lookup(Address.parse(address))).presence


def only(*known, otherwise="550 5.1.1 unknown"):
    """A rule for RCPT: these are accepted."""
    return lambda line: "250 2.1.5 ok" if line.partition("<")[2].rpartition(">")[0] in known else otherwise


def said(hop):
    return [line for line in hop.commands if not line.startswith(("EHLO", "LHLO", "QUIT")) and TEST_NAME not in line]


async def settled(source):
    await asyncio.gather(*source._tests)


@pytest.mark.parametrize("lmtp", [False, True], ids=["smtp", "lmtp"])
def test_it_asks_on_one_connection_and_never_sends_a_message(lmtp):
    hop = NextHop(lmtp=lmtp, RCPT=only("ann@local.test"))

    async def case(source):
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        await settled(source)
        assert await presence(source, "eve@local.test") is Presence.ABSENT
        assert await presence(source, "ann@local.test") is Presence.EXISTS

    asking(hop, case)
    assert hop.accepted == 1
    assert hop.contents == []
    assert not any(line.startswith(("DATA", "BDAT")) for line in hop.commands)
    assert [line for line in said(hop) if line.startswith("RCPT")] == [
        "RCPT TO:<ann@local.test>",
        "RCPT TO:<eve@local.test>",
        "RCPT TO:<ann@local.test>",  # whether the refusal stands
        "RCPT TO:<ann@local.test>",
    ]
    assert {line for line in hop.commands if line.startswith("MAIL")} == {"MAIL FROM:<>"}


@pytest.mark.parametrize(
    "rules", [{"MAIL": "550 5.7.1 no null sender"}, {"greeting": "554 go away"}, {"EHLO": "550 no", "HELO": "550 no"}]
)
def test_a_refusal_that_is_not_about_the_recipient_is_an_outage(rules):
    async def case(source):
        with pytest.raises(SourceError, match=r"smtp://127\.0\.0\.1:\d+: 5\d\d"):
            await source.lookup(Address.parse("ann@local.test"))

    asking(NextHop(**rules), case)


def test_a_next_hop_that_hangs_or_is_away_is_an_outage(monkeypatch):
    monkeypatch.setattr(source_module, "ANSWER_TIME", 0.3)

    async def case(source):
        with pytest.raises(SourceError, match="421"):
            await source.lookup(Address.parse("ann@local.test"))

    asking(NextHop(RCPT=None), case, timeout="0.3")
    asking(NextHop(RCPT=""), case, timeout="0.3")
    asking(NextHop(greeting=None), case, timeout="0.3")
    hop = NextHop()
    settings = settings_for(hop)
    hop.stop()

    async def away():
        source = open_next_hop(settings, merged(settings.directory, settings.directories[0]))
        with pytest.raises(SourceError, match="421"):
            await source.lookup(Address.parse("ann@local.test"))
        await source.close()

    uvloop.run(away())


def test_what_nobody_waits_for_any_more_is_not_asked(monkeypatch):
    monkeypatch.setattr(source_module, "ANSWER_TIME", 1.0)
    hop = NextHop(RCPT=[None, "250 ok"])

    async def case(source):
        asked = [asyncio.ensure_future(presence(source, f"a{number}@local.test")) for number in range(5)]
        await asyncio.to_thread(hop.heard, "RCPT")
        for each in asked:
            each.cancel()
        await asyncio.wait(asked)
        assert await presence(source, "ann@local.test") is Presence.EXISTS

    asking(hop, case, concurrency=1, timeout=1)
    assert [line for line in said(hop) if line.startswith("RCPT")] == [
        "RCPT TO:<a0@local.test>",
        "RCPT TO:<ann@local.test>",
    ]


def test_a_refusal_without_a_status_counts_where_the_domain_is_served():
    hop = NextHop(RCPT=only("postmaster@local.test", otherwise="550 unknown user"))

    async def case(source):
        assert await presence(source, "eve@local.test") is Presence.ABSENT
        assert await presence(source, "eva@local.test") is Presence.ABSENT
        assert await presence(source, "eve@other.test") is Presence.UNKNOWN, (
            "it may be a refusal of the domain, or of us"
        )

    asking(hop, case)
    assert hop.commands.count("RCPT TO:<postmaster@local.test>") == 2, "after each refusal"


@pytest.mark.parametrize("refusal", ["550 5.1.1 unknown", "550 unknown"])
def test_no_refusal_counts_of_a_next_hop_that_refuses_postmaster_and_has_accepted_nobody(monkeypatch, refusal):
    """As one without its recipients, a day after it was set up or moved: it refuses everybody as unknown."""
    hop = NextHop(RCPT=only(otherwise=refusal))

    async def case(source):
        for address in ("ann@local.test", "bob@local.test", "postmaster@local.test"):
            assert await presence(source, address) is Presence.UNKNOWN
        assert source.domains.doubts == {"local.test": Doubt.NO_POSTMASTER}
        [remark] = source.remarks
        assert remark.startswith(
            "the next hop of local.test refuses postmaster, and has accepted no address yet: until"
        )
        assert "add postmaster there" in remark
        hop.rules["RCPT"] = only("ann@local.test", otherwise=refusal)
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        assert (await presence(source, "bob@local.test"), source.remarks) == (Presence.ABSENT, ())

    events = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: events.append((event, fields.get("reason"))))
    asking(hop, case)
    assert events == [("callout-inconclusive", "refuses-postmaster"), ("callout-conclusive", None)]


@pytest.mark.parametrize("later", ["450 4.7.1 later", "550 5.7.1 not from you", "421 4.3.2 closing"])
def test_a_postmaster_that_cannot_be_asked_for_shows_nothing(later):
    hop = NextHop(RCPT=lambda line: later if "postmaster" in line else "550 5.1.1 unknown")

    async def case(source):
        assert await presence(source, "eve@local.test") is Presence.UNKNOWN
        assert source.domains.doubts == {}

    asking(hop, case)


def test_an_address_that_may_be_a_route_is_absent_without_a_question():
    hop = NextHop()

    async def case(source):
        assert await presence(source, "victim%evil.test@local.test") is Presence.ABSENT

    asking(hop, case)
    assert hop.commands == []


def test_a_next_hop_that_accepts_everything_is_found_out(monkeypatch):
    hop = NextHop()

    async def case(source):
        assert (await source.lookup(Address.parse("ann@local.test"))).entry.endswith("250 2.1.5 ok")
        await settled(source)
        answer = await source.lookup(Address.parse("eve@local.test"))
        assert answer.presence is Presence.EXISTS
        assert "accepts every address" in answer.entry
        assert source.domains.doubts == {"local.test": Doubt.ACCEPTS_ALL}
        assert source.remarks == (
            "the next hop of local.test accepts every address: that it accepts an address means nothing",
        )
        hop.rules["RCPT"] = only("ann@local.test")
        now = clock.monotonic()
        monkeypatch.setattr(clock, "monotonic", lambda: now + TEST_TIME + 1)
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        await settled(source)
        assert source.domains.doubts == {}
        assert source.remarks == ()

    events = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: events.append((event, fields.get("reason"))))
    asking(hop, case)
    assert events == [
        ("callout-inconclusive", "accepts-every-address"),
        ("callout-conclusive", None),
    ]
    assert len([line for line in hop.commands if TEST_NAME in line]) == 2


def test_a_test_that_is_not_answered_shows_nothing():
    hop = NextHop(RCPT=only("ann@local.test", otherwise="450 4.7.1 later"))

    async def case(source):
        assert await presence(source, "ann@local.test") is Presence.EXISTS
        await settled(source)
        assert source.domains.doubts == {}

    asking(hop, case)


def row_of(source, **more):
    return live_row("hops", source, upstream_of=source.upstream_of, **more)


def test_a_next_hop_that_refuses_late_is_found_out():
    hop = NextHop(RCPT=only("ann@local.test"))

    async def case(source):
        lookups = LiveLookups([row_of(source)])
        ann = Address.parse("ann@local.test")
        assert (await lookups.ask(ann)).presence is Presence.EXISTS
        lookups.refused_late(ann, "554 5.7.1 content refused")
        assert lookups.known(ann).presence is Presence.EXISTS
        lookups.refused_late(Address.parse("bob@local.test"), "550 5.1.1 unknown")
        assert source.domains.doubts == {}, "nobody had asked for it"
        lookups.refused_late(ann, "550 5.1.1 unknown")
        assert lookups.known(ann) is None
        await settled(source)
        assert source.domains.doubts == {"local.test": Doubt.REJECTS_LATE}
        assert (await lookups.ask(ann)).presence is Presence.ABSENT

    asking(hop, case)


def test_an_address_that_was_removed_meanwhile_is_no_late_refusal():
    hop = NextHop(RCPT=only("ann@local.test", "bob@local.test"))

    async def case(source):
        lookups = LiveLookups([row_of(source)])
        ann = Address.parse("ann@local.test")
        assert await presence(source, "bob@local.test") is Presence.EXISTS
        assert (await lookups.ask(ann)).presence is Presence.EXISTS
        hop.rules["RCPT"] = only("bob@local.test")
        lookups.refused_late(ann, "550 5.1.1 unknown")
        await settled(source)
        assert source.domains.doubts == {}
        assert (await lookups.ask(ann)).presence is Presence.ABSENT


def test_who_is_refused_late_while_the_next_hop_has_lost_its_recipients_exists_when_it_is_back():
    hop = NextHop(RCPT=only("ann@local.test", "bob@local.test"))

    async def case(source):
        lookups = LiveLookups([row_of(source)])
        ann = Address.parse("ann@local.test")
        assert (await lookups.ask(ann)).presence is Presence.EXISTS
        with_ann, hop.rules["RCPT"] = hop.rules["RCPT"], only()
        lookups.refused_late(ann, "550 5.1.1 unknown")
        await settled(source)
        assert (await lookups.ask(ann)).presence is Presence.UNKNOWN
        assert source.domains.doubts == {"local.test": Doubt.LOST}
        hop.rules["RCPT"] = with_ann
        assert (await lookups.ask(ann)).presence is Presence.EXISTS
        assert source.domains.doubts == {}

    asking(hop, case)


def test_an_outage_of_one_next_hop_leaves_the_others_alone():
    with NextHop(RCPT=only("ann@other.test")) as good, NextHop(MAIL="451 4.3.0 no") as bad:
        bad.rules["MAIL"] = ""
        settings = Settings(
            hostname="mx.local.test",
            relay={"local_domains": "local.test, other.test"},
            delivery={"next_hop": f"smtp://127.0.0.1:{bad.port}"},
            routes=[{"domains": "other.test", "next_hop": f"smtp://127.0.0.1:{good.port}"}],
            directories=[{"name": "hops", "url": "next_hop:", "mode": "live"}],
        )

        async def main():
            source = open_next_hop(settings, merged(settings.directory, settings.directories[0]))
            lookups = LiveLookups([row_of(source)])
            for number in range(FAILURES + 1):
                asked = Address.parse(f"a{number}@local.test")
                assert (await lookups.ask(asked)).presence is Presence.UNKNOWN
            assert lookups.report()[0].counts["refused"] == 1
            assert (await lookups.ask(Address.parse("ann@other.test"))).presence is Presence.EXISTS
            await settled(source)
            await source.close()

        uvloop.run(main())


def test_an_address_at_which_the_next_hop_breaks_off_holds_back_nobody():
    with NextHop(RCPT=only("ann@local.test", otherwise="")) as hop:

        async def main():
            settings = settings_for(hop)
            source = open_next_hop(settings, merged(settings.directory, settings.directories[0]))
            lookups = LiveLookups([row_of(source)])
            for number in range(2 * FAILURES):
                assert (await lookups.ask(Address.parse(f"odd{number}@local.test"))).presence is Presence.UNKNOWN
            assert (await lookups.ask(Address.parse("ann@local.test"))).presence is Presence.EXISTS
            await settled(source)
            await source.close()

        uvloop.run(main())


def test_no_more_connections_than_the_settings_allow():
    hop = NextHop()

    async def case(source):
        asked = [presence(source, f"a{number}@local.test") for number in range(100)]
        assert set(await asyncio.gather(*asked)) == {Presence.EXISTS}

    asking(hop, case, concurrency=3)
    assert hop.peak <= 3


def test_answers_of_a_next_hop_are_kept_longer():
    settings = settings_for(NextHop(25, start=False))
    (row,) = settings.directories
    kept = merged(settings.directory, row)
    assert (kept.timeout, kept.cache_time, kept.absent_cache_time) == (15, 86_400, 3600)
    settings = settings_for(NextHop(25, start=False), cache_time=60)
    (row,) = settings.directories
    kept = merged(settings.directory, row)
    assert (kept.cache_time, kept.absent_cache_time) == (60, 3600)


@pytest.mark.parametrize(
    ("hop", "why"),
    [
        ("maildir:/var/mail", "its messages go into a Maildir"),
        ("discard:", "its messages are discarded"),
        ("mx", "its messages go to the servers in its MX records"),
        ("", "no next hop is set for it"),
    ],
)
def test_a_next_hop_that_cannot_be_asked_is_a_mistake(hop, why):
    settings = Settings(
        hostname="mx.local.test",
        relay={"local_domains": "local.test, other.test"},
        delivery={"next_hop": hop} if hop else {},
        routes=[{"domains": "other.test", "next_hop": "smtp://127.0.0.1:25"}],
        directories=[{"name": "hops", "url": "next_hop:", "mode": "live"}],
    )
    assert list(mistakes(settings)) == [
        (
            f"directories[1].url = next_hop: local.test cannot be asked for, because {why}; "
            "name the other domains in directories[1].domains, or give local.test a next hop such as smtp://host:25"
        )
    ]


def test_what_is_kept_of_domains_is_bounded(monkeypatch):
    monkeypatch.setattr(domains_module, "MOST", 10)
    domains = Domains("hops")
    for number in range(100):
        domains.accepted(f"d{number}.test", "ann", "hop")
    assert len(domains._kept) == 10


def test_who_was_accepted_is_taken_for_removed_in_time(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    domains = Domains("hops")
    domains.accepted("local.test", "ann@local.test", "smtp://h:25")
    for _ in range(2):
        domains.lost("local.test", "smtp://h:25")
        assert domains.doubt("local.test") is Doubt.LOST
        now[0] += LOST_TIME - 1
    now[0] += 2
    domains.lost("local.test", "smtp://h:25")
    assert domains.doubt("local.test") is None
    assert domains.witnesses("local.test") == ()


def test_a_late_refusal_is_forgotten_in_time(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    domains = Domains("hops")
    domains.refused_late("local.test", "smtp://h:25")
    assert domains.doubt("local.test") is Doubt.REJECTS_LATE
    now[0] += LATE_TIME + 1
    assert domains.doubt("local.test") is None
