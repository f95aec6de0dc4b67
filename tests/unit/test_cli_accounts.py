"""`mailmoat user`: what it prints, its exit status, and what it leaves of the file."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import pwd
import re
import select
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import dovecot
from typer.testing import CliRunner

from mailmoat.auth import account_edit, accounts
from mailmoat.auth.accounts import Account
from mailmoat.auth.verifiers import Argon2Cost, Argon2Hash
from mailmoat.cli import application

ROOT = Path(__file__).parents[2]
PLAIN = Argon2Hash(Argon2Cost(8, 1), b"s" * 16, b"h" * 32)


@pytest.fixture(autouse=True)
def file(monkeypatch, tmp_path, public):
    for name in [name for name in os.environ if name.startswith("MAILMOAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILMOAT_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("MAILMOAT_AUTH__FILE", str(public / "accounts"))
    monkeypatch.chdir(tmp_path)
    return public / "accounts"


def user(*words, status=0, password=None, **environment):
    words = [*words, "--password-stdin"] if password is not None else words
    entered = None if password is None else f"{password}\n"
    result = CliRunner().invoke(application(), ["user", *words], input=entered, env=environment)
    assert result.exit_code == status, result.output
    return result


def test_from_nothing_to_an_account_that_is_verified(file):
    assert user("add", "alice@a.test", password="secret").stdout == "alice@a.test: added\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch(r"alice@a\.test \$argon2id\$\S+ SCRAM-SHA-256\$65536:\S+\n", file.read_text())
    assert "secret" not in file.read_text()
    assert user("verify", "ALICE@a.test", password="secret").stdout == "ALICE@a.test: the password is right\n"
    assert (
        user("verify", "alice@a.test", password="wrong", status=1).stdout
        == "alice@a.test: not authenticated (credentials)\n"
    )
    assert user("verify", "bob", password="secret", status=1).stdout == "bob: not authenticated (credentials)\n"
    # A command that root runs leaves nothing in the spool directory that the server could not read.
    assert not (file.parent / "spool").exists()


def test_list_set_passwd_remove(file):
    user("add", "alice", password="one")
    user("add", "bob", "--no-relay", "--scram-only", password="two")
    assert user("list").stdout == "alice: Argon2id, SCRAM-SHA-256\nbob: SCRAM-SHA-256, no-relay\n"
    assert user("set", "bob", "--relay", "--disable").stdout == "bob: changed\n"
    assert user("list").stdout == "alice: Argon2id, SCRAM-SHA-256\nbob: SCRAM-SHA-256, disabled\n"
    user("verify", "bob", password="two", status=1)
    user("set", "bob", "--enable")
    assert user("verify", "bob", password="two").exit_code == 0
    assert user("passwd", "Alice", password="three").stdout == "alice: password set\n"
    user("verify", "alice", password="one", status=1)
    user("verify", "alice", password="three")
    assert user("remove", "ALICE").stdout == "ALICE: removed\n"
    assert [account["name"] for account in json.loads(user("list", "--json").stdout)] == ["bob"]


def test_json():
    added = json.loads(user("add", "alice", "--json", "--no-relay", password="x").stdout)
    assert added == {
        "name": "alice",
        "argon2id": True,
        "scram": True,
        "may_relay": False,
        "enabled": True,
        "done": "added",
    }
    assert json.loads(user("verify", "alice", "--json", password="x").stdout) == {
        "name": "alice",
        "right": True,
        "outcome": "right",
    }
    wrong = json.loads(user("verify", "alice", "--json", password="y", status=1).stdout)
    assert wrong == {"name": "alice", "right": False, "outcome": "credentials"}
    assert json.loads(user("remove", "alice", "--json").stdout) == {"name": "alice", "done": "removed"}
    assert json.loads(user("list", "--json").stdout) == []


def test_what_else_is_in_the_file_stays(file):
    file.write_text(f"\ufeff# ours\n\nAlice {PLAIN.written()}   # the boss\nbob {PLAIN.written()} no-relay")
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    before = file.stat()
    user("add", "carol", password="x")
    user("set", "alice", "--no-relay")
    user("remove", "bob")
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    lines = file.read_text().splitlines()
    assert lines[:3] == ["\ufeff# ours", "", f"Alice {PLAIN.written()} no-relay"]
    assert [line.split()[0] for line in lines[3:]] == ["carol"]


def test_a_link_stays_a_link(file):
    real = file.parent / "real"
    real.write_text("")
    file.symlink_to(real)
    user("add", "alice", password="x")
    assert file.is_symlink()
    assert real.read_text().startswith("alice ")


@pytest.mark.parametrize(
    ("words", "password", "said"),
    [
        (("add", "alice"), "x", "alice is there already; mailmoat user passwd sets another password"),
        (("add", "ALICE"), "x", "alice is there already"),
        (("add", "a b"), "x", "a name has no spaces"),
        (("add", "a\x01b"), "x", "the name cannot be used"),
        (("add", "bob"), "", "the password cannot be used: it is empty"),
        (("add", "bob"), "a\tb", "the password cannot be used: a character in it is not allowed"),
        (("add", "bob"), "\U0001f511", "too new for SASLprep"),
        (("add", "bob"), "x" * 1025, "more than 1024 octets"),
        (("passwd", "nobody"), "x", "there is no account nobody"),
        (("remove", "nobody"), None, "there is no account nobody"),
        (("set", "nobody", "--enable"), None, "there is no account nobody"),
        (("add", "bob"), None, "there is no terminal to ask for the password: use --password-stdin"),
    ],
)
def test_what_cannot_be_done(file, words, password, said):
    file.write_text(f"alice {PLAIN.written()}\n")
    before = file.read_text()
    assert said in user(*words, password=password, status=1).stderr
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir() if path.name.startswith("accounts")] == ["accounts"]


def test_set_without_a_change_is_a_wrong_command_line(file):
    file.write_text(f"alice {PLAIN.written()}\n")
    assert "name what to" in user("set", "alice", status=2).stderr


def test_a_file_with_a_mistake_is_not_changed(file):
    file.write_text("alice not-a-hash\n")
    for words in (("add", "bob"), ("passwd", "alice"), ("list",), ("remove", "alice"), ("verify", "alice")):
        result = user(*words, password="x" if words[0] in {"add", "passwd", "verify"} else None, status=1)
        assert result.stderr.startswith(f"mistake: auth.file: {file}: line 1: ")
    assert file.read_text() == "alice not-a-hash\n"


def test_without_a_file_in_the_settings():
    assert "auth.file is not set" in user("list", status=1, MAILMOAT_AUTH__FILE="").stderr
    elsewhere = {"MAILMOAT_AUTH__FILE": "", "MAILMOAT_AUTH__DOVECOT": "/nowhere/auth"}
    assert "the accounts are Dovecot's" in user("add", "a", password="x", status=1, **elsewhere).stderr
    away = user("verify", "a", password="x", status=1, **elsewhere)
    assert away.stdout == "a: not authenticated (unavailable)\n"
    assert away.stderr.startswith("mailmoat: auth.dovecot = /nowhere/auth: no answer; Dovecot has to run, ")
    assert (
        "neither auth.file nor auth.dovecot"
        in user("verify", "a", password="x", status=1, MAILMOAT_AUTH__FILE="").stderr
    )


def test_verify_asks_dovecot():
    with dovecot.running("alice:{PLAIN}secret\n") as server:
        ours = {
            "MAILMOAT_AUTH__FILE": "",
            "MAILMOAT_AUTH__DOVECOT": str(server.socket),
            "MAILMOAT_AUTH__MECHANISMS": "LOGIN",
        }
        assert "is right" in user("verify", "alice", password="secret", **ours).stdout
        user("verify", "alice", password="wrong", status=1, **ours)


def test_verify_needs_no_mechanism_that_shows_the_password():
    user("add", "alice", password="x")
    assert "is right" in user("verify", "alice", password="x", MAILMOAT_AUTH__MECHANISMS="SCRAM-SHA-256").stdout


def test_a_password_is_asked_for_twice_and_not_shown(file):
    """At a real terminal."""
    for second, status in (("tw\u00f6 words", 0), ("other", None)):
        process, terminal = pty.fork()
        if process == 0:
            os.execv(sys.executable, [sys.executable, "-m", "mailmoat", "user", "add", f"n{status}"])
        shown, asked = b"", 0
        while select.select([terminal], [], [], 30)[0]:
            try:
                read = os.read(terminal, 999)
            except OSError:
                break
            shown += read
            if shown.count(b": ") > asked and shown.endswith(b": "):
                asked += 1
                if asked == 3:  # they differed, and it asks again
                    os.write(terminal, b"\x03")
                    continue
                os.write(terminal, ("tw\u00f6 words" if asked == 1 else second).encode() + b"\n")
        os.close(terminal)
        ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert b"words" not in shown
        assert (ended == 0) == (status == 0)
    user("verify", "n0", password="tw\u00f6 words")


def test_many_changes_at_once_all_stay(file):
    def add(number):
        account_edit.add(file, Account(f"n{number}", PLAIN))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(60)))
    assert len(accounts.read(file.read_bytes()).by_key) == 60


def test_a_change_sees_the_lines_that_the_server_reads(file):
    others = f"# old:\rbob\n{Account('ann', PLAIN).line()}\r\n"
    file.write_bytes(others.encode() + Account("bob", PLAIN).line().encode())
    account_edit.remove(file, "bob")
    assert file.read_bytes() == others.encode()


def test_a_change_waits_for_the_one_before_it(file):
    account_edit.add(file, Account("one", PLAIN))
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        words = [sys.executable, "-m", "mailmoat", "user", "remove", "one"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(1.5)
            fcntl.flock(held, fcntl.LOCK_UN)
            assert child.communicate(timeout=60)[0] == "one: removed\n"


def test_check_config_reads_the_file(file):
    def check(status=0, **environment):
        result = CliRunner().invoke(application(), ["check-config"], env=environment)
        assert result.exit_code == status, result.output
        return result.output

    assert (
        f"mistake: auth.file = {file}: it cannot be read: No such file or directory; mailmoat user add makes it"
        in check(1)
    )
    file.write_text("alice\n")
    file.chmod(0o644)
    assert f"mistake: auth.file = {file}: line 1: the account has no password" in check(1)
    file.write_text("# none\n")
    said = check(MAILMOAT_AUTH__MECHANISMS="PLAIN, GSSAPI")
    assert f"warning: auth.file = {file}: every account can read it; chmod o= {file}" in said
    assert "no account is in it; mailmoat user add makes one" in said
    assert "warning: auth.mechanisms has GSSAPI, which auth.file cannot do" in said
    dovecot_alone = {"MAILMOAT_AUTH__FILE": "", "MAILMOAT_AUTH__DOVECOT": str(file)}
    assert f"mistake: auth.dovecot = {file}: is not a socket" in check(1, **dovecot_alone)
    file.unlink()
    assert f"warning: auth.dovecot = {file}: is not there, so AUTH is not offered until Dovecot runs" in check(
        **dovecot_alone
    )
    nobody = check(MAILMOAT_AUTH__FILE="", MAILMOAT_LISTEN="submission://127.0.0.1:587")
    assert "neither auth.file nor auth.dovecot is set: nobody can send there" in nobody


def test_a_file_that_the_server_cannot_read_is_a_mistake(root):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory) / "accounts"
        file.write_text(f"alice {PLAIN.written()}\n")
        file.chmod(0o600)
        environment = {"MAILMOAT_USER": "nobody", "MAILMOAT_AUTH__FILE": str(file)}
        result = CliRunner().invoke(application(), ["check-config"], env=environment)
    assert (
        f"auth.file = {file}: it cannot be read: Permission denied; let the account that runs mailmoat read it"
        in result.output
    )


def test_a_file_that_root_makes_can_be_read_by_the_server(file, root):
    user("add", "alice", password="x", MAILMOAT_USER="nobody")
    status = file.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o640, 0)
    assert status.st_gid == pwd.getpwnam("nobody").pw_gid


def test_names_are_completed(file):
    from mailmoat.cli.accounts import _names

    user("add", "alice", password="x")
    user("add", "bob", password="x")

    class Context:
        params: dict[str, object] = {}

    assert _names(Context(), "al") == ["alice"]
    assert _names(Context(), "") == ["alice", "bob"]
    file.unlink()
    assert _names(Context(), "") == []
