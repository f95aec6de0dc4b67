"""What the connections of one row have in common: account, password, TLS, time limits.

Password and certificates are read each time, so that new ones count from the next connection on. A password goes over a network in clear only
where the settings say `tls = "none"`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from mailmoat.errors import SourceError
from mailmoat.net.client_tls import client_context

if TYPE_CHECKING:
    import ssl

    from mailmoat.settings.sections.directories import SourceSettings
    from mailmoat.settings.source_url import SourceServer


def driver(module: str, extra: str) -> Any:
    """Return a module of an optional dependency. SourceError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SourceError(f"{module} is not installed; run: pip install 'mailmoat[{extra}]'") from None


def tls_context(row: SourceSettings) -> ssl.SSLContext | None:
    """Return what a handshake needs, from the files as they are now; None without TLS. Raises SourceError."""
    if row.tls == "none":
        return None
    try:
        return client_context(row.tls_ca, row.tls_certificate, row.tls_key, verify=row.tls == "verify")
    except OSError as error:
        raise SourceError(f"tls_ca, tls_certificate or tls_key cannot be used: {error.strerror or error}") from None


def socket_path(server: SourceServer, default: str) -> str:
    """Return the Unix socket of a server without a host: what its URL says, or the usual one."""
    return dict(parse_qsl(server.query)).get("socket", default)
