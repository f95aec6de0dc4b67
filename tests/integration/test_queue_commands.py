"""What an administrator does with the queue, with the real server and without: select, try, hold, delete, give up, redirect, move."""

from __future__ import annotations

import email
import email.policy
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from tests.doubles.next_hop import NextHop
from tests.integration.conftest import free_port, wait_for

ALICE, BOB, ALL = "alice@example.test", "bob@example.test", "somebody@all.example.test"


def start(server, hop, workers=1, **more):
    return server(
        **{
            "MAILMOAT_WORKERS": str(workers),
            "MAILMOAT_DELIVERY__NEXT_HOP": f"smtp://127.0.0.1:{hop.port}",
            "MAILMOAT_DELIVERY__RETRY": "1h",
            **more,
        }
    )


def send(made, *names, to=(ALICE,), sender="sender@remote.test", connections=1):
    """Submit messages over so many connections; their queue IDs by name."""
    found = {}
    for part in range(connections):
        with made.client() as client:
            for name in names[part::connections]:
                found[name] = client.submit(name, *to, sender=sender).split()[2]
    return found


def queue(made, *arguments, status=0):
    """Run `mailmoat queue ... --json`; what it says."""
    done = made.cli("queue", *arguments, "--json")
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def by_id(made):
    return {entry["queue_id"]: entry for entry in made.queue()}


def deferred(made, number):
    """Wait until so many messages have been tried once."""
    return wait_for(
        lambda: (found := made.queue()) and len(found) == number and all(one["attempts"] for one in found) and found,
        what=f"{number} deferred messages",
    )


@pytest.fixture
def door():
    """A next hop that takes no recipient until it is opened."""
    with NextHop(RCPT="450 4.2.1 not yet") as door:
        yield door


def open_(door):
    door.rules["RCPT"] = "250 2.1.5 ok"


# --- selection ---


