"""The built-in agents, asked directly: relay, recipient filter, the tar pit's exemptions, networks, and the pipeline around them."""

import asyncio
import inspect
from ipaddress import ip_network
from types import SimpleNamespace

import pytest

from mailmoat import maillog, settings
from mailmoat._native import Address, Stage
from mailmoat.directory.directory import Presence
from mailmoat.net.address import Networks
from mailmoat.policy.agent import PASS, Agent, Discard, Pass, Reject, Reply, Report, Tempfail
from mailmoat.policy.agents.recipient_filter import DIRECTORY_DOWN, USER_UNKNOWN, RecipientFilter
from mailmoat.policy.agents.relay import Relay
from mailmoat.policy.pipeline import Pipeline
from mailmoat.policy.registry import agents
from mailmoat.policy.tarpit import Tarpit

OUTSIDE = SimpleNamespace(session_id="t-1", peer="192.0.2.1", hello="client.test", reverse_path=None, head=b"")


def load(**environment):
    environment = {"RELAY__LOCAL_DOMAINS": "example.test,bücher.test"} | environment
    return settings.load(environment={f"MAILMOAT_{name}": value for name, value in environment.items()})


def address(text):
    return Address.parse(text)


class Directory:
    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked = []

    def lookup(self, recipient):
        self.asked.append(str(recipient))
        return self.answers.get(recipient.local, Presence.ABSENT)


def test_postmaster_goes_to_whom_the_settings_name():
    directory = Directory()
    redirected = RecipientFilter(load(RECIPIENTS__POSTMASTER="Ann@Example.test"), directory)
    for recipient in ("postmaster@example.test", "PostMaster@bücher.test"):
        assert redirected.on_rcpt(OUTSIDE, address(recipient)) == Pass(redirected=address("Ann@example.test"))
        assert RecipientFilter(load(), directory).on_rcpt(OUTSIDE, address(recipient)) is PASS
    assert redirected.on_rcpt(OUTSIDE, address("postmaster@partner.test")) is PASS, "it is not ours to redirect"
    assert Pass((b"A: b\r\n",)).and_then(Pass(redirected=address("a@b.test"))).redirected == address("a@b.test")


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
    verdict = Relay(load(RELAY__UNFILTERED_DOMAINS="partner.test")).on_rcpt(OUTSIDE, address(recipient))
    if passes:
        assert verdict is PASS
    else:
        text = f"Unable to relay for {address(recipient)}"
        assert verdict == Reject(Reply(550, "5.7.1", text), "relay")


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
    relay = Relay(load(RELAY__NETWORKS="198.51.100.0/24,2001:db8::/32"))
    verdict = relay.on_rcpt(SimpleNamespace(peer=peer), address("a@remote.tld"))
    assert isinstance(verdict, Pass) is passes


def test_nobody_is_trusted_by_default():
    for peer in ("127.0.0.1", "::1", "10.0.0.1"):
        assert isinstance(Relay(load()).on_rcpt(SimpleNamespace(peer=peer), address("a@remote.tld")), Reject)


def test_the_directory_decides():
    directory = Directory(alice=Presence.EXISTS, carol=Presence.UNKNOWN)
    judge = RecipientFilter(load(), directory).on_rcpt
    assert judge(OUTSIDE, address("alice@example.test")) is PASS
    assert judge(OUTSIDE, address("bob@example.test")) == Reject(USER_UNKNOWN, "not in the directory")
    assert judge(OUTSIDE, address("carol@example.test")) == Tempfail(DIRECTORY_DOWN, "directory not available")
    assert (USER_UNKNOWN.code, DIRECTORY_DOWN.code) == (550, 451)


def test_lookup_off_accepts_and_reports():
    directory = Directory(alice=Presence.EXISTS, carol=Presence.UNKNOWN)
    judge = RecipientFilter(load(RECIPIENTS__LOOKUP="off"), directory).on_rcpt
    assert judge(OUTSIDE, address("alice@example.test")) is PASS
    assert judge(OUTSIDE, address("bob@example.test")) == Report(USER_UNKNOWN, "not in the directory")
    assert isinstance(judge(OUTSIDE, address("carol@example.test")), Tempfail)


