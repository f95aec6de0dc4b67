"""What the directory process needs is loaded in it alone: a worker and the supervisor do not grow by it."""

import subprocess
import sys

CODE = """
import sys
from mailmoat import maillog, worker
from mailmoat.admin import process
from mailmoat.directory_process import start
from mailmoat.supervisor import supervisor
print(*sys.modules)
"""


def test_a_server_loads_no_client_of_a_source():
    loaded = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout.split()
    assert "mailmoat.directory.composed" in loaded
    unwanted = ("sqlite3", "asyncpg", "asyncmy", "mailmoat.ldap", "mailmoat.directory.sql", "mailmoat.directory.ad")
    assert [name for name in loaded if name.startswith((*unwanted, "mailmoat.directory_process.process"))] == []