def test_messages_are_selected_over_all_workers(server, door):
    made = start(server, door, workers=3)
    ids = send(made, *(f"a{number}" for number in range(30)), connections=10)
    bounce = send(made, "null", sender="")
    other = send(made, "other", to=(ALL,), sender="x@elsewhere.test")
    assert len({queue_id[:14] for queue_id in ids.values()}) > 1, "several workers have some"
    deferred(made, 32)

    def selected(*filters):
        return set(queue(made, "hold", *filters, "--dry-run")["queue_ids"])

    everything = {*ids.values(), *bounce.values(), *other.values()}
    assert selected("--all") == everything
    assert selected("--from", "<>") == set(bounce.values())
    assert selected("--from", "elsewhere.test") == set(other.values())
    assert selected("--to", ALL.upper()) == set(other.values())
    assert selected("--to", ".example.test") == set(other.values())
    assert selected("--to", "*@example.test", "--from", "sender@*") == set(ids.values())
    assert selected("--next-hop", f"smtp://127.0.0.1:{door.port}") == everything
    assert selected("--next-hop", "smtp://other:*") == set()
    assert selected("--older-than", "1h") == set()
    assert selected("--older-than", "0s", "--limit", "5") < everything
    assert selected("--status", "deferred") == everything
    assert selected("--status", "held") == set()
    assert len(queue(made, "list", "--from", "<>")) == 1
    assert {entry["status"] for entry in made.queue()} == {"deferred"}, "a dry run changes nothing"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("remove",), "name queue IDs, or give filters, or --all"),
        (("remove", "--all", "--from", "<>"), "name queue IDs, or give filters, or --all"),
        (("remove", "--limit", "3"), "name queue IDs, or give filters, or --all"),
        (("remove", "1m89zsqxm00g2ky", "--from", "<>"), "exclude each other"),
        (("remove", "../../etc/passwd"), "not a queue ID"),
        (("show", "../../etc/passwd"), "not a queue ID"),
        (("hold", "--older-than", "soon"), "not a time such as 90m, 4h or 2d"),
        (("hold", "--status", "lost"), "not one of queued, deferred, held, crashed, damaged"),
        (("bounce", "--all", "--reason", "caf\u00e9"), "not a reply such as"),
        (("bounce", "--all", "--reason", " "), "the reason is empty"),
        (
            ("redirect", "somewhere", "--all"),
            "somewhere: neither an address nor a next hop; write one, such as alice@example.com",
        ),
        (("redirect", "smtp://a*0", "--all"), "smtp://a*0: 0 is not a weight from 1 to 1000"),
        (("redirect", ",".join(f"a{number}@b.test" for number in range(101)), "--all"), "more than 100 addresses"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(server, arguments, error):
    made = server(start=False)
    done = made.cli("queue", *arguments)
    assert done.returncode == 2
    assert error in " ".join(done.stderr.replace("\u2502", " ").split())


# --- retry, hold, release ---


def test_messages_that_wait_are_tried_at_once(server, door):
    made = start(server, door, workers=2)
    ids = send(made, "a", "b", "c", "d", connections=4)
    deferred(made, 4)
    assert queue(made, "retry", ids["a"])["done"] == 1
    wait_for(lambda: by_id(made)[ids["a"]]["attempts"] == 2, what="second attempt")
    open_(door)
    assert queue(made, "flush")["done"] == 4
    wait_for(made.empty, what="empty queue")
    assert sorted(door.ids()) == ["a", "b", "c", "d"]


def test_a_held_message_is_not_tried_until_it_is_released(server, door):
    made = start(server, door, workers=2)
    ids = send(made, *"abcdef", connections=6)
    deferred(made, 6)
    kept = [ids["a"], ids["b"]]
    assert queue(made, "hold", *kept)["done"] == 2
    assert {one["queue_id"] for one in queue(made, "list", "--status", "held")} == set(kept)
    open_(door)
    assert queue(made, "flush")["gone"] == [], "it does not try those that are held"
    wait_for(lambda: made.count() == 2, what="the others")
    refused = made.cli("queue", "retry", ids["a"])
    assert refused.returncode == 1
    assert refused.stderr == f"1 message held, or not in the queue: {ids['a']}\n"
    assert set(by_id(made)) == set(kept)
    assert made.stop() == 0
    made.start()
    assert {one["status"] for one in made.queue()} == {"held"}, "also after a restart"
    assert queue(made, "release", "--status", "held")["done"] == 2
    wait_for(made.empty, what="empty queue")
    assert sorted(door.ids()) == list("abcdef")


# --- remove, bounce, redirect ---


def test_many_messages_are_removed_only_when_that_is_confirmed(server, door):
    made = start(server, door, workers=2)
    ids = send(made, *"abcdefg", connections=7)
    deferred(made, 7)
    refused = made.cli("queue", "remove", "--all")
    assert refused.returncode == 1
    assert "7 messages will be removed: repeat the command with --yes" in refused.stderr
    assert made.count() == 7
    assert queue(made, "remove", ids["a"], ids["b"])["done"] == 2, "named messages need no question"
    assert made.count() == 5
    assert queue(made, "remove", "--from", "remote.test", "--yes")["done"] == 5
    assert made.count() == 0
    assert queue(made, "remove", ids["a"], status=1)["gone"] == [ids["a"]]
    removed = wait_for(lambda: len(made.logged("queue-command")) == 7 and made.logged("queue-command"), what="the log")
    assert {(line["queue_id"], line["command"]) for line in removed} == {(one, "remove") for one in ids.values()}


def test_a_message_that_is_given_up_is_reported_with_the_words_of_the_administrator(server, door):
    made = start(server, door)
    ids = send(made, "a", to=(ALICE, BOB))
    deferred(made, 1)
    open_(door)
    assert queue(made, "bounce", ids["a"], "--reason", "The project is over")["done"] == 1
    wait_for(lambda: door.messages, what="the bounce")
    wait_for(made.empty, what="empty queue")
    (bounce,) = door.messages
    assert (bounce.sender, bounce.recipients) == ("", ["sender@remote.test"])
    for line in (
        b"Diagnostic-Code: ",
        b"554 5.0.0 The project is over",
        b"Action: failed",
        ALICE.encode(),
        BOB.encode(),
    ):
        assert line in bounce.content


def test_a_held_message_can_be_given_up(server, door):
    made = start(server, door)
    ids = send(made, "a")
    deferred(made, 1)
    queue(made, "hold", ids["a"])
    open_(door)
    assert queue(made, "bounce", ids["a"], "--reason", "550 5.7.1 Not wanted")["done"] == 1
    wait_for(lambda: door.messages, what="the bounce")
    assert b"550 5.7.1 Not wanted" in door.messages[0].content


def test_messages_are_redirected_to_another_recipient(server, door):
    made = start(server, door)
    ids = send(made, "b")
    deferred(made, 1)
    assert queue(made, "redirect", "Carol@Elsewhere.Test", ids["b"])["done"] == 1
    open_(door)
    queue(made, "flush")
    wait_for(made.empty, what="empty queue")
    assert [(one.recipients, list(door.ids())) for one in door.messages] == [(["Carol@elsewhere.test"], ["b"])]


def test_messages_are_redirected_to_another_next_hop_and_back(server, door):
    made = start(server, door)
    ids = send(made, "a", "b")
    deferred(made, 2)
    down = f"smtp://127.0.0.1:{free_port()}"
    assert queue(made, "redirect", down, ids["b"])["done"] == 1
    with NextHop() as other:
        assert queue(made, "redirect", f"smtp://127.0.0.1:{other.port}", ids["a"])["done"] == 1
        wait_for(lambda: other.messages, what="the message at the other next hop")
        assert list(other.ids()) == ["a"]
    assert queue(made, "list", "--next-hop", down)[0]["queue_id"] == ids["b"]
    open_(door)
    assert queue(made, "redirect", "routes", ids["b"])["done"] == 1
    wait_for(made.empty, what="empty queue")
    assert list(door.ids()) == ["b"]


# --- a message that is in an attempt ---


def test_what_is_in_an_attempt_ends_it_first(server):
    with NextHop(end=None) as hop:  # says nothing after the content
        made = start(server, hop, MAILMOAT_DELIVERY__CONNECTIONS="1")
        ids = send(made, "a")
        hop.heard("DATA")
        answer = queue(made, "hold", ids["a"], status=3)
        assert (answer["done"], answer["waiting"]) == (0, [ids["a"]])
        text = made.cli("queue", "remove", ids["a"])
        assert "another command waits" in text.stderr
        hop.stop()
        wait_for(lambda: by_id(made)[ids["a"]]["status"] == "held", what="the end of the attempt")
        assert by_id(made)[ids["a"]]["attempts"] == 1


# --- without a server, and in between ---


def test_without_a_server_the_same_is_done_under_the_locks(server, door):
    made = start(server, door, workers=2)
    ids = send(made, *"abcdef", connections=6)
    deferred(made, 6)
    made.stop()
    assert queue(made, "remove", ids["a"])["done"] == 1
    assert queue(made, "hold", ids["b"])["offline"] == 1
    assert queue(made, "bounce", ids["c"], "--reason", "No more")["done"] == 1
    assert queue(made, "redirect", BOB, ids["d"])["done"] == 1
    assert [one["state"] for one in by_id(made)[ids["d"]]["recipients"]] == ["redirected", "pending"]
    assert "to alice@example.test: failed, its bounce is due: 554 5.0.0 No more" in made.cli("queue", "list").stdout
    assert made.cli("queue", "flush").stdout == "4 messages due now; no server has them now.\n"
    assert queue(made, "retry", ids["e"], ids["f"])["done"] == 2
    assert queue(made, "remove", ids["a"], status=1)["gone"] == [ids["a"]]
    found = by_id(made)
    assert set(found) == {ids[name] for name in "bcdef"}
    open_(door)
    made.start()
    wait_for(lambda: made.count() == 1, what="all but the held one")
    assert set(by_id(made)) == {ids["b"]}
    done = wait_for(
        lambda: len(made.logged("queue-command")) == 4 and made.logged("queue-command"), what="the log of it"
    )
    assert {(line["queue_id"], line["command"]) for line in done} == {
        (ids["a"], "remove"),
        (ids["b"], "hold"),
        (ids["c"], "bounce"),
        (ids["d"], "redirect"),
    }
    assert all(line["at"] < line["time"] for line in done)
    assert [line["detail"] for line in done if line["command"] == "redirect"] == [BOB]
    assert list((made.directory / "spool" / "commands").iterdir()) == []
    assert queue(made, "release", "--all")["done"] == 1
    wait_for(made.empty, what="empty queue")
    assert sorted((one.sender, *one.recipients) for one in door.messages) == [
        ("", "sender@remote.test"),
        ("sender@remote.test", ALICE),
        ("sender@remote.test", ALICE),
        ("sender@remote.test", ALICE),
        ("sender@remote.test", BOB),
    ]


def test_a_partition_that_another_worker_has_taken_over_is_reached(server, door):
    made = start(server, door, workers=2)
    ids = send(made, *(f"a{number}" for number in range(20)), connections=10)
    deferred(made, 20)
    for pid in made.workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(made.logged("partition-adopted")) >= 2, what="adoption")
    assert queue(made, "hold", *ids.values())["done"] == 20
    assert queue(made, "remove", "--all", "--yes")["done"] == 20
    assert made.count() == 0


