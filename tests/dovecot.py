"""A real Dovecot that serves its authentication socket, or LMTP at a Unix socket, and nothing else."""

from __future__ import annotations

import base64
import hmac
import json
import os
import shutil
import signal
import socket
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


LMTP = """\
protocols = lmtp
base_dir = {directory}/base
state_dir = {directory}/state
log_path = {directory}/log
ssl = no
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
hostname = store.test
postmaster_address = postmaster@store.test
mail_location = maildir:{directory}/mail/%u
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {directory}/accounts
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
}}
"""


class Dovecot:
    """Runs from `start` to `stop`; its accounts are lines of a passwd-file."""

    def __init__(self, directory: Path, accounts: str, conf: str = CONF, name: str = "auth-client") -> None:
        self.directory = directory
        self.socket = directory / "base" / name
        self.log = directory / "log"
        self._conf = directory / "conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._conf.write_text(conf.format(directory=directory))
        (directory / "oauth2").write_text(OAUTH2.format(directory=directory))
        (directory / "accounts").write_text(accounts)
        key = directory / "keys" / "default" / "HS256" / "default"
        key.parent.mkdir(parents=True)
        key.write_text(base64.b64encode(KEY).decode())
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    def messages(self, address: str) -> list[str]:
        """The messages in a mailbox."""
        new = self.directory / "mail" / address / "new"
        return [path.read_text() for path in sorted(new.iterdir())] if new.exists() else []

    def start(self) -> None:
        """Run, and wait until the socket takes connections."""
        self._process = subprocess.Popen([find_peer("dovecot"), "-F", "-c", str(self._conf)])
        deadline = time.monotonic() + 30
        while not self._listens():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

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
def storing(*addresses: str):
    """A Dovecot with these mailboxes, which takes messages by LMTP at a Unix socket."""
    find_peer("/usr/lib/dovecot/lmtp")
    lines = "".join(f"{address}::65534:65534::/::\n" for address in addresses)
    with running(lines, LMTP, "lmtp") as dovecot:
        (dovecot.directory / "mail").mkdir()
        (dovecot.directory / "mail").chmod(0o777)
        yield dovecot


@contextmanager
def running(accounts: str, conf: str = CONF, name: str = "auth-client"):
    """A Dovecot with these accounts."""
    find_peer("dovecot")
    if os.geteuid() != 0:
        missing("run as root, who may start Dovecot")
    directory = Path(tempfile.mkdtemp(prefix="dovecot-"))  # the path of a socket has at most 107 octets
    dovecot = Dovecot(directory, accounts, conf, name)
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
