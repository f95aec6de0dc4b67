"""Options of domains: which spellings of a recipient are one, in settings, policy, live lookups and commands."""

from __future__ import annotations

import json
from functools import partial

import pytest
from tests.doubles.policy import services, view
from tests.unit.test_cli import run

from mailmoat._native import Address, Normalisation
from mailmoat.directory.configured import open_directory
from mailmoat.directory.directory import Presence, Redirection
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory_process.spellings import others
from mailmoat.errors import ConfigError
from mailmoat.policy.agents.recipient_filter import RecipientFilter, Recipients, Standing
from mailmoat.settings import load
from mailmoat.settings.lint import warnings
from mailmoat.settings.sections.recipient_domains import remarks

ROWS = """\
[relay]
local_domains = ["dots.test", "case.test", "plain.test", "old.test"]

[recipients]
file = "recipients"
blocked = ["b.ad@dots.test", "Bad@case.test"]

[[recipient_domains]]
domains = ["Dots.test"]
dots = "ignore"

[[recipient_domains]]
domains = ["case.test"]
case = "keep"
delimiter = "-="
"""
LINES = "first.last@dots.test\nboss@dots.test = first.last@dots.test\nBob@case.test\nann@plain.test\n@old.test = @dots.test\nbad@dots.test\n"


@pytest.fixture
def config(tmp_path):
    (tmp_path / "recipients").write_text(LINES)
    path = tmp_path / "mailmoat.toml"
    path.write_text(f'spool_dir = "{tmp_path}/spool"\n{ROWS}')
    return path


def test_rows_are_read_from_the_file_and_from_the_environment(config):
    from_file = load(config, {}).normalisation
    written = (
        '[{"domains": "dots.test", "dots": "ignore"}, {"domains": ["case.test"], "case": "keep", "delimiter": "-="}]'
    )
    local = "dots.test, case.test, plain.test, old.test"
    given = {"MAILMOAT_RECIPIENT_DOMAINS": written, "MAILMOAT_RELAY__LOCAL_DOMAINS": local}
    assert load(None, given).normalisation == from_file
    assert load(None, {}).normalisation == Normalisation("+")
    assert from_file != Normalisation("+")


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        ('{"domains": "a.test", "dots": "off"}', "dots"),
        ('{"domains": "a.test", "case": "lower"}', "case"),
        ('{"domains": "a.test", "delimiter": "@"}', "@ begins no subaddress"),
        ('{"domains": ""}', "no domain is named"),
        ('{"domains": "a.test"}, {"domains": "b.test, A.test."}', "it is listed twice"),
        (
            '{"domains": "a.test", "dots": "ignore", "delimiter": "+."}',
            "a dot cannot begin a subaddress where dots are ignored",
        ),
        ('{"dots": "ignore"}', "domains"),
    ],
)
def test_a_contradiction_is_a_mistake_that_names_its_row(row, mistake):
    with pytest.raises(ConfigError, match=mistake) as refused:
        load(None, {"MAILMOAT_RECIPIENT_DOMAINS": f"[{row}]"})
    assert "recipient_domains" in str(refused.value).lower()


def test_the_delimiter_of_all_domains_may_not_be_a_dot_that_is_ignored():
    row = '[{"domains": "a.test", "dots": "ignore"}]'
    with pytest.raises(ConfigError, match="a dot cannot begin a subaddress"):
        load(None, {"MAILMOAT_RECIPIENT_DOMAINS": row, "MAILMOAT_RECIPIENTS__DELIMITER": "."})


def test_who_exists_and_who_is_blocked_by_the_options_of_the_domain(config):
    settings = load(config, {})
    recipients = Recipients(settings, open_directory(settings))

    def standing(address):
        found = recipients.standing(Address.parse(address))
        return [str(target) for target in found.targets] if isinstance(found, Redirection) else found

    for address, expected in {
        "first.last@dots.test": Standing.EXISTS,
        "F.irstlast+x.y@dots.test": Standing.EXISTS,
        "bo.ss@dots.test": ["first.last@dots.test"],
        "fi.rstlast@old.test": ["fi.rstlast@dots.test"],
        "last@dots.test": Standing.ABSENT,
        "Bob@case.test": Standing.EXISTS,
        "Bob=x@case.test": Standing.EXISTS,
        "bob@case.test": Standing.ABSENT,
        "Bob+x@case.test": Standing.ABSENT,
        "BAD@dots.test": Standing.BLOCKED,
        "ba.d+x@dots.test": Standing.BLOCKED,
        "Bad-x@case.test": Standing.BLOCKED,
        "bad@case.test": Standing.ABSENT,
        "ANN+x@plain.test": Standing.EXISTS,
        "a.nn@plain.test": Standing.ABSENT,
        "PostMaster@case.test": Standing.POSTMASTER,
    }.items():
        assert standing(address) == expected, address


