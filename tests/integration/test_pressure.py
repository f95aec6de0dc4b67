"""Back pressure in the real server: who waits, who does not, and where it is said why."""

from __future__ import annotations

INSIDE = "127.0.0.9"


def refused_at_mail(client):
    reply = client.ask("MAIL FROM:<a@remote.tld>")
    client.ask("RSET")
    return reply == "452 4.3.1 Insufficient system resources; try again later"


def test_strangers_wait_under_pressure(server):
    """Two workers with a queue that is too long."""
    mx = server(
        MAILMOAT_WORKERS="2",
        MAILMOAT_PRESSURE__QUEUE="2, 4, 3, 1",
        MAILMOAT_RELAY__NETWORKS=INSIDE,
        MAILMOAT_DELIVERY__NEXT_HOP="smtp://127.0.0.1:1",
    )
    stranger = mx.client()
    for _ in range(4):
        assert stranger.deliver()[:3] == "250"
    mx.until(lambda: mx.health()["reasons"], what="pressure")
    mx.until(lambda: mx.metric('pressure_level{resource="queue"}') == 2, what="level high")
    mx.until(lambda: mx.client(hello="", greeted=False).reply().startswith("421 "), what="a closed door")
    mx.until(lambda: refused_at_mail(stranger), what="452")
    friend = mx.client(bind=INSIDE)
    assert friend.deliver()[:3] == "250"
    (reason,) = mx.until(lambda: [one for one in mx.health()["reasons"] if ": 5 " in one], what="a new reading")
    assert reason == "pressure high: 5 messages are in the spool"
    assert reason in mx.cli("status").stdout
    assert mx.metric('policy_refusals_total{reason="pressure-high"}') >= 1
    assert mx.metric('connections_refused_total{limit="pressure"}') >= 1
    told = mx.logged("pressure-changed")[-1]
    assert (told["resource"], told["pressure"], told["threshold"]) == ("queue", "high", 4)


def test_a_refused_connection_is_told_so_and_counted(server):
    """From the first second on, since the memory of any process is more than this."""
    mx = server(start=False, MAILMOAT_WORKERS="1", MAILMOAT_PRESSURE__MEMORY="0.000001, 0.000002, 0.000001, 0.0000001")
    mx.start(wait=False)
    mx.until(lambda: mx.logged("serving"), what="start")
    mx.until(lambda: mx.logged("pressure-changed"), what="pressure")
    refused = mx.client(hello="", greeted=False)
    assert refused.reply() == "421 mx.example.test Insufficient system resources; try again later"
    assert refused.reply() == ""
    ended = mx.until(lambda: mx.logged("session-ended"), what="the end of the session")
    assert ended[-1]["reason"] == "pressure"
