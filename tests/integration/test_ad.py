"""Real domain controllers (Samba): what is read of them, what changes, and what follows when one of them fails."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests import samba
from tests.certificates import Authority
from tests.doubles.directory_source import Replica
from tests.samba import PASSWORD, account, contact, group, own_address, provision, public_folder, user

from mailmoat import clock
from mailmoat._native import Address
from mailmoat.directory.ad import controls, notices, sync
from mailmoat.directory.ad.controller import inspect
from mailmoat.directory.ad.mark import Mark, Method
from mailmoat.directory.ad.objects import Mapping
from mailmoat.directory.ad.place import Place
from mailmoat.directory.ad.ranges import completed
from mailmoat.directory.ad.sync import AdSync
from mailmoat.directory.directory import Presence
from mailmoat.directory.ldap.servers import Servers
from mailmoat.directory.opening import open_live, open_sync
from mailmoat.directory.source import Begin, Current, Delta, Kept, Remark, Using, Whole
from mailmoat.errors import SourceError
from mailmoat.ldap import filters, root_dse
from mailmoat.ldap.message import Scope, SearchRequest
from mailmoat.ldap.opening import Access, Login, Tls
from mailmoat.ldap.server import Server, Transport
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged
from mailmoat.settings.sections.directory_ad import Disabled, Kind, Secondary

EVERYTHING = Place()
READER, STRANGER = f"reader@{samba.REALM}", f"stranger@{samba.REALM}"
OBJECTS = [
    user(
        "alice",
        mail="alice@example.test",
        userPrincipalName=f"alice@{samba.REALM}",
        proxyAddresses=[
            "SMTP:alice@example.test",
            "smtp:a.smith@example.test",
            "X400:C=US;A= ;P=Org;O=Exchange;S=Alice;",
            "sip:alice@example.test",
            "EUM:1234;phone-context=office.example.test",
            "x500:/o=Org/ou=First/cn=Recipients/cn=alice",
        ],
    ),
    user("mailonly", mail="mailonly@example.test"),
    user("nomail"),
    user("hidden", mail="hidden@example.test", msExchHideFromAddressLists="TRUE"),
    user("left", mail="left@example.test", userAccountControl="546", msExchRecipientTypeDetails="1"),
    user("shared", mail="shared@example.test", userAccountControl="546", msExchRecipientTypeDetails="4"),
    user("wrong", mail="wrong", proxyAddresses=["smtp:@example.test"]),
    group("staff", mail="staff@example.test", proxyAddresses=["SMTP:staff@example.test"]),
    contact("partner", mail="partner@example.org", proxyAddresses=["SMTP:partner@example.test"]),
    public_folder("orders", proxyAddresses=["SMTP:orders@example.test"]),
    [
        "CN=everybody,CN=Microsoft Exchange System Objects,BASE",
        {"objectClass": "msExchDynamicDistributionList", "proxyAddresses": ["SMTP:everybody@example.test"]},
    ],
    account("reader"),
    account("stranger"),
    account("blind"),
]
HIDDEN = "OD;;RP;bf967a06-0de6-11d0-a285-00aa003049e2;"
"""proxyAddresses may not be read (its schemaIDGUID)."""
ALL = {
    *("alice@example.test", "a.smith@example.test", "mailonly@example.test", "hidden@example.test"),
    *("left@example.test", "shared@example.test", "staff@example.test", "partner@example.org"),
    *("partner@example.test", "orders@example.test", "everybody@example.test"),
}


@pytest.fixture(scope="module")
def domain():
    """Two controllers that run; the second one has the objects of the first, an identity of its own, and does not replicate."""
    directory = Path(tempfile.mkdtemp(prefix="mailmoat-ad-"))
    first = provision(directory / "dc1", own_address(1), Authority(directory / "ca"))
    first.fill([samba.SYSTEM_OBJECTS], OBJECTS, [["CN=Deleted Objects,BASE", {"reader": "RPLC"}, "grant"]])
    first.fill(
        [
            [dn, {"blind": HIDDEN}, "grant"]
            for dn, having in (made[:2] for made in OBJECTS)
            if "proxyAddresses" in having
        ]
    )
    second = first.twin(directory / "dc2", own_address(2), "dc2")
    with samba.running(first), samba.running(second):
        yield first, second
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Two changes in a row are seen without the second that a busy domain is spared."""
    monkeypatch.setattr(notices, "SPACING", 0.1)


