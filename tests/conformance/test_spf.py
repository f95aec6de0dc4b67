"""Records, their scopes and their limits: what a server that asks a real name server stamps."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from tests.conformance.conftest import Make, Site
from tests.doubles.client import Reply
from tests.doubles.name_server import NameServer

row = pytest.mark.row

CLIENT = "192.0.2.1"
NUMBERS = itertools.count()
ZONE = """
    pass.test       TXT "v=spf1 ip4:192.0.2.1 -all"
    fail.test       TXT "v=spf1 -all exp=why.fail.test"
    why.fail.test   TXT "%{i} is not ours"
    foreign.test    TXT "v=spf1 -all exp=why.foreign.test"
    why.foreign.test TXT "caf\\195\\169"
    soft.test       TXT "v=spf1 ~all"
    neutral.test    TXT "v=spf1 ?all"
    empty.test      A   192.0.2.9
    two.test        TXT "v=spf1 -all"
    two.test        TXT "v=spf1 +all"
    ten.test        TXT "v=spf10 -all"
    early.test      TXT "v=spf1 ip4:192.0.2.1 moo -all"
    modified.test   TXT "v=spf1 fancy=thing ip4:192.0.2.1 -all"
    again.test      TXT "v=spf1 ip4:192.0.2.1 redirect=pass.test redirect=pass.test"
    macro.test      TXT "v=spf1 exists:%{ir}.%{v}.%{l1r-}.%{d2}.yes.test -all"
    1.2.0.192.in-addr.user.macro.test.yes.test A 127.0.0.2
    unknown.test    TXT "v=spf1 exists:%{p}.who.test -all"
    unknown.who.test A 127.0.0.2
    url.test        TXT "v=spf1 -all exp=url.why.test"
    url.why.test    TXT "see http://why.test/%{S}"
    in-pass.test    TXT "v=spf1 include:pass.test -all"
    in-fail.test    TXT "v=spf1 include:fail.test ip4:192.0.2.1 -all"
    in-soft.test    TXT "v=spf1 include:soft.test ip4:192.0.2.1 -all"
    in-neutral.test TXT "v=spf1 include:neutral.test ip4:192.0.2.1 -all"
    in-none.test    TXT "v=spf1 include:empty.test ip4:192.0.2.1 -all"
    in-perm.test    TXT "v=spf1 include:two.test ip4:192.0.2.1 -all"
    in-temp.test    TXT "v=spf1 include:ill.test ip4:192.0.2.1 -all"
    voids.test      TXT "v=spf1 a:v1.voids.test a:v2.voids.test a:v3.voids.test ip4:192.0.2.1 -all"
    wide.test       TXT "v=spf1 mx ip4:192.0.2.1 -all"
    scoped.test     TXT "spf2.0/pra ip4:192.0.2.1 -all"
    scoped.test     TXT "v=spf1 -all"
    both.test       TXT "spf2.0/mfrom,pra ip4:192.0.2.1 -all"
    mfrom.test      TXT "spf2.0/mfrom -all"
    mfrom.test      TXT "v=spf1 ip4:192.0.2.1 -all"
    double.test     TXT "spf2.0/pra -all"
    double.test     TXT "spf2.0/mfrom,pra +all"
    odd.test        TXT "spf2.0/prattle,fubar -all"
