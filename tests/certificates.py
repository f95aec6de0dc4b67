"""Certificates of the tests, made by OpenSSL: another program than the one that reads them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.needs import find_peer

KINDS = {
    "p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "p384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"],
    "rsa2048": ["-newkey", "rsa:2048"],
    "rsa4096": ["-newkey", "rsa:4096"],
    "ed25519": ["-newkey", "ed25519"],
}


@dataclass(frozen=True)
class Files:
    """A certificate with the CAs it needs behind it, and its key."""

    chain: Path
    key: Path


class Authority:
    """A CA of its own, below a directory."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate, self._key = directory / "ca.pem", directory / "ca.key"
        openssl(
            *("req", "-x509", "-nodes", *KINDS["p256"], "-days", "3650", "-subj", f"/CN={name}"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", self._key, "-out", self.certificate),
        )

    def sign(self, *names: str, kind: str = "p256", days: int = 90, file: str = "") -> Files:
        """Make a certificate for these names; a negative number of days makes one that is over."""
        target = self.directory / (file or names[0].replace("*", "_"))
        made = Files(target.with_suffix(".pem"), target.with_suffix(".key"))
        request, extensions = target.with_suffix(".csr"), target.with_suffix(".ext")
        openssl("req", "-new", "-nodes", *KINDS[kind], "-subj", f"/CN={names[0]}", "-keyout", made.key, "-out", request)
        alternatives = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
        # RFC 5280 4.2.1.1, which Python asks for from 3.13 on.
        identifiers = "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
        extensions.write_text(f"subjectAltName={alternatives}\nextendedKeyUsage=serverAuth,clientAuth\n{identifiers}")
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", str(days), "-extfile", extensions, "-out", made.chain),
        )
        made.chain.write_bytes(made.chain.read_bytes() + self.certificate.read_bytes())
        return made


def openssl(*arguments: str | Path, given: bytes = b"") -> bytes:
    """Run it; its standard output."""
    return subprocess.run(
        [find_peer("openssl"), *map(str, arguments)], input=given, check=True, capture_output=True
    ).stdout