@pytest.fixture
def password(tmp_path):
    written = tmp_path / "password"
    written.write_text(f"{PASSWORD}\n")
    return written


class Follower(Replica):
    """Follows a source until it ends, in a task of its own."""

    def __init__(
        self, controllers, password, place=EVERYTHING, login=READER, port=636, interval=600.0, connect_time=5.0
    ):
        super().__init__()
        transport = Transport.TLS if port in (636, 3269) else Transport.START_TLS
        servers = [Server(f"ads://{one.address}:{port}", transport, one.address, port) for one in controllers]
        tls = Tls(ca=controllers[0].authority.certificate)
        self.servers = Servers(servers, Access(Login(login, lambda: password.read_text().strip()), tls, connect_time))
        self.place, self.interval = place, interval
        self.source = AdSync(self.servers, place, interval)
        self.begun = lambda: None
        self._more = asyncio.Event()

    @property
    def server(self):
        return next(step.server for step in reversed(self.steps) if isinstance(step, Using))

    @property
    def reads(self):
        """How often everything was read."""
        return sum(isinstance(step, Whole) for step in self.steps)

    async def follow(self):
        """Until the source ends."""
        async for step in self.source.steps(self.cookie, self.known):
            if isinstance(step, Begin):
                self.begun()
            self.apply(step)
            self.steps.append(step)
            self._more.set()

    @asynccontextmanager
    async def following(self):
        """It follows in here, and has read everything once."""
        task = asyncio.create_task(self.follow())
        try:
            await self.until(lambda: isinstance(self.steps[-1], Current | Delta), task)
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def again(self, hours, *, due):
        """Begin as a new process would, this long after the controller took over; a full read may be due."""
        mark = Mark.decode(self.cookie)
        self.cookie = mark._replace(
            whole_ms=0 if due else mark.whole_ms, since_ms=mark.since_ms - hours * 3_600_000
        ).encode()
        self.source = AdSync(self.servers, self.place, self.interval)
        self.steps.clear()

    async def until(self, condition, task=None, seconds=30):
        async with asyncio.timeout(seconds):
            while not self.steps or not condition():
                self._more.clear()
                waiting = asyncio.create_task(self._more.wait())
                await asyncio.wait({waiting, *({task} if task else ())}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if task and task.done():
                    task.result()
                    assert condition()
                    return


def modify(controller, ldif):
    return asyncio.to_thread(controller.modify, ldif)


def read(*arguments, **options):
    """What is known after one read."""

    async def once():
        follower = Follower(*arguments, **options)
        async with follower.following():
            return follower

    return asyncio.run(once())


@pytest.mark.parametrize("port", [636, 389, 3269, 3268])
def test_everything_that_receives_mail_is_read(domain, password, port):
    follower = read(domain, password, port=port)
    assert follower.addresses == ALL
    mark = Mark.decode(follower.cookie)
    assert mark.method is (Method.DIRSYNC if port < 3268 else Method.USN)
    [left_out] = [step for step in follower.steps if type(step).__name__ == "LeftOut"]
    assert left_out.entries == 1
    assert left_out.example.startswith(f"CN=wrong,CN=Users,{samba.BASE}: @example.test is no address")


def test_the_settings_say_what_counts(domain, password):
    def addresses(mapping, **place):
        return read(domain, password, place=Place(mapping, **place)).addresses

    assert addresses(Mapping(kinds=frozenset({Kind.PUBLIC_FOLDERS}))) == {"orders@example.test"}
    assert addresses(Mapping(kinds=frozenset({Kind.GROUPS}))) == {"staff@example.test", "everybody@example.test"}
    assert addresses(Mapping(disabled=Disabled.SHARED)) == ALL - {"left@example.test"}
    assert addresses(Mapping(disabled=Disabled.REFUSE)) == ALL - {"left@example.test", "shared@example.test"}
    assert f"alice@{samba.REALM}" in addresses(Mapping(("mail", "userPrincipalName")))
    assert addresses(Mapping(), condition="(!(msExchHideFromAddressLists=TRUE))") == ALL - {"hidden@example.test"}
    assert addresses(Mapping(), base=f"CN=Microsoft Exchange System Objects,{samba.BASE}") == {
        "orders@example.test",
        "everybody@example.test",
    }
    rewritten = read(domain, password, place=Place(Mapping(secondary=Secondary.REWRITE)))
    [alice] = [entry for entry in rewritten.known.values() if entry.name.startswith("CN=alice,")]
    assert [(one.text, one.targets) for one in alice.addresses] == [
        ("alice@example.test", ()),
        ("a.smith@example.test", ("alice@example.test",)),
    ]


@pytest.mark.parametrize("port", [636, 3269])
def test_changes_are_seen_by_notice(domain, password, port):
    first = domain[0]
    name = f"changes{port}"

    async def scenario():
        follower = Follower(domain, password, place=Place(Mapping(disabled=Disabled.SHARED)), port=port)
        async with follower.following() as task:
            before = follower.addresses
            await modify(
                first,
                f"dn: CN={name},CN=Users,BASE\nchangetype: add\nobjectClass: user\nsAMAccountName: {name}\n"
                f"userAccountControl: 544\nmail: {name}@example.test\n",
            )
            await follower.until(lambda: follower.addresses == before | {f"{name}@example.test"}, task)
            await modify(
                first,
                f"dn: CN={name},CN=Users,BASE\nchangetype: modify\nadd: proxyAddresses\n"
                f"proxyAddresses: smtp:{name}.more@example.test\n",
            )
            await follower.until(lambda: f"{name}.more@example.test" in follower.addresses, task)
            assert f"{name}@example.test" in follower.addresses  # it did not change: DirSync does not give it again
            await modify(
                first,
                f"dn: CN={name},CN=Users,BASE\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 546\n",
            )
            await follower.until(lambda: follower.addresses == before, task)
            await modify(
                first,
                f"dn: CN={name},CN=Users,BASE\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 544\n",
            )
            await follower.until(lambda: f"{name}@example.test" in follower.addresses, task)
            await modify(first, f"dn: CN={name},CN=Users,BASE\nchangetype: delete\n")
            await follower.until(lambda: follower.addresses == before, task)
            assert follower.reads == 1

    asyncio.run(scenario())


def test_without_the_right_to_see_deleted_objects_the_next_read_finds_what_is_gone(domain, password):
    first = domain[0]
    new = "objectClass: user\nsAMAccountName: gone\nuserAccountControl: 544\nmail: gone@example.test\n"

    async def scenario():
        await modify(first, f"dn: CN=gone,CN=Users,BASE\nchangetype: add\n{new}")
        follower = Follower(domain, password, login=STRANGER, interval=0.3)
        async with follower.following() as task:
            assert "gone@example.test" in follower.addresses
            await modify(first, "dn: CN=gone,CN=Users,BASE\nchangetype: delete\n")
            await follower.until(lambda: "gone@example.test" not in follower.addresses, task)
            assert follower.reads == 1

    asyncio.run(scenario())


def test_a_source_goes_on_from_its_cookie(domain, password):
    first = domain[0]

    async def scenario():
        follower = Follower(domain, password)
        async with follower.following():
            pass
        await modify(first, "dn: CN=nomail,CN=Users,BASE\nchangetype: modify\nreplace: mail\nmail: now@example.test\n")
        follower.steps.clear()
        async with follower.following():
            assert follower.addresses == ALL | {"now@example.test"}
            assert follower.reads == 0
        await modify(first, "dn: CN=nomail,CN=Users,BASE\nchangetype: modify\ndelete: mail\n")
        follower.cookie = Mark(Method.DIRSYNC, b"no position", b"", Mark.decode(follower.cookie).whole_ms).encode()
        follower.steps.clear()
        async with follower.following():
            assert follower.addresses == ALL
            assert follower.reads == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("port", "reads"), [(636, 1), (3269, 2)])
