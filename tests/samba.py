"""Real domain controllers: Samba, provisioned once, filled while it does not run, then started at loopback addresses of its own.

Ports 389, 636, 3268 and 3269 are fixed, so each controller has an address; it needs root. What Exchange adds to the schema is added here as far as it
matters for addresses: Samba does not come with it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.certificates import Authority
from tests.needs import find_peer, missing

REALM = "ad.example.test"
BASE = "DC=ad,DC=example,DC=test"
ADMINISTRATOR = f"Administrator@{REALM}"
PASSWORD = "Secret-Pass.1"
READER = f"reader@{REALM}"
FILL = Path(__file__).with_name("samba_fill.py")
PORTS = (389, 636, 3268, 3269)
PATIENCE = 60.0

SMB_CONF = """\
[global]
workgroup = ADTEST
realm = AD.EXAMPLE.TEST
netbios name = {name}
server role = active directory domain controller
server services = {services}
dns forwarder =
interfaces = {address}/8
bind interfaces only = yes
private dir = {directory}/private
state directory = {directory}/state
cache directory = {directory}/cache
lock directory = {directory}
pid directory = {directory}/run
binddns dir = {directory}/bind-dns
ncalrpc dir = {directory}/ncalrpc
winbindd socket directory = {directory}/winbindd
ntp signd socket directory = {directory}/ntp
log file = {directory}/log
ldap server require strong auth = {strong}
tls enabled = yes
tls certfile = {certificate}
tls keyfile = {key}
tls cafile = {ca}
"""


def _attribute(name: str, number: int, syntax: str, om_syntax: str) -> list:
    """A single-valued attribute of the schema, indexed; its OID is of the arc that Samba has for tests."""
    return [
        f"CN={name},CN=Schema,CN=Configuration,BASE",
        {
            "objectClass": "attributeSchema",
            "attributeID": f"1.3.6.1.4.1.7165.4.255.77.{number}",
            "lDAPDisplayName": name,
            "attributeSyntax": syntax,
            "oMSyntax": om_syntax,
            "isSingleValued": "TRUE",
            "isMemberOfPartialAttributeSet": "TRUE",
            "searchFlags": "1",
        },
    ]


def _class(name: str, number: int) -> list:
    """A structural class for objects that receive mail."""
    return [
        f"CN={name},CN=Schema,CN=Configuration,BASE",
        {
            "objectClass": "classSchema",
            "governsID": f"1.3.6.1.4.1.7165.4.255.78.{number}",
            "lDAPDisplayName": name,
            "subClassOf": "top",
            "objectClassCategory": "1",
            "auxiliaryClass": "mailRecipient",
            "mayContain": [*EXCHANGE_ATTRIBUTES, "mail"],
            "possSuperiors": ["container", "organizationalUnit"],
            "rDNAttID": "cn",
            "defaultSecurityDescriptor": "D:(A;;RPLCLORC;;;AU)(A;;GA;;;DA)(A;;GA;;;SY)",
        },
    ]


EXCHANGE_ATTRIBUTES = ["msExchRecipientTypeDetails", "msExchHideFromAddressLists", "msExchRequireAuthToSendTo"]
EXCHANGE = [
    [
        _attribute("msExchRecipientTypeDetails", 1, "2.5.5.16", "65"),
        _attribute("msExchHideFromAddressLists", 2, "2.5.5.8", "1"),
        _attribute("msExchRequireAuthToSendTo", 3, "2.5.5.8", "1"),
    ],
    [
        _class("publicFolder", 1),
        _class("msExchDynamicDistributionList", 2),
        ["CN=Mail-Recipient,CN=Schema,CN=Configuration,BASE", {"mayContain": EXCHANGE_ATTRIBUTES}, "add"],
    ],
]
"""What Exchange's set-up adds to the schema, as far as it is asked for here; classes come after attributes."""


def user(name: str, **attributes) -> list:
    """An account that is enabled, unless `userAccountControl` says otherwise."""
    return [
        f"CN={name},CN=Users,BASE",
        {"objectClass": "user", "sAMAccountName": name, "userAccountControl": "544", **attributes},
    ]


def group(name: str, **attributes) -> list:
    return [f"CN={name},CN=Users,BASE", {"objectClass": "group", "sAMAccountName": name, **attributes}]


def contact(name: str, **attributes) -> list:
    return [f"CN={name},CN=Users,BASE", {"objectClass": "contact", **attributes}]


def public_folder(name: str, **attributes) -> list:
    return [f"CN={name},CN=Microsoft Exchange System Objects,BASE", {"objectClass": "publicFolder", **attributes}]


SYSTEM_OBJECTS = ["CN=Microsoft Exchange System Objects,BASE", {"objectClass": "container"}]
"""Where Exchange keeps the directory's side of public folders."""


