"""A real Dovecot that serves its authentication socket and nothing else, for one test module."""

from __future__ import annotations

import base64
import hmac
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.needs import find_peer, missing

CONF = """\
protocols =
base_dir = {directory}/base
state_dir = {directory}/state
log_path = {directory}/log
auth_mechanisms = plain login cram-md5 scram-sha-256 oauthbearer xoauth2 anonymous external
auth_failure_delay = 0 secs
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {directory}/oauth2
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {directory}/accounts
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""
OAUTH2 = """\
introspection_mode = local
local_validation_key_dict = fs:posix:prefix={directory}/keys/
username_attribute = sub
"""
KEY = b"k" * 32


class Dovecot:
    """Runs from `start` to `stop`; its accounts are lines of a passwd-file."""

    def __init__(self, directory: Path, accounts: str) -> None:
        self.socket = directory / "base" / "auth-client"
        self.log = directory / "log"
        self._conf = directory / "conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._conf.write_text(CONF.format(directory=directory))
        (directory / "oauth2").write_text(OAUTH2.format(directory=directory))
        (directory / "accounts").write_text(accounts)
        key = directory / "keys" / "default" / "HS256" / "default"
        key.parent.mkdir(parents=True)
        key.write_text(base64.b64encode(KEY).decode())
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def start(self) -> None:
        """Run, and wait until the socket takes connections."""
        self._process = subprocess.Popen([find_peer("dovecot"), "-F", "-c", str(self._conf)])
        deadline = time.monotonic() + 30
        while not self.socket.exists():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, and the processes it made."""
        if self._process is not None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            self._process.terminate()
            self._process.wait(30)
            self._process = None
            for child in children:  # an auth process goes on as long as it has clients
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        self.socket.unlink(missing_ok=True)


@contextmanager
def running(accounts: str):
    """A Dovecot with these accounts."""
    find_peer("dovecot")
    if os.geteuid() != 0:
        missing("run as root, who may start Dovecot")
    directory = Path(tempfile.mkdtemp(prefix="dovecot-"))  # the path of a socket has at most 107 octets
    dovecot = Dovecot(directory, accounts)
    try:
        dovecot.start()
        yield dovecot
    finally:
        dovecot.stop()
        shutil.rmtree(directory)


def token(name: str, seconds: int = 600) -> str:
    """A JSON web token for an account that the Dovecot accepts (RFC 7519), good for so long."""

    def part(octets: bytes) -> str:
        return base64.urlsafe_b64encode(octets).decode().rstrip("=")

    now = int(time.time())
    claims = {"sub": name, "iat": now - 3600, "nbf": now - 3600, "exp": now + seconds}
    signed = f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.digest(KEY, signed.encode(), 'sha256'))}"
