"""TLS of our clients of servers that the settings name, such as directories and databases."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def client_context(ca: Path | None, certificate: Path | None, key: Path | None, *, verify: bool) -> ssl.SSLContext:
    """Return what a handshake needs, from the files as they are now; `ca` = None: the CAs of the system.

    Without `verify` any certificate is accepted. Raises OSError, ssl.SSLError among them.
    """
    made = ssl.create_default_context(cafile=ca)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        made.load_cert_chain(certificate, key)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
