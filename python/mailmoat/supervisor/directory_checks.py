"""What the rows of `[[directories]]` need on this machine: files the account can read, a script it can run, a library that is installed."""

from __future__ import annotations

import os
import ssl
import stat
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from mailmoat import files
from mailmoat.directory.password import read_password
from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mailmoat.settings import Settings
    from mailmoat.settings.sections.directories import SourceSettings

_LIBRARIES: Final = {"postgresql": "asyncpg", "mysql": "asyncmy"}
"""What a scheme needs; the extra that brings it has the name of the scheme."""


def mistakes(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each thing without which a source can never be read; see it with the rights of the account."""
    for number, row in enumerate(settings.directories, 1):
        for key, value, wrong in _wrong(row):
            yield f"directories[{number}].{key} = {value}: {wrong}"


def exposed(settings: Settings) -> Iterator[str]:
    """Yield a sentence for each secret that every account can read, and each script that every account can change."""
    secrets = (file for row in settings.directories for file in (row.password_file, row.tls_key))
    for file in dict.fromkeys(secrets):
        if file is not None and (problem := files.exposed(file)):
            yield f"{file}: {problem}"
    for row in settings.directories:
        script = row.url.path
        if row.url.scheme == "script" and script.exists() and script.stat().st_mode & stat.S_IWOTH:
            yield f"{script}: every account can change it, and the server runs it; chmod o-w {script}"


def _wrong(row: SourceSettings) -> Iterator[tuple[str, object, str]]:
    library = _LIBRARIES.get(row.url.scheme)
    if library is not None and find_spec(library) is None:
        yield "url", row.url, f"{library} is not installed; run: pip install 'mailmoat[{row.url.scheme}]'"
    if row.url.scheme == "script" and not os.access(row.url.path, os.X_OK, effective_ids=True):
        yield "url", row.url, "the account of the server cannot run it; it must be there and executable"
    for key in ("tls_ca", "tls_certificate", "tls_key"):
        file = getattr(row, key)
        if file is not None and _is_missing(file):
            yield key, file, "there is no such file"
        elif file is not None and not os.access(file, os.R_OK, effective_ids=True):
            yield key, file, "the account of the server cannot read it; let it read the file and enter its directories"
        elif file is not None and key == "tls_ca" and not _has_certificates(file):
            yield key, file, "it has no certificate in PEM; convert one in DER with: openssl x509 -inform der -in FILE"
    try:
        read_password(row)
    except SourceError as error:
        yield "password_file", row.password_file, f"{error}; write the password alone into that file"


def _is_missing(file: Path) -> bool:
    """Return whether it is not there, as far as the account can see."""
    try:
        file.stat()
    except OSError as error:
        return isinstance(
            error, FileNotFoundError | NotADirectoryError
        )  # any other: a directory that may not be entered
    return False


def _has_certificates(file: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except (OSError, ValueError):
        return False
    return True
