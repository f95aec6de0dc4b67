"""What a test needs of the machine: without it the test is skipped and says what to install, and fails where none may skip.

`MAILMOAT_TEST_REQUIRE_PEERS=1`, which CI sets, is such a place.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from pathlib import Path
from typing import NoReturn

import pytest

PEERS_DIRECTORY = Path(__file__).parents[1] / "target" / "peers"
"""Where `.ci/run` unpacks peers that cannot be installed beside the others."""
PEERS = {
    "smtp-source": "postfix",
    "smtp-sink": "postfix",
    "postfix": "postfix",
    "swaks": "swaks",
    "curl": "curl",
    "msmtp": "msmtp",
    "openssl": "openssl",
    "sslscan": "sslscan",
    "strace": "strace",
    "testssl": "testssl.sh",
    "dovecot": "dovecot-core",
    "/usr/lib/dovecot/lmtp": "dovecot-lmtpd",
    "nft": "nftables",
    "unbound": "unbound",
    "slapd": "slapd",
    "slapadd": "slapd",
    "ldapmodify": "ldap-utils",
    "ldapsearch": "ldap-utils",
    "ldns-keygen": "ldnsutils",
    "ldns-signzone": "ldnsutils",
    "fail2ban-regex": "fail2ban",
    "samba": "samba, samba-ad-provision, samba-dsdb-modules, samba-vfs-modules and winbind",
    "samba-tool": "samba-ad-provision and python3-samba",
}
UNPACKED = {"exim4": "exim4-daemon-light"}


def missing(reason: str) -> NoReturn:
    """What the test needs is not here."""
    if os.environ.get("MAILMOAT_TEST_REQUIRE_PEERS") == "1":
        pytest.fail(f"required here: {reason}")
    pytest.skip(reason)


def find_peer(name: str) -> str:
    """The path of a real peer."""
    elsewhere = ("/usr/sbin", "/usr/lib/postfix/sbin", "/usr/libexec/postfix", str(PEERS_DIRECTORY / "usr/sbin"))
    path = shutil.which(name) or shutil.which(name, path=":".join(elsewhere))
    if path is None and name in UNPACKED:
        missing(f"unpack {UNPACKED[name]} below target/peers, as .ci/run does")
    return path or missing(f"install {PEERS.get(name, name)}")


def need_module(name: str) -> None:
    """A Python module of the test dependencies."""
    if importlib.util.find_spec(name) is None:
        missing(f"install {name}")


@pytest.fixture
def root() -> None:
    """The right to become another account, and to mount."""
    if os.geteuid() != 0:
        missing("run as root")


@pytest.fixture
def ipv6() -> None:
    """The address ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        missing(f"enable IPv6 on the loopback interface: {error}")


@pytest.fixture
def peer():
    """`peer("smtp-sink")` is `find_peer`."""
    return find_peer