def test_another_controller_serves_when_one_is_gone(domain, password, port, reads):
    """A position of DirSync counts at all controllers, an update sequence number at one."""
    first, second = domain

    async def scenario():
        follower = Follower(domain, password, port=port)
        try:
            async with follower.following() as task:
                assert follower.server.startswith(f"ads://{first.address}:")
                first.stop()
                await follower.until(lambda: follower.server.startswith(f"ads://{second.address}:"), task)
                await follower.until(lambda: isinstance(follower.steps[-1], Current | Delta), task)
                assert follower.addresses == ALL
                assert follower.reads == reads
                await modify(
                    second, "dn: CN=nomail,CN=Users,BASE\nchangetype: modify\nreplace: mail\nmail: two@example.test\n"
                )
                await follower.until(lambda: "two@example.test" in follower.addresses, task)
                await modify(second, "dn: CN=nomail,CN=Users,BASE\nchangetype: modify\ndelete: mail\n")
                await follower.until(lambda: follower.addresses == ALL, task)
        finally:
            first.stop()
            first.start()

    asyncio.run(scenario())


def test_another_controller_serves_when_one_hangs(domain, password, monkeypatch):
    first, second = domain
    monkeypatch.setattr(sync, "PING_INTERVAL", 0.2)
    monkeypatch.setattr(root_dse, "PING_TIME", 0.5)

    async def scenario():
        follower = Follower(domain, password)
        async with follower.following() as task:
            assert follower.server.startswith(f"ads://{first.address}:")
            first.pause()
            try:
                await follower.until(lambda: follower.server.startswith(f"ads://{second.address}:"), task)
                await follower.until(lambda: isinstance(follower.steps[-1], Current | Delta), task)
            finally:
                first.go_on()
            assert follower.addresses == ALL
            assert follower.reads == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("port", "login"), [(636, READER), (636, STRANGER), (3269, READER), (3269, STRANGER)])
