"""Servers for the conformance tests: one for each configuration and run, each with a scripted next hop of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from tests.doubles.client import Client
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import Server, free_port

RECIPIENTS = r"""alice@example.test
bob@example.test
@all.example.test
jörg@bücher.test
# What could be a route to somewhere else exists by an entry of its own alone.
a!b%c@all.example.test
"#$&'*/?^_`{|}~-"@all.example.test
"@"@all.example.test
"x@y.test"@all.example.test
"""


class Site:
    """A running server, its next hop, and the connections the test at hand has open."""

    wires: ClassVar[list[Client]] = []

    def __init__(self, directory: Path, more_listeners: str = "", hop: NextHop | None = None, **settings: str) -> None:
        self.hop = hop or NextHop()
        (directory / "recipients.txt").write_text(RECIPIENTS)
        self.proxy_port = free_port()
        environment = {
            "MAILMOAT_WORKERS": "1",
            "MAILMOAT_RELAY__LOCAL_DOMAINS": "example.test,all.example.test,bücher.test",
            "MAILMOAT_RELAY__UNFILTERED_DOMAINS": "relayed.test",
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{self.hop.port}",
            "MAILMOAT_DELIVERY__IDLE_TIME": "0.05",
            "MAILMOAT_DELIVERY__RETRY": "1s",
            "MAILMOAT_LISTEN_PROXY_NETWORKS": "127.0.0.0/8",
            "MAILMOAT_LIMITS__ERRORS": "0",
            "MAILMOAT_DRAIN_TIME": "1",
        } | {f"MAILMOAT_{name.upper()}": value for name, value in settings.items()}
        self.server = Server(directory, **environment)
        listen = f"127.0.0.1:{self.server.port},proxy://127.0.0.1:{self.proxy_port},{more_listeners}"
        self.server.environment["MAILMOAT_LISTEN"] = listen
        self.server.start()

    def wire(self, port: int = 0) -> Client:
        """A connection, nothing said or read."""
        wire = Client(port or self.server.port, greeted=False)
        self.wires.append(wire)
        return wire

    def connect(self, hello: str = "EHLO client.test") -> Client:
        """A connection that has said hello."""
        wire = self.wire()
        assert wire.reply().code == 220
        if hello:
            assert wire.ask(hello).code == 250
        return wire

    def proxied(self, source: str) -> Client:
        """A connection that comes from elsewhere, greeted or refused next."""
        wire = self.wire(self.proxy_port)
        family, target = ("TCP6", "::1") if ":" in source else ("TCP4", "127.0.0.1")
        wire.send(f"PROXY {family} {source} {target} 40000 25")
        return wire

    @contextmanager
    def offered(self, ehlo: str, later: str) -> Iterator[None]:
        """The next hop offers this for a while; a message to `later` then teaches the server that it offers everything again."""
        with self.hop.script(EHLO=ehlo):
            yield
        with self.hop.script():
            assert self.connect().deliver(later).code == 250
            self.hop.handed(later)

    def memory(self) -> int:
        """Octets of memory that its largest process had at most."""

        def peak(pid: int) -> int:
            status = Path(f"/proc/{pid}/status").read_text()
            return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024

        return max(peak(pid) for pid in self.server.pids())

    def end(self) -> None:
        self.hop.stop()
        self.server.stop()


@pytest.fixture(autouse=True)
def _no_wire_left() -> Iterator[None]:
    yield
    while Site.wires:
        Site.wires.pop().close()


Make = Callable[..., Site]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes sites that live as long as the run, one for each set of settings."""
    made: dict[tuple[tuple[str, str], ...], Site] = {}

    def make(**settings: str) -> Site:
        key = tuple(sorted(settings.items()))
        if key not in made:
            made[key] = Site(tmp_path_factory.mktemp("site"), **settings)
        return made[key]

    yield make
    for each in made.values():
        each.end()


@pytest.fixture(scope="session")
def plain(site: Make) -> Site:
    """Defaults, but for the limit on errors, so that one session can make many."""
    return site()


@pytest.fixture(scope="session")
def trusting(site: Make) -> Site:
    """Clients at 203.0.113.0/24 are ours."""
    return site(relay__networks="203.0.113.0/24")


@pytest.fixture(scope="session")
def tight(site: Make) -> Site:
    """Small limits."""
    return site(
        limits__message_size="100000", limits__memory_content="4096", limits__command_time="1", limits__data_time="1",
        limits__errors="5", limits__idle_commands="20", limits__connections_per_source="30",
    )  # fmt: skip


@pytest.fixture(scope="session")
def tarpit(site: Make) -> Site:
    """Start a server that delays 5xx replies."""
    return site(tarpit__time="0.4", tarpit__exempt_networks="192.0.2.0/24")


@pytest.fixture(scope="session")
def impatient(site: Make) -> Site:
    """Waits for a next hop no longer than a second and a half."""
    times = ("greeting", "mail", "rcpt", "data", "block", "end_of_data")
    return site(**{f"delivery__{name}_time": "1.5s" for name in times})


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites of this test alone, to be broken."""
    made: list[Site] = []

    def make(hop: NextHop | None = None, **settings: str) -> Site:
        made.append(Site(tmp_path, hop=hop, **settings))
        return made[-1]

    yield make
    for each in made:
        each.end()


_numbers = itertools.count(1)


@pytest.fixture
def someone() -> Callable[[], str]:
    """Gives recipients nobody else has."""
    return lambda: f"r{next(_numbers)}@all.example.test"
