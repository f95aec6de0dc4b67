"""The header section as policy sees it: who is responsible, by which hosts it came, and what both forms of a stored message are."""

from __future__ import annotations

import email
import select
from types import SimpleNamespace

import pytest
from tests import receiving
from tests.listed import listed
from tests.receiving import accept, config

from mailmoat import _native
from mailmoat._native import Address, HeaderFirewall, Partition, received_sources, responsible_address
from mailmoat.delivery.maildir import _local_form
from mailmoat.reports import make


def test_who_is_responsible():
    assert responsible_address(b"Sender : Joe <a@B.test>\r\nFrom: x@y, z@y\r\n") == (
        _native.PraKind.FOUND,
        "Sender",
        Address.parse("a@b.test"),
    )
    assert responsible_address(b"From: x@y, z@y\r\n") == (_native.PraKind.ILL_FORMED, "From", None)
    assert responsible_address(b"From: \r\nSubject: x\r\n\r\nFrom: a@b\r\n") == (_native.PraKind.ABSENT, "", None)


def test_by_which_hosts_it_came():
    head = b"Received: from a (b [192.0.2.1])\r\n\tby c\r\nReceived: by d\r\nReceived: from e ([IPv6:2001:DB8::1]) by f\r\n"
    assert received_sources(head) == ["192.0.2.1", None, "2001:db8::1"]


def test_a_firewall_is_a_value():
    assert HeaderFirewall("mx.test", ["X-"]) == HeaderFirewall("MX.test.", ["X-"])
    assert HeaderFirewall("mx.test", ["X-"]) != HeaderFirewall("mx.test", [])


def test_a_nul_that_is_accepted_is_left_where_it_is(tmp_path):
    lax = config(tmp_path, nul_in_header="accept")
    assert receiving.kept(accept(lax, b"Subject: a\0b\r\nTo\0: c\r\n")) == b"Subject: a\0b\r\n\r\nTo\0: c\r\n"


@pytest.mark.parametrize("memory", [0, 8])
@pytest.mark.parametrize(
    "content",
    [
        b" folded\r\nSubject: x\r\n\r\ntext\r\n",
        b"\tby trusted.test ([10.0.0.1])\r\n",
        b"no header\r\n\r\nat all\r\n",
        b">From x\r\nText\r\n",
        b"From x Thu Jan  1 00:00:00 1970\r\n folded\r\nSubject: x\r\n\r\ntext\r\n",
        b"Subject : x\r\nReceived: from y\r\n\r\ntext\r\n",
        "S\u00fcbject: x\r\nTo: y\r\n".encode(),
        b"Subject\x0b: x\r\nTo: y\r\n",
        b"\r\n text\r\n",
        b"text\r\n" * 50_000,
    ],
)
def test_no_text_of_the_sender_joins_our_fields(tmp_path, memory, content):
    limits = config(tmp_path, memory_content=memory, header_size=1000)
    message = accept(limits, content, stamps=b"Authentication-Results: mx.example.test; none\r\n")
    octets = receiving.whole(message)
    trace = octets.partition(b"DATE\r\n")[0] + b"DATE\r\n"
    read = email.message_from_bytes(octets)
    assert "".join(f"{name}: {value}\r\n" for name, value in read.items()[:2]).encode() == trace
    below = octets.removeprefix(trace).removeprefix(b"X-Mailbox-Line: ")
    assert below.replace(b"\r\n", b"") == content.replace(b"\r\n", b"")
    assert message.size == len(octets)


HEADER = b"From: a@b.test\r\nSubject: s\r\n\r\n"
BODY = b".\r\n" + b"a line of the body\r\n" * 40


def whole(message):
    return message.octets() + message.open_content().read(message.size)


def completion(partition):
    assert select.select([partition.descriptor], [], [], 20)[0], "no completion came"
    [(_, error, loaded)] = partition.completions()
    assert error is None
    return loaded


def test_all_that_reads_a_filed_message_finds_the_whole_of_it(tmp_path):
    partition = Partition.create(str(tmp_path))
    limits = config(partition.incoming_dir, memory_content=64)
    message = accept(limits, HEADER + BODY, queue_id=partition.next_queue_id())
    partition.insert("insert", message)
    completion(partition)
    partition.load("load", message.queue_id)
    for kept in (message, completion(partition)):
        received, _, sent = whole(kept).partition(b"\tDATE\r\n")
        assert (received[:9], sent) == (b"Received:", HEADER + BODY)
        assert kept.octets().endswith(HEADER)
        assert kept.size == len(whole(kept))
        assert make._octets(kept) == whole(kept)
        assert make._may_attach_whole(kept, kept.size)
        assert not make._may_attach_whole(kept, kept.size - 1)
        local = b"".join(_local_form(kept, ["x@example.test"]))
        assert local.endswith(whole(kept).replace(b"\r\n", b"\n"))
    assert [entry["size"] for entry in listed(str(tmp_path))] == [message.size]
    partition.remove(message.queue_id)
    partition.close()


def test_a_message_stored_by_the_older_form_is_read_the_same(tmp_path):
    """Its header section lies in the file: what counts is trace and content, in this order."""
    path = tmp_path / "1"
    trace = b"Received: x\r\n"
    original = []
    for front in (trace, trace + HEADER):
        path.write_bytes((trace + HEADER + BODY).removeprefix(front))
        message = SimpleNamespace(
            octets=lambda front=front: front, open_content=lambda: path.open("rb"), reverse_path="", parameters={}
        )
        original.append((make._octets(message), b"".join(_local_form(message, ["x@example.test"]))))
    assert original[0] == original[1]