def test_a_controller_that_is_behind_removes_nothing(domain, password, port, login):
    """The second one has never heard of what is created at the first one here, and does when it is written there."""
    first, second = domain
    name = f"ahead{port}{login.partition('@')[0]}"
    new = f"objectClass: contact\nmail: {name}@example.test\n"
    both = {f"{name}@example.test", f"{name}.alice@example.test"}
    more = f"proxyAddresses: smtp:{name}.alice@example.test\n"

    async def scenario():
        await modify(first, f"dn: CN={name},CN=Users,BASE\nchangetype: add\n{new}")
        await modify(first, f"dn: CN=alice,CN=Users,BASE\nchangetype: modify\nadd: proxyAddresses\n{more}")
        await modify(
            second, f"dn: CN={name}2,CN=Users,BASE\nchangetype: add\nobjectClass: contact\nmail: {name}2@example.test\n"
        )
        follower = Follower(domain, password, port=port, login=login, interval=0.5)
        try:
            async with follower.following() as task:
                assert follower.addresses == ALL | both
                first.stop()
                await follower.until(lambda: f"{name}2@example.test" in follower.addresses, task)
                assert follower.addresses == ALL | both | {f"{name}2@example.test"}
                # What is of no concern moves uSNChanged as well; what is gone here was here.
                await modify(second, f"dn: CN=alice,CN=Users,BASE\nchangetype: modify\nreplace: info\ninfo: {name}\n")
                await modify(second, f"dn: CN={name}2,CN=Users,BASE\nchangetype: delete\n")
                await follower.until(lambda: f"{name}2@example.test" not in follower.addresses, task)
                assert follower.addresses == ALL | both
                kept = [step for step in follower.steps if isinstance(step, Kept)]
                lacked = "2" if port == 3269 else "1"  # by DirSync alice did not change, so she is not read again
                if (port, login) == (636, READER):  # what it has as deleted is known: nothing has to be compared
                    assert kept == []
                else:
                    assert f"may be behind: {lacked} entries" in kept[0].why
                    assert kept[-1].entries == int(lacked)
            # Neither a restart nor a full read that is due makes a difference, until it served for a day: then none has to be due.
            for hours, due, left in ((1, True, both), (25, False, set())):
                follower.again(hours, due=due)
                async with follower.following():
                    assert follower.server.startswith(f"ads://{second.address}:")
                    assert follower.addresses == ALL | left
        finally:
            first.stop()
            first.start()
            await modify(first, f"dn: CN={name},CN=Users,BASE\nchangetype: delete\n")
            await modify(first, f"dn: CN=alice,CN=Users,BASE\nchangetype: modify\ndelete: proxyAddresses\n{more}")
            await modify(second, "dn: CN=alice,CN=Users,BASE\nchangetype: modify\nreplace: info\n")

    asyncio.run(scenario())


