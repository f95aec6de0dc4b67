"""The certificate authorities that the system trusts: a file that it keeps, never a list of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SYSTEM_FILES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)
"""Where it is: Debian and Alpine, Red Hat, SUSE, others."""


def system_file() -> Path | None:
    """Return the one of this machine; None when it has none."""
    return next((file for file in SYSTEM_FILES if file.is_file()), None)
