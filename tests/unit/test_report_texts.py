"""The texts of reports: files, placeholders, the choice of languages, and what is said in each."""

import email
import email.policy
import re
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmoat.errors import ConfigError
from mailmoat.reports import languages
from mailmoat.reports.dsn import render
from mailmoat.reports.kind import ReportKind
from mailmoat.reports.languages import chosen, load, shipped
from mailmoat.reports.report import Original, Report, ReportedRecipient
from mailmoat.reports.template import PLACEHOLDERS, Template, TemplateError, parse
from mailmoat.settings import Settings
from mailmoat.settings.sections.reports import ReportsSettings

KINDS = list(ReportKind)
HEADER = b"From: a@b.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n"
DAY = 86_400.0


def report(kind=ReportKind.FAILED, *recipients, octets=HEADER, reverse_path="ann@example.org"):
    return Report(
        kind=kind,
        reporting_mta="mx.example.test",
        postmaster="postmaster@example.test",
        original=Original("q7", 1_790_000_000_000, reverse_path, octets=octets),
        recipients=list(recipients) or [ReportedRecipient("bob@example.test", "550 5.1.1 no", "192.0.2.1")],
        date_ms=1_790_000_001_000,
        message_id="<q8@mx.example.test>",
        boundary="=_q8",
    )


def read(octets):
    return email.message_from_bytes(octets, policy=email.policy.default)


def words(octets):
    """What a person reads, in one line."""
    return " ".join(read(octets).get_payload(0).get_content().split())


# --- what is shipped ---


def test_english_japanese_and_polish_are_shipped_and_say_the_same_things():
    assert sorted(shipped()) == ["en", "ja", "pl"]
    sections = {language: set(template._sections) for language, template in shipped().items()}
    assert sections["en"] == sections["ja"] == sections["pl"]
    for template in shipped().values():
        assert template.missing == []
        for section, text in template._sections.items():
            english = shipped()["en"]._sections[section]
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english)), section
            assert all(len(line) <= 78 for line in text.split("\n"))