def test_what_a_controller_refuses_is_said(domain, password):
    first = domain[0]
    with pytest.raises(SourceError, match=r"invalidCredentials \(49\)"):
        read([first], password, login=f"nobody@{samba.REALM}")
    password.write_text("wrong")
    with pytest.raises(SourceError, match=r"invalidCredentials \(49\)") as raised:
        read([first], password)
    assert PASSWORD not in str(raised.value)


def row(domain, password, **given):
    """A row of the settings, as a source is made of it."""
    written = {
        "name": "office",
        "url": ", ".join(f"ads://{controller.address}" for controller in domain),
        "account": READER,
        "password_file": str(password),
        "tls_ca": str(domain[0].authority.certificate),
        **given,
    }
    settings = Settings(hostname="mx.example.test", directories=[written])
    return merged(settings.directory, settings.directories[0])


def test_a_first_look_says_what_is_there(domain, password):
    first = domain[0]
    probed = asyncio.run(open_sync(row(domain, password, disabled_accounts="shared")).probe())
    assert probed.server == f"ads://{first.address}:636 (dc1.{samba.REALM}, functional level 2008 R2)"
    assert probed.place == samba.BASE
    assert probed.entries == len(ALL) - 3  # alice and partner have two addresses each, left has none
    assert all(entry.addresses for entry in probed.sample)
    assert [remark.partition(":")[0] for remark in probed.remarks] == ["left out"]
    stranger = asyncio.run(open_sync(row(domain, password, account=STRANGER)).probe())
    assert any(remark.startswith("deleted objects are not shown to this account") for remark in stranger.remarks)
    assert not [remark for remark in stranger.remarks if "proxyAddresses" in remark]
    blind = asyncio.run(open_sync(row(domain, password, account=f"blind@{samba.REALM}")).probe())
    assert [remark for remark in blind.remarks if remark.startswith("no object shows proxyAddresses to this account")]
    forest = asyncio.run(open_sync(row(domain, password, url=f"ads://{first.address}:3269")).probe())
    assert forest.place == "the whole forest"
    misspelt = {"attributes": "proxyAddresses,mial", "target_attributes": "forwardTo", "condition": "deprtment=x"}
    remarks = asyncio.run(open_sync(row(domain, password, **misspelt)).probe()).remarks
    named = [remark.partition(";")[0] for remark in remarks if f": no entry below {samba.BASE} has " in remark]
    assert [remark.split()[-1] for remark in named] == ["mial", "forwardTo", "deprtment"]


