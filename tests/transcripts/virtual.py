"""A whole mailmoat connection in memory and in virtual time: the real Connection, Receiver, pipeline, agents, session machine and wheel.

What is not real: the loop (time stands still until it is told to pass), the transport (a peer that may stop reading or vanish),
the store (a disk that answers when it is told to), the directory (a table) and the name servers (a table). Every reply is held to the laws of the standard
that hold for all: its form and length (RFC 5321 4.2, 4.5.3.1.5), ASCII (RFC 6531 3.7.4.2), the class of its enhanced status code
(RFC 2034 4).
"""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from unittest import mock

from tests.doubles.directory import FakeDirectory
from tests.doubles.loop import START_MS, VirtualLoop
from tests.doubles.resolver import FakeResolver
from tests.doubles.spool import FakeSpool
from tests.doubles.tls_client import TlsClient

from mailmoat import clock, maillog
from mailmoat._native import (
    Address,
    Directory,
    Normalisation,
    RecipientState,
    TlsClock,
    TlsIdentity,
    TlsServer,
    compile_directory,
)
from mailmoat.limits.local import LocalLimiter
from mailmoat.metrics import CONNECTIONS, HELD_SESSIONS, QUEUE_MESSAGES, Metrics, share
from mailmoat.policy.agent import Agent
from mailmoat.policy.pipeline import Pipeline
from mailmoat.policy.registry import agents as built_in
from mailmoat.policy.services import Services
from mailmoat.policy.verdict import PASS, Accept, Discard, Pass, Reject, Reply, Rule, Tempfail
from mailmoat.receive.connection import Connection
from mailmoat.receive.guessers import Guessers
from mailmoat.receive.handshakes import Handshakes
from mailmoat.receive.held import HeldSessions
from mailmoat.receive.receiver import Receiver
from mailmoat.receive.stress import Stress
from mailmoat.reputation.evidence import Evidence
from mailmoat.runtime.timers import Timers
from mailmoat.settings import Listener

LISTENER = Listener("192.0.2.25", 25)
ESTABLISHED, CLOSE, CLOSE_WAIT = 1, 7, 8  # tcpi_state
REPLY = re.compile(rb"[2-5][0-9]{2}[ -][\t\x20-\x7e]*\r\n")
ENHANCED = re.compile(r"([245])(?:[0-9]{2})[ -]([0-9])\.[0-9]{1,3}\.[0-9]{1,3} ")
EMPTY = os.pipe()
"""Nothing is ever written to it."""


class Transport:
    """The server's end of a TCP connection to a scripted peer."""

    def __init__(self, loop, peer, heard, closed):
        self._loop = loop
        self._peer = peer
        self._heard = heard
        self._closed = closed
        self._pending = b""
        self._unread = b""
        self._deaf = self._closing = self._ending = self._ended = self.lost = False
        self.paused = False
        self.state = ESTABLISHED
        self.most_unread = 0

    def open(self, protocol):
        self.protocol = protocol
        protocol.connection_made(self)

    # What the server calls.

    def get_extra_info(self, name):
        return {"peername": (self._peer, 40_000), "socket": self}[name]

    def fileno(self):
        """Of something that is empty: no input was there before the connection."""
        return EMPTY[0]

    def getsockopt(self, level, option, size):
        return bytes([self.state])

    def write(self, octets):
        if self._deaf:
            first, self._unread = not self._unread, self._unread + octets
            self.most_unread = max(self.most_unread, len(self._unread))
            if first:
                self.protocol.pause_writing()
        elif not self.lost:
            self._heard(octets)

    def is_closing(self):
        return self._closing

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False
        self._loop.call_soon(self._deliver)

    def close(self):
        if not self._closing:
            self._closing = True
            if not self._unread:
                self._loop.call_soon(self._lose, "closes")

    def abort(self):
        self._closing = True
        self._loop.call_soon(self._lose, "aborts")

    def _lose(self, how=""):
        if not self.lost:
            self.lost = self._closing = True
            if how:
                self._closed(how)
            self.protocol.connection_lost(None)

    def _deliver(self):
        while self._pending and not self.paused and not self._closing:
            buffer = self.protocol.get_buffer(-1)
            octets, self._pending = self._pending[: len(buffer)], self._pending[len(buffer) :]
            buffer[: len(octets)] = octets
            self.protocol.buffer_updated(len(octets))
        if self._ending and not self._ended and not self.paused and not self._closing:
            self._ended = True
            if not self.protocol.eof_received():
                self.close()

    # What the peer does.

    def queue(self, octets):
        """Sent, and read in this turn of the loop as far as the server reads."""
        self._pending += octets
        self._loop.call_soon(self._deliver)

    def send(self, octets):
        self.queue(octets)
        self._loop.settle()

    def vanish(self):
        """Reset: a server that reads is told; one that does not has to ask."""
        self.state = CLOSE
        if not self.paused and not self._ended:
            self._lose()

    def end_input(self):
        """FIN: told behind all that came before it, to a server that reads."""
        self.state = CLOSE_WAIT
        self._ending = True
        self._deliver()

    def stop_reading(self):
        self._deaf = True

    def read_again(self):
        self._deaf = False
        unread, self._unread = self._unread, b""
        if unread:
            self._heard(unread)
            self.protocol.resume_writing()
            if self._closing:
                self._loop.call_soon(self._lose, "closes")


