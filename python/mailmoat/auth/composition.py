"""From the settings to one backend. What a backend needs is imported only where one is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.metrics import WORKERS_ACCOUNTS_OK

if TYPE_CHECKING:
    from mailmoat.auth.authenticator import Backend
    from mailmoat.metrics import Metrics
    from mailmoat.settings import Settings

SECRET_NAME: Final = "scram.secret"  # noqa: S105 - a file name
"""Of the file in the spool directory that the salts of names without an account are made of (`decoys`)."""


def open_backend(settings: Settings) -> Backend | None:
    """Return the source of accounts that the settings name; None without one. Never raises: one that cannot be used now says so by itself."""
    auth = settings.auth
    if auth.file is not None:
        from mailmoat.auth.file import FileAuthenticator

        return FileAuthenticator(auth.file, settings.spool_dir / SECRET_NAME, auth)
    if auth.dovecot is not None:
        from mailmoat.auth.dovecot import DovecotAuthenticator

        return DovecotAuthenticator(auth.dovecot, auth)
    return None


def publish(backend: Backend | None, metrics: Metrics) -> None:
    """Set a worker's gauge of its accounts; None when none are configured."""
    metrics.set(WORKERS_ACCOUNTS_OK, int(backend is None or backend.usable))