@pytest.mark.parametrize("language", ["en", "ja", "pl"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_what_happened_and_to_whom_in_each_language(language, kind):
    octets = render(report(kind), [shipped()[language]])
    parsed = read(octets)
    assert octets.isascii(), "for next hops without 8BITMIME"
    assert all(len(line) <= 78 for line in octets.split(b"\r\n"))
    assert not [part.defects for part in parsed.walk() if part.defects]
    text = parsed.get_payload(0)
    assert text["Content-Language"] == language
    assert text.get_content_charset() == "utf-8"
    template = shipped()[language]
    assert str(make_header(decode_header(str(parsed["Subject"])))) == template.fill(f"{kind}.subject")
    said = text.get_content()
    for value in ("bob@example.test", "mx.example.test", "Grüße", template.fill("attached.header")):
        assert value in said
    assert "{" not in said
    assert ("q7" in said) == (kind in (ReportKind.FAILED, ReportKind.DELAYED))
    assert ("550 5.1.1 no" in said) == (kind in (ReportKind.FAILED, ReportKind.DELAYED))


@pytest.mark.parametrize(
    ("reply", "english"),
    [
        ("550 5.1.1 no", "There is no mailbox with this address."),
        ("550 5.1.99 no", "The server does not accept this address."),
        ("552 5.2.2 full", "The mailbox is full."),
        ("554 5.7.26 spam", "The server refused the message by its rules"),
        ("550 no", "The server refused the message."),
    ],
)
def test_the_reason_follows_the_status_code(reply, english):
    assert english in words(render(report(ReportKind.FAILED, ReportedRecipient("a@b.test", reply)), [shipped()["en"]]))


@pytest.mark.parametrize(
    ("seconds", "english", "polish", "japanese"),
    [
        (DAY, "1 day", "1 dnia", "1 日"),
        (5 * DAY, "5 days", "5 dni", "5 日"),
        (36 * 3600.0, "36 hours", "36 godzin", "36 時間"),
        (5400.0, "90 minutes", "90 minut", "90 分"),
        (60.0, "1 minute", "1 minuty", "1 分"),
        (0.0, "0 seconds", "0 sekund", "0 秒"),
    ],
)
def test_times_in_words(seconds, english, polish, japanese):
    assert [shipped()[one].span(seconds) for one in ("en", "pl", "ja")] == [english, polish, japanese]


def test_several_languages_follow_one_another():
    octets = render(report(), [shipped()["ja"], shipped()["en"]])
    text = read(octets).get_payload(0)
    assert text["Content-Language"] == "ja, en"
    japanese, english = text.get_content().split("=" * 60)
    assert "配信できませんでした" in japanese
    assert "was not delivered" in english
    subject = str(make_header(decode_header(str(read(octets)["Subject"]))))
    assert subject == "メールを配信できませんでした / Not delivered: your message"


def test_what_people_read_keeps_its_letters_and_is_encoded_for_next_hops_of_seven_bits():
    recipient = ReportedRecipient("a@b.test", "550 5.1.1 Unbekannt: jörg")
    for language, encoding in (("en", "quoted-printable"), ("pl", "quoted-printable"), ("ja", "base64")):
        octets = render(report(ReportKind.FAILED, recipient), [shipped()[language]])
        text = read(octets).get_payload(0)
        assert (text["Content-Transfer-Encoding"], text.get_content_charset()) == (encoding, "utf-8")
        assert "jörg" in text.get_content()
    octets = render(report(ReportKind.FAILED, recipient, reverse_path="jörg@b.test"), [shipped()["ja"]])
    assert b"Content-Transfer-Encoding: 8bit" in octets, "SMTPUTF8 is needed in any case, and implies 8BITMIME"


@given(st.binary(max_size=120).filter(lambda octets: b"\r" not in octets and b"\n" not in octets))
def test_no_subject_breaks_the_text(subject):
    octets = render(report(octets=b"Subject: " + subject + b"\r\n\r\n"), [shipped()["pl"]])
    assert octets.isascii()
    assert read(octets).get_payload(0).get_content().count("bob@example.test") == 1


@pytest.mark.parametrize(
    "name",
    [
        "ACME, Inc.",
        'Mail "Team" <x@y.test>',
        "mail@b.test; c",
        "Back\\slash",
        "a (b",
        "Mail Delivery System",
        "Gr\u00fc\u00dfe, Post",
        "x" * 5_000,
        "",
    ],
)
def test_any_name_leaves_one_author(name):
    template = parse("en", f"[name]\n{name}\n[failed.subject]\n{name}\n").over(shipped()["en"])
    octets = render(report(), [template])
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    (author,) = read(octets)["From"].addresses
    assert author.addr_spec == "postmaster@example.test"
    assert author.display_name[:20] == name[:20]
    assert str(read(octets)["Subject"])[:20] == name[:20]


# --- the file ---


def test_a_line_with_an_empty_value_is_left_out_and_a_block_keeps_its_indentation():
    template = parse("en", "[recipient]\n# a remark\nTo: {address}\n    {reason}\nwhy {said}\n\n[name]\nx\n")
    assert template.fill("recipient", address="a", reason="one\r\ntwo", said="") == "To: a\r\n    one\r\n    two"
    assert template.fill("name") == "x"
    template = parse("en", "[failed.text]\na\n\n{others}\n\nb\n\n\nc {until}\nd\n")
    assert template.fill("failed.text", others="", until="") == "a\r\n\r\nb\r\n\r\n\r\nd"


def test_a_value_is_never_taken_for_a_placeholder():
    template = parse("en", "[recipient]\n{address} {said}\n")
    assert template.fill("recipient", address="{said}", reason="", said="{address}") == "{said} {address}"


@pytest.mark.parametrize(
    ("text", "line", "wrong"),
    [
        ("[failed.text]\nYour {mesage}\n", 2, "{mesage} is not a placeholder"),
        ("\n[name]\n{server}\n", 3, "those are none"),
        ("[failed.txt]\n", 1, "[failed.txt] is not a section"),
        ("[reason.2]\n", 1, "[reason.2] is not a section"),
        ("[name]\na\n[name]\n", 3, "[name] is there twice"),
        ("# x\nhello\n", 2, "a text before the first section"),
    ],
)
def test_a_mistake_has_its_line(text, line, wrong):
    with pytest.raises(TemplateError) as caught:
        parse("en", text)
    assert caught.value.line == line
    assert wrong in caught.value.wrong


@given(st.text(max_size=400) | st.text(st.sampled_from("[]{}#\n reason.5failedtxname"), max_size=400))
def test_any_text_is_a_template_or_has_a_line(text):
    try:
        found = parse("en", text)
    except TemplateError as error:
        line = error.line
    else:
        assert isinstance(found, Template)
        return
    assert 1 <= line <= len(text.splitlines())


def test_a_directory_changes_some_texts_and_adds_languages(tmp_path):
    (tmp_path / "en.txt").write_text("[failed.subject]\nSorry: {subject}\n")
    (tmp_path / "DE.txt").write_text((languages.SHIPPED / "en.txt").read_text().replace("Attached are", "Angehängt:"))
    templates, mistakes = load(tmp_path)
    assert mistakes == []
    assert sorted(templates) == ["de", "en", "ja", "pl"]
    octets = render(report(), [templates["en"]])
    assert str(make_header(decode_header(str(read(octets)["Subject"])))) == "Sorry: Grüße"
    assert "was not delivered" in words(octets), "what the file does not have is as shipped"
    assert "Angehängt:" in words(render(report(), [templates["de"]]))


def test_a_file_that_cannot_be_used_is_named_and_the_shipped_one_is_used(tmp_path):
    (tmp_path / "de.txt").write_text("[name]\nPost\n")
    (tmp_path / "en.txt").write_text("[failed.text]\n\n{oops}\n")
    (tmp_path / "pl.txt").write_bytes(b"[name]\nPoczta\n\xff\n")
    (tmp_path / "x_y.txt").write_text("")
    (tmp_path / "ja.txt").write_text("#" * (languages.MAX_FILE + 1))
    (tmp_path / "fr.txt").mkdir()
    templates, mistakes = load(tmp_path)
    assert templates == shipped()
    assert [mistake.removeprefix(f"{tmp_path}/").split(": ")[0] for mistake in mistakes] == [
        "de.txt, line 3",
        "en.txt, line 3",
        "fr.txt cannot be read",
        "ja.txt, line 1",
        "pl.txt, line 3",
        "x_y.txt, line 1",
    ]
    assert load(tmp_path / "none") == (shipped(), [f"{tmp_path}/none is not a directory"])


def test_a_file_that_can_no_longer_be_used_leaves_what_was_read_before(tmp_path):
    file = tmp_path / "en.txt"
    file.write_text("[failed.subject]\nSorry\n")
    before, _ = load(tmp_path)
    file.write_text("[failed.subject]\n{oops}\n")
    assert load(tmp_path, before)[0] == before != shipped()
    assert load(tmp_path / "none", before) == (before, [f"{tmp_path}/none is not a directory"])
    file.unlink()
    assert load(tmp_path, before) == (shipped(), [])


def test_check_config_finds_it(tmp_path):
    (tmp_path / "en.txt").write_text("[failed.text]\n{oops}\n")
    settings = Settings(hostname="mx.example.test", reports=ReportsSettings(templates=tmp_path, languages="en, xx"))
    with pytest.raises(ConfigError) as caught:
        languages.examine(settings)
    first, second = caught.value.mistakes
    assert first.startswith(f"reports.templates: {tmp_path}/en.txt, line 2: {{oops}} is not a placeholder")
    assert second == "reports.languages: there are no texts in xx; write one of en, ja, pl, or add a file"
    languages.examine(Settings(hostname="mx.example.test"))


def test_every_section_has_its_placeholders_in_the_manual(pytestconfig):
    manual = (pytestconfig.rootpath / "docs" / "manual.md").read_text()
    for name in sorted(frozenset().union(*PLACEHOLDERS.values())):
        assert f"`{{{name}}}`" in manual, name


# --- the choice ---


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", ()),
        ("Content-Language: ja", ("ja",)),
        ("content-language: PL-pl", ("pl",)),
        ("Content-Language: de, pl , en", ("pl", "en")),
        ("Content-Language: en-US\r\nAccept-Language: ja", ("en",)),
        ("Content-Language: de\r\nAccept-Language: ja;q=0.3, pl;q=0.8, de", ("pl",)),
        ("Accept-Language: de, en;q=0, ja;q=0.1", ("ja",)),
        ("Accept-Language:\r\n ja (Japanese),\r\n en", ("ja",)),
        ("Content-Language: ../../etc/passwd, " + "x" * 500, ()),
        ("X: a\r\n Content-Language: ja", ()),
    ],
)
def test_the_language_of_a_message(fields, expected):
    assert chosen(f"From: a@b.test\r\n{fields}\r\n\r\nContent-Language: pl\r\n".encode(), shipped()) == expected


@given(st.binary(max_size=200))
def test_no_field_breaks_the_choice(value):
    assert set(chosen(b"Content-Language: " + value + b"\r\nAccept-Language: " + value, shipped())) <= set(shipped())