class ScriptedRule(Rule):
    """The one rule of all scripted agents."""

    SCRIPTED = "scripted"


def scripted(loop, services, stage, only, words):
    """An agent that does at one stage what a line says: `raises`, `waits 2s`, `hangs`, `refuses 550 5.7.1 No`, `discards`, `accepts`,
    `stamps X: y`, `drops a@b.test`, `redirects a@b.test`, `tarpits 3s`, `mumbles` (gives no verdict), `cancels`, `exits`,
    `goes on` (though it is cancelled).
    """

    def judge(text):  # noqa: PLR0911 - a word, a verdict
        word, _, rest = text.partition(" ")
        if word == "raises":
            raise RuntimeError("secret")
        if word == "cancels":
            raise asyncio.CancelledError("secret")
        if word == "exits":
            raise SystemExit("secret")
        if word == "refuses":
            code, enhanced, sentence = rest.split(" ", 2)
            reply = Reply(int(code), enhanced, sentence)
            return (Reject if code[0] == "5" else Tempfail)(reply, ScriptedRule.SCRIPTED)
        if word == "discards":
            return Discard(ScriptedRule.SCRIPTED)
        if word == "accepts":
            return Accept()
        if word == "stamps":
            return Pass((rest.encode() + b"\r\n",))
        if word == "drops":
            return Pass(dropped=tuple(Address.parse(address) for address in rest.split()))
        if word == "redirects":
            if "@" in rest:
                return Pass(redirected=tuple(Address.parse(each) for each in rest.split()))
            forged = Pass()
            # Past the check of the verdict, as only a mistake of ours could.
            object.__setattr__(forged, "redirected", (rest,))
            return forged
        if word == "tarpits":
            return Pass(tarpit=float(rest.rstrip("s")))
        if word == "mumbles":
            return rest
        if word == "passes":
            return PASS
        raise AssertionError(text)

    async def judge_later(seconds, text):
        passed = loop.create_future()
        loop.call_later(seconds, lambda: passed.done() or passed.set_result(None))
        await passed
        return judge(text)

    async def go_on():
        for _ in range(5):
            with suppress(asyncio.CancelledError):
                await loop.create_future()

    def asked(_agent, view):
        if only and view.recipient.local != only:
            return PASS
        if words == "hangs":
            return loop.create_future()
        if words == "goes on":
            return go_on()
        if words.startswith("waits "):
            _, seconds, *then = words.split(" ", 2)
            return judge_later(float(seconds.rstrip("s")), *then or ["passes"])
        return judge(words)

    return type("Scripted", (Agent,), {"name": "scripted", f"on_{stage}": asked})(services)


def parameters(of):
    """Those of MAIL or RCPT as they are kept, each after a space."""
    return "".join(f" {keyword}" + (f"={value}" if value else "") for keyword, value in sorted(of.parameters.items()))