def test_another_option_makes_another_snapshot(config, tmp_path):
    settings = load(config, {})
    compiler, snapshot = RecipientsCompiler.of(settings), tmp_path / "snapshot"
    compiler.compile(settings.recipients.file, snapshot)
    assert compiler.made_from(settings.recipients.file, snapshot) is not None
    config.write_text(config.read_text().replace('dots = "ignore"', 'dots = "keep"'))
    assert RecipientsCompiler.of(load(config, {})).made_from(settings.recipients.file, snapshot) is None


def test_recipients_check_says_how_an_address_is_looked_up(config):
    asked = ["fir.stlast@dots.test", "bob@case.test", "Bob-x@case.test", "ann@plain.test"]
    lines = run("recipients", "check", "--config", str(config), *asked, status=1).stdout.splitlines()
    dots = "at dots.test dots are ignored, subaddresses begin with +"
    case = "at case.test upper and lower case are different, subaddresses begin with - or ="
    assert lines == [
        f"fir.stlast@dots.test: exists (as firstlast@dots.test, listed on line 1; {dots})",
        f"bob@case.test: absent (neither it nor its domain is listed; {case})",
        f"Bob-x@case.test: exists (as Bob@case.test, listed on line 3; {case})",
        "ann@plain.test: exists (listed on line 4)",
    ]
    answers = json.loads(run("recipients", "check", "--json", "--config", str(config), asked[0]).stdout)
    assert answers[0]["answer"] == "exists"


def test_the_remark_names_no_subaddresses_where_there_are_none():
    settings = load(None, {"MAILMOAT_RECIPIENT_DOMAINS": '[{"domains": "a.test", "delimiter": ""}]'})
    assert remarks(settings.recipients, settings.recipient_domains, "a.test") == "at a.test there are no subaddresses"
    assert remarks(settings.recipients, settings.recipient_domains, "b.test") == ""


def test_a_live_source_is_asked_for_the_address_as_written_first():
    normalisation = load(
        None, {"MAILMOAT_RECIPIENT_DOMAINS": '[{"domains": "dots.test", "dots": "ignore"}]'}
    ).normalisation
    asked = partial(others, normalisation)
    assert list(map(str, asked(Address.parse("A.b+x.y@dots.test")))) == [
        "Ab+xy@dots.test",
        "A.b@dots.test",
        "Ab@dots.test",
    ]
    assert list(map(str, asked(Address.parse("A.b+x.y@other.test")))) == ["A.b@other.test"]
    assert asked(Address.parse("ab@dots.test")) == []


def test_guesses_at_spellings_of_one_mailbox_are_one_guess():
    noted = []

    class Records:
        def unknown(self, *guess):
            noted.append(guess)

    class Nobody:
        def lookup(self, _address, _client=""):
            return Presence.ABSENT

    environment = {
        "MAILMOAT_RELAY__LOCAL_DOMAINS": "dots.test",
        "MAILMOAT_RECIPIENT_DOMAINS": '[{"domains": "dots.test", "dots": "ignore"}]',
    }
    given = services(load(None, environment), directory=Nobody())
    agent = RecipientFilter(given)
    agent._records = Records()
    for written in ("a.b@dots.test", "A.B@dots.test", "ab@dots.test"):
        agent.on_rcpt(view(recipient=Address.parse(written)))
    assert {key for _, key, _ in noted} == {"ab@dots.test"}
    assert len(noted) == 3


def test_options_that_do_nothing_or_that_a_source_does_not_have_are_warned_about(tmp_path):
    environment = {
        "MAILMOAT_RELAY__LOCAL_DOMAINS": "a.test",
        "MAILMOAT_SPOOL_DIR": str(tmp_path),
        "MAILMOAT_RECIPIENT_DOMAINS": '[{"domains": "a.test, b.test", "case": "keep"}]',
        "MAILMOAT_DIRECTORIES": '[{"name": "office", "url": "sqlite:///x", "mode": "live", "lookup_query": "SELECT :address AS address"}]',
    }
    found = [sentence for sentence in warnings(load(None, environment)) if sentence.startswith("recipient_domains")]
    assert [sentence.partition(",")[0] for sentence in found] == [
        "recipient_domains: case is keep at a.test",
        "recipient_domains has b.test",
        "recipient_domains: case is keep at b.test",
    ]