@pytest.mark.parametrize(
    "recipient", ["postmaster@example.test", "POSTMASTER@bücher.test", '"Postmaster"@example.test']
)
def test_postmaster_is_always_there(recipient):
    directory = Directory(postmaster=Presence.UNKNOWN)
    blocked = load(RECIPIENTS__BLOCKED="postmaster@example.test")
    assert RecipientFilter(blocked, directory).on_rcpt(OUTSIDE, address(recipient)) is PASS
    assert directory.asked == []


def test_blocked_whatever_the_directory_says():
    directory = Directory(all=Presence.EXISTS, enemy=Presence.UNKNOWN)
    judge = RecipientFilter(load(RECIPIENTS__BLOCKED="All@example.test,enemy@remote.tld"), directory).on_rcpt
    for recipient in ("all@example.test", "ALL@example.test", '"all"@EXAMPLE.test.', "enemy@remote.tld"):
        assert judge(OUTSIDE, address(recipient)) == Reject(USER_UNKNOWN, "blocked recipient")
    assert directory.asked == []


def test_who_is_blocked_has_no_subaddress():
    settings = load(RECIPIENTS__BLOCKED="all@example.test")
    judge = RecipientFilter(settings, Directory(**{"all+news": Presence.EXISTS, "alls+x": Presence.EXISTS})).on_rcpt
    assert judge(OUTSIDE, address("all+news@example.test")) == Reject(USER_UNKNOWN, "blocked recipient")
    assert judge(OUTSIDE, address("alls+x@example.test")) is PASS
    off = load(RECIPIENTS__BLOCKED="all@example.test").model_copy(deep=True)
    off = off.model_copy(update={"recipients": off.recipients.model_copy(update={"delimiter": ""})})
    assert RecipientFilter(off, None).on_rcpt(OUTSIDE, address("all+news@example.test")) is PASS


def test_what_is_not_local_is_not_looked_up():
    directory = Directory()
    assert RecipientFilter(load(), directory).on_rcpt(OUTSIDE, address("bob@remote.tld")) is PASS
    assert RecipientFilter(load(), directory).on_rcpt(OUTSIDE, address("postmaster@remote.tld")) is PASS
    assert directory.asked == []


def test_without_a_directory_everybody_local_is_welcome():
    assert RecipientFilter(load(), None).on_rcpt(OUTSIDE, address("anyone@example.test")) is PASS


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
    for directory in (None, Directory()):
        verdict = RecipientFilter(settings, directory).on_rcpt(OUTSIDE, address(f"{local}@{domain}"))
        assert verdict == Reject(USER_UNKNOWN, "not in the directory")


@pytest.mark.parametrize("domain", ["example.test", "partner.test"])
def test_a_way_to_another_server_is_reported_with_lookup_off(domain):
    judge = RecipientFilter(load(RECIPIENTS__LOOKUP="off", RELAY__UNFILTERED_DOMAINS="partner.test"), None).on_rcpt
    assert judge(OUTSIDE, address(f"victim%evil.example@{domain}")) == Report(USER_UNKNOWN, "not in the directory")
    assert judge(OUTSIDE, address(f"anyone@{domain}")) is PASS


@pytest.mark.parametrize("domain", ["example.test", "partner.test"])
def test_an_address_that_looks_like_a_way_out_exists_when_it_is_listed(domain):
    directory = Directory(**{"both/and": Presence.EXISTS, "down/now": Presence.UNKNOWN})
    judge = RecipientFilter(load(RELAY__UNFILTERED_DOMAINS="partner.test"), directory).on_rcpt
    assert judge(OUTSIDE, address(f"both/and@{domain}")) is PASS
    assert isinstance(judge(OUTSIDE, address(f"down/now@{domain}")), Tempfail)


def test_who_may_send_anywhere_may_send_such_addresses_elsewhere_and_not_here():
    settings = load(RELAY__NETWORKS="192.0.2.0/24")
    pipeline = Pipeline(agents(settings, None), lambda: None)
    assert pipeline.run(Stage.RCPT, OUTSIDE, address("victim%evil.example@remote.tld")) is PASS
    assert isinstance(pipeline.run(Stage.RCPT, OUTSIDE, address("victim%evil.example@example.test")), Reject)