def account(name: str) -> list:
    """An account that can log on with PASSWORD."""
    octets = f'"{PASSWORD}"'.encode("utf-16-le")
    return user(name, userPrincipalName=f"{name}@{REALM}", userAccountControl="512", unicodePwd=f"hex:{octets.hex()}")


class Controller:
    """A domain controller below `directory` at `address`; it runs between `start` and `stop`."""

    def __init__(self, directory: Path, address: str, name: str, authority: Authority) -> None:
        self.directory = directory
        self.address = address
        self.name = f"{name}.{REALM}"
        self.authority = authority
        self.conf = directory / "run.conf"
        self.process: subprocess.Popen[bytes] | None = None
        self.strong = "no"
        self.services = "ldap"
        self.ports = PORTS
        self.inside: tuple[str, ...] = ()
        """What is before the command that starts it."""

    def configure(self) -> None:
        """Write its settings; its certificate has its name and its address."""
        for part in ("cache", "run", "ncalrpc", "winbindd", "ntp"):
            (self.directory / part).mkdir(exist_ok=True)
        (self.directory / "ntp").chmod(0o750)
        signed = self.authority.sign(self.name, self.address, file=f"{self.name}-{self.address}")
        signed.key.chmod(0o600)
        self.conf.write_text(
            SMB_CONF.format(
                name=self.name.partition(".")[0].upper(),
                address=self.address,
                directory=self.directory,
                strong=self.strong,
                services=self.services,
                certificate=signed.chain,
                key=signed.key,
                ca=self.authority.certificate,
            )
        )

    def fill(self, *steps: list) -> None:
        """Add objects, each step in one transaction; it must not run."""
        written = self.directory / "steps.json"
        written.write_text(json.dumps(steps))
        filled = subprocess.run(
            [samba_python(), "-I", str(FILL), str(self.conf), str(written)], capture_output=True, text=True, check=False
        )
        assert filled.returncode == 0, filled.stderr[-2000:]

    def start(self) -> Controller:
        with (self.directory / "samba.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(*self.inside, find_peer("samba"), "-s", str(self.conf)),
                    *("-i", "-M", "single", "--no-process-group", "--debug-stdout"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not all(listens(self.address, port) for port in self.ports):
            assert self.process.poll() is None, (self.directory / "samba.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "samba does not listen"
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def twin(self, directory: Path, address: str, name: str) -> Controller:
        """Another controller with the same objects, its own identity and none of the first one's changes from now on; this one must not run."""
        shutil.copytree(self.directory, directory, symlinks=True)
        other = Controller(directory, address, name, self.authority)
        other.configure()
        other.conf.write_text(other.conf.read_text().replace(f"netbios name = {name.upper()}", "netbios name = DC1"))
        other.fill([["SERVER", {"invocationId": f"hex:{os.urandom(16).hex()}"}, "replace"]])
        return other

    def modify(self, ldif: str, account: str = ADMINISTRATOR) -> None:
        """Change what it holds, by Samba's own client while it runs; BASE is the naming context."""
        changed = subprocess.run(
            [
                *(find_peer("ldapmodify"), "-x", "-H", f"ldaps://{self.address}", "-D", account, "-w", PASSWORD),
                *("-o", "nettimeout=10"),
            ],
            input=ldif.replace("BASE", BASE),
            env={**os.environ, "LDAPTLS_CACERT": str(self.authority.certificate)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert changed.returncode == 0, changed.stderr


def samba_python() -> str:
    """The Python that Samba's modules are installed for."""
    first = Path(find_peer("samba-tool")).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#!").split()[0]


def listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def own_address(last: int) -> str:
    """A loopback address that no other process of the tests has."""
    return f"127.{64 + os.getpid() // 65536 % 64}.{os.getpid() // 256 % 256}.{os.getpid() % 250 // 4 * 4 + last}"


def provision(directory: Path, address: str, authority: Authority) -> Controller:
    """A new domain with what Exchange adds to the schema; it does not run yet."""
    if os.geteuid() != 0:
        missing("run as root, who may listen on port 389")
    directory.mkdir(parents=True)
    made = subprocess.run(
        [
            *(find_peer("samba-tool"), "domain", "provision", f"--realm={REALM.upper()}", "--domain=ADTEST"),
            *("--server-role=dc", f"--adminpass={PASSWORD}", "--dns-backend=NONE", f"--targetdir={directory}"),
            *("--host-name=dc1", f"--host-ip={address}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    controller = Controller(directory, address, "dc1", authority)
    controller.configure()
    controller.fill(*EXCHANGE)
    return controller


@contextmanager
def running(controller: Controller):
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()
