"""The built-in agents, asked directly: relay, recipient filter, the tar pit's exemptions, networks, and the pipeline around them."""

import asyncio
import inspect
from ipaddress import ip_network
from types import SimpleNamespace

import pytest
from tests.doubles.directory import FakeDirectory
from tests.doubles.policy import Counted, services, view
from tests.doubles.timers import StillTimers

from mailmoat import maillog, settings
from mailmoat._native import Address, Stage, compile_lists
from mailmoat.auth.authenticator import Identity
from mailmoat.lists.lists import Lists
from mailmoat.net.address import Networks
from mailmoat.policy.agents.recipient_filter import DIRECTORY_DOWN, USER_UNKNOWN, RecipientFilter, RecipientRule
from mailmoat.policy.agents.relay import SUSPENDED, Relay, RelayRule
from mailmoat.policy.client import STRANGER, Trust, TrustRules
from mailmoat.policy.pipeline import Pipeline
from mailmoat.policy.registry import agents
from mailmoat.policy.verdict import PASS, Pass, Reject, Reply, Report, Tempfail


def load(**environment):
    environment = {"RELAY__LOCAL_DOMAINS": "example.test,bücher.test"} | environment
    return settings.load(environment={f"MAILMOAT_{name}": value for name, value in environment.items()})


def address(text):
    return Address.parse(text)


def recipient_filter(settings, directory=None):
    """What the recipient filter says of an address."""
    agent = RecipientFilter(services(settings, directory))
    return lambda recipient: agent.on_rcpt(view(recipient=address(recipient)))


def relay(settings, peer="192.0.2.1"):
    """What relay control says of an address."""
    agent = Relay(services(settings))
    return lambda recipient: agent.on_rcpt(view(peer, settings, recipient=address(recipient)))


def pipeline(settings, directory=None):
    return Pipeline(agents(services(settings, directory)), StillTimers(), Counted(), 30)


def test_postmaster_goes_to_whom_the_settings_name():
    directory = FakeDirectory()
    redirected = recipient_filter(load(RECIPIENTS__POSTMASTER="Ann@Example.test"), directory)
    for recipient in ("postmaster@example.test", "PostMaster@bücher.test"):
        assert redirected(recipient) == Pass(redirected=(address("Ann@example.test"),))
        assert recipient_filter(load(), directory)(recipient) is PASS
    assert redirected("postmaster@partner.test") is PASS, "it is not ours to redirect"
    assert Pass((b"A: b\r\n",)).and_then(Pass(redirected=(address("a@b.test"),))).redirected == (address("a@b.test"),)


def test_abuse_goes_to_whom_the_settings_name_and_an_alias_of_the_directory_takes_precedence():
    ann, bob = address("ann@example.test"), address("bob@example.test")
    settings = load(RECIPIENTS__POSTMASTER="ann@example.test", RECIPIENTS__ABUSE="ann@example.test")
    redirected = recipient_filter(settings, FakeDirectory(aliases={"abuse@example.test": ["bob@example.test"]}))
    assert redirected("Abuse@example.test") == Pass(redirected=(bob,))
    assert redirected("abuse@bücher.test") == Pass(redirected=(ann,))
    assert recipient_filter(settings, FakeDirectory(down=True))("abuse@example.test") == Pass(redirected=(ann,))
    assert recipient_filter(settings)("abuse@example.test") == Pass(redirected=(ann,))
    assert redirected("abuse@partner.test") is PASS, "it is not ours to redirect"
    assert isinstance(recipient_filter(load(), FakeDirectory())("abuse@example.test"), Reject)
    blocked = load(RECIPIENTS__ABUSE="ann@example.test", RECIPIENTS__BLOCKED="abuse@example.test")
    assert isinstance(recipient_filter(blocked, FakeDirectory())("abuse@example.test"), Reject)


@pytest.mark.parametrize(
    ("recipient", "passes"),
    [
        ("a@example.test", True),
        ("a@EXAMPLE.TEST.", True),
        ("a@bücher.test", True),
        ("a@xn--bcher-kva.test", True),
        ("a@partner.test", True),
        ("@remote.tld:a@example.test", True),
        ("a@remote.tld", False),
        ("a@sub.example.test", False),
        ("a@notexample.test", False),
        ("a@[127.0.0.1]", False),
        ("a@localhost", False),
        ("@example.test:a@remote.tld", False),
        ("a%example.test@remote.tld", False),
        ('"a@example.test"@remote.tld', False),
    ],
)
def test_relay_judges_by_the_domain_alone(recipient, passes):
    verdict = relay(load(RELAY__UNFILTERED_DOMAINS="partner.test"))(recipient)
    if passes:
        assert verdict is PASS
    else:
        text = f"Unable to relay for {address(recipient)}"
        assert verdict == Reject(Reply(550, "5.7.1", text), RelayRule.ELSEWHERE)


