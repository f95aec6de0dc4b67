"""Every enhanced status code that is written here, in Rust and Python, is registered, and fits the reply code beside it.

The registry: RFC 5248 3 with what RFC 3463, 4954, 6531, 6710, 7372, 7504, 7505 and 8689 have put there.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "rust" / "machine").rglob("*.rs"), *(ROOT / "python" / "mailmoat").rglob("*.py")])

REGISTRY = {
    "0.0": None,
    "1.0": None, "1.1": {451, 550}, "1.2": None, "1.3": {501}, "1.4": None, "1.5": {250}, "1.6": None, "1.7": None, "1.8": {451, 501},
    "1.9": None, "1.10": {556},
    "2.0": None, "2.1": None, "2.2": {552}, "2.3": {552}, "2.4": {450, 452},
    "3.0": {221, 250, 421, 451, 550, 554}, "3.1": {452}, "3.2": {453, 521}, "3.3": None, "3.4": {552, 554}, "3.5": None, "3.6": {250, 251},
    "4.0": None, "4.1": {451}, "4.2": {421}, "4.3": {451, 550}, "4.4": None, "4.5": {451}, "4.6": None, "4.7": None,
    "5.0": {220, 250, 251, 252, 253, 451, 452, 454, 458, 459, 501, 502, 503, 554}, "5.1": {430, 500, 501, 503, 530, 550, 554, 555},
    "5.2": {500, 501, 502, 550, 555}, "5.3": {451}, "5.4": {451, 501, 502, 503, 504, 550, 555}, "5.5": None, "5.6": {500},
    "6.0": None, "6.1": None, "6.2": None, "6.3": {554}, "6.4": {250}, "6.5": None, "6.6": {554}, "6.7": {550, 553}, "6.8": {252, 550, 553},
    "6.9": {550, 554},
    "7.0": {220, 235, 450, 454, 500, 501, 503, 504, 530, 535, 550}, "7.1": {451, 454, 502, 503, 533, 550, 551}, "7.2": {550}, "7.3": None,
    "7.4": {504}, "7.5": None, "7.6": None, "7.7": None, "7.8": {535, 554}, "7.9": {534}, "7.10": {523}, "7.11": {524, 538},
    "7.12": {422, 432}, "7.13": {525}, "7.14": {535, 554}, "7.15": {450, 550}, "7.16": {552}, "7.20": {550}, "7.21": {550}, "7.22": {550},
    "7.23": {550}, "7.24": {451, 550}, "7.25": {550}, "7.26": {550}, "7.27": {550}, "7.30": {550},
}  # fmt: skip
"""Without their class, with the reply codes that the registry names; None where it names none."""

FITTING = {
    (421, "3.2"): "RFC 3463 3.4 has the server that shuts down there",
    (421, "4.1"): "RFC 3463 3.5: no answer from host",
    (421, "4.3"): "RFC 3463 3.5: the name of the next hop was not found",
    (421, "5.0"): "RFC 3463 3.6: any other violation of the protocol",
    (451, "7.0"): "RFC 3463 3.8: TLS that is wanted and not to be had now",
    (451, "7.5"): "RFC 3463 3.8: a certificate that is not verified",
    (421, "7.0"): "RFC 3463 3.8 has any other security condition there",
    (451, "4.6"): "RFC 3463 3.5: a loop",
    (451, "5.0"): "RFC 3463 3.6",
    (452, "5.3"): "RFC 5321 4.5.3.1.10: too many recipients",
    (454, "7.8"): "RFC 4954 6: the credentials, of ours for now",
    (500, "6.0"): "RFC 5321 4.5.3.1.6: a line too long",
    (502, "5.1"): "RFC 3463 3.6: an invalid command",
    (550, "1.8"): "RFC 3463 3.2: the domain of the sender is none",
    (550, "6.3"): "RFC 6152 3: the registry has 554 as an example",
    (553, "1.3"): "RFC 5321 4.2.3: the mailbox name is not allowed",
    (554, "4.6"): "RFC 3463 3.5: a loop",
    (530, "7.10"): "RFC 8689 4.2.1 and RFC 3207 4: it needs TLS",
    (550, "7.10"): "RFC 8689 4.2.1",
    (553, "7.1"): "RFC 5321 4.2.3: the sender is not the account's",
}
"""Pairs that the registry does not name, although both are right. The list of replies there is not exclusive (RFC 5248 2.3)."""

PAIR = re.compile(r'(?:\b|")([2-5][0-9]{2})(?:,\s*"| )([245]\.[0-9]{1,3}\.[0-9]{1,3})\b')
CODE = re.compile(r"(?<![\w.\[])([245]\.[0-7]\.[0-9]{1,3})(?![\w.])")


def code(path: Path) -> str:
    """Without tests, and without comments, which name sections of standards."""
    text = re.split(r"\n#\[cfg\(test\)\]\n", path.read_text())[0] if path.suffix == ".rs" else path.read_text()
    text = re.sub(r"(?m)^\s*(//|#).*$|\s//\s.*$|\s#\s.*$", "", text)
    return re.sub(r'"""(?:.|\n)*?"""', "", text)


def written() -> dict[tuple[int, str], set[str]]:
    """Each pair of reply code and enhanced status code, with the files it is in."""
    found: dict[tuple[int, str], set[str]] = {}
    for path in SOURCES:
        if not path.stem.endswith("tests"):
            for reply, enhanced in PAIR.findall(code(path)):
                found.setdefault((int(reply), enhanced), set()).add(path.name)
    return found


PAIRS = written()


def test_there_are_many():
    assert len(PAIRS) > 40
    assert {"reply.rs", "replies.rs", "transaction.rs", "recipient_filter.py", "pool.py"} <= set().union(
        *PAIRS.values()
    )


@pytest.mark.parametrize(("reply", "enhanced"), sorted(PAIRS), ids=str)
def test_a_code_is_registered_and_fits_its_reply(reply, enhanced):
    kind, _, detail = enhanced.partition(".")
    assert kind == str(reply)[0], (reply, enhanced, PAIRS[reply, enhanced])
    assert detail in REGISTRY, (reply, enhanced, PAIRS[reply, enhanced])
    replies = REGISTRY[detail]
    assert replies is None or reply in replies or (reply, detail) in FITTING, (reply, enhanced, PAIRS[reply, enhanced])


def test_a_code_alone_is_registered():
    for path in SOURCES:
        if not path.stem.endswith("tests"):
            for enhanced in CODE.findall(code(path)):
                assert enhanced.partition(".")[2] in REGISTRY, (path, enhanced)