"""


class Judge:
    """A site that checks, and what it is asked to check."""

    def __init__(self, site: Site, names: NameServer) -> None:
        self.site, self.names = site, names

    def send(
        self, *head: str, sender: str = "", client: str = CLIENT, hello: str = "client.test", parameters: str = ""
    ) -> tuple[Reply, str]:
        """One message; the reply to its end of data, and its recipient, who gets no other."""
        recipient = f"n{next(NUMBERS)}@all.example.test"
        wire = self.site.proxied(client)
        assert wire.reply().code == 220
        assert wire.ask(f"EHLO {hello}").code == 250
        wire.envelope(recipient, sender, parameters)
        assert wire.ask("DATA").code == 354
        reply = wire.ask("\r\n".join((*head, "", "body", ".")))
        wire.close()
        return reply, recipient

    def message(self, *head: str, **given: str) -> EmailMessage:
        """One that is taken, as the next hop got it."""
        reply, recipient = self.send(*head, **given)
        assert reply.code == 250, reply
        return message_from_bytes(self.site.hop.handed(recipient).content, policy=SMTP)

    def result(self, method: str, *head: str, **given: str) -> str:
        """What Authentication-Results says of `spf` by MAIL FROM, of `helo`, or of `sender-id`."""
        field = str(self.message(*head, **given)["Authentication-Results"])
        for part in field.split(";")[1:]:
            name, _, said = part.strip().partition("=")
            if name == "spf" and "smtp.helo=" in part:
                name = "helo"
            if name == method:
                return said.split()[0]
        return ""

    def spf(self, domain: str, **given: str) -> str:
        return self.result("spf", "Subject: x", sender=f"user@{domain}", **given)

    def pra(self, *head: str, **given: str) -> str:
        return self.result("sender-id", *head, **given)


@pytest.fixture(scope="module")
def names() -> Iterator[NameServer]:
    with NameServer(ZONE) as running:
        for depth in range(1, 12):
            include = f"include:l{depth - 1}.deep.test " if depth > 1 else ""
            running.add(
                f"l{depth}.deep.test",
                "TXT",
                f"v=spf1 {include}ip4:192.0.2.1 -all" if depth == 1 else f"v=spf1 {include}-all",
            )
        running.add("wide.test", "MX", *((number, f"m{number}.wide.test") for number in range(11)))
        for number in range(11):
            running.add(f"m{number}.wide.test", "A", "192.0.2.77")
        running.set("ill.test", fault="servfail")
        yield running


@pytest.fixture(scope="module")
def judge(site: Make, names: NameServer) -> Judge:
    """Stamps only."""
    return Judge(site(senderid__enabled="true", dns__servers=names.address), names)


@pytest.fixture(scope="module")
def strict(site: Make, names: NameServer) -> Judge:
    """Refuses whatever may be refused."""
    settings = dict.fromkeys(("spoofed_domain_action", "temp_error_action", "spf_mfrom_action"), "Reject")
    settings |= {"enabled": "true", "submitter": "true"}
    return Judge(
        site(dns__servers=names.address, **{f"senderid__{name}": value for name, value in settings.items()}), names
    )


@row("spf-01")
def test_spf_01_one_record_counts_and_only_txt_is_asked(judge: Judge) -> None:
    judge.names.questions.clear()
    found = {name: judge.spf(f"{name}.test") for name in ("pass", "fail", "soft", "neutral", "empty", "two", "ten")}
    assert found == {
        "pass": "pass", "fail": "fail", "soft": "softfail", "neutral": "neutral", "empty": "none", "two": "permerror",
        "ten": "none",
    }  # fmt: skip
    assert {kind for _, kind in judge.names.questions} == {"TXT"}


@row("spf-02")
def test_spf_02_a_null_reverse_path_is_judged_by_the_hello_name(judge: Judge) -> None:
    assert judge.result("helo", "Subject: x", hello="fail.test") == "fail"
    assert judge.result("helo", "Subject: x", hello="pass.test") == "pass"
    assert judge.result("helo", "Subject: x", sender="user@pass.test", hello="fail.test") == "fail"
    judge.names.questions.clear()
    for name in ("single", "[192.0.2.1]"):
        assert judge.result("helo", "Subject: x", hello=name) in {"none", ""}, name
    assert judge.spf(f"{'l' * 63}.test") == "none"
    assert [name for name, _ in judge.names.questions if "single" in name or name.startswith("[")] == []


@row("spf-03")
def test_spf_03_lookups_are_counted(judge: Judge) -> None:
    assert judge.spf("l11.deep.test") == "pass", "ten includes"
    judge.names.add("l12.deep.test", "TXT", "v=spf1 include:l11.deep.test -all")
    assert judge.spf("l12.deep.test") == "permerror", "eleven"
    assert judge.spf("wide.test") == "permerror", "eleven names under an mx"
    assert judge.spf("voids.test") == "permerror", "three lookups without an answer"


@row("spf-04")
def test_spf_04_a_record_is_checked_as_a_whole(judge: Judge) -> None:
    assert judge.spf("early.test") == "permerror"
    assert judge.spf("modified.test") == "pass"
    assert judge.spf("again.test") == "permerror"


@row("spf-05")
def test_spf_05_macros(judge: Judge, strict: Judge) -> None:
    assert judge.result("spf", "Subject: x", sender="user-tag@macro.test") == "pass", "reversed, then the last part"
    assert judge.result("spf", "Subject: x", sender="tag-user@macro.test") == "fail"
    assert judge.result("spf", "Subject: x", sender="user@macro.test") == "pass"
    assert judge.spf("unknown.test") == "pass", "%{p} of a client without a name is `unknown`"
    assert judge.spf("pass.test", client="::ffff:192.0.2.1") == "pass", "a mapped address is an IPv4 address"
    reply, _ = strict.send("Subject: x", sender="a+b@url.test")
    assert reply.text.endswith("http://why.test/a%2Bb%40url.test")


@row("spf-06")
def test_spf_06_include(judge: Judge) -> None:
    kinds = ("pass", "fail", "soft", "neutral", "none", "perm", "temp")
    found = {kind: judge.spf(f"in-{kind}.test") for kind in kinds}
    assert found == {
        "pass": "pass", "fail": "pass", "soft": "pass", "neutral": "pass", "none": "permerror", "perm": "permerror",
        "temp": "temperror",
    }  # fmt: skip


@row("sid-03")
def test_sid_03_records_by_scope(judge: Judge) -> None:
    found = {name: judge.pra(f"From: a@{name}.test") for name in ("scoped", "both", "mfrom", "double", "odd")}
    assert found == {"scoped": "pass", "both": "pass", "mfrom": "pass", "double": "permerror", "odd": "none"}