def test_who_may_not_authenticate_now_may_relay_later():
    """A server of ours behind the same address as a guesser must not return its mail."""
    loaded = load(AUTH__DOVECOT="/run/dovecot/auth", TARPIT__EXEMPT_NETWORKS="192.0.2.9")
    given = services(loaded)
    given.has_guessed = lambda address: address != "192.0.2.8"
    agent = Relay(given)
    elsewhere = address("a@remote.tld")
    judged = [agent.on_rcpt(view(f"192.0.2.{number}", loaded, recipient=elsewhere)) for number in (7, 8, 9)]
    assert judged[0] == Tempfail(SUSPENDED, RelayRule.SUSPENDED)
    assert [type(verdict) for verdict in judged[1:]] == [Reject, Reject]
    assert agent.on_rcpt(view("192.0.2.7", loaded, recipient=address("a@example.test"))) is PASS


@pytest.mark.parametrize(
    ("peer", "passes"),
    [
        ("198.51.100.9", True),
        ("::ffff:198.51.100.9", True),
        ("2001:db8::1", True),
        ("192.0.2.1", False),
        ("::1", False),
    ],
)
def test_relay_for_networks(peer, passes):
    verdict = relay(load(RELAY__NETWORKS="198.51.100.0/24,2001:db8::/32"), peer)("a@remote.tld")
    assert isinstance(verdict, Pass) is passes


def test_nobody_is_trusted_by_default():
    for peer in ("127.0.0.1", "::1", "10.0.0.1"):
        assert isinstance(relay(load(), peer)("a@remote.tld"), Reject)


def test_the_directory_decides():
    directory = FakeDirectory(["alice@example.test"], unknown=["carol@example.test"])
    judge = recipient_filter(load(), directory)
    assert judge("alice@example.test") is PASS
    assert judge("bob@example.test") == Reject(USER_UNKNOWN, RecipientRule.UNKNOWN)
    assert judge("carol@example.test") == Tempfail(DIRECTORY_DOWN, RecipientRule.DIRECTORY)
    assert (USER_UNKNOWN.code, DIRECTORY_DOWN.code) == (550, 451)


def test_lookup_off_accepts_and_reports():
    directory = FakeDirectory(["alice@example.test"], unknown=["carol@example.test"])
    judge = recipient_filter(load(RECIPIENTS__LOOKUP="off"), directory)
    assert judge("alice@example.test") is PASS
    assert judge("bob@example.test") == Report(USER_UNKNOWN, RecipientRule.UNKNOWN)
    assert isinstance(judge("carol@example.test"), Tempfail)


@pytest.mark.parametrize(
    "recipient", ["postmaster@example.test", "POSTMASTER@bücher.test", '"Postmaster"@example.test']
)
def test_postmaster_is_always_there(recipient):
    directory = FakeDirectory(down=True)
    blocked = load(RECIPIENTS__BLOCKED="postmaster@example.test")
    assert recipient_filter(blocked, directory)(recipient) is PASS
    assert directory.asked == []


def test_blocked_whatever_the_directory_says():
    directory = FakeDirectory(["all@example.test"], unknown=["enemy@remote.tld"])
    judge = recipient_filter(load(RECIPIENTS__BLOCKED="All@example.test,enemy@remote.tld"), directory)
    for recipient in ("all@example.test", "ALL@example.test", '"all"@EXAMPLE.test.', "enemy@remote.tld"):
        assert judge(recipient) == Reject(USER_UNKNOWN, RecipientRule.BLOCKED)
    assert directory.asked == []


def test_who_is_blocked_has_no_subaddress():
    settings = load(RECIPIENTS__BLOCKED="all@example.test")
    judge = recipient_filter(settings, FakeDirectory(["all+news@example.test", "alls+x@example.test"]))
    assert judge("all+news@example.test") == Reject(USER_UNKNOWN, RecipientRule.BLOCKED)
    assert judge("alls+x@example.test") is PASS
    off = load(RECIPIENTS__BLOCKED="all@example.test").model_copy(deep=True)
    off = off.model_copy(update={"recipients": off.recipients.model_copy(update={"delimiter": ""})})
    assert recipient_filter(off, None)("all+news@example.test") is PASS


