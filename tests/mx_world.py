"""A world to send mail to: a name server, mail servers on 127/8, and a mailmoat whose next hop is `mx`."""

from __future__ import annotations

import json
import ssl
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.doubles.name_server import NameServer
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import free_port, wait_for

SENDER = "sender@example.test"


class At(NextHop):
    """A server at another address."""

    def __init__(self, host: str, port: int, **rules) -> None:
        self.host = host
        super().__init__(port, **rules)


class World:
    """Name server, mail servers, and a mailmoat that sends to them."""

    def __init__(self, server, stack: ExitStack, names: NameServer) -> None:
        self._server, self._stack, self.names = server, stack, names
        self.port = free_port()

    def host(self, address: str, **rules) -> NextHop:
        """A server at this address."""
        return self._stack.enter_context(At(address, self.port, **rules))

    def start(self, **more):
        self.moat = self._server(
            **{
                "MAILMOAT_WORKERS": "1",
                "MAILMOAT_RELAY__NETWORKS": "127.0.0.0/8",
                "MAILMOAT_DELIVERY__NEXT_HOP": "mx",
                "MAILMOAT_DELIVERY__RETRY": "1",
                "MAILMOAT_ROUTES": json.dumps([{"domains": "example.test", "next_hop": "maildir:home"}]),
                "MAILMOAT_DNS__SERVERS": self.names.address,
                "MAILMOAT_DNS__TRUST_AD": "on",
                "MAILMOAT_MX__PORT_NUMBER": str(self.port),
                "MAILMOAT_MX__IGNORED_NETWORKS": "203.0.113.0/24",
                **more,
            }
        )
        return self

    def send(self, *recipients: str, sender: str = SENDER) -> str:
        """Queue ID of a message from inside."""
        with self.moat.client() as client:
            return client.submit(f"to-{recipients[0].partition('@')[2]}", *recipients, sender=sender).split()[2]

    def outcomes(self, queue_id: str) -> list[dict]:
        return [
            outcome
            for line in self.moat.logged("delivery-attempt")
            if line["queue_id"] == queue_id
            for outcome in line["outcomes"]
        ]

    def reply(self, queue_id: str) -> str:
        """What the first attempt ended in."""
        return wait_for(lambda: self.outcomes(queue_id), what="an attempt")[0]["reply"]


def record(names: NameServer, text: str) -> None:
    for line in filter(str.strip, text.splitlines()):
        name, kind, value = line.split(None, 2)
        names.add(name, kind, (int(value.split()[0]), value.split()[1]) if kind == "MX" else value.strip('"'))


def secured(authority, *names: str, **more):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.sign(*names, **more)
    context.load_cert_chain(files.chain, files.key)
    wrap = partial(context.wrap_socket, server_side=True, suppress_ragged_eofs=True)
    wrap.leaf = leaf_of(files.chain)
    return wrap


def leaf_of(chain: Path) -> bytes:
    """The first certificate of a file, in DER."""
    first, end, _ = chain.read_text().partition("-----END CERTIFICATE-----\n")
    return ssl.PEM_cert_to_DER_cert(first + end)