def test_a_certificate_for_another_name_is_refused(domain, password):
    first = domain[0]
    other = Authority(password.parent / "ca")
    with pytest.raises(SourceError, match="its certificate is refused"):
        asyncio.run(open_sync(row([first], password, tls_ca=str(other.certificate))).probe())


@pytest.mark.parametrize("port", [636, 3269])
def test_single_addresses_are_asked_for(domain, password, port):
    first, second = domain
    url = ", ".join(f"ads://{controller.address}:{port}" for controller in domain)
    written = row(domain, password, url=url, mode="live", disabled_accounts="shared", secondary_addresses="rewrite")

    async def scenario():
        asked = open_live(written)

        async def answers(*addresses):
            return await asyncio.gather(*(asked.lookup(Address.parse(address)) for address in addresses))

        exists = [*(ALL - {"left@example.test"}), "ALICE@example.test", "A.Smith@EXAMPLE.test"]
        assert {answer.presence for answer in await answers(*exists)} == {Presence.EXISTS}
        absent = ["left@example.test", "nobody@example.test", '"*"@example.test', "wrong@example.test", "alice@x.test"]
        assert {answer.presence for answer in await answers(*absent)} == {Presence.ABSENT}
        [secondary] = await answers("a.smith@example.test")
        assert secondary.targets == ("alice@example.test",)
        assert secondary.entry == f"CN=alice,CN=Users,{samba.BASE}"
        first.stop()
        try:
            assert {answer.presence for answer in await answers(*exists)} == {Presence.EXISTS}
            second.stop()
            with pytest.raises(SourceError):
                await answers("alice@example.test")
        finally:
            first.start()
            if second.process is None:
                second.start()
            await asked.close()

    asyncio.run(scenario())


def test_an_object_that_is_moved_out_of_the_base_is_gone(domain, password):
    first = domain[0]
    place = Place(Mapping(), base=f"CN=Users,{samba.BASE}")

    async def scenario():
        follower = Follower(domain, password, place=place)
        async with follower.following() as task:
            for where, there in (("CN=Computers", False), ("CN=Users", True)):
                old = "CN=Users" if there is False else "CN=Computers"
                await modify(
                    first,
                    f"dn: CN=mailonly,{old},BASE\nchangetype: modrdn\nnewrdn: CN=mailonly\n"
                    f"deleteoldrdn: 1\nnewsuperior: {where},BASE\n",
                )
                await follower.until(lambda there=there: ("mailonly@example.test" in follower.addresses) is there, task)

    asyncio.run(scenario())


def test_update_sequence_numbers_serve_where_there_is_no_dirsync(domain, password):
    first = domain[0]

    async def scenario():
        follower = Follower(domain, password)
        async with follower.following():
            pass
        connection = await follower.servers.connect()
        controller = await inspect(connection, "")
        connection.close()
        position = b"%d" % controller.highest
        mark = Mark.decode(follower.cookie)._replace(method=Method.USN, position=position)
        follower.cookie = mark.encode()
        async with follower.following() as task:
            await modify(
                first, "dn: CN=nomail,CN=Users,BASE\nchangetype: modify\nreplace: mail\nmail: u@example.test\n"
            )
            await follower.until(lambda: "u@example.test" in follower.addresses, task)
            await modify(first, "dn: CN=nomail,CN=Users,BASE\nchangetype: modify\ndelete: mail\n")
            await follower.until(lambda: follower.addresses == ALL, task)
            assert follower.reads == 1
        assert Mark.decode(follower.cookie).method is Method.USN

    asyncio.run(scenario())


