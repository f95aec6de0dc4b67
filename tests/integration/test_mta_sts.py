"""Policies of MTA-STS from a real HTTPS server, whatever it does (RFC 8461 3.3)."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.web_server import WebServer, page
from tests.integration.conftest import free_port

from mailmoat.mta_sts.fetch import LONGEST, PATH, FetchError, FetchResult, context, fetch

HOST = "mta-sts.example.test"
POLICY = b"version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1000\n"
UNREACHABLE, UNVERIFIED, INVALID = FetchResult.UNREACHABLE, FetchResult.UNVERIFIED, FetchResult.INVALID


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def serving(authority):
    """`serving(names)`: the TLS context of a web server."""

    def make(*names: str, **more):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = authority.sign(*names, **more)
        made.load_cert_chain(files.chain, files.key)
        return made

    return make


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def get(request, authority):
    """`get(server, ...)`: the policy, or why there is none."""

    def ask(server, *addresses, seconds=5.0):
        wanted = fetch(
            HOST, addresses or ("127.0.0.1",), tls=context(authority.certificate), seconds=seconds, port=server.port
        )
        try:
            return request.param(wanted)
        except FetchError as error:
            return error.failure

    return ask


def test_a_policy_is_fetched(get, serving):
    with WebServer(serving(HOST), page(POLICY)) as server:
        assert get(server) == POLICY
        (asked,) = server.requests
    line, *fields = asked.decode().split("\r\n")
    assert line == f"GET {PATH} HTTP/1.1"
    assert {field.lower() for field in fields} >= {f"host: {HOST}", "connection: close"}


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\n\r\n" + POLICY,
        b"HTTP/1.1 200 OK\r\n\r\n" + POLICY,
        b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + POLICY,
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + page(POLICY),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(POLICY), POLICY),
        page(b"x" * LONGEST),
    ],
)
def test_http_has_many_forms(get, serving, answer):
    with WebServer(serving(HOST), answer) as server:
        assert get(server) in (POLICY, b"x" * LONGEST)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (page(POLICY, status="404 Not Found"), UNREACHABLE),
        (page(POLICY, status="301 Moved Permanently", more="Location: https://mta-sts.example.test/\r\n"), UNREACHABLE),
        (page(POLICY, status="204 No Content"), UNREACHABLE),
        (page(POLICY, kind="text/html"), INVALID),
        (page(b"x" * (LONGEST + 1)), INVALID),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (LONGEST + 1), INVALID),
        (page(POLICY)[:-1], UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, UNREACHABLE),
        (b"220 mail.example.test ESMTP\r\n", UNREACHABLE),
        (b"", UNREACHABLE),
        (b"\x00" * 100, UNREACHABLE),
    ],
)
def test_what_is_no_policy_is_a_failure(get, serving, answer, failure):
    with WebServer(serving(HOST), answer) as server:
        assert get(server) is failure
        assert len(server.requests) == 1  # nothing is followed


def test_a_server_that_says_nothing_is_given_up(get, serving):
    with WebServer(serving(HOST), None) as server:
        assert get(server, seconds=0.3) is UNREACHABLE


@pytest.mark.parametrize(
    ("names", "more", "failure"),
    [
        (["*.example.test"], {}, None),
        (["example.test"], {}, UNVERIFIED),
        ([HOST], {"days": -1}, UNVERIFIED),
        (["*.test"], {}, UNVERIFIED),
    ],
)
def test_the_server_has_to_have_a_certificate_for_its_name(get, serving, names, more, failure):
    with WebServer(serving(*names, file=f"f{names[0].replace('*', '_')}{len(more)}", **more), page(POLICY)) as server:
        assert get(server) == (failure or POLICY)


def test_a_certificate_of_nobody_is_none(get, serving, tmp_path):
    stray = Authority(tmp_path / "stray", "Nobody")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = stray.sign(HOST)
    made.load_cert_chain(files.chain, files.key)
    with WebServer(made, page(POLICY)) as server:
        assert get(server) is UNVERIFIED
        assert server.requests == []


def test_the_next_address_is_tried_where_one_does_not_answer(get, serving):
    with WebServer(serving(HOST), page(POLICY)) as server:
        assert get(server, "127.0.0.9", "127.0.0.1") == POLICY


def test_a_host_where_nobody_listens_has_none(get):
    class Nobody:
        port = free_port()

    assert get(Nobody) is UNREACHABLE
