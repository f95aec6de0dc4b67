"""Two domain controllers (Samba) of one domain, of which the second one joined it: what changes at one arrives at the other.

Both are in the network namespace of the test (`namespace.alone`) at loopback addresses. They find each other, as controllers do, by names and by Kerberos,
so each has its own /etc/hosts, /etc/resolv.conf and krb5.conf, in a mount namespace of its own.
"""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests import samba
from tests.certificates import Authority
from tests.needs import find_peer
from tests.samba import BASE, PASSWORD, REALM, Controller, own_address, provision, samba_python

if TYPE_CHECKING:
    from pathlib import Path

KERBEROS, RPC = 88, 135
SERVICES = "rpc, ldap, cldap, kdc, drepl, kcc"
OFTEN = """\
dreplsrv:notify_interval = 1
dreplsrv:periodic_startup_interval = 2
kccsrv:samba_kcc = no
kccsrv:periodic_startup_interval = 2
"""
"""Seconds, and the simple topology: each controller replicates with each."""
KRB5_CONF = """\
[libdefaults]
default_realm = {realm}
dns_lookup_realm = false
dns_lookup_kdc = false
[realms]
{realm} = {{
  kdc = {first}
  kdc = {second}
}}
"""
NAMED = """\
import sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm()
lp.load(sys.argv[1])
print(SamDB(url=lp.private_path("sam.ldb"), session_info=system_session(lp), lp=lp).get_ntds_GUID())
"""
GLOBAL_CATALOGUE, NOTHING_IN = 1, 2
"""Options of the NTDS settings of a controller (MS-ADTS 6.1.1.2.2.1.2.1.1)."""


class Domain:
    """Two controllers below `directory`; they run between `start` and `stop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        first, second = own_address(1), own_address(2)
        self._hosts = ["127.0.0.1 localhost", f"{first} dc1.{REALM}", f"{second} dc2.{REALM}"]
        krb5 = KRB5_CONF.format(realm=REALM.upper(), first=first, second=second)
        for name, text in (("krb5.conf", krb5), ("resolv.conf", "nameserver 127.0.0.99\n")):
            (directory / name).write_text(text)
        self._write_hosts()
        mounts = " && ".join(f"mount --bind {directory}/{name} /etc/{name}" for name in ("hosts", "resolv.conf"))
        command = f'{mounts} && KRB5_CONFIG={directory}/krb5.conf exec "$@"'
        self.inside = (find_peer("unshare"), "-m", "sh", "-c", command, "sh")
        self.first = provision(directory / "dc1", first, Authority(directory / "ca"))
        self._prepare(self.first)
        self.second = Controller(directory / "dc2", second, "dc2", self.first.authority)
        self._join()

    def start(self) -> None:
        for controller in (self.first, self.second):
            controller.start()

    def stop(self) -> None:
        for controller in (self.first, self.second):
            controller.stop()

    def replicates(self, controller: Controller, *, inbound: bool) -> None:
        """Whether changes made at the other controller arrive at this one."""
        options = GLOBAL_CATALOGUE + (0 if inbound else NOTHING_IN)
        name = controller.name.partition(".")[0].upper()
        controller.modify(
            f"dn: CN=NTDS Settings,CN={name},CN=Servers,CN=Default-First-Site-Name,CN=Sites,CN=Configuration,BASE\n"
            f"changetype: modify\nreplace: options\noptions: {options}\n"
        )

    def replicate(self, to: Controller, source: Controller) -> None:
        """Bring what changed at `source` to the other one now."""
        self._run("samba-tool", "drs", "replicate", to.name, source.name, BASE, *self._account())

    def _join(self) -> None:
        self.second.directory.mkdir()
        with samba.running(self.first):
            self._run(
                *("samba-tool", "domain", "join", REALM, "DC", f"--server={self.first.name}", "--dns-backend=NONE"),
                *(f"--targetdir={self.second.directory}", "--option=netbios name=DC2", "--option=log file=/dev/null"),
                *(f"--option=interfaces={self.second.address}/8", "--option=bind interfaces only=yes"),
                *self._account(),
            )
        self._prepare(self.second)
        for controller in (self.first, self.second):
            named = self._run(samba_python(), "-I", "-c", NAMED, str(controller.conf)).strip()
            self._hosts.append(f"{controller.address} {named}._msdcs.{REALM}")
        self._write_hosts()

    def _prepare(self, controller: Controller) -> None:
        """Let it have what replication needs, and the names by which Kerberos knows it."""
        controller.services, controller.inside = SERVICES, self.inside
        controller.ports = (*samba.PORTS, KERBEROS, RPC)
        controller.configure()
        controller.conf.write_text(controller.conf.read_text() + OFTEN)
        self._run("samba_spnupdate", "-s", str(controller.conf))

    def _account(self) -> tuple[str, ...]:
        conf = self.directory / "client.conf"
        conf.write_text(f"[global]\nworkgroup = ADTEST\nrealm = {REALM.upper()}\n")
        account = f"-UAdministrator@{REALM.upper()}%{PASSWORD}"
        return ("-s", str(conf), account, "--use-kerberos=required")

    def _run(self, program: str, *arguments: str) -> str:
        command = [*self.inside, find_peer(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def _write_hosts(self) -> None:
        (self.directory / "hosts").write_text("".join(f"{line}\n" for line in self._hosts))


@contextmanager
def replicating(domain: Domain):
    try:
        domain.start()
        yield domain
    finally:
        domain.stop()
