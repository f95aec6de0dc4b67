"""A real server under a flood of forged messages: what leaves stays inside the budgets, over all workers, and good senders get their bounces."""

from __future__ import annotations

from collections import Counter

from tests.doubles.name_server import NameServer
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import wait_for

VICTIMS, EACH = 50, 20


def start(server, hop, **more):
    return server(
        **{
            "MAILMOAT_WORKERS": "2",
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
            "MAILMOAT_RECIPIENTS__LOOKUP": "false",
            **more,
        }
    )


def flood(made, senders, known=()):
    """One message to an unknown recipient from each sender, over several connections so that all workers have some."""
    for first in range(0, len(senders), 100):
        with made.client() as client:
            for number, sender in enumerate(senders[first : first + 100]):
                client.submit(f"f{first}.{number}", "nobody@example.test", sender=sender)
    for number, sender in enumerate(known):
        with made.client() as client:
            client.submit(f"g{number}", "nobody@example.test", sender=sender)


def test_a_flood_stays_inside_the_budgets_and_good_senders_are_told(server):
    forged = [f"u{number % EACH}@victim{number % VICTIMS}.example" for number in range(VICTIMS * EACH)]
    good = [f"ann@good{number}.example" for number in range(10)]
    with NextHop() as hop:
        made = start(
            server,
            hop,
            MAILMOAT_NDR__PER_ADDRESS="2/h",
            MAILMOAT_NDR__PER_DOMAIN="10/h",
            MAILMOAT_NDR__TOTAL="200/h",
        )
        flood(made, forged, good)
        wait_for(made.empty, what="empty spool")
        sent = Counter(message.recipients[0] for message in hop.messages)
    domains = Counter()
    for address, count in sent.items():
        domains[address.rpartition("@")[2]] += count
    assert all(sent[address] == 1 for address in good)
    victims = {domain: count for domain, count in domains.items() if domain.startswith("victim")}
    assert max(victims.values()) <= 10 + 1, "the budget, and what comes back meanwhile"
    assert sum(victims.values()) <= 200
    reasons = Counter(line["reason"] for line in made.logged("bounce-suppressed"))
    assert sum(reasons.values()) + sum(sent.values()) == len(forged) + len(good)
    assert reasons.keys() <= {"address-budget", "domain-budget", "total-budget"}
    (began,) = made.logged("bounce-flood-began")
    assert began["side"] == "outside"
    wait_for(lambda: made.health()["bounces"] == "flood", what="health")
    assert made.health()["status"] == "degraded"


def test_a_sender_whose_domain_takes_no_mail_gets_no_bounce(server):
    with NameServer() as names, NextHop() as hop:
        names.add("exists.example", "A", "192.0.2.1")
        names.add("nomail.example", "MX", (0, "."))
        made = start(server, hop, MAILMOAT_NDR__CHECK_DOMAIN="true", MAILMOAT_DNS__SERVERS=names.address)
        flood(made, ["a@exists.example", "a@nomail.example", "a@absent.example"])
        wait_for(made.empty, what="empty spool")
        sent = [message.recipients for message in hop.messages]
    assert sent == [["a@exists.example"]]
    reasons = {line["mail_from"]: line["reason"] for line in made.logged("bounce-suppressed")}
    assert reasons == {"a@nomail.example": "sender-domain-null-mx", "a@absent.example": "sender-domain-absent"}


def test_repeats_become_one_bounce(server):
    with NextHop() as hop:
        made = start(server, hop, MAILMOAT_NDR__FOLD_TIME="2", MAILMOAT_WORKERS="1")
        flood(made, ["a@sender.example"] * 10)
        wait_for(made.empty, what="empty spool")
        first, second = hop.messages
    assert first.recipients == second.recipients == ["a@sender.example"]
    assert second.content.count(b"nobody@example.test") >= 9
    assert Counter(line["reason"] for line in made.logged("bounce-suppressed")) == {"folded": 8}
