"""Other servers that send to us: each message of theirs arrives once, and their queues are empty afterwards."""

from __future__ import annotations

import email
import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from tests.namespace import alone as network_of_its_own
from tests.needs import PEERS_DIRECTORY

ALICE = "alice@example.test"
MESSAGES = 200
ACCOUNT = 9025
"""Number of an account and a group that need not exist."""
EXIM = """
primary_hostname = exim.remote.test
spool_directory = {spool}
log_file_path = {spool}/log/%slog
keep_environment =
qualify_domain = remote.test
tls_advertise_hosts =
disable_ipv6
queue_run_max = 3
remote_max_parallel = {parallel}

begin routers
ours:
  driver = manualroute
  domains = *
  transport = out
  route_list = * 127.0.0.1 byname
  self = send

begin transports
out:
  driver = smtp
  port = {port}
  hosts_avoid_tls = *
  connection_max_messages = {kept}

begin retry
* * F,1h,1s
"""


@pytest.fixture
def alone():
    with network_of_its_own():
        yield


class Exim:
    """A real Exim that sends all it has to us; its account exists in its own mount namespace alone."""

    def __init__(self, program, directory, port, *, parallel=2, kept=0):
        self.directory = directory
        self.spool = directory / "spool"
        self.spool.mkdir()
        directory.chmod(0o755)
        os.chown(self.spool, ACCOUNT, ACCOUNT)
        self.config = directory / "exim.conf"
        self.config.write_text(EXIM.format(spool=self.spool, port=port, parallel=parallel, kept=kept))
        for table, line in (
            ("passwd", f"Debian-exim:x:{ACCOUNT}:{ACCOUNT}::/:/bin/false\n"),
            ("group", f"Debian-exim:x:{ACCOUNT}:\n"),
        ):
            (directory / table).write_text(Path(f"/etc/{table}").read_text() + line)
        libraries = ":".join(map(str, PEERS_DIRECTORY.glob("usr/lib/*-linux-gnu")))
        mounts = " && ".join(f"mount --bind {directory / table} /etc/{table}" for table in ("passwd", "group"))
        self.command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec {program} -C {self.config} "$@"', "exim"]
        self.environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries}

    def run(self, *arguments, stdin=""):
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.log()
        return done.stdout

    def log(self):
        log = self.spool / "log" / "mainlog"
        return log.read_text() if log.exists() else ""

    def queue(self):
        return int(self.run("-bpc"))


@pytest.fixture
def exim(peer, alone):
    program = peer("exim4")
    with tempfile.TemporaryDirectory(prefix="exim-") as directory:
        yield lambda port, **more: Exim(program, Path(directory), port, **more)


def batch(count):
    """Messages in batched SMTP, as `exim -bS` reads them."""
    return "".join(
        f"MAIL FROM:<sender@remote.test>\nRCPT TO:<{ALICE}>\nDATA\nMessage-ID: <{number}@remote.test>\nSubject: x\n\n.. x\n.\n"
        for number in range(count)
    )


@pytest.mark.peer("exim4")
@pytest.mark.parametrize("kept", [1, 20], ids=["a connection each", "connections kept"])
def test_each_message_of_a_real_exim_arrives_once(server, exim, kept):
    """It closes its sending side behind the last end of data (RFC 5321 4.1.1.4: the reply is owed all the same)."""
    mx = server(MAILMOAT_WORKERS="2", MAILMOAT_TARPIT__TIME="1")
    sender = exim(mx.port, kept=kept)
    sender.run("-odq", "-bS", stdin=batch(MESSAGES))
    assert sender.queue() == MESSAGES
    sender.run("-qq")
    assert sender.queue() == 0, sender.log()
    mx.until(lambda: len(mx.delivered()) >= MESSAGES, what=f"{MESSAGES} messages")
    mx.until(mx.empty, what="empty spool")
    names = Counter(email.message_from_bytes(path.read_bytes())["Message-ID"] for path in mx.delivered())
    assert names == {f"<{number}@remote.test>": 1 for number in range(MESSAGES)}
    assert mx.metric("messages_accepted_total") == MESSAGES


@pytest.mark.peer("exim4")
@pytest.mark.parametrize("chunking", [True, False])
def test_a_real_exim_sends_by_bdat_where_it_is_offered(server, exim, chunking):
    """Exim logs a K for each message that went by BDAT."""
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_SMTP__CHUNKING=str(chunking).lower())
    sender = exim(mx.port, kept=20)
    large = batch(1).replace(".. x\n", ".. x\n" * 300_000)
    sender.run("-odq", "-bS", stdin=batch(3) + large)
    sender.run("-qq")
    assert sender.queue() == 0, sender.log()
    delivered = [line for line in sender.log().splitlines() if "=> " in line]
    assert [" K " in line for line in delivered] == [chunking] * 4
    mx.until(lambda: len(mx.delivered()) == 4, what="4 messages")
    contents = sorted((path.read_bytes() for path in mx.delivered()), key=len)
    assert contents[0].endswith(b"\n\n. x\n")
    assert contents[3].endswith(b"\n\n" + b". x\n" * 300_000)


@pytest.mark.peer("exim4")
def test_a_real_exim_reports_a_refused_recipient_once_it_was_held(server, exim):
    mx = server(MAILMOAT_WORKERS="1", MAILMOAT_TARPIT__TIME="1")
    sender = exim(mx.port)
    sender.run("-odq", "-bS", stdin=batch(1).replace(ALICE, "nobody@example.test"))
    sender.run("-qq")
    assert "550 5.1.1 User unknown" in sender.log()
    assert mx.metric("tarpit_disconnected_total") == 0
