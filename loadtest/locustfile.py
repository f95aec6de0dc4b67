"""SMTP users for locust, over raw sockets: who comes to an edge mail server, in what mixture, and what each must be answered.

Run by loadtest/run.py, or by hand: `locust -f loadtest/locustfile.py --headless -u 30 -r 100 -t 60s -H 127.0.0.1:2525`.
Set in the environment: `WEIGHT_GOOD`, `WEIGHT_PIPELINED`, `WEIGHT_HARVESTER`, `WEIGHT_SLOW`, `WEIGHT_PROBE` (0 leaves one out),
`MESSAGE_SIZE` octets, `KNOWN` recipient, `STAGES=1` to report every stage and not only whole messages, `JUDGE=0` when the
server is a sink that accepts everything.

Locust rounds times below a millisecond; the times kept here do not, and go to the file that `TIMES` names.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import locust.stats
from locust import User, constant, events, task
from tests.doubles.client import Client

from loadtest.content import stuffed
from loadtest.report import spread

if TYPE_CHECKING:
    from collections.abc import Iterator

KNOWN = os.environ.get("KNOWN", "alice@example.test").encode()
UNKNOWN_DOMAIN = KNOWN.rpartition(b"@")[2]
CONTENT = stuffed(int(os.environ.get("MESSAGE_SIZE", "4096")))
STAGES = os.environ.get("STAGES") == "1"
JUDGE = os.environ.get("JUDGE", "1") == "1"
MAIL = b"MAIL FROM:<sender@sender.example>"
RCPT = b"RCPT TO:<" + KNOWN + b">"
REFUSED = (550, 554) if JUDGE else (250, 550, 554)
MESSAGES_PER_CONNECTION = 100
GUESSES_PER_CONNECTION = 10
SLOW_PAUSE = 0.5
TIMES: dict[str, list[float]] = {}
locust.stats.CSV_STATS_FLUSH_INTERVAL_SEC = 1  # run.py shows progress from these files


def weight(name: str, default: int) -> int:
    """Return the weight of this kind of client."""
    return int(os.environ.get(f"WEIGHT_{name}", str(default)))


class SmtpUser(User):
    """A connection that is made when it is needed, and whose failures are reported under the stage they happened at."""

    abstract = True
    wait_time = constant(0)
    wire: Client | None = None
    sent = 0

    @contextmanager
    def stage(self, name: str, *, always: bool = False) -> Iterator[None]:
        """Measure one stage; a failure in it ends the connection."""
        begun = time.perf_counter()
        error: Exception | None = None
        try:
            yield
        except (OSError, AssertionError) as failure:
            error = failure
            self.hang_up()
        if error is not None or always or STAGES:
            spent = (time.perf_counter() - begun) * 1000
            TIMES.setdefault(name, []).append(spent)
            self.environment.events.request.fire(
                request_type="SMTP", name=name, response_time=spent, response_length=0, exception=error, context={}
            )
        if error is not None:
            raise Stopped

    def connect(self) -> Client:
        """Connect and greet unless that is done."""
        if self.wire is None:
            host, _, port = str(self.host).removeprefix("smtp://").partition(":")
            with self.stage("connect"):
                self.wire = Client(int(port or 25), host=host, timeout=30, greeted=False)
                self.wire.expect(b"", 220)
            with self.stage("ehlo"):
                self.wire.expect(b"EHLO client.sender.example", 250)
        return self.wire

    def hang_up(self) -> None:
        """Close at once."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None
        self.sent = 0

    def leave(self) -> None:
        """Say QUIT and close."""
        if self.wire is not None:
            with self.stage("quit"):
                self.wire.expect(b"QUIT", 221)
            self.hang_up()

    def on_stop(self) -> None:
        """Close the connection when locust ends this client."""
        self.hang_up()

    def count(self) -> None:
        """Count an accepted message; close the connection after a hundred."""
        self.sent += 1
        if self.sent >= MESSAGES_PER_CONNECTION:
            self.leave()