@contextmanager
def running(made, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "mailmoat", "queue", *arguments], env=made.environment, cwd=made.directory,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_command_that_is_killed_has_done_what_it_has_done_and_no_half_of_anything(server, door):
    made = start(server, door)
    ids = send(made, *(f"a{number}" for number in range(40)), connections=4)
    deferred(made, 40)
    made.stop()
    with running(made, "remove", "--all", "--yes"):
        wait_for(lambda: made.count() < 40, what="the first message to go")
    left = {entry["queue_id"] for entry in made.queue()}
    assert left <= set(ids.values())
    open_(door)
    made.start()
    queue(made, "flush")
    wait_for(made.empty, what="empty queue")
    assert set(door.ids()) == {name for name, queue_id in ids.items() if queue_id in left}


# --- export and import ---


def test_messages_move_to_another_server(server, door, tmp_path):
    made = start(server, door)
    ids = send(made, "a", "b", to=(ALICE, BOB))
    deferred(made, 2)
    away = tmp_path / "away"
    assert queue(made, "export", str(away), "--all")["exported"] == sorted(ids.values())
    assert made.count() == 2, "they are still there"
    assert queue(made, "remove", "--all", "--yes")["done"] == 2
    checked = queue(made, "import", str(away), "--dry-run")
    assert (checked["dry_run"], len(checked["imported"]), made.count()) == (True, 2, 0)
    open_(door)
    imported = queue(made, "import", str(away))["imported"]
    assert len(imported) == 2
    assert not set(imported.values()) & set(ids.values())
    queue(made, "flush")
    wait_for(lambda: len(door.messages) == 2, what="the messages")
    assert sorted(door.ids()) == ["a", "b"]
    named = {line["queue_id"] for line in made.logged("queue-command") if line["command"] == "import"}
    assert named == set(imported.values())
    assert not list((made.directory / "spool").glob("transfer-*"))