def test_without_dirsync_update_sequence_numbers_serve(domain, password, monkeypatch):
    """A controller that gives DirSync only to those who may replicate, as Windows 2000 did, and Samba does without our flag."""
    monkeypatch.setattr(controls, "_OBJECT_SECURITY", 0)
    follower = read(domain, password)
    assert follower.addresses == ALL
    assert Mark.decode(follower.cookie).method is Method.USN
    remarks = asyncio.run(open_sync(row(domain, password)).probe()).remarks
    assert "DirSync is not offered to this account: at another controller everything is read again" in remarks


def test_half_a_full_read_is_never_in_force(domain, password):
    first, second = domain

    async def scenario():
        follower = Follower(domain, password)
        follower.begun = first.stop
        try:
            async with follower.following():
                assert follower.server.startswith(f"ads://{second.address}:")
                assert follower.addresses == ALL
                kinds = [type(step).__name__ for step in follower.steps]
                assert kinds == ["Using", "Begin", "Using", "Begin", "LeftOut", "Part", "Whole", "Current"]
        finally:
            first.start()

    asyncio.run(scenario())


def test_what_is_old_is_read_again(domain, password):
    async def scenario():
        follower = Follower(domain, password)
        async with follower.following():
            pass
        for hours, again in ((1, False), (25, True), (-1, True)):
            mark = Mark.decode(follower.cookie)
            whole_ms = clock.wall_ms() - hours * 3_600_000
            follower.cookie = mark._replace(whole_ms=whole_ms).encode()
            follower.steps.clear()
            async with follower.following():
                assert (follower.reads == 1) is again

    asyncio.run(scenario())


def test_all_values_of_an_attribute_are_asked_for_where_a_part_comes(domain, password):
    async def scenario():
        connection = await Follower(domain, password).servers.connect()
        request = SearchRequest(
            f"CN=alice,CN=Users,{samba.BASE}",
            filters.parse("(objectClass=*)"),
            ("mail", "proxyAddresses;range=0-1"),
            Scope.BASE,
        )
        async with connection.search(request) as answers:
            [part] = [answer async for answer in answers]
        assert len(part.attributes["proxyaddresses;range=0-1"]) == 2
        whole = await completed(connection, part)
        connection.close()
        alice = OBJECTS[0][1]
        assert sorted(whole.attributes["proxyaddresses"]) == sorted(one.encode() for one in alice["proxyAddresses"])
        assert whole.attributes["mail"] == [b"alice@example.test"]
        assert set(whole.attributes) == {"proxyaddresses", "mail"}

    asyncio.run(scenario())


def test_a_client_certificate_goes_with_a_password_where_it_cannot_replace_it(domain, password):
    """Samba asks for a certificate and does not take EXTERNAL, as Windows does."""
    first = domain[0]
    ours = first.authority.sign("mailmoat.example.test", file="ours")
    certificate = {"tls_certificate": str(ours.chain), "tls_key": str(ours.key)}
    assert asyncio.run(open_sync(row(domain, password, **certificate)).probe()).entries
    alone = row([first], password, **certificate, account=None, password_file=None)
    with pytest.raises(SourceError, match=r"a client certificate in place of a password.*set account"):
        asyncio.run(open_sync(alone).probe())


@pytest.mark.parametrize("mode", ["sync", "live"])
def test_a_controller_that_is_written_as_another_server_is_recognised(domain, password, mode):
    """`ldap://` at a domain controller works, and `ad://` is advised."""
    first = domain[0]
    written = row(domain, password, url=f"ldaps://{first.address}", base=f"CN=Users,{samba.BASE}", mode=mode)
    source = open_sync(written) if mode == "sync" else open_live(written)
    advised = f"ldaps://{first.address}:636 is a domain controller of Active Directory: write ads:// for it"
    assert [remark for remark in asyncio.run(source.probe()).remarks if remark.startswith(advised)]
    if mode == "sync":
        steps = asyncio.run(Replica().run(source, lambda: False))
        assert [step for step in steps if isinstance(step, Remark) and step.sentence.startswith(advised)]
