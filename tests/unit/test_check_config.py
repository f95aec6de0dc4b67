"""`mailmoat check-config`: what it sees of the machine and of the files, in one round."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("named", ["file = 'accounts'", "file = 'accounts'\nsenders = 'senders'"])
def test_the_account_need_not_be_able_to_read_python(tmp_path, named):
    (tmp_path / "accounts").touch()
    (tmp_path / "senders").touch()
    (tmp_path / "m.toml").write_text(f"spool_dir = 'spool'\n[auth]\n{named}\n")
    checked = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTHON, tmp_path / "m.toml"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