def test_what_is_not_local_is_not_looked_up():
    directory = FakeDirectory()
    assert recipient_filter(load(), directory)("bob@remote.tld") is PASS
    assert recipient_filter(load(), directory)("postmaster@remote.tld") is PASS
    assert directory.asked == []


def test_without_a_directory_everybody_local_is_welcome():
    assert recipient_filter(load(), None)("anyone@example.test") is PASS


ROUTES = (
    "victim%evil.example",
    "evil.example!victim",
    '"victim@evil.example"',
    r'"victim\@evil.example"',
    r'"\v\i\c\t\i\m\%evil.example"',
    "evil.example!victim%other.example",
    '"evil::victim"',
    "/S=victim/ADMD=evil/C=us/",
    "-oQ/tmp",
    "|sh",
    '"|/bin/sh -c id"',
    "IMCEASMTP-victim+40evil+2Eexample",
    "victim\uff20evil.example",
    "victim\uff05evil.example",
    "postmaster%evil.example",
)


@pytest.mark.parametrize("local", ROUTES)
@pytest.mark.parametrize("domain", ["example.test", "bücher.test", "partner.test"])
def test_a_way_to_another_server_is_nobody_even_where_everybody_is_welcome(local, domain):
    """At our domains and at those we relay for; with no recipient file, and with one that lists nobody of the kind."""
    settings = load(RELAY__UNFILTERED_DOMAINS="partner.test")
    for directory in (None, FakeDirectory()):
        verdict = recipient_filter(settings, directory)(f"{local}@{domain}")
        assert verdict == Reject(USER_UNKNOWN, RecipientRule.UNKNOWN)


@pytest.mark.parametrize("domain", ["example.test", "partner.test"])
def test_a_way_to_another_server_is_reported_with_lookup_off(domain):
    judge = recipient_filter(load(RECIPIENTS__LOOKUP="off", RELAY__UNFILTERED_DOMAINS="partner.test"), None)
    assert judge(f"victim%evil.example@{domain}") == Report(USER_UNKNOWN, RecipientRule.UNKNOWN)
    assert judge(f"anyone@{domain}") is PASS


@pytest.mark.parametrize("domain", ["example.test", "partner.test"])
def test_an_address_that_looks_like_a_way_out_exists_when_it_is_listed(domain):
    directory = FakeDirectory([f"both/and@{domain}"], unknown=[f"down/now@{domain}"])
    judge = recipient_filter(load(RELAY__UNFILTERED_DOMAINS="partner.test"), directory)
    assert judge(f"both/and@{domain}") is PASS
    assert isinstance(judge(f"down/now@{domain}"), Tempfail)


def test_who_may_send_anywhere_may_send_such_addresses_elsewhere_and_not_here():
    settings = load(RELAY__NETWORKS="192.0.2.0/24")
    listed = pipeline(settings)
    elsewhere, here = (address(f"victim%evil.example@{domain}") for domain in ("remote.tld", "example.test"))
    assert listed.run(Stage.RCPT, view(settings=settings, recipient=elsewhere)) is PASS
    assert isinstance(listed.run(Stage.RCPT, view(settings=settings, recipient=here)), Reject)


def test_relay_comes_before_the_directory():
    directory = FakeDirectory()
    listed = pipeline(load(), directory)
    verdict = listed.run(Stage.RCPT, view(recipient=address("bob@remote.tld")))
    assert isinstance(verdict, Reject)
    assert verdict.rule is RelayRule.ELSEWHERE
    assert directory.asked == []
    assert listed.asked == 1 << Stage.MAIL | 1 << Stage.RCPT


def test_a_directory_may_answer_later():
    known = FakeDirectory(["alice@example.test"], unknown=["carol@example.test"])
    judge = recipient_filter(load(), SimpleNamespace(lookup=lambda recipient, _client: later(known.lookup(recipient))))
    assert asyncio.run(awaited(judge("alice@example.test"))) is PASS
    assert asyncio.run(awaited(judge("bob@example.test"))) == Reject(USER_UNKNOWN, RecipientRule.UNKNOWN)
    assert isinstance(asyncio.run(awaited(judge("carol@example.test"))), Tempfail)
    assert judge("postmaster@example.test") is PASS


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("answer", [None, True, "exists", 0, "absent"])
def test_an_answer_the_filter_does_not_know_is_451_and_never_user_unknown(answer, waits, monkeypatch):
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: None)
    directory = SimpleNamespace(lookup=lambda *_: later(answer) if waits else answer)
    verdict = pipeline(load(), directory).run(Stage.RCPT, view(recipient=address("alice@example.test")))
    verdict = asyncio.run(awaited(verdict)) if waits else verdict
    assert isinstance(verdict, Tempfail)
    assert (verdict.reply.code, verdict.reply.enhanced) == (451, "4.3.0")


