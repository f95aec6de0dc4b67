"""The content of OpenLDAP's slapd as steps: whole, then each change; after outages from where it was; with and without RFC 4533."""

import pytest
import uvloop
from tests.certificates import Authority
from tests.doubles.directory_source import Replica, row
from tests.doubles.slapd import BASE, PASSWORD, PEOPLE, READER, Slapd, people, person

from mailmoat.directory.ldap import polling, sync
from mailmoat.directory.ldap.probe import NO_SEQUENCE
from mailmoat.directory.ldap.sync import LdapSync
from mailmoat.directory.source import Begin, Current, Delta, Remark, Using, Whole
from mailmoat.errors import SourceError

COUNT = 50
ALL = {f"u{number}@example.com" for number in range(COUNT)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def start(tmp_path, authority):
    """Start servers; each ends with the test."""
    running = []

    def started(name="slapd", entries=None, **options):
        server = Slapd(tmp_path / name, authority, people(COUNT) if entries is None else entries, **options)
        server.start()
        running.append(server)
        return server

    yield started
    for server in running:
        server.kill()


@pytest.fixture
def source(tmp_path, authority):
    """Make the source of these servers."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")

    def made(*servers, **settings):
        url = ", ".join(f"ldap://127.0.0.1:{server.port}" for server in servers)
        account = {"account": READER, "password_file": tmp_path / "password"}
        return LdapSync(row(url, tls_ca=authority.certificate, **account, **settings))

    return made


async def changed(replica, source, change, until):
    """Run a source; make a change once it has read all there was."""
    changes = iter([change])

    def condition():
        if isinstance(replica.steps[-1], Whole | Current):
            next(changes, lambda: None)()
        return until()

    return await replica.run(source, condition)


def test_all_is_read_and_each_change_follows(start, source):
    slapd, replica = start(), Replica()

    def change():
        slapd.add(person(100, "new@example.com", "other@example.com"))
        slapd.remove(f"uid=u3,{PEOPLE}")
        slapd.modify(f"dn: uid=u4,{PEOPLE}\nchangetype: modify\nreplace: mail\nmail: renamed@example.com\n")
        slapd.modify(f"dn: uid=u5,{PEOPLE}\nchangetype: modify\ndelete: mail\n")
        slapd.modify(f"dn: uid=u6,{PEOPLE}\nchangetype: modrdn\nnewrdn: uid=moved\ndeleteoldrdn: 1\n")

    gone = {f"u{number}@example.com" for number in (3, 4, 5)}
    wanted = ALL - gone | {"new@example.com", "other@example.com", "renamed@example.com"}
    moved = f"uid=moved,{PEOPLE}"
    uvloop.run(
        changed(replica, source(slapd), change, lambda: moved in {entry.name for entry in replica.known.values()})
    )
    assert replica.addresses == wanted
    assert replica.steps[:2] == [Using(text(slapd)), Begin()]


def test_after_a_restart_only_what_changed_meanwhile_is_read(start, source):
    slapd, replica = start(), Replica()
    uvloop.run(replica.run(source(slapd), lambda: replica.cookie))
    assert replica.addresses == ALL
    slapd.kill()
    slapd.start()
    slapd.remove(f"uid=u7,{PEOPLE}")
    slapd.add(person(100))
    steps = uvloop.run(replica.run(source(slapd), lambda: "u7@example.com" not in replica.addresses))
    assert replica.addresses == ALL - {"u7@example.com"} | {"u100@example.com"}
    assert not [step for step in steps if isinstance(step, Begin)]


def test_what_changed_meanwhile_is_read_although_the_account_may_not_read_entrycsn(start, source):
    slapd, replica = start(hidden="entryCSN"), Replica()
    uvloop.run(replica.run(source(slapd), lambda: replica.cookie))
    slapd.add(person(100))
    steps = uvloop.run(replica.run(source(slapd), lambda: isinstance(replica.steps[-1], Whole | Current)))
    assert replica.addresses == ALL | {"u100@example.com"}
    assert Remark(NO_SEQUENCE) in steps
    assert NO_SEQUENCE in uvloop.run(source(slapd).probe()).remarks


def test_a_cookie_that_the_server_refuses_leads_to_a_full_read(start, source):
    slapd, replica = start(), Replica()
    slapd.add(person(100))
    for cookie in (
        b"Srid=000,csn=20990101000000.000000Z#000000#000#000000",
        b"P20990101000000 99",
        b"?",
    ):
        replica.cookie = cookie
        uvloop.run(replica.run(source(slapd), lambda: isinstance(replica.steps[-1], Whole)))
        assert replica.addresses == ALL | {"u100@example.com"}


def test_a_server_that_lost_most_of_its_entries_is_read_whole_and_removes_none_by_itself(start, source):
    """The guard over full reads decides then."""
    full, replica = start("full"), Replica()
    uvloop.run(replica.run(source(full), lambda: replica.cookie))
    empty = start("empty", people(2))
    steps = uvloop.run(replica.run(source(empty), lambda: isinstance(replica.steps[-1], Begin | Delta)))
    assert isinstance(steps[-1], Begin)
    assert replica.addresses == ALL


def text(server):
    return f"ldap://127.0.0.1:{server.port}"


def used(replica):
    """The servers that were read, one after the other."""
    return [step.server for step in replica.steps if isinstance(step, Using)]


def test_the_next_server_goes_on_when_one_is_killed_and_the_first_again_later(start, source, monkeypatch):
    monkeypatch.setattr("mailmoat.directory.preference.FIRST_PAUSE", 0.2)
    monkeypatch.setattr(sync, "PING_INTERVAL", 0.1)
    first, second = start("first"), start("second")
    replica, names = Replica(), [text(server) for server in (first, second)]

    def condition():
        if isinstance(replica.steps[-1], Whole | Current):
            if used(replica) == names and first.process.poll() is not None:
                first.start()
            elif used(replica) == names[:1]:
                first.kill()
        return len(used(replica)) > 2

    uvloop.run(replica.run(source(first, second), condition))
    assert used(replica) == [names[0], names[1], names[0]]
    assert replica.addresses == ALL


def test_a_server_that_hangs_is_noticed_and_the_next_one_goes_on(start, source, monkeypatch):
    monkeypatch.setattr(sync, "PING_INTERVAL", 0.1)
    monkeypatch.setattr("mailmoat.ldap.root_dse.PING_TIME", 0.3)
    first, second, replica = start("first"), start("second"), Replica()
    uvloop.run(changed(replica, source(first, second), first.hang, lambda: used(replica)[-1] == text(second)))
    (reason,) = next(step.passed_over for step in reversed(replica.steps) if isinstance(step, Using))
    assert reason.startswith(f"{text(first)}: no answer in ")
    first.go_on()
    assert replica.addresses == ALL


def test_no_server_at_all_is_an_outage_that_changes_nothing(start, source):
    slapd, replica = start(), Replica()
    uvloop.run(replica.run(source(slapd), lambda: replica.cookie))
    slapd.kill()
    with pytest.raises(SourceError, match="no connection"):
        uvloop.run(replica.run(source(slapd), lambda: False))
    assert replica.addresses == ALL


def test_a_server_killed_amid_a_full_read_changes_nothing(start, source):
    slapd, replica = start(entries=people(5000)), Replica()
    with pytest.raises(SourceError):
        uvloop.run(replica.run(source(slapd), lambda: isinstance(replica.steps[-1], Begin) and slapd.kill()))
    assert not [step for step in replica.steps if isinstance(step, Whole | Delta)]
    assert replica.addresses == set()


@pytest.mark.parametrize("options", [{"provider": False}, {"size_limit": 20}], ids=["without RFC 4533", "size limit"])
def test_a_server_that_gives_no_notice_is_read_in_pages_by_the_time_of_change(start, source, monkeypatch, options):
    monkeypatch.setattr(polling, "PAGE_SIZE", 20)
    slapd, replica = start(**options), Replica()
    condition = {"filter": "(!(description=off))"}
    uvloop.run(replica.run(source(slapd, **condition), lambda: False))
    assert replica.addresses == ALL
    slapd.add(person(100))
    slapd.modify(f"dn: uid=u4,{PEOPLE}\nchangetype: modify\nreplace: mail\nmail: renamed@example.com\n")
    slapd.modify(f"dn: uid=u5,{PEOPLE}\nchangetype: modify\nadd: description\ndescription: off\n")
    slapd.remove(f"uid=u6,{PEOPLE}")
    steps = uvloop.run(replica.run(source(slapd, **condition), lambda: False))
    assert replica.addresses == ALL - {"u4@example.com", "u5@example.com"} | {"u100@example.com", "renamed@example.com"}
    assert not [step for step in steps if isinstance(step, Begin)]
    monkeypatch.setattr(polling, "FULL_INTERVAL_MS", 0)
    uvloop.run(replica.run(source(slapd, **condition), lambda: False))
    assert "u6@example.com" not in replica.addresses


@pytest.mark.parametrize("settings", [{"base": f"ou=nowhere,{BASE}"}, {"account": f"cn=nobody,{BASE}"}])
def test_a_base_that_is_not_there_or_an_account_that_is_refused_is_an_outage(
    start, source, settings, tmp_path, authority
):
    slapd, replica = start(), Replica()
    made = {"account": READER, "password_file": tmp_path / "password", "tls_ca": authority.certificate, **settings}
    source(slapd)
    with pytest.raises(SourceError, match=r"noSuchObject|invalidCredentials"):
        uvloop.run(replica.run(LdapSync(row(f"ldap://127.0.0.1:{slapd.port}", **made)), lambda: False))
    assert replica.steps[1:] in ([], [Begin()])


def test_a_first_look_says_what_to_look_at(start, source):
    slapd = start(provider=False)
    probed = uvloop.run(source(slapd, tls="none", filter="(uid=nobody)", base=BASE).probe())
    assert (probed.entries, probed.sample) == (0, ())
    assert [remark.split()[0] for remark in probed.remarks] == ["no", "the", "the"]


def test_a_first_look_names_attributes_that_no_entry_has(start, source):
    slapd = start()

    def remarks(**settings):
        return uvloop.run(source(slapd, tls="verify", **settings).probe()).remarks

    missing = f"no entry below {BASE} has {{}}; look at how it is written, and at the rights of the account".format
    assert remarks(base=BASE, attributes="mail", target_attributes="uid", condition="objectClass=person") == ()
    assert remarks(
        base=BASE, attributes="mail,mial", target_attributes="uid,mailForward", condition="mailEnable=TRUE"
    ) == (
        f"attributes: {missing('mial')}",
        f"target_attributes: {missing('mailForward')}",
        f"condition: {missing('mailEnable')}",
    )
    assert remarks(base=BASE, filter="(|(uid=*)(departmnt=x))") == (), "somebody was found"
    assert remarks(base=BASE, filter="departmnt=x") == (
        f"no entry below {BASE} has an address and matches the filter",
        f"filter: {missing('departmnt')}",
    )


@pytest.mark.parametrize("cookie", [b"Sgarbage", b"Srid=000", b"Srid=000,csn=nonsense", b"Shost:1#dc=x:(a=b)#3"])
def test_a_cookie_that_slapd_does_not_recognise_keeps_no_removed_entry(start, source, cookie):
    """As after another product took the place of a server."""
    slapd, replica = start(), Replica()
    uvloop.run(replica.run(source(slapd), lambda: isinstance(replica.steps[-1], Whole)))
    slapd.remove(f"uid=u3,{PEOPLE}")
    replica.cookie = cookie
    uvloop.run(replica.run(source(slapd), lambda: isinstance(replica.steps[-1], Whole)))
    assert replica.addresses == ALL - {"u3@example.com"}
