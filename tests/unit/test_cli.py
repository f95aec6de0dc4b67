"""The command line: what it prints, its exit status, and that what it tells a newcomer to type works."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.doubles.next_hop import NextHop
from typer.main import get_command
from typer.testing import CliRunner

from mailmoat import _native, demo
from mailmoat.cli import COMMANDS, GROUPS, application
from mailmoat.cli.reflexes import MEANT
from mailmoat.settings import load
from mailmoat.supervisor import supervisor

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MAILMOAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILMOAT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("MAILMOAT_HOSTNAME", "mx.a.test")
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, status: int = 0, **environment: str):
    result = CliRunner().invoke(
        application(), arguments, env={f"MAILMOAT_{name}": value for name, value in environment.items()}
    )
    assert result.exit_code == status, result.output
    return result


def every_command(command=None, words=()):
    """The words of each command, groups and the whole program among them."""
    command = command or get_command(application())
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*words, name))


@pytest.mark.parametrize("words", [*every_command()], ids=" ".join)
def test_help(words):
    assert "Usage:" in run(*words, "--help").stdout
    assert "Usage:" in run(*words, "-h").stdout


def test_version():
    assert run("--version").stdout == f"mailmoat {metadata.version('mailmoat')}\n"


def test_help_imports_nothing_heavy():
    code = "import sys; from mailmoat.cli import application; application(); print([m for m in sys.modules if m in set(sys.argv[1:])])"
    heavy = [
        "pydantic",
        "pydantic_settings",
        "uvloop",
        "starlette",
        "uvicorn",
        "mailmoat.settings",
        "mailmoat.receive",
        "mailmoat.supervisor",
        "mailmoat.worker",
    ]
    found = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout == "[]\n"


# --- check-config ---


def test_check_config(tmp_path):
    made = tmp_path / "spool/self-signed.pem"
    result = run("check-config", RELAY__LOCAL_DOMAINS="a.test", TARPIT__TIME="31")
    assert result.stdout.splitlines() == [
        "warning: the tarpit is on without a recipient filter (recipients.file is not set): there is little for it to delay",
        "warning: tarpit.time is 31 s: above 30 s legitimate senders with a mistyped recipient wait long, too",
        "warning: delivery.next_hop is not set: accepted messages stay in the spool until they expire",
        f"warning: tls.certificate is not set: a self-signed certificate is used ({made}), which peers that verify do not accept",
        "The settings can be used; 4 warnings.",
    ]


def quiet(*arguments, status=0, **environment):
    """Check settings of which there is nothing to say but what a test adds."""
    place = {"RELAY__LOCAL_DOMAINS": "a.test", "RECIPIENTS__POSTMASTER": "ann@a.test", "TLS__OFFER": "false"}
    options = {"TARPIT__TIME": "0", "DELIVERY__NEXT_HOP": "smtp://127.0.0.2:2"}
    return run("check-config", *arguments, status=status, **{**place, **options, **environment})


@pytest.mark.parametrize("strict", [[], ["--strict"]])
def test_without_a_warning_strict_changes_nothing(strict):
    assert quiet(*strict).stdout == "The settings can be used.\n"
    assert json.loads(quiet(*strict, "--json").stdout) == {"ok": True, "mistakes": [], "warnings": []}


@pytest.mark.parametrize(("strict", "status"), [([], 0), (["--strict"], 1)])
def test_a_source_that_is_away_is_a_warning_and_counts_with_strict(tmp_path, strict, status):
    (tmp_path / "m.toml").write_text('[[directories]]\nname = "office"\nurl = "ldap://127.0.0.1:1"\n')
    checked = quiet("-c", "m.toml", *strict, status=status)
    warning = "directories, office: ldap://127.0.0.1:1: no connection: Connection refused"
    assert checked.stdout.splitlines() == [f"warning: {warning}", "The settings can be used; 1 warning."]
    assert checked.stderr == "mailmoat: with --strict, a warning counts as a mistake\n" * status
    document = json.loads(quiet("-c", "m.toml", *strict, "--json", status=status).stdout)
    assert document == {"ok": not status, "mistakes": [], "warnings": [warning]}


def test_check_config_blames_a_recipient_file_that_is_not_there_by_its_own_name(tmp_path):
    missing = tmp_path / "recipients.txt"
    result = run("check-config", status=1, RELAY__LOCAL_DOMAINS="a.test", RECIPIENTS__FILE=str(missing))
    assert result.stderr.splitlines()[0] == (
        f"mistake: recipients.file: {missing}: it cannot be read: No such file or directory"
    )


def test_check_config_finds_mistakes(tmp_path):
    (tmp_path / "m.toml").write_text("wrokers = 1\n")
    result = run("check-config", "--config", "m.toml", status=1, TARPITTIME="5")
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "mistake: m.toml: wrokers = 1: no such setting; did you mean workers?",
        'mistake: MAILMOAT_TARPITTIME = "5": no such setting; did you mean MAILMOAT_TARPIT__TIME?',
        "mailmoat: 2 mistakes in the settings",
    ]
    document = json.loads(run("check-config", "-c", "m.toml", "--json", status=1).stdout)
    assert document == {
        "ok": False,
        "mistakes": ["m.toml: wrokers = 1: no such setting; did you mean workers?"],
        "warnings": [],
    }


def test_the_recipient_file_is_checked_too(recipients):
    recipients.write_text("alice@a.test\nbob bob@a.test\n")
    assert f"mistake: recipients.file: {recipients}: line 2" in run("check-config", status=1).stderr
    recipients.unlink()
    assert f"mistake: recipients.file: {recipients}: " in run("check-config", status=1).stderr


def test_entries_elsewhere_are_warned_about_and_only_such_entries_refused(recipients):
    recipients.write_text("alice@a.test\nbob@other.test\n")
    warning = f"warning: recipients.file: {recipients}: line 2: other.test is not in relay.local_domains"
    assert warning in run("check-config").stdout
    recipients.write_text("bob@other.test\n")
    assert "no entry is at a local domain" in run("check-config", status=1).stderr


def test_check_config_as_json():
    document = json.loads(run("check-config", "--json", RELAY__LOCAL_DOMAINS="a.test").stdout)
    assert document["ok"] is True
    assert [warning.partition(" is not set")[0] for warning in document["warnings"]] == [
        "delivery.next_hop",
        "tls.certificate",
    ]


# --- settings ---


def test_settings():
    lines = run("settings", TARPIT__TIME="2.5").stdout.splitlines()
    at = lines.index("tarpit.time = 2.5s  [MAILMOAT_TARPIT__TIME]")
    assert lines[at + 1].startswith("    How long each 5xx reply")
    assert "delivery.retry = 1m*4, 10m*6, 30m  [default]" in lines
    assert run("settings", status=1, WORKERS="x").stderr.startswith('mistake: MAILMOAT_WORKERS = "x"')


def test_settings_changed(tmp_path):
    file = tmp_path / "m.toml"
    file.write_text("workers = 3\n")
    shown = run("settings", "--changed", "-c", str(file), TARPIT__TIME="2.5").stdout.splitlines()
    assert shown == [
        f"workers = 3  [{file}]",
        "hostname = mx.a.test  [MAILMOAT_HOSTNAME]",
        f"spool_dir = {tmp_path / 'spool'}  [MAILMOAT_SPOOL_DIR]",
        "tarpit.time = 2.5s  [MAILMOAT_TARPIT__TIME]",
    ]
    document = json.loads(run("settings", "--changed", "--json", "-c", str(file)).stdout)
    assert [entry["name"] for entry in document] == ["workers", "hostname", "spool_dir"]


def test_settings_as_json():
    document = {entry["name"]: entry for entry in json.loads(run("settings", "--json", TARPIT__TIME="2.5").stdout)}
    assert document["tarpit.time"]["value"] == 2.5
    assert document["tarpit.time"]["origin"] == "MAILMOAT_TARPIT__TIME"
    assert document["listen"]["value"] == "0.0.0.0:25, [::]:25"
    assert document["delivery.next_hop"]["value"] is None
    assert document["ndr.enabled"]["value"] is True


# --- queue list ---

NOW = 1_800_000_000_000
PENDING, DELIVERED = _native.RecipientState.PENDING, _native.RecipientState.DELIVERED
QUEUED = _native.QueueStatus.QUEUED


def recipient(address, state=PENDING, reply="", *, due=NOW, attempts=0):
    return SimpleNamespace(
        address=address, state=state, reply=reply, due=due, attempts=attempts, next_hop="", is_open=state is PENDING
    )


LATER = recipient("y@a.test", reply="451 4.3.0 [bold]later\x1b[2J", due=NOW + 90_000, attempts=3)
MESSAGES = [
    {
        "queue_id": "b1", "arrival": NOW - 60_000, "reverse_path": "", "size": 300,
        "recipients": [recipient("x@a.test", due=NOW - 1)], "partition": "b", "owned": True, "status": QUEUED, "crashes": 0,
    },
    {
        "queue_id": "a1", "arrival": NOW - 7_260_000, "reverse_path": "s@b.test", "size": 5000,
        "recipients": [LATER, recipient("z@a.test", DELIVERED, "250 ok", attempts=1)], "partition": "a", "owned": True,
        "status": _native.QueueStatus.DEFERRED, "crashes": 1,
    },
    {
        "queue_id": "c1", "arrival": NOW, "reverse_path": "s@b.test", "size": 1,
        "recipients": [recipient("x@a.test")], "partition": "c", "owned": False, "status": QUEUED, "crashes": 0,
    },
]  # fmt: skip


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """The messages that are in the queue: three pages, of which the second is empty."""
    messages = []

    def page(_directory, _filter, after):
        number = int(after or 0)
        entries = [messages[:1], [], messages[1:]][number]
        return SimpleNamespace(entries=entries, after=str(number + 1) if number < 2 else None, examined=5)

    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(_native, "queue_list", page)
    monkeypatch.setattr(_native, "newer_partitions", lambda _directory: [])
    monkeypatch.setattr("mailmoat.clock.wall_ms", lambda: NOW)
    return messages


def test_an_empty_queue(spool):
    assert run("queue", "list").stdout == "The spool is empty.\n"
    assert json.loads(run("queue", "list", "--json").stdout) == []


def test_queue_list(spool):
    spool.extend(MESSAGES)
    lines = run("queue", "list").stdout.splitlines()
    assert lines == [
        "a1  age 2h1m  5000 octets  3 attempts  next in 1m30s",
        "    from <s@b.test>",
        "    to y@a.test: pending: 451 4.3.0 [bold]later?[2J",
        "    to z@a.test: delivered: 250 ok",
        "b1  age 1m0s  300 octets  0 attempts  next now",
        "    from <>",
        "    to x@a.test: pending",
        "c1  age 0s  1 octets  0 attempts  next when a worker takes it",
        "    from <s@b.test>",
        "    to x@a.test: pending",
        "",
        "3 messages",
    ]


@pytest.mark.parametrize("columns", ["20", "80", "300"])
def test_queue_list_cuts_nothing_at_any_width(spool, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    spool.extend({**message, "reverse_path": f"{'s' * 60}@b.test"} for message in MESSAGES)
    assert run("queue", "list").stdout.count(f"    from <{'s' * 60}@b.test>\n") == 3


def test_queue_list_as_json(spool):
    spool.extend(MESSAGES)
    document = json.loads(run("queue", "list", "--json").stdout)
    assert [message["queue_id"] for message in document] == ["a1", "b1", "c1"]
    assert (document[0]["due"], document[0]["attempts"]) == (NOW + 90_000, 3)
    assert document[0]["recipients"][1] == {
        "address": "z@a.test", "state": "delivered", "reply": "250 ok", "due": NOW, "attempts": 1, "next_hop": "",
    }  # fmt: skip


def test_queue_list_beside_the_owner_of_a_partition(tmp_path):
    (tmp_path / "spool").mkdir()
    partition = _native.Partition.create(str(tmp_path / "spool"))
    queue_id = partition.next_queue_id()
    message = _native.Message(
        queue_id=queue_id, arrival=NOW, reverse_path="s@b.test", recipients=["x@a.test"], content=b"Subject: x\r\n\r\n"
    )
    partition.insert(None, message)
    assert select.select([partition.descriptor], [], [], 30)[0]
    (listed,) = json.loads(run("queue", "list", "--json").stdout)
    assert (listed["queue_id"], listed["owned"], listed["size"]) == (queue_id, True, 14)
    (recipient,) = listed["recipients"]
    assert (recipient["address"], recipient["state"], recipient["reply"]) == ("x@a.test", "pending", "")
    assert queue_id in run("queue", "list").stdout
    partition.close()
    assert "when a worker takes it" in run("queue", "list").stdout


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            PermissionError(13, "Permission denied"),
            "cannot be read: permission denied; run this as root or as the server's account\n",
        ),
        (OSError(5, "Input/output error"), "cannot be read: Input/output error\n"),
    ],
)
def test_a_spool_that_cannot_be_read(spool, monkeypatch, error, text):
    def fails(*_arguments):
        raise error

    monkeypatch.setattr(_native, "queue_list", fails)
    assert run("queue", "list", status=1).stderr.endswith(text)


def test_messages_that_are_set_aside_say_why(spool):
    spool.append({**MESSAGES[0], "status": _native.QueueStatus.CRASHED, "crashes": 2})
    assert run("queue", "list").stdout.startswith("b1  age 1m0s  300 octets  0 attempts  set aside: workers died while")
    (document,) = json.loads(run("queue", "list", "--json").stdout)
    assert (document["status"], document["crashes"]) == ("crashed", 2)


def test_filters_that_select_nothing_are_no_error(spool):
    assert run("queue", "list", "--from", "<>").stdout == "No message is selected.\n"


# --- recipients check ---


@pytest.fixture
def recipients(tmp_path, monkeypatch):
    path = tmp_path / "recipients.txt"
    path.write_text("alice@a.test\n@b.test\n!gone@b.test\n")
    monkeypatch.setenv("MAILMOAT_RECIPIENTS__FILE", str(path))
    monkeypatch.setenv("MAILMOAT_RECIPIENTS__BLOCKED", "all@b.test")
    monkeypatch.setenv("MAILMOAT_RELAY__LOCAL_DOMAINS", "a.test, b.test")
    monkeypatch.setenv("MAILMOAT_RELAY__UNFILTERED_DOMAINS", "partner.test")
    return path


def test_recipients_check(recipients):
    expected = {
        "Alice@A.test": "exists",
        "alice": "exists",
        "bob@a.test": "absent",
        "anybody@b.test": "exists",
        "gone@b.test": "absent",
        "All@b.test": "blocked",
        "Postmaster@a.test": "exists",
        "alice@c.test": "elsewhere",
        "al ice@a.test": "malformed",
        "victim%evil.test@b.test": "absent",
        "victim%evil.test@partner.test": "absent",
    }
    document = json.loads(run("recipients", "check", "--json", *expected, status=1).stdout)
    assert {answer["address"]: answer["answer"] for answer in document} == expected
    assert all(answer["why"] for answer in document)
    assert run("recipients", "check", "alice@a.test").stdout.startswith("alice@a.test: exists (")


def test_recipients_check_without_a_directory():
    result = run("recipients", "check", "x@a.test", status=1, RELAY__LOCAL_DOMAINS="a.test")
    assert (
        result.stdout
        == "x@a.test: unknown (neither recipients.file nor directories is set: every recipient is accepted)\n"
    )


def test_recipients_check_says_why_a_way_to_another_server_is_nobody(recipients):
    why = "absent (@b.test on line 2 does not cover it: another server may read it as a route)"
    assert run("recipients", "check", "x%y.test@b.test", status=1).stdout == f"x%y.test@b.test: {why}\n"
    result = run("recipients", "check", "x!y@a.test", status=1, RECIPIENTS__FILE="")
    assert result.stdout.startswith("x!y@a.test: absent (it could lead to another server")


def test_recipients_check_with_a_broken_file(recipients):
    recipients.write_text("alice@a.test\nbob bob@a.test\n")
    result = run("recipients", "check", "alice@a.test", status=1)
    assert result.stderr.startswith("mistake: ")
    assert str(recipients) in result.stderr


# --- serve ---


def test_serve_runs_the_supervisor_and_reloads_from_the_same_place(tmp_path, monkeypatch):
    file = tmp_path / "m.toml"
    file.write_text("workers = 2\n")
    seen = []

    def stand_in(settings, reload, _programs):
        file.write_text("workers = 3\n")
        seen.extend([settings.workers, reload().workers])
        return 1

    monkeypatch.setattr(supervisor, "run", stand_in)
    run("serve", "--config", "m.toml", status=1)
    assert seen == [2, 3]


def test_the_demo_lives_below_the_working_directory(tmp_path, monkeypatch):
    seen = []
    monkeypatch.delenv("MAILMOAT_SPOOL_DIR")
    monkeypatch.setattr(supervisor, "run", lambda settings, reload, _programs: seen.extend([settings, reload()]) or 0)
    result = run("serve", "--demo", LISTEN="127.0.0.1:2626")
    settings, again = seen
    assert settings == again
    assert result.stderr == ""
    assert str(settings.listen[0]) == "127.0.0.1:2626"
    assert settings.tarpit.time == 5.0
    assert settings.relay.local_domains == ("example.test",)
    assert settings.spool_dir == tmp_path / "var/spool"
    assert settings.delivery.next_hop.path == tmp_path / "var/maildir"
    assert demo.KNOWN in (tmp_path / "var/recipients.txt").read_text()
    assert "swaks --server 127.0.0.1:2626 --from you@example.org --to alice@example.test" in result.stdout
    assert f"ls {tmp_path}/var/maildir/new" in result.stdout


def test_the_demo_leaves_edited_recipients_alone(monkeypatch):
    monkeypatch.setattr(supervisor, "run", lambda settings, reload, _programs: 0)
    Path("var").mkdir()
    Path("var/recipients.txt").write_text("mine@example.test\n")
    run("serve", "--demo")
    assert Path("var/recipients.txt").read_text() == "mine@example.test\n"


def test_what_the_demo_says_to_type_works():
    with NextHop(RCPT=lambda line: "550 5.1.1 no" if demo.UNKNOWN in line else "250 2.1.5 ok") as peer:
        listen = f"127.0.0.1:{peer.port}"
        settings = load(demo.settings_file(), {"MAILMOAT_LISTEN": listen}, base=Path.cwd())
        send, probe = re.findall(r"^ +(python3 .*)$", demo.what_to_type(settings), re.MULTILINE)
        subprocess.run(["sh", "-c", send], check=True, timeout=30)
        probed = subprocess.run(["sh", "-c", probe], check=True, timeout=30, capture_output=True, text=True)
    (sent,) = peer.messages
    assert b"\r\nSubject: hello\r\n" in sent.content
    assert sent.content.endswith(b"It works.\r\n")
    assert re.match(r"\(550, b'5.1.1 no'\) \d\.\d s", probed.stdout)


def test_nothing_heavy_is_imported_before_a_command_runs():
    script = "import sys, mailmoat.cli as cli; cli.application(); print(*sorted({'asyncio', 'rich', 'ssl'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize("first", [*COMMANDS, *GROUPS])
def test_a_command_made_alone_is_the_one_that_is_made_with_all(first):
    alone, one_of_all = (CliRunner().invoke(app, [first, "--help"]) for app in (application(first), application()))
    assert (alone.exit_code, alone.output) == (0, one_of_all.output)
    assert list(get_command(application(first)).commands) == [first]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("queue delete x", "queue remove"), ("mailq", "queue list"), ("queue requeue", "queue release")],
)
def test_the_name_of_another_mail_server_leads_to_the_command_that_does_it(typed, meant):
    done = CliRunner().invoke(application(), typed.split())
    assert done.exit_code == 2
    assert f"`mailmoat {meant}` does that" in " ".join(done.output.replace("\u2502", " ").split())


def test_the_names_of_other_mail_servers_lead_to_commands_that_are_there():
    for typed, meant in MEANT.items():
        assert CliRunner().invoke(application(), [*meant.split(), "--help"]).exit_code == 0, meant
        assert CliRunner().invoke(application(), [*typed.split(), "--help"]).exit_code == 2, typed
