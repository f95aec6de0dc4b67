"""The servers that are compared: how each is made ready for a piece of work, started, and asked for its version.

A peer says why it cannot do a piece of work, or cannot be had at all; that is shown, never passed over. Each keeps to a directory
of its own and to 127.0.0.1, and is told to do what mailmoat does by default and no more: no TLS, no reverse lookup of the client.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from loadtest.compare.haraka import Haraka
from loadtest.processes import Trouble, free_port, start
from loadtest.servers import DOMAIN, Running, Setup, program, start_mailmoat


class Peer(Protocol):
    """One server program."""

    name: str
    promise: str
    """What its 250 after the message is worth."""
    held_limit: int
    """Sessions it can be asked to hold."""
    unheld: int
    """Refusals in a session that it does not hold back."""

    def missing(self, setup: Setup | None = None) -> str:
        """Return why this server cannot be measured; empty if it can."""

    def version(self) -> str:
        """Return the version, for the report."""

    def start(self, directory: Path, setup: Setup) -> Running:
        """Start it; raises Trouble."""


class Mailmoat:
    """The subject, with policy, directory, log and durable 250."""

    name = "mailmoat"
    promise = "on disk (group commit)"
    held_limit = 1_000_000
    unheld = 0

    def missing(self, setup: Setup | None = None) -> str:  # noqa: ARG002 - it can do all of them
        """Say that nothing is missing."""
        return ""

    def version(self) -> str:
        """Return version and commit."""
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
        return f"mailmoat {asked.stdout.strip() or 'of no commit'}"

    def start(self, directory: Path, setup: Setup) -> Running:
        """Start it."""
        return start_mailmoat(directory, setup)


class Postfix:
    """Postfix with a configuration and a queue of its own; accept-only keeps messages in its hold queue, which spares it the queue manager."""

    name = "postfix"
    promise = "on disk (a file and fsync a message)"
    held_limit = 50  # half of its processes, one a session: other mail needs the rest
    unheld = 1

    def missing(self, setup: Setup | None = None) -> str:  # noqa: ARG002 - it can do all of them
        """Say what is missing: the program, or root to start it."""
        if program("master") is None or program("postconf") is None:
            return "Postfix is not installed"
        return "" if os.geteuid() == 0 else "Postfix needs root to start"

    def version(self) -> str:
        """Return the version that postconf prints."""
        return f"Postfix {_said(program('postconf') or 'postconf', '-dh', 'mail_version')}"

    def start(self, directory: Path, setup: Setup) -> Running:
        """Start its master below `directory`."""
        port = free_port()
        config, queue, state = directory / "etc", directory / "queue", directory / "lib"
        for made in (config, queue, state):
            made.mkdir()
        # Its processes drop root and must still reach their queue.
        directory.chmod(0o755)
        _run("chown", "postfix", str(state))
        log = directory / "maillog"  # what master prints and what postlogd writes
        (config / "recipients").write_text("".join(f"{address} x\n" for address in setup.addresses()))
        (config / "main.cf").write_text(_main_cf(directory, setup))
        (config / "master.cf").write_text(MASTER_CF.format(port=port))
        _run(program("postmap") or "postmap", "-c", str(config), str(config / "recipients"))
        _run(program("postfix") or "postfix", "-c", str(config), "check")
        process = start([program("master") or "master", "-c", config, "-d"], log)

        def queued() -> int:
            return sum(
                1 for name in ("incoming", "active", "deferred") for path in (queue / name).rglob("*") if path.is_file()
            )

        return Running(process, port, log, queued if setup.next_hop else lambda: 0).await_greeting()


MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60  1 pickup
cleanup   unix  n - n -   0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n -   - trivial-rewrite
bounce    unix  - - n -   0 bounce
defer     unix  - - n -   0 bounce
trace     unix  - - n -   0 bounce
proxymap  unix  - - n -   - proxymap
smtp      unix  - - n -   - smtp
relay     unix  - - n -   - smtp
showq     unix  n - n -   - showq
error     unix  - - n -   - error
retry     unix  - - n -   - error
discard   unix  - - n -   - discard
anvil     unix  - - n -   1 anvil
tlsmgr    unix  - - n 1000? 1 tlsmgr
scache    unix  - - n -   1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


def _main_cf(directory: Path, setup: Setup) -> str:
    """Return the settings that mailmoat's work needs; whatever is not here is Postfix's default."""
    settings = {
        "compatibility_level": "3.6",
        "queue_directory": directory / "queue",
        "data_directory": directory / "lib",
        "maillog_file": directory / "maillog",
        "maillog_file_prefixes": directory,
        "myhostname": f"mx.{DOMAIN}",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "mynetworks": "192.0.2.255/32",
        "mydestination": "",
        "local_recipient_maps": "",
        "alias_maps": "",
        "alias_database": "",
        "relay_domains": DOMAIN,
        "relay_recipient_maps": f"hash:{directory}/etc/recipients",
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "smtpd_recipient_restrictions": "reject_unauth_destination",
        "smtpd_peername_lookup": "no",
        "smtpd_soft_error_limit": "1" if setup.tarpit else "1000000",
        "smtpd_hard_error_limit": "1000000",
        "smtpd_error_sleep_time": f"{setup.tarpit:.0f}s",
        "smtpd_junk_command_limit": "1000000",
        "smtpd_client_connection_count_limit": "0",
        "in_flow_delay": "0",
        "relay_destination_concurrency_limit": "20",
        "biff": "no",
    }
    if setup.certificate:
        settings |= {
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": setup.certificate / "chain.pem",
            "smtpd_tls_key_file": setup.certificate / "key.pem",
            "tls_random_source": "dev:/dev/urandom",
            "smtpd_starttls_timeout": "120s",
        }
    if setup.next_hop:
        settings["relay_transport"] = f"relay:[127.0.0.1]:{setup.next_hop}"
    else:
        settings["smtpd_data_restrictions"] = "check_client_access static:HOLD"
    return "".join(f"{name} = {value}\n" for name, value in settings.items())


class Aiosmtpd:
    """aiosmtpd, which people build their own servers on: policy in Python, messages thrown away."""

    name = "aiosmtpd"
    promise = "nothing (thrown away)"
    held_limit = 5_000
    unheld = 0

    def missing(self, setup: Setup | None = None) -> str:
        """Say that it has no queue to deliver from."""
        if importlib.util.find_spec("aiosmtpd") is None:
            return "aiosmtpd is not installed"
        return "aiosmtpd has no queue" if setup is not None and setup.next_hop else ""

    def version(self) -> str:
        """Return the version of the package."""
        return f"aiosmtpd {importlib.metadata.version('aiosmtpd')}"

    def start(self, directory: Path, setup: Setup) -> Running:
        """Start a server made with it."""
        port, log = free_port(), directory / "aiosmtpd.log"
        recipients = directory / "recipients.txt"
        recipients.write_text("\n".join(setup.addresses()))
        command = [
            sys.executable,
            "-m",
            "loadtest.compare.aiosmtpd_server",
            str(port),
            str(recipients),
            str(setup.tarpit),
        ]
        return Running(start(command, log), port, log).await_greeting()


ALL: tuple[Peer, ...] = (Mailmoat(), Postfix(), Aiosmtpd(), Haraka())


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"{' '.join(command)}: {done.stderr or done.stdout}")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
