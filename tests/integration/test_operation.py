"""Starting, asking and telling a server as an operator does: what is refused, what is said, and that no signal surprises it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.conftest import Server, free_port, wait_for

from mailmoat.errors import ConfigError
from mailmoat.settings import load
from mailmoat.supervisor import instance, preflight

ROOT = pytest.mark.usefixtures("root")


def reasons(made: Server) -> list[str]:
    """Why it refused to start."""
    made.start(wait=False)
    assert made.process.wait(60) == 1
    assert "Traceback" not in made.log.read_text()
    return [line["detail"] for line in made.logged("start-refused")]


# --- one server on a spool ---


def test_a_second_server_on_the_spool_refuses_to_start_and_names_the_first(server, tmp_path):
    first = server()
    second = server(start=False)
    second.log = tmp_path / "second.jsonl"
    (reason,) = reasons(second)
    assert f"spool_dir = {tmp_path / 'spool'}: another mailmoat (pid {first.process.pid}) runs on it" in reason
    assert first.client().deliver().startswith("250")
    first.stop()
    second.start()
    assert second.stop() == 0


def test_who_has_the_spool_is_asked_of_the_kernel(tmp_path):
    assert instance.find_server(tmp_path) is None
    code = "import sys, pathlib; from mailmoat.supervisor import instance; instance.lock(pathlib.Path(sys.argv[1]), None); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        holder.stdout.readline()
        assert instance.find_server(tmp_path) == holder.pid
        holder.kill()
        holder.wait()
    assert instance.find_server(tmp_path) is None


def test_what_a_server_that_is_gone_said_counts_no_more(tmp_path):
    state = instance.State(version="1", started=1, generation=2)
    instance.write_state(tmp_path, state)
    assert instance.state_of(tmp_path) == state
    os.close(instance.lock(tmp_path, None))
    assert instance.state_of(tmp_path) is None
    (tmp_path / instance.STATE_NAME).write_text('{"version": "1')
    assert instance.state_of(tmp_path) is None


# --- addresses ---


@pytest.mark.parametrize("setting", ["MAILMOAT_LISTEN", "MAILMOAT_ADMIN__LISTEN"])
def test_an_address_of_another_server_of_the_same_account_is_in_use(server, tmp_path, setting):
    first = server()
    taken = first.environment[setting]
    second = server(start=False, MAILMOAT_SPOOL_DIR=str(tmp_path / "other"), **{setting: taken})
    second.log = tmp_path / "second.jsonl"
    (reason,) = reasons(second)
    assert reason.endswith(
        f"{taken}: cannot listen there: Address already in use; stop the program that listens there, or name another port"
    )


def test_a_reload_from_all_addresses_to_one(server):
    mx = server("", start=False, MAILMOAT_LISTEN=None)
    mx.config.write_text(f'listen = ["0.0.0.0:{mx.port}"]\n')
    mx.start()
    mx.config.write_text(f'listen = ["127.0.0.1:{mx.port}"]\n')
    assert mx.cli("reload").returncode == 0
    assert mx.client().deliver().startswith("250")


# --- the spool directory ---


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda spool: spool.write_text(""), "is not a directory; remove it or name another"),
        (lambda spool: (spool.with_name("real").mkdir(), spool.symlink_to("real")), "is a link"),
        (lambda spool: (spool.mkdir(), spool.chmod(0o777)), "every account can write to it (mode 0777); chmod 700"),
        (lambda spool: (spool.mkdir(), spool.chmod(0o1777)), "(mode 1777); name a directory of its own, such as "),
        (lambda spool: spool.mkdir() or (spool / "lock").mkdir(), "lock: Is a directory"),
    ],
)
def test_a_spool_directory_that_will_not_do_refuses_the_start(server, make, said):
    made = server(start=False)
    make(made.directory / "spool")
    (reason,) = reasons(made)
    assert str(made.directory / "spool") in reason
    assert said in reason
    assert "Errno" not in reason
    if "lock" not in said:
        checked = made.cli("check-config")
        assert checked.returncode == 1
        assert f"mistake: spool_dir = {made.directory / 'spool'}: " in checked.stderr


def test_check_config_finds_a_spool_that_cannot_be_made(server):
    made = server(start=False, MAILMOAT_SPOOL_DIR="/dev/null/spool")
    assert "spool_dir = /dev/null/spool: cannot be " in made.cli("check-config").stderr
    assert "spool_dir = /dev/null/spool: cannot be " in reasons(made)[0]


@ROOT
def test_a_spool_that_root_has_left_is_named_with_the_fix(server, public):
    made = server(
        start=False,
        MAILMOAT_SPOOL_DIR=str(public / "spool"),
        MAILMOAT_USER="nobody",
        MAILMOAT_RECIPIENTS__FILE=None,
        MAILMOAT_CONFIG=None,
    )
    (public / "spool" / "lost+found").mkdir(parents=True)
    os.chown(public / "spool", 65534, 65534)
    assert made.cli("check-config").returncode == 0, "of a disk of its own"
    (public / "spool" / "partitions" / "1abc").mkdir(parents=True)
    (reason,) = reasons(made)
    assert f"{public / 'spool' / 'partitions'} belongs to root, and the server runs as nobody; " in reason
    assert f"chown -R nobody {public / 'spool'}" in reason
    shutil.rmtree(public / "spool")


@ROOT
def test_a_spool_that_root_has_used_is_named_although_the_account_cannot_enter_it(public):
    spool = public / "spool"
    spool.mkdir(mode=0o700)
    settings = load(None, {"MAILMOAT_SPOOL_DIR": str(spool), "MAILMOAT_USER": "nobody"})
    preflight.check(settings)
    (spool / "partitions").mkdir(mode=0o700)
    with pytest.raises(ConfigError) as refused:
        preflight.check(settings)
    assert f"{spool / 'partitions'} belongs to root, and the server runs as nobody; " in str(refused.value)


# --- accounts and files ---


@ROOT
def test_check_config_finds_what_the_account_lacks(server, public):
    made = server(start=False, MAILMOAT_SPOOL_DIR=str(public / "spool"), MAILMOAT_USER="no-such-account")
    assert (
        "user = no-such-account: there is no such account; create it or name another" in made.cli("check-config").stderr
    )
    made.environment["MAILMOAT_USER"] = "nobody"
    said = made.cli("check-config").stderr
    assert f"recipients.file = {made.recipients}: nobody cannot read it" in said
    recipients = public / "recipients.txt"
    recipients.write_text("alice@example.test\n")
    made.environment["MAILMOAT_RECIPIENTS__FILE"] = str(recipients)
    checked = made.cli("check-config")
    assert checked.returncode == 0
    assert f"warning: {made.config}: nobody cannot read it, so a reload will fail" in checked.stdout
    assert not (public / "spool").exists(), "it looks and changes nothing"


def test_check_config_says_what_is_wrong_with_the_password_for_the_next_hop(server, public):
    password = public / "password"
    made = server(
        start=False,
        MAILMOAT_DELIVERY__AUTH_NAME="edge",
        MAILMOAT_DELIVERY__AUTH_PASSWORD_FILE=str(password),
    )
    said = made.cli("check-config").stderr
    assert f"delivery.auth_password_file = {password}: {password} cannot be read: No such file" in said
    password.write_text("open sesame\n")
    password.chmod(0o644)
    checked = made.cli("check-config")
    assert checked.returncode == 0, checked.stderr
    assert f"warning: {password}: every account can read it; chmod o= {password}" in checked.stdout
    password.chmod(0o600)
    assert "every account" not in made.cli("check-config").stdout
    shown = made.cli("settings")
    assert "delivery.auth_password_file" in shown.stdout
    assert "sesame" not in shown.stdout + checked.stdout


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("TLS_CA", "delivery.tls_ca = {}: there is no certificate of a CA; name a PEM file of CAs"),
        ("TLS_CERTIFICATE", "delivery.tls_certificate = {}: "),
    ],
)
def test_check_config_says_what_is_wrong_with_tls_to_the_next_hop(server, tmp_path, setting, said):
    file = tmp_path / "file.pem"
    made = server(
        start=False,
        MAILMOAT_DELIVERY__NEXT_HOP="smtp://hub.test",
        MAILMOAT_DELIVERY__TLS="verify",
        **{f"MAILMOAT_DELIVERY__{setting}": str(file)},
    )
    assert f"delivery.{setting.lower()} = {file}: cannot be read: No such file" in made.cli("check-config").stderr
    file.write_text("nonsense")
    assert said.format(file) in made.cli("check-config").stderr


def test_a_python_that_the_account_cannot_read_is_warned_of(monkeypatch):
    monkeypatch.setattr(preflight, "_kept_from_us", lambda file: file == Path(os.__file__))
    (warning,) = preflight.warnings(load(None, {}))
    assert warning.startswith(f"Python in {Path(os.__file__).parent}: ")


# --- signals ---


def test_signals_that_mean_nothing_change_nothing(server):
    mx = server()
    client = mx.client()
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO):
        for pid in (mx.process.pid, *mx.pids()):
            os.kill(pid, number)
    assert client.deliver().startswith("250")
    assert mx.client().deliver().startswith("250")
    assert not mx.logged("process-ended")


def test_a_signal_while_the_program_is_loaded_does_not_end_it_and_sighup_is_kept_for_later(server):
    mx = server(start=False).start(wait=False)

    def known():
        """What the process does about SIGHUP, when it is not the kernel's default any more."""
        status = Path(f"/proc/{mx.process.pid}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
        return [name for name in ("SigBlk", "SigCgt") if int(masks[name], 16) & 1 << (signal.SIGHUP - 1)]

    assert mx.until(known, what="word about SIGHUP") == ["SigBlk"], "it is blocked before it is caught"
    mx.kill(signal.SIGUSR1)
    mx.kill(signal.SIGHUP)
    mx.until(lambda: mx.exited() or mx.logged("files-reread"), what="the reload")
    assert not mx.exited(), mx.log.read_text()


# --- output ---


def test_a_server_without_standard_output_serves(server):
    mx = server(start=False)
    mx.process = subprocess.Popen(
        ["sh", "-c", f"exec {sys.executable} -m mailmoat serve >&- 2>err <&-"], env=mx.environment, cwd=mx.directory
    )
    mx.log.touch()
    client = mx.until(lambda: mx.exited() or _client(mx), what="greeting")
    assert not mx.exited(), (mx.directory / "err").read_text()
    assert client.deliver().startswith("250")
    assert mx.stop() == 0
    assert "Traceback" not in (mx.directory / "err").read_text()


def _client(mx):
    try:
        return mx.client()
    except OSError:
        return None


@pytest.mark.parametrize("words", [("settings",), ("queue", "list"), ("settings", "--json"), ("--help",)])
def test_output_that_goes_nowhere_ends_a_command_without_a_traceback(server, words):
    made = server(start=False)
    (made.directory / "spool").mkdir()
    command = [sys.executable, "-m", "mailmoat", *words]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, env=made.environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        f"mailmoat: the output cannot be written: {os.strerror(errno.ENOSPC)}\n",
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, env=made.environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    line = f"{sys.executable} -m mailmoat {' '.join(words)} >&-"
    done = subprocess.run(["sh", "-c", line], env=made.environment, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_what_an_ascii_stream_cannot_take_is_no_failure(server):
    mx = server(MAILMOAT_DELIVERY__NEXT_HOP=f"smtp://127.0.0.1:{free_port()}")
    client = mx.client()
    assert client.ask("MAIL FROM:<jörg@remote.tld> SMTPUTF8", "RCPT TO:<alice@example.test>", "DATA").startswith("354")
    assert client.ask("Subject: x\r\n\r\nx\r\n.").startswith("250")
    mx.environment["PYTHONIOENCODING"] = "ascii"
    assert "from <j" in mx.cli("queue", "list", check=True).stdout
    assert mx.cli("settings", check=True).stderr == ""


# --- status and reload ---


def test_status_says_how_the_server_is(server):
    mx = server(MAILMOAT_WORKERS="2")
    mx.until(lambda: mx.logged("serving"), what="serving")
    found = json.loads(mx.cli("status", "--json", check=True).stdout)
    assert (found["running"], found["pid"], found["generation"]) == (True, mx.process.pid, 0)
    assert found["listen"] == [f"127.0.0.1:{mx.port}"]
    assert found["messages"] == 0
    assert found["uptime"] >= 0
    assert found["health"]["status"] == "ok"
    shown = mx.cli("status", check=True).stdout
    for text in (f"pid       {mx.process.pid}\n", "workers   2 of 2 ready\n", "messages  0\n", "health    ok\n"):
        assert text in shown
    mx.stop()
    gone = mx.cli("status")
    assert (gone.returncode, gone.stderr) == (1, f"mailmoat: no server runs on {mx.directory / 'spool'}\n")
    assert json.loads(mx.cli("status", "--json").stdout)["running"] is False


def test_status_without_an_admin_address(server):
    mx = server(MAILMOAT_ADMIN__LISTEN="off")
    shown = mx.cli("status", check=True).stdout
    assert "health    not known: there is no admin address to ask\n" in shown


def test_reload_says_whether_it_was_taken_and_why_not(server):
    mx = server()
    done = mx.cli("reload")
    assert (done.returncode, done.stdout) == (
        0,
        f"The server (pid {mx.process.pid}) has read its settings again.\n",
    )
    assert json.loads(mx.cli("status", "--json").stdout)["generation"] == 0, (
        "with the same settings there is no other one"
    )
    del mx.environment["MAILMOAT_RECIPIENTS__FILE"]
    with_mistake = 'listen = ["192.0.2.1:25"]\n'
    mx.config.write_text(with_mistake)
    refused = mx.cli("reload")
    assert refused.returncode == 0, "the server's own environment names the address, and wins"
    mx.recipients.unlink()
    missing = mx.cli("reload")
    assert missing.returncode == 1
    assert "refused: the recipient file is not usable\n" in missing.stderr
    mx.stop()
    none = mx.cli("reload")
    assert none.returncode == 1
    assert "no server runs on" in none.stderr


def test_reload_names_what_needs_a_restart(server):
    mx = server()
    mx.config.write_text('user = "nobody"\n')
    done = mx.cli("reload")
    assert (done.returncode, done.stderr) == (0, "warning: user has changed and takes effect at a restart only\n")


def test_a_refused_reload_is_told_with_its_reasons(server):
    mx = server("", start=False, MAILMOAT_LISTEN=None)
    mx.config.write_text(f'listen = ["127.0.0.1:{mx.port}"]\n')
    mx.start()
    mx.config.write_text(f'listen = ["127.0.0.1:{mx.port}", "192.0.2.1:2525"]\n')
    refused = mx.cli("reload")
    assert refused.returncode == 1
    assert (
        "refused: listen = 192.0.2.1:2525: cannot listen there: Cannot assign requested address; name an address of this machine"
        in refused.stderr
    )
    assert f"(pid {mx.process.pid}) continues with what was in force before" in refused.stderr
    assert "a reload was refused" in mx.cli("status", check=True).stdout
    mx.config.write_text("wrokers = 1\n")
    mistaken = mx.cli("reload")
    assert (mistaken.returncode, "did you mean workers?" in mistaken.stderr) == (1, True)


def test_sigterm_is_obeyed_while_a_large_recipient_file_is_compiled(server):
    mx = server(start=False)
    with mx.recipients.open("w") as file:
        file.writelines(f"user{number}@example.test\n" for number in range(3_000_000))
    mx.start(wait=False)
    wait_for(mx.pids, what="the compile")
    mx.kill(signal.SIGTERM)
    assert mx.process.wait(60) == 0
    assert not mx.logged("directory-compiled"), "it was not waited for"
    assert not mx.logged("process-started")


# --- what the manual says of logs and backups ---


def test_a_log_file_may_be_cut_while_it_is_written(server):
    mx = server()
    os.truncate(mx.log, 0)
    client = mx.client()
    client.ask("QUIT")
    mx.until(lambda: mx.logged("session-ended"), what="a line")
    assert mx.log.read_bytes().startswith(b"{"), "it is opened for appending: no hole at its beginning"


def test_the_spool_of_a_stopped_server_can_be_carried_elsewhere(server):
    mx = server(MAILMOAT_DELIVERY__NEXT_HOP=None, MAILMOAT_DELIVERY__RETRY="1")
    assert mx.client().deliver().startswith("250")
    mx.stop()
    shutil.copytree(mx.directory / "spool", mx.directory / "elsewhere", symlinks=True)
    shutil.rmtree(mx.directory / "spool")
    mx.environment["MAILMOAT_SPOOL_DIR"] = str(mx.directory / "elsewhere")
    mx.environment["MAILMOAT_DELIVERY__NEXT_HOP"] = f"maildir:{mx.directory / 'maildir'}"
    mx.start()
    mx.until(mx.delivered, what="the message")


def test_bash_completes_commands():
    line = "source <(mailmoat --show-completion); COMP_WORDS=(mailmoat queue li); COMP_CWORD=2; _mailmoat_completion mailmoat"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", line + '; echo "${COMPREPLY[@]}"'], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "list\n", done.stderr
