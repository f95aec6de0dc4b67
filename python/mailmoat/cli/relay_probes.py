r"""What `relay-test` tries and how it judges the answers: values only, no sockets.

The first seven are the relay tests of KB 304897; then come the historical ways around a relay rule. Two expectations:

* REFUSED: the recipient's domain is remote, so any 2xx makes the server an open relay.
* LOCAL: the recipient is local however it looks (`%`, `!`, quotes and encapsulation mean nothing, RFC 5321 2.3.11). A 5xx is
  right. A 250 proves nothing: the server may report the recipient later, or it or the one behind it may send the message on. It is
  a failure when its reply shows the address rewritten to the remote domain, or when plain unknown recipients are refused there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ACCEPTED_NOTE: Final = "accepted: it may be reported later, or sent on"
"""Why nothing is proved about a recipient that only looks remote."""

_ACCEPTED: Final = 2
_REFUSED_FOR_NOW: Final = 4
_REFUSED: Final = 5
_NOT_SO: Final = 530
"""RFC 4954 6: authentication is required."""


class Expect(Enum):
    """What a safe server does with the recipient."""

    REFUSED = "refused"
    LOCAL = "local"
    REFERENCE = "reference"
    """An unknown local recipient: shows what the server does with those, cannot fail."""


class Result(Enum):
    """What a probe shows."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Probe:
    """One transaction to try; `sender` and `recipient` are what follows `MAIL FROM:` and `RCPT TO:`."""

    number: int
    name: str
    sender: str
    recipient: str
    expect: Expect


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the server; `text` is one printable line without the code, `seconds` its delay."""

    code: int
    text: str
    seconds: float

    @property
    def kind(self) -> int:
        """First digit of the code (RFC 5321 4.2.1)."""
        return self.code // 100

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the server answered: replies to MAIL and RCPT as far as it came, and what went wrong with the connection."""

    probe: Probe
    mail: Reply | None = None
    rcpt: Reply | None = None
    problem: str = ""

    @property
    def reply(self) -> str:
        """The reply that counts."""
        return str(self.rcpt or self.problem or self.mail)

    @property
    def seconds(self) -> float:
        """How long the server took for MAIL and RCPT together."""
        return sum(reply.seconds for reply in (self.mail, self.rcpt) if reply)


@dataclass(frozen=True, slots=True)
class Judged:
    """An outcome with its verdict and the reason, empty when the reply says it all."""

    outcome: Outcome
    result: Result
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the probes are made of; `literal` is the server's own address in brackets, `ip` the same bare."""

    local: str
    remote: str
    sender: str
    name: str
    ip: str
    unknown: str

    @property
    def literal(self) -> str:
        """RFC 5321 4.1.3."""
        return f"[IPv6:{self.ip}]" if ":" in self.ip else f"[{self.ip}]"


def make_probes(ground: Ground) -> list[Probe]:
    """Make all probes, the seven documented ones first."""
    rows = [
        *_documented(ground),
        *_foreign_senders(ground),
        *_remote_recipients(ground),
        *_local_recipients(ground),
        ("unknown local recipient, to compare", "<>", f"<{ground.unknown}>", Expect.REFERENCE),
    ]
    return [Probe(number, *row) for number, row in enumerate(rows, 1)]


_Row = tuple[str, str, str, Expect]


def _documented(g: Ground) -> Iterator[_Row]:
    remote = f"<someone@{g.remote}>"
    yield "remote sender", f"<user@{g.sender}>", remote, Expect.REFUSED
    yield "sender without domain", "<localuser>", remote, Expect.REFUSED
    yield "null sender", "<>", remote, Expect.REFUSED
    yield "local sender", f"<localuser@{g.local}>", remote, Expect.REFUSED
    yield "server's address as sender domain", f"<localuser@{g.literal}>", remote, Expect.REFUSED
    yield "percent sign", "<localuser>", f"<someone%{g.remote}>", Expect.LOCAL
    yield "quoted address", "<localuser>", f'<"someone@{g.remote}">', Expect.LOCAL


