"""What the TLS connections of a worker share: another certificate for the connections to come, the old one for those that are there."""

from __future__ import annotations

import json
import ssl

import pytest
from tests.certificates import Authority
from tests.receiving import config

from mailmoat import _native, clock, maillog
from mailmoat.metrics import Metrics, share
from mailmoat.settings import Settings
from mailmoat.tls import certificates
from mailmoat.tls.material import LOOK_TIME, TlsMaterial
from mailmoat.tls.state import CERTIFICATE_LEFT, CERTIFICATE_STATE, CertificateState
from mailmoat.tls.ticket_secret import TicketSecret

HOST = "mx.example.test"
ROTATION = 43_200


class Time:
    """The clocks of the worker, a minute ahead: OpenSSL dates what a test signs by the real one, which goes on."""

    def __init__(self, monkeypatch):
        self.wall, self.passed = clock.wall_ms() + 60_000, 0.0
        monkeypatch.setattr(clock, "wall_ms", lambda: self.wall + int(self.passed * 1000))
        monkeypatch.setattr(clock, "monotonic", lambda: self.passed)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def time(monkeypatch):
    return Time(monkeypatch)


@pytest.fixture
def metrics():
    return Metrics(share(1), 0)


@pytest.fixture
def events(monkeypatch):
    written = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: written.append((str(event), fields)))
    return written


class Connection:
    """A client of OpenSSL at a session with TLS from the first octet on."""

    def __init__(self, tmp_path, server, authority, before=None):
        """`before` is an earlier connection, whose session is resumed."""
        self._context = before._context if before else ssl.create_default_context(cafile=authority.certificate)
        self._from, self._to = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = before.client.session if before else None
        self.client = self._context.wrap_bio(self._from, self._to, server_hostname=HOST, session=session)
        self.session = _native.Session(config(tmp_path), "s1", "192.0.2.1", False)
        self.session.start_tls(server)
        self._until(self.client.do_handshake)
        self._pass()
        self.session.connect()
        self._pass()
        assert self._until(self.client.read, 4096).startswith(b"220 ")

    def _until(self, call, *arguments):
        for _ in range(10):
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._pass()
        raise AssertionError("the session says no more")

    def _pass(self):
        self.session.receive(self._to.read())
        self._from.write(self.session.output())

    def command(self, line: bytes) -> bytes:
        self.client.write(line + b"\r\n")
        self._pass()
        return self._until(self.client.read, 4096)

    @property
    def names(self):
        return [name for _, name in self.client.getpeercert()["subjectAltName"]]


