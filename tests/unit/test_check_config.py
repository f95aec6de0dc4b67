"""`mailmoat check-config`: what it sees of the machine and of the files, in one round."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mailmoat.cli import application

WITHOUT_PYTHON = """
import sys
from contextlib import contextmanager
from pathlib import Path
from mailmoat.settings import load
from mailmoat.supervisor import preflight

class Unreadable:
    def find_spec(self, name, path=None, target=None):
        raise ModuleNotFoundError(f"No module named {name!r}")

@contextmanager
def acting_as(account):
    sys.meta_path.insert(0, Unreadable())
    try:
        yield
    finally:
        sys.meta_path.pop(0)

preflight.acting_as = acting_as
settings = load(Path(sys.argv[1]))
preflight.check(settings)
print(len(preflight.warnings(settings)))
"""


def test_mistakes_in_all_files_are_shown_in_one_round(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipients.txt").write_text("alice@a.test\nbob bob@a.test\n")
    (tmp_path / "m.toml").write_text(
        "spool_dir = 'spool'\n[auth]\nfile = 'accounts'\n[recipients]\nfile = 'recipients.txt'\n"
        "[relay]\nlocal_domains = 'a.test'\n[tls]\ncertificate = 'none.pem'\n[reports]\nlanguages = 'tlh'\n"
    )
    checked = CliRunner().invoke(application(), ["check-config", "-c", "m.toml"])
    assert checked.exit_code == 1
    *mistakes, count = checked.output.splitlines()
    assert [one.split(" = ")[0].split(": /")[0].split(": there")[0] for one in mistakes] == [
        "mistake: auth.file",
        "mistake: recipients.file",
        "mistake: tls.certificate",
        "mistake: reports.languages",
    ]
    assert count == "mailmoat: 4 mistakes in the settings"


@pytest.mark.parametrize("named", ["file = 'accounts'", "file = 'accounts'\nsenders = 'senders'"])
def test_the_account_need_not_be_able_to_read_python(tmp_path, named):
    (tmp_path / "accounts").touch()
    (tmp_path / "senders").touch()
    (tmp_path / "m.toml").write_text(f"spool_dir = 'spool'\n[auth]\n{named}\n")
    checked = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTHON, tmp_path / "m.toml"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