def test_relay_comes_before_the_directory():
    directory = Directory()
    pipeline = Pipeline(agents(load(), directory), lambda: None)
    verdict = pipeline.run(Stage.RCPT, OUTSIDE, address("bob@remote.tld"))
    assert isinstance(verdict, Reject)
    assert verdict.rule == "relay"
    assert directory.asked == []
    assert pipeline.asked == 1 << Stage.RCPT


def test_the_tar_pit_exempts_networks():
    tarpit = Tarpit(load(TARPIT__EXEMPT_NETWORKS="192.0.2.0/24,2001:db8::/32").tarpit)
    held = ("198.51.100.1", "::1", "127.0.0.1")
    exempt = ("192.0.2.255", "::ffff:192.0.2.1", "2001:db8:ffff::1")
    assert [tarpit.exempts(peer) for peer in held + exempt] == [False] * 3 + [True] * 3
    assert not Tarpit(load().tarpit).exempts("127.0.0.1")


def test_networks():
    assert not Networks(())
    assert "192.0.2.1" not in Networks(())
    networks = Networks([ip_network("10.0.0.0/8"), ip_network("::1/128")])
    assert networks
    assert all(peer in networks for peer in ("10.255.0.1", "::ffff:10.0.0.1", "::1"))
    assert not any(peer in networks for peer in ("11.0.0.1", "::2", "", "host.test"))


class Says(Agent):
    def __init__(self, name, verdict, seen, *, later=False):
        self.name = name
        self.verdict, self.seen, self.later = verdict, seen, later

    def on_mail(self, session):
        self.seen.append(self.name)
        return self.answer() if self.later else self.say()

    async def answer(self):
        await asyncio.sleep(0)
        return self.say()

    def say(self):
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


REJECT = Reject(Reply(550, "5.7.1", "No"), "test")


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("verdict", [REJECT, Tempfail(Reply(450, "4.7.1", "Later"), "test"), Discard("test")])
def test_the_first_that_does_not_pass_decides(verdict, later):
    seen = []
    listed = [Says("one", PASS, seen, later=later), Says("two", verdict, seen, later=later), Says("three", PASS, seen)]
    answer = Pipeline(listed, lambda: None).run(Stage.MAIL, OUTSIDE)
    assert inspect.isawaitable(answer) is later
    assert (asyncio.run(awaited(answer)) if later else answer) == verdict
    assert seen == ["one", "two"]


@pytest.mark.parametrize("later", [False, True])
def test_stamps_add_up(later):
    listed = [
        Says("one", Pass((b"A: 1\r\n",)), [], later=later),
        Says("two", PASS, []),
        Says("three", Pass((b"B: 2\r\n",)), []),
    ]
    answer = Pipeline(listed, lambda: None).run(Stage.MAIL, OUTSIDE)
    assert (asyncio.run(awaited(answer)) if later else answer) == Pass((b"A: 1\r\n", b"B: 2\r\n"))


@pytest.mark.parametrize("later", [False, True])
def test_an_agent_that_raises_is_a_451_and_a_line(later, monkeypatch):
    lines, errors = [], []
    monkeypatch.setattr(maillog._stream, "write", lambda name, level, fields: lines.append((name, fields)))
    listed = [Says("faulty", RuntimeError("secret"), [], later=later), Says("next", PASS, [])]
    answer = Pipeline(listed, lambda: errors.append(1)).run(Stage.MAIL, OUTSIDE)
    verdict = asyncio.run(awaited(answer)) if later else answer
    assert verdict == Tempfail(Reply(451, "4.3.0", "Local error in processing; session t-1"), "faulty failed")
    assert errors == [1]
    [(name, fields)] = lines
    assert name == "agent-failed"
    assert (fields["agent"], fields["session"]) == ("faulty", "t-1")
    assert "secret" in fields["error"]


def test_only_stages_someone_listens_to_are_asked():
    pipeline = Pipeline([Says("one", PASS, [])], lambda: None)
    assert pipeline.asked == 1 << Stage.MAIL
    assert [stage for stage in Stage if pipeline.listens(stage)] == [Stage.MAIL]
    assert Pipeline([], lambda: None).run(Stage.MAIL, OUTSIDE) is PASS


async def awaited(answer):
    return await answer
