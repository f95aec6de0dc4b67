"""A real LDAP server: OpenLDAP's slapd, with TLS, back-mdb and the provider of RFC 4533, below a directory of its own.

    with Slapd(tmp_path, authority, people(20)) as slapd:
        ... f"ldap://127.0.0.1:{slapd.port}", f"ldaps://127.0.0.1:{slapd.tls_port}", slapd.socket
        slapd.modify("dn: ...\nchangetype: delete\n")

`ADMIN` may write, `READER` may read what is below `BASE`; both have `PASSWORD`. A client whose certificate is for `reader.example.com` is `READER`, too.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self
from urllib.parse import quote

from tests.certificates import Authority
from tests.integration.conftest import free_port
from tests.needs import find_peer, missing

BASE = "dc=example,dc=com"
PEOPLE = f"ou=people,{BASE}"
ADMIN = f"cn=admin,{BASE}"
READER = f"cn=reader,{BASE}"
PASSWORD = "correct horse"
SCHEMAS = Path("/etc/ldap/schema")
TIME = 20.0
ROOT_ENTRIES = f"""\
dn: {BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {PEOPLE}
objectClass: organizationalUnit
ou: people

dn: {READER}
objectClass: person
cn: reader
sn: reader
userPassword: {PASSWORD}

"""


def person(number: int, *addresses: str) -> str:
    """The LDIF of an entry, with the address `uNUMBER@example.com` unless others are given."""
    mail = "".join(f"mail: {address}\n" for address in addresses or (f"u{number}@example.com",))
    name = f"uid: u{number}\ncn: User {number}\nsn: {number}\n"
    return f"dn: uid=u{number},{PEOPLE}\nobjectClass: inetOrgPerson\n{name}{mail}\n"


def people(count: int) -> Iterable[str]:
    return (person(number) for number in range(count))


class Slapd:
    def __init__(
        self,
        directory: Path,
        authority: Authority,
        entries: Iterable[str] = (),
        *,
        names: tuple[str, ...] = ("127.0.0.1",),
        days: int = 90,
        provider: bool = True,
        size_limit: int | None = None,
        hidden: str = "",
    ) -> None:
        """`hidden` is an attribute that nobody may read. `names` and `days` are those of its certificate; without `provider` it does not know RFC 4533; `size_limit` is READER's for a search."""
        if not SCHEMAS.is_dir():
            missing("install slapd")
        self.directory = directory
        (directory / "db").mkdir(parents=True)
        self._files = authority.sign(*names, days=days, file=f"slapd-{directory.name}")
        self._settings = directory / "slapd.conf"
        self._settings.write_text(self._text(authority, provider=provider, size_limit=size_limit, hidden=hidden))
        self.port, self.tls_port = free_port(), free_port()
        self.socket = directory / "ldapi"
        ldif = directory / "start.ldif"
        with ldif.open("w") as file:
            file.write(ROOT_ENTRIES)
            file.writelines(entries)
        self._run("slapadd", "-q", "-f", self._settings, "-l", ldif)

    def _text(self, authority: Authority, *, provider: bool, size_limit: int | None, hidden: str) -> str:
        schemas = "".join(f"include {SCHEMAS}/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        limit = f"limits dn.exact={READER} size={size_limit if size_limit is not None else 'unlimited'}"
        overlay = "overlay syncprov\nsyncprov-checkpoint 1000 60\n" if provider else ""
        return f"""{schemas}
modulepath /usr/lib/ldap
moduleload back_mdb
{"moduleload syncprov" if provider else ""}
pidfile {self.directory}/pid
TLSCACertificateFile {authority.certificate}
TLSCertificateFile {self._files.chain}
TLSCertificateKeyFile {self._files.key}
TLSVerifyClient try
authz-regexp ^cn=reader.example.com$ {READER}
authz-regexp gidNumber=.*,cn=peercred,cn=external,cn=auth {READER}
database mdb
suffix {BASE}
rootdn {ADMIN}
rootpw "{PASSWORD}"
directory {self.directory}/db
maxsize 4294967296
dbnosync
index objectClass,entryCSN,entryUUID,mail,modifyTimestamp eq
{limit} size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
{f"access to attrs={hidden} by * none" if hidden else ""}
access to * by dn.exact={READER} read by * none
{overlay}"""

    def _run(self, program: str, *arguments: str | Path, given: str | None = None) -> str:
        command = [find_peer(program), *map(str, arguments)]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        urls = (
            f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} ldapi://{quote(str(self.socket), safe='')}"
        )
        self._log = (self.directory / "log").open("ab")
        command = [find_peer("slapd"), "-h", urls, "-f", str(self._settings), "-d", "0"]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + TIME
        while not self._listens():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once; its connections are gone."""
        self.process.kill()
        self.process.wait(TIME)
        self._log.close()
        self.socket.unlink(missing_ok=True)

    def hang(self) -> None:
        """Let it do nothing any more, its connections left open."""
        os.kill(self.process.pid, signal.SIGSTOP)
        deadline = time.monotonic() + TIME
        while not all(self._stopped(task) for task in Path(f"/proc/{self.process.pid}/task").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @staticmethod
    def _stopped(task: Path) -> bool:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] in "Tt"

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def modify(self, ldif: str) -> None:
        """Apply LDIF with change types as ADMIN."""
        login = ("-x", "-D", ADMIN, "-w", PASSWORD, "-H", f"ldap://127.0.0.1:{self.port}")
        self._run("ldapmodify", *login, given=ldif)

    def add(self, entry: str) -> None:
        self.modify(entry.replace("\n", "\nchangetype: add\n", 1))

    def remove(self, dn: str) -> None:
        self.modify(f"dn: {dn}\nchangetype: delete\n")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return self.socket.exists()