def test_nothing_is_imported_when_one_file_is_damaged(server, door, tmp_path):
    made = start(server, door)
    ids = send(made, "a", "b")
    deferred(made, 2)
    made.stop()
    away = tmp_path / "away"
    queue(made, "export", str(away), *ids.values())
    assert made.cli("queue", "export", str(away), "--all").returncode == 1, "a file is not overwritten"
    damaged = away / f"{ids['b']}.mailmoat"
    damaged.write_bytes(damaged.read_bytes()[:-3])
    done = made.cli("queue", "import", str(away))
    assert done.returncode == 1
    assert str(damaged) in done.stderr
    assert "nothing was imported" in done.stderr
    assert made.count() == 2
    assert not list((made.directory / "spool").glob("transfer-*"))


# --- what is shown ---


def test_a_message_is_shown_whole(server):
    with NextHop(RCPT=["450 4.2.1 try later", "452 4.2.2 mailbox full"]) as hop:
        made = start(server, hop, MAILMOAT_DELIVERY__RETRY="1s, 1h")
        ids = send(made, "a")
        wait_for(lambda: by_id(made)[ids["a"]]["attempts"] == 2, what="two attempts")
        shown = queue(made, "show", ids["a"])
        assert [one["outcomes"][0]["reply"] for one in shown["history"]] == [
            "450 4.2.1 try later",
            "452 4.2.2 mailbox full",
        ]
        assert {one["peer"] for one in shown["history"]} == {f"127.0.0.1:{hop.port}"}
        assert shown["client"] == "127.0.0.1"
        assert "\r\nReceived: " in "\r\n" + shown["header"]
        text = made.cli("queue", "show", ids["a"], check=True).stdout
        for part in (ids["a"], "from <sender@remote.test>", "next attempt for", "452 4.2.2 mailbox full", "Received: "):
            assert part in text
        assert f"\n        by mx.example.test with ESMTP id {ids['a']}\n" in text, "a folded line is indented"
        missing = made.cli("queue", "show", ids["a"] + "0")
        assert missing.returncode == 1
        assert "mailmoat trace" in missing.stderr


