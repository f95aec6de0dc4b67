"""What `check-config` says of a source that answers, and cannot have what is asked of it."""

import asyncio
import contextlib

import pytest

from mailmoat.directory.configured import examine
from mailmoat.directory.ldap.attributes import missing
from mailmoat.directory.source import Entry, Listed, ProbeResult
from mailmoat.directory_process.trial import exported, probe, probe_each, remarks
from mailmoat.errors import SourceError
from mailmoat.ldap.message import Done, SearchEntry
from mailmoat.ldap.outcome import LdapError, ServerError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import sources


def said(probed, **row):
    settings = Settings(
        hostname="mx.test",
        relay={"local_domains": "a.test,xn--bcher-kva.test"},
        directories=[{"name": "office", "url": "file:///x", **row}],
    )
    return list(remarks(settings, sources(settings.directory, settings.directories)[0], probed))


def shown(*texts):
    return ProbeResult("", entries=len(texts), sample=tuple(Entry(b"1", text, (Listed(text),)) for text in texts))


def test_no_entries():
    assert said(ProbeResult("", entries=0)) == [
        "it has no entries; an empty result is never used, and until there is another one, what is not found gets 451"
    ]
    why, so_what = said(ProbeResult("", entries=0, remarks=("deleted objects are not shown",)))
    assert (why, so_what[:18]) == ("deleted objects are not shown", "it has no entries;")
    assert said(ProbeResult("", entries=None)) == []


@pytest.mark.parametrize("text", ["ann@a.test", "!ann@A.test", "ann", "ann@b\u00fccher.test"])
def test_entries_at_the_domains(text):
    assert said(shown("ann@else.test", text)) == []


@pytest.mark.parametrize("text", ["ann@else.test", "@else.test", "a b@a.test"])
def test_entries_elsewhere(text):
    (found,) = said(shown(text))
    assert found.startswith(
        f"none of the addresses that are shown, such as {text}, is at one of the relay.local_domains"
    )


def test_what_a_row_may_not_list():
    assert said(shown("@a.test")) == [
        "@a.test stands for a whole domain, which counts only with whole_domains = true (@a.test)"
    ]
    assert said(shown("@a.test"), whole_domains=True) == []
    led = ProbeResult("", entries=1, sample=(Entry(b"1", "cn=ann", (Listed("ann@a.test", ("eve@far.test",)),)),))
    (found,) = said(led)
    assert found.startswith("ann@a.test has the target eve@far.test, which is not used, as far.test is neither")
    assert said(led, target_domains="far.test") == said(led, target_domains="*") == []


def test_entries_at_a_domain_of_another_source():
    (found,) = said(shown("ann@a.test"), domains="b.test")
    assert "is at one of the domains of this source" in found


def test_an_ldap_error_says_what_to_correct():
    error = LdapError("ldaps://host:636", Done(49, "", "data 52e"))
    assert str(error) == (
        "ldaps://host:636: invalidCredentials (49), account is wrong, or the password in password_file: data 52e"
    )
    assert LdapError("x", Done(51, "", "")).reason == "busy (51)"


@pytest.mark.parametrize(
    ("body", "place", "doubt"),
    [
        ('test "$1" = ann@a.test', "a.test, an address that cannot exist is absent", None),
        ("echo ann@a.test", "", "it has an address that cannot exist, no-such-mailbox-"),
    ],
)
def test_a_live_script_is_asked_as_the_server_does(tmp_path, body, place, doubt):
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nset -eu\n{body}\n")
    script.chmod(0o755)
    row = {"name": "office", "url": f"script://{script}", "mode": "live"}
    settings = Settings(hostname="mx.test", relay={"local_domains": "a.test"}, directories=[row])
    probed = asyncio.run(probe(settings, sources(settings.directory, settings.directories)[0]))
    assert probed.place == place
    assert [doubt in remark for remark in probed.remarks] == [True] * bool(doubt)


async def nobody_there(reader, writer):
    """A controller that accepts the account and finds nothing."""
    octets = await reader.read(4096)
    number = octets[octets.index(b"\x02\x01") + 2 :][:1]
    writer.write(b"\x30\x0c\x02\x01" + number + b"\x65\x07\x0a\x01\x00\x04\x00\x04\x00")
    await reader.read()
    writer.close()


def probed_controllers(*ports):
    """What is shown of controllers at these ports, `None` for one that answers as `nobody_there`."""

    async def try_them():
        server = await asyncio.start_server(nobody_there, "127.0.0.1", 0)
        there = server.sockets[0].getsockname()[1]
        url = ", ".join(f"ad://127.0.0.1:{port or there}" for port in ports)
        row = {"name": "office", "url": url, "mode": "live", "tls": "none", "base": "DC=a,DC=test"}
        settings = Settings(hostname="mx.test", relay={"local_domains": "a.test"}, directories=[row])
        try:
            return await probe(settings, sources(settings.directory, settings.directories)[0])
        finally:
            server.close()

    return asyncio.run(try_them())


