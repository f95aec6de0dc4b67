"""The codec against OpenLDAP: its entries are what `ldapsearch` prints, and its filters find what those of `ldapsearch` find."""

import base64
import subprocess

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.certificates import Authority
from tests.doubles.slapd import BASE, PASSWORD, PEOPLE, READER, Slapd
from tests.needs import find_peer

from mailmoat.ldap import filters
from mailmoat.ldap.message import SearchRequest
from mailmoat.ldap.opening import Access, Login, open_connection
from mailmoat.ldap.outcome import LdapError
from mailmoat.ldap.server import Server, Transport

VALUES = ["a", "A b", "x*y", "(z)", "back\\slash", "ü", "日本", "a=b", " q"]


def odd_people():
    """Entries whose values are of all lengths and hold all octets."""
    for number in range(40):
        photo = base64.b64encode(bytes((number * 31 + at * 7) % 256 for at in range(number**3 % 3000 + 1))).decode()
        words = "".join(
            f"description:: {base64.b64encode(VALUES[(number + at) % len(VALUES)].encode()).decode()}\n"
            for at in range(number % 4)
        )
        yield f"dn: uid=u{number}+cn=é {number},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: u{number}\ncn: é {number}\nsn: {number}\njpegPhoto:: {photo}\n{words}\n"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory):
    with Slapd(tmp_path_factory.mktemp("slapd"), Authority(tmp_path_factory.mktemp("ca")), odd_people()) as running:
        yield running


def theirs(slapd, filter_, *attributes):
    """What `ldapsearch` finds: names, and values by attribute."""
    command = [find_peer("ldapsearch"), "-x", "-LLL", "-o", "ldif-wrap=no", "-H", f"ldap://127.0.0.1:{slapd.port}"]
    command += ["-D", READER, "-w", PASSWORD, "-b", BASE, filter_, *attributes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    found = {}
    for paragraph in done.stdout.strip("\n").split("\n\n"):
        entry = {}
        for line in paragraph.splitlines():
            name, _, value = line.partition(":")
            octets = base64.b64decode(value[1:]) if value.startswith(":") else value.strip().encode()
            entry.setdefault(name.lower(), []).append(octets)
        if entry:
            found[entry.pop("dn")[0].decode()] = entry
    return found


def ours(slapd, filter_, *attributes):
    async def main():
        server = Server("slapd", Transport.CLEAR, "127.0.0.1", slapd.port)
        connection = await open_connection(server, Access(Login(READER, lambda: PASSWORD)))
        try:
            async with connection.search(SearchRequest(BASE, filters.parse(filter_), attributes)) as answers:
                return {entry.dn: entry.attributes async for entry in answers}
        except LdapError:
            return None
        finally:
            connection.close()

    return uvloop.run(main())


@pytest.mark.parametrize("attributes", [(), ("*", "+"), ("mail",), ("description",), ("1.1",)])
def test_entries_are_what_ldapsearch_prints(slapd, attributes):
    found = ours(slapd, "(objectClass=*)", *attributes)
    assert found == theirs(slapd, "(objectClass=*)", *attributes)
    assert len(found) == 43


items = st.builds(
    lambda kind, relation, value: f"({kind}{relation}{value})",
    st.sampled_from(["uid", "cn", "description", "sn", "nosuch", "objectClass"]),
    st.sampled_from(["=", ">=", "<=", "~="]),
    st.one_of(
        st.sampled_from(VALUES).map(filters.escape), st.sampled_from(["*", "u1*", "*1", "u*1*", "é 1", "\\c3\\a9*"])
    ),
)
written = st.recursive(
    items,
    lambda inner: st.one_of(
        inner.map(lambda part: f"(!{part})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(&{''.join(parts)})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(|{''.join(parts)})"),
    ),
    max_leaves=6,
)


@given(written)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_filters_find_what_those_of_ldapsearch_find(slapd, filter_):
    try:
        found = ours(slapd, filter_, "uid")
    except ValueError:
        assert theirs(slapd, filter_, "uid") is None
    else:
        assert found == theirs(slapd, filter_, "uid")
