"""The password of our account at a source: one line of a file, in no error."""

import pytest

from mailmoat.directory.password import read_password
from mailmoat.errors import SourceError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged


def row(path):
    account = {"account": "x", "password_file": str(path)} if path else {}
    tree = Settings(hostname="mx.test", directories=[{"name": "a", "url": "ldap://h", **account}])
    return merged(tree.directory, tree.directories[0])


@pytest.mark.parametrize(
    ("octets", "password"), [(b"s3cret\n", "s3cret"), (b" p w \r\n", " p w "), ("é".encode(), "é")]
)
def test_it_is_the_only_line(tmp_path, octets, password):
    (tmp_path / "p").write_bytes(octets)
    assert read_password(row(tmp_path / "p")) == password


@pytest.mark.parametrize("octets", [b"", b"\n", b"s3cret\nmore\n", b"s3cret\0", b"s3cret\xff", b"s3cret" * 400, None])
def test_what_cannot_be_one_is_an_error_without_it(tmp_path, octets):
    if octets is not None:
        (tmp_path / "p").write_bytes(octets)
    with pytest.raises(SourceError) as refused:
        read_password(row(tmp_path / "p"))
    assert "s3cret" not in str(refused.value)
    assert str(tmp_path / "p") in str(refused.value)


def test_none_is_empty():
    assert read_password(row(None)) == ""