def material(tmp_path, metrics, signed, secret=None) -> TlsMaterial:
    tls = {"certificate": [tmp_path / "chain.pem"], "key": [tmp_path / "key.pem"]}
    put(tmp_path, signed)
    settings = Settings(hostname=HOST, spool_dir=tmp_path, tls=tls)
    secret = secret or TicketSecret(ROTATION, clock.wall_ms() // 1000)
    return TlsMaterial(settings, certificates.load(settings), secret, metrics)


def test_a_worker_begins_with_what_is_there(tmp_path, authority, metrics, time, events):
    """It may take the place of another one long after the certificates were read last: the old one may be over."""
    first = material(tmp_path, metrics, authority.sign(HOST))
    in_force = first._in_force
    put(tmp_path, authority.sign(HOST, "new.test", file="new"))
    second = TlsMaterial(first._settings, in_force, TicketSecret(ROTATION, clock.wall_ms() // 1000), metrics)
    assert Connection(tmp_path, second.server, authority).names == [HOST, "new.test"]


def put(tmp_path, signed):
    (tmp_path / "chain.pem").write_bytes(signed.chain.read_bytes())
    (tmp_path / "key.pem").write_bytes(signed.key.read_bytes())


def test_a_replaced_certificate_is_for_connections_to_come(tmp_path, authority, metrics, time, events):
    made = material(tmp_path, metrics, authority.sign(HOST))
    made.tick()
    first = Connection(tmp_path, made.server, authority)
    assert first.names == [HOST]
    put(tmp_path, authority.sign(HOST, "second.test", file="second"))
    time.passed = LOOK_TIME - 1
    made.tick()
    assert Connection(tmp_path, made.server, authority).names == [HOST]
    time.passed = LOOK_TIME
    made.tick()
    assert Connection(tmp_path, made.server, authority).names == [HOST, "second.test"]
    assert first.command(b"NOOP").startswith(b"250 "), "a connection goes on with what it began with"
    ((name, fields),) = events
    assert name == "certificate-replaced"
    assert (fields["names"], fields["days"]) == ([HOST, "second.test"], 89)


def test_what_cannot_be_used_is_said_once_and_changes_nothing(tmp_path, authority, metrics, time, events):
    made = material(tmp_path, metrics, authority.sign(HOST))
    server = made.server
    (tmp_path / "key.pem").write_bytes(authority.sign("other.test").key.read_bytes())
    for _ in range(3):
        made.tick()
        time.passed += LOOK_TIME
    assert [name for name, _ in events] == ["certificate-refused"]
    assert events[0][1]["detail"].endswith("the private key does not belong to the certificate")
    assert made.server is server
    assert state(metrics) == CertificateState.REFUSED
    (tmp_path / "chain.pem").write_bytes(b"")
    made.tick()
    assert [name for name, _ in events] == ["certificate-refused"] * 2
    put(tmp_path, authority.sign(HOST, file="back"))
    time.passed += LOOK_TIME
    made.tick()
    assert events[-1][0] == "certificate-replaced"
    assert state(metrics) == CertificateState.CURRENT
    assert "PRIVATE" not in json.dumps(events)


def state(metrics) -> CertificateState:
    row = metrics.shared.row(0)
    (found,) = (each for each in CertificateState if row[CERTIFICATE_STATE[each]])
    return found


def test_the_metrics_follow_the_clock(tmp_path, authority, metrics, time):
    made = material(tmp_path, metrics, authority.sign(HOST, days=90, file="days"))
    made.tick()
    left = metrics.shared.row(0)[CERTIFICATE_LEFT]
    assert 89 * 86_400 < left < 91 * 86_400, "the clock stands still since before it was signed"
    time.passed = 80 * 86_400
    made.tick()
    assert metrics.shared.row(0)[CERTIFICATE_LEFT] == left - 80 * 86_400
    assert state(metrics) == CertificateState.EXPIRING
    time.passed = 91 * 86_400
    made.tick()
    assert (metrics.shared.row(0)[CERTIFICATE_LEFT], state(metrics)) == (0, CertificateState.EXPIRED)


def test_a_session_is_resumed_at_any_worker_and_after_a_reload_for_two_epochs(tmp_path, authority, metrics, time):
    """A worker steps by itself, and one that begins later has what the supervisor has stepped to."""
    signed = authority.sign(HOST, file="resumed")
    begun = clock.wall_ms() // 1000
    of_supervisor = TicketSecret(ROTATION, begun)
    worker = material(tmp_path, metrics, signed, copy(of_supervisor))
    first = Connection(tmp_path, worker.server, authority)
    assert not first.client.session_reused
    beside = material(tmp_path, metrics, signed, copy(of_supervisor))
    assert Connection(tmp_path, beside.server, authority, first).client.session_reused
    for epochs, resumed in ((1, True), (2, False)):
        time.passed = (begun // ROTATION + epochs) * ROTATION - begun
        of_supervisor.step(clock.wall_ms() // 1000)
        later = material(tmp_path, metrics, signed, copy(of_supervisor))
        for made in (worker, beside, later):
            made.tick()
            assert Connection(tmp_path, made.server, authority, first).client.session_reused is resumed, epochs


def test_another_secret_resumes_nothing(tmp_path, authority, metrics):
    signed = authority.sign(HOST, file="other-secret")
    first = Connection(tmp_path, material(tmp_path, metrics, signed).server, authority)
    other = Connection(tmp_path, material(tmp_path, metrics, signed).server, authority, first)
    assert not other.client.session_reused


def copy(secret: TicketSecret) -> TicketSecret:
    """As a fork makes it."""
    made = TicketSecret(secret.rotation, secret.epoch * secret.rotation)
    made._octets[:] = secret.octets
    return made
