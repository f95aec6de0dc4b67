"""What rows of `[[directories]]` lack on this machine is a mistake before a start."""

import pytest

from mailmoat.settings import Settings
from mailmoat.supervisor import directory_checks


def settings(**row):
    return Settings(hostname="mx.test", directories=[{"name": "a", **row}])


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "list"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_what_is_there_is_no_mistake(tmp_path, script):
    (tmp_path / "password").write_text("x\n")
    (tmp_path / "password").chmod(0o600)
    tree = settings(url=f"script://{script}", account="a", password_file=str(tmp_path / "password"))
    assert [*directory_checks.mistakes(tree), *directory_checks.exposed(tree)] == []


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_script_that_cannot_be_run_is_one(script, mode):
    script.unlink() if mode is None else script.chmod(mode)
    [mistake] = directory_checks.mistakes(settings(url=f"script://{script}"))
    assert mistake.startswith(f"directories[1].url = script://{script}: the account of the server cannot run it")


def test_a_password_that_cannot_be_read_is_one(tmp_path):
    tree = settings(url="ldaps://h.test", account="a", password_file=str(tmp_path / "none"))
    [mistake] = directory_checks.mistakes(tree)
    assert mistake.startswith(f"directories[1].password_file = {tmp_path}/none: {tmp_path}/none cannot be read")


def test_a_library_that_is_not_installed_is_one(monkeypatch):
    monkeypatch.setattr(directory_checks, "find_spec", lambda name: None)
    [mistake] = directory_checks.mistakes(settings(url="postgresql://h.test/mail", query="SELECT 1 AS address"))
    assert mistake.endswith("asyncpg is not installed; run: pip install 'mailmoat[postgresql]'")


def test_a_script_that_everybody_can_change_is_a_warning(script):
    script.chmod(0o777)
    [warning] = directory_checks.exposed(settings(url=f"script://{script}"))
    assert warning == f"{script}: every account can change it, and the server runs it; chmod o-w {script}"


def test_a_file_of_cas_without_a_certificate_is_one(tmp_path):
    file = tmp_path / "ca.cer"
    file.write_bytes(b"\x30\x82\x01\x00")
    [mistake] = directory_checks.mistakes(settings(url="ldaps://h.test", tls_ca=str(file)))
    assert mistake.startswith(f"directories[1].tls_ca = {file}: it has no certificate in PEM")


@pytest.mark.parametrize("key", ["tls_ca", "tls_certificate"])
def test_a_file_that_is_not_there_is_one(tmp_path, key):
    file = tmp_path / "absent.pem"
    [mistake] = directory_checks.mistakes(settings(url="ldaps://h.test", **{key: str(file)}))
    assert mistake == f"directories[1].{key} = {file}: there is no such file"