def test_the_queue_is_counted_by_next_hop_and_domain(server, door):
    made = start(server, door, workers=2)
    send(made, "a", "b", to=(ALICE, ALL))
    deferred(made, 2)
    stats = queue(made, "stats")
    assert (stats["messages"], stats["recipients"], stats["statuses"]["deferred"]) == (2, 4, 2)
    assert [(one["name"], one["recipients"]) for one in stats["next_hops"]] == [(f"smtp://127.0.0.1:{door.port}", 4)]
    assert {one["name"]: one["recipients"] for one in stats["domains"]} == {"example.test": 2, "all.example.test": 2}
    text = made.cli("queue", "stats", check=True).stdout
    assert text.startswith("2 messages for 4 recipients")
    top = queue(made, "top")
    assert top["workers"] == 2
    name = f"smtp://127.0.0.1:{door.port}"
    (hop,) = json.loads(made.cli("status", "--json").stdout)["next_hops"]
    assert (hop["name"], hop["state"]) == (name, "up")
    assert f"next hop  {name}: up, " in made.cli("status").stdout
    (row,) = [one for one in top["destinations"] if one["recipients"]]
    assert (row["name"], row["recipients"], row["state"]) == (f"smtp://127.0.0.1:{door.port}", 4, "up")
    assert "NEXT HOP" in made.cli("queue", "top", "--once", check=True).stdout


def test_a_next_hop_that_is_down_is_seen(server):
    made = start(server, NextHop(free_port(), start=False), workers=2)
    send(made, "a", "b", "c", "d", connections=4)
    wait_for(
        lambda: any(one["state"] in ("down", "partly down") for one in queue(made, "top")["destinations"]), what="it"
    )
    made.stop()
    assert queue(made, "top")["workers"] == 0


# --- trace ---