class Stopped(Exception):  # noqa: N818 - not an error of its own
    """A stage failed and was reported; the task is over."""


def until_stopped(body: Any) -> Any:
    """Make a task of a method: what was reported already does not go to locust's log as well."""

    @wraps(body)
    def bounded(self: SmtpUser) -> None:
        try:
            body(self)
        except Stopped:
            time.sleep(0.05)

    return task(bounded)


class GoodMail(SmtpUser):
    """A mail server that knows its recipient, one command a round trip."""

    weight = weight("GOOD", 4)

    @until_stopped
    def message(self) -> None:
        """Send one message."""
        wire = self.connect()
        with self.stage("message", always=True):
            with self.stage("mail"):
                wire.expect(MAIL, 250)
            with self.stage("rcpt"):
                wire.expect(RCPT, 250)
            with self.stage("data"):
                wire.expect(b"DATA", 354)
            with self.stage("end-of-data"):
                wire.raw(CONTENT)
                wire.expect(b"", 250)
        self.count()


class PipelinedMail(SmtpUser):
    """A modern mail server: MAIL, RCPT and DATA in one write (RFC 2920)."""

    weight = weight("PIPELINED", 4)

    @until_stopped
    def message(self) -> None:
        """Send one message."""
        wire = self.connect()
        with self.stage("message pipelined", always=True):
            wire.send(MAIL, RCPT, b"DATA")
            wire.expect(b"", 250)
            wire.expect(b"", 250)
            wire.expect(b"", 354)
            wire.raw(CONTENT)
            wire.expect(b"", 250)
        self.count()


class Harvester(SmtpUser):
    """Guesses recipients: each guess must be refused, after the tarpit's delay where one is set."""

    weight = weight("HARVESTER", 2)
    guesses = 0

    @until_stopped
    def guess(self) -> None:
        """Ask for recipients that do not exist."""
        wire = self.connect()
        with self.stage("mail"):
            wire.expect(MAIL, 250)
        for _ in range(GUESSES_PER_CONNECTION):
            self.guesses += 1
            with self.stage("rcpt unknown", always=True):
                wire.expect(b"RCPT TO:<guess%d-%d@%s>" % (id(self), self.guesses, UNKNOWN_DOMAIN), *REFUSED)
        self.leave()


class SlowClient(SmtpUser):
    """Dribbles its message; must cost nobody else anything."""

    weight = weight("SLOW", 1)

    @until_stopped
    def message(self) -> None:
        """Send one message in small pieces, with pauses."""
        wire = self.connect()
        with self.stage("message slow", always=True):
            wire.expect(MAIL, 250)
            wire.expect(RCPT, 250)
            wire.expect(b"DATA", 354)
            for octets in (CONTENT[:10], CONTENT[10:700], CONTENT[700:-3], CONTENT[-3:]):
                wire.raw(octets)
                time.sleep(SLOW_PAUSE)
            wire.expect(b"", 250)
        self.leave()


class RelayProbe(SmtpUser):
    """Looks for an open relay: every form must be refused, or else it is one."""

    weight = weight("PROBE", 1)
    wait_time = constant(0.2)

    @until_stopped
    def probe(self) -> None:
        """Ask for a recipient elsewhere, in forms that servers have fallen for."""
        wire = self.connect()
        with self.stage("mail"):
            wire.expect(MAIL, 250)
        for path in (b"victim@remote.example", b"victim%remote.example@" + UNKNOWN_DOMAIN, b"remote.example!victim"):
            with self.stage("rcpt relay", always=True):
                wire.expect(b"RCPT TO:<" + path + b">", *REFUSED)
        self.leave()


def write_times(**_: Any) -> None:
    """Write the unrounded times, in milliseconds."""
    target = os.environ.get("TIMES")
    if target:
        Path(target).write_text(json.dumps({name: spread(times) for name, times in sorted(TIMES.items())}, indent=1))


events.quitting.add_listener(write_times)
