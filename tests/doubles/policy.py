"""What agents and pipeline are given, without a server: a view of a session, services, metrics that are counted."""

from __future__ import annotations

from types import SimpleNamespace

from mailmoat._native import Shared
from mailmoat.policy.client import Client, Trust, TrustRules
from mailmoat.policy.services import Services
from mailmoat.settings import Listener

LISTENER = Listener("192.0.2.25", 25)


def client(address="192.0.2.1", settings=None):
    """A client at this address, trusted as the settings say; a stranger without any."""
    trust = TrustRules(settings).of(address) if settings else Trust()
    return Client(address, LISTENER, trust)


def view(peer="192.0.2.1", settings=None, **other):
    """A view of a session in its beginning."""
    names = {
        "session_id": "t-1",
        "client": client(peer, settings),
        "helo_name": "client.test",
        "reverse_path": None,
        "recipients": (),
        "recipient": None,
        "submitter": None,
        "declared_size": 0,
        "header": b"",
        "received_header": b"",
    }
    return SimpleNamespace(**names | other)


class Counted:
    """Metrics as a list of what was counted."""

    def __init__(self):
        self.counted = []
        self.shared = Shared(1, 1)

    def add(self, metric, n=1):
        self.counted += [metric] * n

    def set(self, metric, value):
        """Gauges are not looked at."""


def no_resolver():
    raise AssertionError("no agent here asks a name server")


def services(settings, directory=None, checker=None, metrics=None):
    """The services of a worker; there is no resolver, and `checker` in place of the one that would ask it."""
    given = Services(settings, metrics or Counted(), directory, no_resolver)
    if checker is not None:
        given.checker = checker
    return given
