"""What TLS costs: samples of the case `tls`, each server with the same certificates.

A connection is connect, EHLO, STARTTLS, EHLO, QUIT. Messages go over reused connections, pipelined, once in clear and once in TLS: the
difference is what TLS adds. By default each connection carries 20 messages or more, the same number to both servers, so that what a server does for
a connection (Postfix: processes) and by itself, while it waits, counts for little. Memory is that of connections which stay: idle after
EHLO in TLS, or in a handshake that never ends.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.processes import ROOT, Trouble, growth
from loadtest.servers import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadtest.compare.peers import Peer
    from loadtest.servers import Running

    Serving = Callable[[Peer, Setup], Any]
    Measured = Callable[[Running, int, Callable[[int, int], None]], "Sample"]

Sample = dict[str, Any]
KIB = 1024
KEYS = {
    "P-256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "RSA-2048": ("rsa:2048",),
}
LONGEST = 300
CONNECTIONS = (("full handshake, P-256", "P-256", "full"), ("full handshake, RSA-2048", "RSA-2048", "full"))
RESUMED = ("resumed, P-256", "P-256", "resumed")
SESSIONS = 20
"""Connections of the client."""
MESSAGES = (("4 KiB", 4 * KIB, 1.0), ("1 MiB", KIB * KIB, 0.15))
"""Label, octets, messages as a part of those of other cases: of 3,000, 22 of 1 MiB a connection."""
STAYING = (
    ("idle session", "idle", 0),
    ("half-open handshake", "half-open", 0),
    ("unfinished ClientHello", "half-open", 8000),
)
"""Label, mode of the client, octets of a ClientHello."""


@cache
def certificate(kind: str) -> Path:
    """Make a directory with `chain.pem` and `key.pem`, once a run."""
    directory = Path(tempfile.mkdtemp(prefix="mailmoat-certificate-"))
    directory.chmod(0o755)
    made = ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=mx.example.test"]
    made += ["-addext", "subjectAltName=DNS:mx.example.test", "-newkey", *KEYS[kind]]
    made += ["-keyout", str(directory / "key.pem"), "-out", str(directory / "chain.pem")]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"openssl: {done.stderr.strip()[-300:]}")
    return directory


def connections(peer: Peer, count: int, serving: Serving, measured: Measured, *, kind: str, mode: str) -> Sample:
    """Measure connections."""
    with serving(peer, Setup(certificate=certificate(kind))) as running:
        client = partial(_client, mode=mode)
        client(running.port, max(50, count // 10))
        return measured(running, count, client)


def messages(peer: Peer, count: int, serving: Serving, measured: Measured, size: int, *, secured: bool) -> Sample:
    """Measure messages in TLS, or by the same server in clear."""
    with serving(peer, Setup(certificate=certificate("P-256"))) as running:
        client = partial(_client, mode="messages" if secured else "pipelined", size=size)
        client(running.port, max(20, count // 10))
        return measured(running, count, client)


def staying(peer: Peer, count: int, serving: Serving, mode: str, hello: int) -> Sample:
    """Measure what connections that stay take of memory, and what is still taken when they are gone."""
    count = min(count, peer.held_limit)
    with serving(peer, Setup(certificate=certificate("P-256"))) as running:
        _client(running.port, 50, mode="full")
        running.tree.settle()
        before = running.tree.memory()
        with _staying(running.port, count, mode, hello):
            running.tree.settle()
            grown = running.tree.memory()
        running.tree.settle(quiet=3.0)
        after = running.tree.memory()
    return {
        "sessions": count,
        "rss_kib": growth(before.rss, grown.rss) / count / KIB,
        "pss_kib": growth(before.pss, grown.pss) / count / KIB,
        "left_share": growth(before.pss, after.pss) / max(1, growth(before.pss, grown.pss)),
    }


def jobs(
    peers: list[Peer], count: int, stay: int, serving: Serving, measured: Measured
) -> Iterator[tuple[str, Peer, Callable[[], Sample]]]:
    """Yield label, server and sample of each piece of work; Haraka and aiosmtpd are not among them."""
    for peer in (peer for peer in peers if peer.name in {"mailmoat", "postfix"}):
        for label, kind, mode in (*CONNECTIONS, RESUMED):
            yield (
                f"{peer.name}: {label}",
                peer,
                partial(connections, peer, count // 2, serving, measured, kind=kind, mode=mode),
            )
        for label, size, share in MESSAGES:
            for how, secured in (("clear", False), ("TLS", True)):
                work = partial(messages, peer, int(count * share), serving, measured, size, secured=secured)
                yield f"{peer.name}: {label}, {how}", peer, work
        for label, mode, hello in STAYING:
            yield f"{peer.name}: {label}", peer, partial(staying, peer, stay, serving, mode, hello)


def _client(port: int, count: int, *, mode: str, size: int = 4 * KIB) -> None:
    module = "sender" if mode == "pipelined" else "tls_sender"
    command = [sys.executable, "-m", f"loadtest.compare.{module}", "--port", str(port), "--mode", mode]
    command += ["--count", str(count), "--size", str(size), "--sessions", str(SESSIONS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise Trouble(f"the client took longer than {LONGEST} s") from None
    if done.returncode:
        raise Trouble(f"{module}: {(done.stderr or done.stdout).strip()[-300:]}")


@contextmanager
def _staying(port: int, count: int, mode: str, hello: int) -> Iterator[None]:
    command = [sys.executable, "-m", "loadtest.compare.tls_sender", "--port", str(port), "--mode", mode]
    command += ["--count", str(count), "--hello", str(hello)]
    client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        if client.stdout is None or client.stdout.readline() != "asked\n":
            raise Trouble("the client failed")
        yield
    finally:
        client.communicate("")
        if client.poll() is None:
            client.kill()
            client.wait()


def differences(samples: dict[str, list[Sample]], peer: str, label: str) -> list[float | None]:
    """Return by round what TLS adds to a message of this size, in microseconds."""
    pairs = zip(samples.get(f"{peer}: {label}, TLS", []), samples.get(f"{peer}: {label}, clear", []), strict=False)
    return [tls["cpu_us"] - clear["cpu_us"] if "cpu_us" in tls and "cpu_us" in clear else None for tls, clear in pairs]
