"""The whole server with OpenLDAP as its directory: who exists there gets mail, who no longer does is refused, and outages refuse nobody.

`MAILMOAT_TEST_SOAK=1` does it with 20,000 people, and prints times and CPU.
"""

import os
import time
from pathlib import Path

import pytest
from tests.certificates import Authority
from tests.doubles.client import Client
from tests.doubles.slapd import PASSWORD, PEOPLE, READER, Slapd, people, person
from tests.integration.conftest import wait_for
from tests.processes import processor_seconds

SOAK = os.environ.get("MAILMOAT_TEST_SOAK") == "1"
COUNT = 20_000 if SOAK else 200


@pytest.fixture
def world(tmp_path, server, request):
    """A directory with people, and a server that reads it, or asks it."""
    mode = getattr(request, "param", "sync")
    authority = Authority(tmp_path / "ca")
    with Slapd(tmp_path / "slapd", authority, people(COUNT)) as slapd:
        (tmp_path / "password").write_text(PASSWORD)
        rows = f"""
[[directories]]
name = "office"
mode = "{mode}"
timeout = 1
absent_cache_time = 0
cache_time = 0
url = "ldaps://127.0.0.1:{slapd.tls_port}"
account = "{READER}"
password_file = "{tmp_path}/password"
tls_ca = "{authority.certificate}"
"""
        relay = {"MAILMOAT_RELAY__LOCAL_DOMAINS": "example.com", "MAILMOAT_RECIPIENTS__FILE": None}
        yield slapd, server(rows, **relay, MAILMOAT_TARPIT__TIME="0", MAILMOAT_WORKERS="1")


def code(server, address):
    """The reply to RCPT, in a session of its own: a session has a limit of errors."""
    with Client(server.port, hello="EHLO client.remote.tld") as client:
        return client.ask("MAIL FROM:<sender@remote.tld>", f"RCPT TO:<{address}>").code


def seconds_until(server, address, wanted):
    """How long it takes until the reply to RCPT is this one."""
    begun = time.monotonic()
    wait_for(lambda: code(server, address) == wanted, 60, f"{wanted} for {address}")
    return time.monotonic() - begun


def test_who_is_in_the_directory_gets_mail(world):
    slapd, server = world
    first = seconds_until(server, f"u{COUNT - 1}@example.com", 250)
    assert code(server, "nobody@example.com") == 550
    slapd.add(person(COUNT, "new@example.com"))
    added = seconds_until(server, "new@example.com", 250)
    slapd.remove(f"uid=u7,{PEOPLE}")
    removed = seconds_until(server, "u7@example.com", 550)
    assert code(server, "u8@example.com") == 250
    if SOAK:
        print(f"\n{COUNT} people: first {first:.2f} s, added {added:.2f} s, removed {removed:.2f} s")
        for pid in server.pids():
            print(
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[:80],
                f"{processor_seconds(pid):.2f} s CPU",
            )


@pytest.mark.parametrize("outage", ["kill", "hang"])
def test_an_outage_refuses_nobody_who_exists(world, outage):
    slapd, server = world
    seconds_until(server, "u7@example.com", 250)
    getattr(slapd, outage)()
    try:
        assert [code(server, f"u{number}@example.com") for number in range(10)] == [250] * 10
        assert code(server, "nobody@example.com") in (550, 451)
    finally:
        {"kill": slapd.start, "hang": slapd.go_on}[outage]()
    slapd.add(person(COUNT, "new@example.com"))
    seconds_until(server, "new@example.com", 250)
    assert code(server, "u7@example.com") == 250


@pytest.mark.parametrize("world", ["live"], indirect=True)
@pytest.mark.parametrize("outage", ["kill", "hang"])
def test_who_cannot_be_asked_for_is_neither_accepted_nor_refused(world, outage):
    slapd, server = world
    seconds_until(server, "u7@example.com", 250)  # the first lookup waits for the directory process
    assert [code(server, f"{name}@example.com") for name in ("U7", "nobody", "u7+tag")] == [250, 550, 250]
    getattr(slapd, outage)()
    try:
        assert [code(server, f"{name}@example.com") for name in ("u8", "nobody")] == [451, 451]
    finally:
        {"kill": slapd.start, "hang": slapd.go_on}[outage]()
    seconds_until(server, "u8@example.com", 250)
    assert code(server, "nobody@example.com") == 550
