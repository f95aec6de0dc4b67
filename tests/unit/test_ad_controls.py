"""The DirSync control, and the mark that a source keeps of it."""

import pytest

from mailmoat.directory.ad.controls import DIRSYNC, Synced, dirsync, synced
from mailmoat.directory.ad.mark import Mark, Method
from mailmoat.ldap import ber
from mailmoat.ldap.ber import GarbledError
from mailmoat.ldap.message import Control


def test_the_control_asks_within_the_rights_of_the_account():
    control = dirsync(b"cookie")
    assert control.oid == "1.2.840.113556.1.4.841"
    assert control.critical
    assert control.value == bytes.fromhex("3010 020101 0203100000".replace(" ", "")) + b"\x04\x06cookie"


@pytest.mark.parametrize("more", [0, 1, 2])
def test_the_answer_says_whether_there_is_more(more):
    value = ber.sequence(ber.integer(more), ber.integer(0), ber.octets(b"next"))
    assert synced([Control("1.2.3"), Control(DIRSYNC, value=value)]) == Synced(bool(more), b"next")


@pytest.mark.parametrize(
    "controls",
    [[], [Control(DIRSYNC)], [Control(DIRSYNC, value=b"")], [Control(DIRSYNC, value=b"\x30\x03\x02\x01\x00")]],
)
def test_an_answer_without_it_is_garbled(controls):
    with pytest.raises(GarbledError):
        synced(controls)


@pytest.mark.parametrize("method", Method)
def test_a_mark_survives_as_a_cookie(method):
    mark = Mark(method, b"\0\xff position", b"0123456789abcdef", 1_795_695_588_408)
    assert Mark.decode(mark.encode()) == mark


@pytest.mark.parametrize("cookie", [None, b"", b"{}", b"[1]", b'["dirsync","!","",1]', b"\xff"])
def test_any_other_cookie_is_no_mark(cookie):
    assert Mark.decode(cookie) is None
