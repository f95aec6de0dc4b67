"""The two servers that every measurement needs: mailmoat itself, and Postfix's smtp-sink as next hop and as the client's ceiling.

Each is started below a directory of its own on a free port of 127.0.0.1 and is a `Running` until `stop()`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loadtest.processes import ROOT, Tree, Trouble, free_port, greets, start, stop, wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path

DOMAIN = "example.test"
KNOWN = f"alice@{DOMAIN}"


@dataclass(frozen=True)
class Setup:
    """What a server is made ready for."""

    next_hop: int | None = None
    """Port of an SMTP server on 127.0.0.1 that accepted messages are handed to; None: they stay in the queue."""
    tarpit: float = 0.0
    """Seconds that the refusal of an unknown recipient is held."""
    workers: int = 0
    """Worker processes, 0 for as many as CPUs; for servers that have the choice."""
    recipients: int = 10
    """Known recipients, `alice` and the rest made up."""
    proxied: int = 0
    """A second port, at which clients name their address by the PROXY protocol; 0 for none. mailmoat alone has it."""
    listen: tuple[str, ...] = ()
    """Further addresses, as `listen` of the settings has them; for mailmoat alone."""
    certificate: Path | None = None
    """Directory with `chain.pem` and `key.pem`: STARTTLS is offered with them, and bounds on handshakes are off. None: no TLS."""

    def addresses(self) -> list[str]:
        """Return all known recipients."""
        return [KNOWN, *(f"r{number}@{DOMAIN}" for number in range(self.recipients - 1))]


@dataclass
class Running:
    """A server that accepts connections."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    queued: Callable[[], int] = lambda: 0
    """Messages it still has to hand on; asking may cost it CPU time."""
    proxied: int = 0
    """As in `Setup`."""
    admin: int = 0
    """Port of its health page and metrics; 0 for a server that has none."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """With which commands find it."""

    @property
    def tree(self) -> Tree:
        """Its processes."""
        return Tree(self.process.pid)

    def stop(self) -> None:
        """End it."""
        stop(self.process)

    def await_greeting(self) -> Running:
        """Wait until it greets.

        Raises:
            Trouble: it ended, or never did; its last words are told.

        """
        try:
            wait_for(lambda: self.process.poll() is not None or greets(self.port), "greeting")
            trouble = "it ended while starting" if self.process.poll() is not None else ""
        except Trouble as late:
            trouble = str(late)
        if trouble:
            self.stop()
            last = self.log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise Trouble(f"{trouble}; its log ends with: {last[-300:]}")
        return self


def program(name: str) -> str | None:
    """Return the path of a program of Postfix or the system."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/lib/postfix/sbin:/usr/libexec/postfix")


def start_sink(directory: Path) -> Running:
    """Start smtp-sink: accepts everything and keeps nothing.

    Raises:
        Trouble: it is not installed or does not start.

    """
    sink = program("smtp-sink")
    if sink is None:
        raise Trouble("smtp-sink is missing: install postfix")
    port, log = free_port(), directory / "smtp-sink.log"
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = start([sink, *account, "-c", f"127.0.0.1:{port}", "1024"], log)
    return Running(process, port, log).await_greeting()


def start_mailmoat(
    directory: Path,
    setup: Setup,
    extra: Mapping[str, str] | None = None,
    config_text: str = "",
    checkout: Path = ROOT,
) -> Running:
    """Start mailmoat as an administrator does, with policy, log and metrics on.

    `extra` are settings by their environment names, `config_text` is what its file has. `checkout` is where the build is that runs.

    Raises:
        Trouble: it does not start.

    """
    port, admin, log = free_port(), free_port(), directory / "mailmoat.log"
    recipients = directory / "recipients.txt"
    recipients.write_text("\n".join(setup.addresses()) + "\n")
    proxied = [f"proxy://127.0.0.1:{setup.proxied}"] if setup.proxied else []
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MAILMOAT_")},
        "PYTHONPATH": os.pathsep.join(filter(None, [str(checkout / "python"), os.environ.get("PYTHONPATH")])),
        "MAILMOAT_HOSTNAME": f"mx.{DOMAIN}",
        "MAILMOAT_LISTEN": ", ".join([f"127.0.0.1:{port}", *proxied, *setup.listen]),
        "MAILMOAT_LISTEN_PROXY_NETWORKS": "127.0.0.0/8",
        "MAILMOAT_ADMIN__LISTEN": f"127.0.0.1:{admin}",
        "MAILMOAT_SPOOL_DIR": str(directory / "spool"),
        "MAILMOAT_RELAY__LOCAL_DOMAINS": DOMAIN,
        "MAILMOAT_RECIPIENTS__FILE": str(recipients),
        "MAILMOAT_WORKERS": str(setup.workers),
        "MAILMOAT_TARPIT__TIME": str(setup.tarpit),
        "MAILMOAT_TARPIT__MAX_SESSION": "0",
        "MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE": "0",
        "MAILMOAT_LIMITS__MESSAGE_RATE": "off",
        "MAILMOAT_LIMITS__ERRORS": "0",
        "MAILMOAT_LIMITS__IDLE_COMMANDS": "0",
        "MAILMOAT_LOG__FORMAT": "json",
        "MAILMOAT_DNS__REVERSE_TIME": "0",
        **_tls(setup.certificate),
        **({"MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{setup.next_hop}"} if setup.next_hop else {}),
        **(extra or {}),
    }
    config = directory / "mailmoat.toml"
    config.write_text(config_text)
    environment["MAILMOAT_CONFIG"] = str(config)
    python = sys.executable if checkout == ROOT else checkout / ".venv" / "bin" / "python"
    process = start([python, "-m", "mailmoat", "serve"], log, environment, directory)

    def queued() -> int:
        return int(metric(admin, "mailmoat_queue_messages")) if setup.next_hop else 0

    return Running(process, port, log, queued, setup.proxied, admin, environment).await_greeting()


def _tls(certificate: Path | None) -> dict[str, str]:
    if certificate is None:
        return {"MAILMOAT_TLS__OFFER": "off"}
    return {
        "MAILMOAT_TLS__CERTIFICATE": str(certificate / "chain.pem"),
        "MAILMOAT_TLS__KEY": str(certificate / "key.pem"),
        "MAILMOAT_TLS__HANDSHAKES": "0",
        "MAILMOAT_TLS__HANDSHAKES_PER_SOURCE": "0",
        "MAILMOAT_TLS__HANDSHAKE_TIME": "120",
    }


def metric(admin: int, name: str) -> float:
    """Return a metric of a running mailmoat, with its labels or summed over them; 0 if it is missing."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    pairs = [line.rpartition(" ")[::2] for line in lines if not line.startswith("#")]
    return sum(float(value) for found, value in pairs if name in {found, found.partition("{")[0]})


def health(admin: int) -> dict[str, Any]:
    """Return what a running mailmoat says of its health."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/healthz", timeout=10) as page:
            said = page.read()
    except urllib.error.HTTPError as failing:
        said = failing.read()
    found: dict[str, Any] = json.loads(said)
    return found