@cache
def identity():
    """A certificate for mx.example.test in virtual time."""
    chain, key = TlsIdentity.self_signed(["mx.example.test"], 30, START_MS // 1000)
    return TlsIdentity(chain, key)


def tls_server(settings, epoch=0):
    """What the TLS connections of a listener share."""
    tls = settings.tls
    return TlsServer(
        [identity()],
        clock=TlsClock(START_MS // 1000),
        minimum=tls.minimum,
        client_certificates=tls.client_certificates,
        client_ca=b"",
        tickets=tls.tickets,
        ticket_secret=bytes(32),
        ticket_rotation=round(tls.ticket_rotation),
        ticket_epoch=epoch,
    )


@cache
def recipient_table(known):
    """The compiled recipient file with these addresses; None if they cannot be lines of one."""
    with TemporaryDirectory(prefix="mailmoat-") as scratch:
        source, target = f"{scratch}/recipients", f"{scratch}/snapshot"
        Path(source).write_text("\n".join(known))
        _, problems, _ = compile_directory([(0, "", source)], target, "", [], [], Normalisation())
        return None if problems else Directory(target)


class World:
    """One connection and everything around it. `said` gets (milliseconds, line) of all the peer hears and the store keeps.

    Where sessions are `screened`, as those of a server are, agents are asked only for what speaks against a client or its message.
    """

    def __init__(
        self,
        settings,
        incoming_dir,
        *,
        known=(),
        aliases=MappingProxyType({}),
        agent_lines=(),
        agents=(),
        peer="192.0.2.1",
        listener=LISTENER,
        others=0,
        binary=False,
        most=1000,
        authenticator=None,
        seen=(),
        screened=True,
    ):
        self.loop = loop = VirtualLoop()
        self.said = []
        self.said_at = ""
        self.log = []
        self.directory = FakeDirectory(known, aliases=aliases)
        self.resolver = FakeResolver(silence=settings.dns.lifetime)
        self.store = FakeSpool(loop, incoming_dir, self._kept, tag="t")
        self.shared = share(1, sources=64)
        self.tls_server = tls_server(settings) if settings.tls.offer or listener.implicit_tls else None
        self.tls = None
        metrics = Metrics(self.shared, 0)
        self._others, self._peer, self._clients = others, peer, 1
        for _ in range(others):
            metrics.add(CONNECTIONS)
            self.shared.source_enter(0, ip_address(peer).packed)
        self.faults = []
        self._patches = (
            mock.patch.multiple(
                clock,
                monotonic=loop.time,
                steady=loop.steady,
                monotonic_ms=lambda: loop.now_ms,
                wall_ms=lambda: loop.now_ms,
                rfc5322_date=lambda _: "Thu, 01 Jan 1970 00:16:40 +0000",
            ),
            mock.patch.object(maillog._stream, "write", lambda name, level, fields: self.log.append((name, fields))),
        )
        with self.running():
            self.timers = Timers(loop, self.faults.append)
            self.held = HeldSessions(self.shared, 0, settings.tarpit.max_held, (), metrics)
            services = Services(settings, metrics, self.directory, lambda: self.resolver)
            listed = (*built_in(services), *(scripted(loop, services, *line) for line in agent_lines), *agents)
            stress = Stress(most, settings.limits, metrics)
            guessers = Guessers(services.has_guessed, metrics)
            self.receiver = Receiver(
                loop=loop,
                settings=settings,
                pipeline=Pipeline(listed, self.timers, metrics, settings.policy.agent_time),
                store=self.store,
                timers=self.timers,
                held=self.held,
                stress=stress,
                handshakes=Handshakes(settings, metrics, services.trust, lambda: self.tls_server, guessers),
                guessers=guessers,
                limiter=LocalLimiter(settings.limits, metrics, services.rates, stress.make_room),
                rates=services.rates,
                tables=services.tables,
                precedences=services.precedences,
                trust=services.trust,
                names=services.reverse_names,
                metrics=metrics,
                authenticator=authenticator,
                reputation=services.reputation,
            )
            if binary:
                size = settings.limits.message_size
                self.receiver.offer(message_size=size, eight_bit=True, smtputf8=True, binary=True)
            for evidence, times in seen:
                services.records.note(peer, Evidence(evidence), times)
            self.tables = services.tables
            self.table = recipient_table(
                (*known, *(f"{alias} = {', '.join(targets)}" for alias, targets in aliases.items()))
            )
            self.set_directory(down=False)
            if not screened:
                self.receiver.screen = lambda session, client: None
            self.transport = Transport(loop, peer, self._heard, lambda how: self._say(f"({how})"))
            self.connection = Connection(self.receiver, listener)
            self.transport.open(self.connection)
            loop.settle()

    @contextmanager
    def running(self):
        """In here the clocks are ours."""
        clocks, log = self._patches
        with clocks, log:
            yield

    def connect(self, peer="192.0.2.2", heard=None, listener=LISTENER):
        """One more client of this worker: its transport, and the lines it hears, in a list of its own or in this one."""
        self._clients += 1
        heard = [] if heard is None else heard
        transport = Transport(self.loop, peer, lambda octets: heard.extend(octets.decode().splitlines()), heard.append)
        transport.open(Connection(self.receiver, listener))
        self.loop.settle()
        return transport, heard

    def set_directory(self, *, down):
        """The directory answers, or cannot."""
        self.directory.down = down
        self.tables.use_recipients(None if down else self.table)

    def press(self, level):
        """The queue has a length at which this level begins, in the worker's next look at it."""
        metrics, bounds = self.receiver.metrics, self.receiver.settings.pressure.queue
        metrics.set(QUEUE_MESSAGES, (0, int(bounds.medium), int(bounds.high))[level])
        self.receiver.precedences.pressure.tick(1.0)

    def start_tls(self, **wants):
        """The peer begins a handshake."""
        self.tls = TlsClient(self.transport.send, self._heard_lines, **wants)
        self.tls.begin()
        self.loop.settle()
        self._say(f"({self.tls.tls.version()})" if self.tls.open else f"(TLS fails: {self.tls.fault})")

    def send(self, octets):
        """The peer sends, in TLS once it is on."""
        if self.tls is None:
            self.transport.send(octets)
        else:
            self.tls.say(octets)

    def _say(self, line):
        self.said.append((self.loop.now_ms, line))

    def _heard(self, octets):
        if self.tls is None:
            self._heard_lines(octets)
        else:
            self.tls.receive(octets)

    def _heard_lines(self, octets):
        assert octets.endswith(b"\r\n")
        for line in octets.splitlines(keepends=True):
            assert REPLY.fullmatch(line), f"not a reply line: {line!r}"
            assert len(line) <= 512
            text = line[:-2].decode("ascii")
            enhanced = ENHANCED.match(text)
            assert not enhanced or enhanced[1] == enhanced[2], f"class of the enhanced status code: {text}"
            self._say(text)

    def _kept(self, message):
        recipients = ", ".join(
            f"<{one.address}>" + (f" to be reported {one.reply}" if one.state is RecipientState.FAILED else "")
            for one in message.recipients
        )
        self._say(f"(keeps {message.queue_id} from <{message.reverse_path}> to {recipients})")
        if message.is_tls_optional:
            self._say("(TLS optional)")
        self._say(f"(with{parameters(message)})")
        for one in message.recipients:
            self._say(f"(for <{one.address}>{parameters(one)})")
        for line in message.octets().split(b"\r\n")[:-1]:
            self._say("| " + line.decode("ascii", "backslashreplace").replace("\r", "\\r").replace("\n", "\\n"))

    def end(self):
        """The peer goes, if it has not; nothing of the connection may be left."""
        self.transport.vanish()
        self.loop.advance(self.loop.now_ms + 5_000 + round(self.receiver.settings.tarpit.time * 1000))
        assert self.faults == [], self.faults
        assert self.loop.faults == [], self.loop.faults
        assert self.receiver.connections == set()
        assert len(self.held) == 0
        assert self.shared.sum(CONNECTIONS) == self._others
        assert self.shared.sum(HELD_SESSIONS) == 0
        assert self.shared.source_enter(0, ip_address(self._peer).packed)[0] == self._others + 1, (
            "a source is not given back"
        )
        assert len(self.timers) == 0, "a deadline is left"
        seconds = (self.loop.now_ms - START_MS) / 1000
        assert self.loop.wakes < 50 * self._clients + 2 * seconds, (
            f"{self.loop.wakes} timers in {seconds} s: many such connections cost a core"
        )
        assert [name for name, _ in self.log].count("session-ended") <= self._clients
