"""A real Postfix below a directory of the test's: the lines under test in `main.cf` and `master.cf`, and what any Postfix needs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.integration.conftest import answers, wait_for
from tests.needs import find_peer

SERVICES = """
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""


class Postfix:
    """Runs as long as the context. Start it in a network namespace: it connects to any host that its routing names."""

    def __init__(self, directory: Path, main: str, service: str) -> None:
        self._postfix, self._queue = find_peer("postfix"), find_peer("postqueue")
        self._settings, self._spool = directory / "etc", directory / "spool"
        self.log = directory / "log"
        directory.chmod(0o755)
        for made in (self._settings, self._spool, directory / "lib"):
            made.mkdir()
        shutil.chown(directory / "lib", "postfix")
        places = {"queue_directory": self._spool, "data_directory": directory / "lib", "maillog_file": self.log}
        places["maillog_file_prefixes"] = directory
        lines = [f"{name} = {path}\n" for name, path in places.items()]
        (self._settings / "main.cf").write_text(f"compatibility_level = 3.6\n{''.join(lines)}{main}")
        (self._settings / "master.cf").write_text(service + SERVICES)

    def __enter__(self) -> Self:
        self._run(self._postfix, "start")
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._postfix, "stop")

    def wait(self, port: int) -> None:
        wait_for(lambda: answers(port), seconds=60, what="greeting of Postfix")

    def at_rest(self) -> bool:
        """The queue is empty, or all of it waits for its next attempt."""
        listed = subprocess.run([self._queue, "-c", self._settings, "-j"], capture_output=True, text=True, check=True)
        return not any('"queue_name": "deferred"' not in line for line in listed.stdout.splitlines())

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [command[0], "-c", self._settings, *command[1:]], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr + (self.log.read_text() if self.log.exists() else "")