def _foreign_senders(g: Ground) -> Iterator[_Row]:
    """Yield senders that a careless rule trusts; the recipient is plainly remote."""
    senders = {
        "bare IP as sender domain": f"<localuser@{g.ip}>",
        "localhost as sender domain": "<localuser@localhost>",
        "server's name as sender domain": f"<localuser@{g.name}>",
        "local sender, mixed case": f"<LocalUser@{_mixed(g.local)}>",
        "local sender, trailing dot": f"<localuser@{g.local}.>",
        "local postmaster as sender": f"<postmaster@{g.local}>",
        "percent sign in sender": f"<localuser%{g.local}@{g.sender}>",
        "quoted local sender": f'<"localuser@{g.local}"@{g.sender}>',
        "source route in sender": f"<@{g.local}:user@{g.sender}>",
    }
    for name, sender in senders.items():
        yield name, sender, f"<someone@{g.remote}>", Expect.REFUSED


def _remote_recipients(g: Ground) -> Iterator[_Row]:
    """Yield remote recipients in spellings that have passed domain tables."""
    recipients = {
        "no angle brackets": f"someone@{g.remote}",
        "space after the colon": f" <someone@{g.remote}>",
        "mixed case": f"<SomeOne@{_mixed(g.remote)}>",
        "trailing dot": f"<someone@{g.remote}.>",
        "postmaster elsewhere": f"<postmaster@{g.remote}>",
        "source route": f"<@{g.local}:someone@{g.remote}>",
        "source route, two hops": f"<@{g.local},@{g.remote}:someone@{g.remote}>",
        "source route by address": f"<@{g.literal}:someone@{g.remote}>",
        "user@local@remote": f"<someone@{g.local}@{g.remote}>",
        "quoted local address elsewhere": f'<"someone@{g.local}"@{g.remote}>',
        "percent sign, local inside": f"<someone%{g.local}@{g.remote}>",
        "bang path, local inside": f"<{g.local}!someone@{g.remote}>",
        "A-label": f"<someone@xn--bcher-kva.{g.remote}>",
        "U-label": f"<someone@bücher.{g.remote}>",
        "ideographic full stop": f"<someone@{g.remote.replace('.', '。')}>",
        "domain that ends like the local one": f"<someone@not{g.local}>",
        "domain that begins like the local one": f"<someone@{g.local}.{g.remote}>",
    }
    for name, recipient in recipients.items():
        yield name, f"<localuser@{g.local}>", recipient, Expect.REFUSED


def _local_recipients(g: Ground) -> Iterator[_Row]:
    """Yield local recipients whose local part hides a remote address."""
    percent, quoted = f"someone%{g.remote}", f'"someone@{g.remote}"'
    encapsulated = f"IMCEASMTP-someone+40{g.remote.replace('.', '+2E')}"
    recipients = {
        "percent sign at local domain": f"<{percent}@{g.local}>",
        "percent sign at own address": f"<{percent}@{g.literal}>",
        "percent sign at bare IP": f"<{percent}@{g.ip}>",
        "percent sign at localhost": f"<{percent}@localhost>",
        "percent sign at own name": f"<{percent}@{g.name}>",
        "percent sign, mixed case": f"<SomeOne%{_mixed(g.remote)}@{_mixed(g.local)}>",
        "percent sign, trailing dot": f"<{percent}@{g.local}.>",
        "two percent signs": f"<{percent}%{g.local}@{g.local}>",
        "percent sign in quotes": f'<"{percent}"@{g.local}>',
        "quoted address at local domain": f"<{quoted}@{g.local}>",
        "quoted address at own address": f"<{quoted}@{g.literal}>",
        "quoted address at localhost": f"<{quoted}@localhost>",
        "quotes in quotes": f'<"\\"someone@{g.remote}\\""@{g.local}>',
        "user@remote@local": f"<someone@{g.remote}@{g.local}>",
        "bang path": f"<{g.remote}!someone>",
        "bang path at local domain": f"<{g.remote}!someone@{g.local}>",
        "bang path through us": f"<{g.local}!{g.remote}!someone>",
        "bang path in quotes": f'<"{g.remote}!someone"@{g.local}>',
        "bang path and percent sign": f"<{g.remote}!{percent}@{g.local}>",
        "source route, local end": f"<@{g.remote}:someone@{g.local}>",
        "encapsulated address": f"<{encapsulated}@{g.local}>",
        "encapsulated address, no domain": f"<{encapsulated}>",
        "quoted address, escaped": f'<"someone\\@{g.remote}"@{g.local}>',
        "percent sign in a subaddress": f"<postmaster+x%{g.remote}@{g.local}>",
        "colons in quotes": f'<"{g.remote}::someone"@{g.local}>',
        "full-width percent sign": f"<someone\uff05{g.remote}@{g.local}>",
        "full-width at sign": f"<someone\uff20{g.remote}@{g.local}>",
    }
    for name, recipient in recipients.items():
        yield name, "<localuser>", recipient, Expect.LOCAL
    yield "percent sign, null sender", "<>", f"<{percent}@{g.local}>", Expect.LOCAL