def test_a_message_is_traced_from_its_client_to_its_next_hop(server):
    with NextHop(RCPT=["450 4.2.1 try later", "250 ok"]) as hop:
        made = start(server, hop)
        ids = send(made, "a")
        deferred(made, 1)
        first = json.loads(made.cli("trace", ids["a"], "--json", check=True).stdout)
        assert first["log"] == [str(made.log)]
        (message,) = first["messages"]
        assert [line["event"] for line in message["events"]][-2:] == ["message-accepted", "delivery-attempt"]
        assert message["queued"]["recipients"][0]["reply"] == "450 4.2.1 try later"
        queue(made, "flush")
        wait_for(made.empty, what="empty queue")
        text = made.cli("trace", ALICE, check=True).stdout
        for part in (
            f"message {ids['a']}",
            "450 4.2.1 try later",
            "delivered: 250 2.0.0 taken",
            "not in the queue now",
        ):
            assert part in text
        made.stop()
        again = made.cli("trace", ids["a"], "--log", str(made.log), check=True).stdout
        assert "delivered: 250 2.0.0 taken" in again
        nothing = made.cli("trace", "nobody@nowhere.test", "--log", str(made.log))
        assert nothing.returncode == 1


# --- reports that a command causes ---


def reports(hop):
    """Those that the next hop was given, by their recipient and the fields of their second part."""
    found = []
    for message in hop.messages:
        if not message.sender:
            status = email.message_from_bytes(message.content, policy=email.policy.default).get_payload(1)
            found.append((message.recipients[0], status.get_payload(1)))
    return found


def test_who_asked_is_told_that_several_others_took_the_place_of_a_recipient(server, door):
    made = start(server, door)
    with made.client() as client:
        client.ask("MAIL FROM:<sender@remote.test> RET=HDRS ENVID=x+2B1")
        client.ask(f"RCPT TO:<{ALICE}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alias@remote.test")
        client.ask(f"RCPT TO:<{BOB}>")
        client.content(b"Subject: x\r\n\r\nbody\r\n")
    (queue_id,) = (one["queue_id"] for one in deferred(made, 1))
    assert queue(made, "redirect", "carol@far.test,dora@far.test", queue_id)["done"] == 1
    open_(door)
    queue(made, "flush")
    wait_for(made.empty, what="empty queue")
    ((to, fields),) = reports(door)
    assert to == "sender@remote.test"
    assert (fields["Action"], fields["Final-Recipient"]) == ("expanded", f"rfc822; {ALICE}")
    assert (fields["Original-Recipient"], fields["Status"][0]) == ("rfc822; alias@remote.test", "2")
    (sent,) = [message for message in door.messages if message.sender]
    assert sorted(sent.recipients) == ["carol@far.test", "dora@far.test"]


def test_a_delay_is_reported_once_also_after_another_worker_has_taken_over(server):
    with NextHop(RCPT=lambda line: "450 4.2.1 not yet" if ALICE in line else "250 2.1.5 ok") as hop:
        made = start(server, hop, MAILMOAT_DELIVERY__RETRY="1s", MAILMOAT_DELIVERY__DELAY_REPORT="1s")
        (queue_id,) = send(made, "a").values()
        wait_for(lambda: reports(hop) and made.count() == 1, what="the report, which is not in the queue any more")
        (worker,) = made.workers()
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: made.logged("partition-adopted"), what="adoption")
        before = by_id(made)[queue_id]["attempts"]
        wait_for(lambda: by_id(made)[queue_id]["attempts"] > before + 2, what="attempts after that")
        hop.stop()
        wait_for(
            lambda: "4.4.1" in by_id(made)[queue_id]["recipients"][0]["reply"], what="an attempt that reaches nobody"
        )
        os.kill(made.workers()[0], signal.SIGKILL)
        wait_for(lambda: len(made.logged("partition-adopted")) > 1, what="adoption")
        wait_for(lambda: len(made.workers()) == 1, what="a worker")
        queue(made, "flush")
        wait_for(lambda: made.count() == 1, what="one message")
    assert [fields["Action"] for _, fields in reports(hop)] == ["delayed"]
    assert len([line for line in made.logged("bounce-made") if line["kind"] == "delayed"]) == 1