def test_trust_follows_from_the_address():
    rules = TrustRules(
        load(
            RELAY__NETWORKS="192.0.2.0/24,2001:db8::/32",
            SENDERID__INTERNAL_SERVERS="203.0.113.1",
            TARPIT__EXEMPT_NETWORKS="192.0.2.7,198.51.100.0/24",
        )
    )
    assert (
        rules.of("192.0.2.255")
        == rules.of("::ffff:192.0.2.1")
        == rules.of("2001:db8:ffff::1")
        == Trust(internal=True, may_relay=True)
    )
    assert rules.of("192.0.2.7") == Trust(internal=True, exempt=True, may_relay=True)
    assert rules.of("203.0.113.1") == Trust(front_server=True)
    assert rules.of("198.51.100.200") == Trust(exempt=True)
    assert rules.of("203.0.113.2") == rules.of("") == rules.of("::1") == STRANGER
    assert [trust.believed for trust in map(rules.of, ("192.0.2.1", "203.0.113.1", "198.51.100.1"))] == [
        True, True, False,
    ]  # fmt: skip


def test_who_has_authenticated_may_what_its_account_may():
    def trust(address, *, may_relay=True, **settings):
        rules = TrustRules(load(TARPIT__EXEMPT_NETWORKS="198.51.100.1", RELAY__NETWORKS="192.0.2.0/24", **settings))
        return rules.authenticated(rules.of(address), Identity("a", "PLAIN", may_relay=may_relay))

    assert trust("203.0.113.1") == Trust(authenticated=True, may_relay=True)
    assert trust("203.0.113.1", may_relay=False) == trust("203.0.113.1", AUTH__RELAY="no") == Trust(authenticated=True)
    assert trust("198.51.100.1") == Trust(exempt=True, authenticated=True, may_relay=True)
    # An address keeps what it has.
    assert trust("192.0.2.1", may_relay=False) == Trust(internal=True, authenticated=True, may_relay=True)
    # What an account sends is not judged, and its header fields are not believed: they are not a server's.
    assert trust("203.0.113.1").inside
    assert not trust("203.0.113.1").believed


def test_the_allow_list_spares_a_client_all_filters_and_no_front_server(tmp_path):
    (tmp_path / "allow").write_text("198.51.100.0/24\n203.0.113.1\n")
    (tmp_path / "block").write_text("198.51.100.7\n192.0.2.1\n")
    target = str(tmp_path / "snapshot")
    sources = [(str(tmp_path / name), name == "allow", False, True) for name in ("block", "allow")]
    compile_lists(target, sources, 0)
    lists = Lists(tmp_path / "snapshot")
    rules = TrustRules(load(SENDERID__INTERNAL_SERVERS="203.0.113.1"), lists)
    assert rules.of("198.51.100.1") == rules.of("::ffff:198.51.100.1") == Trust(exempt=True, allowed=True)
    assert rules.of("198.51.100.1").inside
    assert not rules.of("198.51.100.1").may_relay
    assert not rules.of("198.51.100.1").believed
    assert rules.of("198.51.100.7") == rules.of("192.0.2.1") == rules.of("") == STRANGER
    assert rules.of("203.0.113.1") == Trust(front_server=True)
    (tmp_path / "allow").write_text("192.0.2.0/24\n")
    compile_lists(target, sources, 0)
    assert lists.refresh()
    assert rules.of("198.51.100.1").allowed
    rules.forget()
    assert rules.of("198.51.100.1") == STRANGER
    assert not lists.refresh()


def test_nobody_is_trusted_unless_the_settings_say_so():
    rules = TrustRules(load())
    assert {rules.of(address) for address in ("127.0.0.1", "::1", "10.0.0.1", "192.0.2.1")} == {STRANGER}


def test_networks():
    assert not Networks(())
    assert "192.0.2.1" not in Networks(())
    networks = Networks([ip_network("10.0.0.0/8"), ip_network("::1/128")])
    assert networks
    assert all(peer in networks for peer in ("10.255.0.1", "::ffff:10.0.0.1", "::1"))
    assert not any(peer in networks for peer in ("11.0.0.1", "::2", "", "host.test"))


async def later(answer):
    await asyncio.sleep(0)
    return answer


async def awaited(answer):
    while inspect.isawaitable(answer):
        answer = await answer
    return answer