def _mixed(domain: str) -> str:
    return "".join(letter.upper() if index % 2 == 0 else letter for index, letter in enumerate(domain))


def judge(outcomes: Sequence[Outcome], ground: Ground) -> list[Judged]:
    """Judge all outcomes of a run together: the reply to a plain unknown recipient shows what a 250 means."""
    reference = next((outcome.rcpt for outcome in outcomes if outcome.probe.expect is Expect.REFERENCE), None)
    filtering = reference is not None and reference.kind == _REFUSED and not _is_relay_refusal(reference)
    return [_judge_one(outcome, ground, filtering=filtering) for outcome in outcomes]


def _judge_one(outcome: Outcome, ground: Ground, *, filtering: bool) -> Judged:
    reply = outcome.rcpt or outcome.mail
    if outcome.problem or reply is None:
        return Judged(outcome, Result.INCONCLUSIVE, outcome.problem if outcome.rcpt else "")
    if outcome.rcpt and outcome.probe.expect is Expect.REFERENCE:
        return Judged(outcome, Result.PASS, _describe_reference(outcome.rcpt, ground))
    if outcome.rcpt and reply.kind == _ACCEPTED:
        return Judged(outcome, *_judge_accepted(outcome.probe, outcome.rcpt, ground, filtering=filtering))
    return Judged(outcome, *_judge_refused(reply, at_rcpt=outcome.rcpt is not None))


def _judge_refused(reply: Reply, *, at_rcpt: bool) -> tuple[Result, str]:
    if "starttls" in reply.text.lower():
        return Result.INCONCLUSIVE, "it requires TLS, and does not offer it"
    if reply.code == _NOT_SO:
        return Result.PASS, "nobody can send without authentication"
    if reply.kind == _REFUSED:
        return Result.PASS, "" if at_rcpt else "the sender is refused"
    if reply.kind == _REFUSED_FOR_NOW and at_rcpt:
        return Result.PASS, "refused for now"
    return Result.INCONCLUSIVE, "the sender is refused for now"


def _judge_accepted(probe: Probe, reply: Reply, ground: Ground, *, filtering: bool) -> tuple[Result, str]:
    if probe.expect is Expect.REFUSED:
        return Result.FAIL, "accepted for a remote domain"
    if _shows(probe, reply, ground.remote):
        return Result.FAIL, "accepted and rewritten to the remote domain"
    if filtering and probe.recipient.endswith(f"@{ground.local}>"):
        return Result.FAIL, "accepted, though unknown local recipients are refused"
    if _shows(probe, reply, ground.local):
        return Result.PASS, "the route is dropped"
    return Result.INCONCLUSIVE, ACCEPTED_NOTE


def _describe_reference(reply: Reply, ground: Ground) -> str:
    if reply.kind == _ACCEPTED:
        return "unknown recipients are accepted: an NDR must follow"
    if _is_relay_refusal(reply):
        return f"{ground.local} is not local there: give --local-domain"
    return "unknown recipients are refused"


def _is_relay_refusal(reply: Reply) -> bool:
    return "5.7." in reply.text or "relay" in reply.text.lower()


def _shows(probe: Probe, reply: Reply, domain: str) -> bool:
    """Return whether the reply names someone@domain as an address of its own, apart from echoing what was sent."""
    sent = probe.recipient.strip(" <>")
    text = reply.text.lower().replace(sent.lower(), "")
    return re.search(rf'(?<!["\w])someone@{re.escape(domain)}(?![\w"@\\-]|\.\w)', text) is not None