def test_a_live_controller_is_asked_for_an_address():
    """It has no probe: what it says of an address that cannot exist is shown."""
    assert probed_controllers(None).place == "a.test, an address that cannot exist is absent"


@pytest.mark.parametrize("ports", [(1, None), (None, 1)])
def test_each_server_is_tried(ports):
    """The one that waits for an outage as well, for then it is too late to correct its name."""
    probed = probed_controllers(*ports)
    assert probed.place == "a.test, an address that cannot exist is absent"
    assert probed.remarks == ("ad://127.0.0.1:1: no connection: Connection refused",)


def test_no_server_can_be_used():
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:1: no connection.*; ad://127\.0\.0\.1:2: no connection"):
        probed_controllers(1, 2)


@pytest.mark.parametrize(
    ("answer", "is_missing"),
    [
        (None, True),
        (SearchEntry("cn=a", {}), False),
        (LdapError("x", Done(17, "", "")), True),  # undefinedAttributeType
        (LdapError("x", Done(11, "", "")), False),  # adminLimitExceeded
        (ServerError("no answer in 5 s"), False),
    ],
)
def test_an_attribute_is_called_missing_only_when_the_server_says_so(answer, is_missing):
    class Connection:
        @contextlib.asynccontextmanager
        async def search(self, request, *, patience):
            assert (request.base, request.size_limit, patience) == ("dc=a", 1, 5.0)

            async def answers():
                if isinstance(answer, Exception):
                    raise answer
                if answer is not None:
                    yield answer

            yield answers()

    found = asyncio.run(missing(Connection(), "dc=a", [("attributes", "mial")], 5.0))
    assert [sentence.partition(";")[0] for sentence in found] == [
        "attributes: no entry below dc=a has mial"
    ] * is_missing


@pytest.mark.parametrize("account", [False, True])
@pytest.mark.parametrize(("scheme", "mode"), [("ldap", "sync"), ("ldap", "live"), ("ad", "sync")])
def test_a_silent_server_is_given_up_after_the_timeout(tmp_path, scheme, mode, account):
    (tmp_path / "password").write_text("secret")
    login = {"account": "cn=a", "password_file": tmp_path / "password"} if account else {}

    async def silent(reader, writer):
        await reader.read()
        writer.close()

    async def try_it():
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        row = {"name": "office", "url": url, "mode": mode, "tls": "none", "base": "dc=a,dc=test", "timeout": 0.2}
        settings = Settings(hostname="mx.test", directories=[{**row, **login}])
        try:
            await probe(settings, sources(settings.directory, settings.directories)[0])
        finally:
            server.close()

    with pytest.raises(SourceError, match=r"no (answer|connection) .*0\.(2|18) s"):
        asyncio.run(try_it())


def test_sources_are_tried_at_once_and_shown_in_the_order_of_the_settings():
    """Three servers close their connections when each of them has one: who tries them one after another waits for the first in vain."""

    async def main():
        connected = asyncio.Barrier(3)

        async def serve(_reader, writer):
            await connected.wait()
            writer.close()

        servers = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(3)]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        rows = [{"name": f"s{port}", "url": f"ldap://127.0.0.1:{port}", "tls": "none"} for port in ports]
        settings = Settings(hostname="mx.test", directories=[*rows, {"name": "none", "url": "file:///missing"}])
        ended = []
        merged = sources(settings.directory, settings.directories)
        found = await probe_each(settings, merged, lambda: ended.append(1))
        for server in servers:
            server.close()
        return ports, [str(error) for error in found], len(ended)

    ports, errors, ended = asyncio.run(main())
    assert ended == len(errors) == 4
    for port, error in zip(ports, errors, strict=False):
        assert str(port) in error
        assert "in time" not in error
    assert "/missing" in errors[3]


def test_what_is_exported_is_a_recipient_file(tmp_path):
    """Each row of ISPmail and iRedMail has one target, and PostfixAdmin makes an alias of postmaster: neither may be so in the file."""
    rows = [("info", "ann"), ("info", "bob"), ("bob", ""), ("bob", "eve"), ("ann", "ann"), ("postmaster", "ann")]
    listed = [Listed(f"{name}@a.test", (f"{target}@a.test",) if target else ()) for name, target in rows]
    others = [Listed("@b.test", ("@a.test",)), Listed("!no@a.test"), Listed("@c.test", ("ann@a.test",))]
    written = [*exported(Entry(b"1", "1", (one,)) for one in [*listed, *others])]
    assert written == [
        "info@a.test = ann@a.test, bob@a.test",
        "bob@a.test = bob@a.test, eve@a.test",
        "ann@a.test",
        "postmaster@a.test",
        "@b.test = @a.test",
        "!no@a.test",
        "@c.test = ann@a.test",
    ]
    file = tmp_path / "recipients.txt"
    file.write_text("\n".join(written))
    examine(Settings(hostname="mx.test", relay={"local_domains": "a.test,b.test,c.test"}, recipients={"file": file}))
