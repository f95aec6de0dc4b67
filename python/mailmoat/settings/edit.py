"""Writes one setting into the settings file and keeps everything else: comments, order, blank lines.

The file with its new value is checked as the server does before it replaces the old one, so a mistake changes nothing.
It is replaced by a rename after `fsync`: at any moment, and after any crash, there is the old file or the new one,
with the same owner and mode. Raises ConfigError for a mistake and OSError when the file cannot be
read or written.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mailmoat import files
from mailmoat.errors import ConfigError
from mailmoat.settings import notation, values
from mailmoat.settings.reference import entries
from mailmoat.settings.sources import load, not_toml
from mailmoat.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tomlkit import TOMLDocument


def write_setting(file: Path, key: str, written: str, environment: Mapping[str, str] | None = None) -> Settings:
    """Set `key` (`tarpit.time`) to `written`, as it would stand in the environment; the settings in force afterwards.

    `environment` is the one to read the file with, the process's unless given.
    """
    import tomlkit
    from tomlkit.exceptions import ParseError

    place = file.resolve()  # a link stays one
    try:
        text = place.read_bytes().decode()  # as it is, its line ends among it
        mark = "\ufeff" if text.startswith("\ufeff") else ""  # some editors begin a file with one
        document = tomlkit.parse(text.removeprefix(mark))
    except (ParseError, UnicodeDecodeError) as error:
        raise ConfigError([not_toml(file, error)]) from None
    _put(file, document, key, _toml(key, written))
    return _replace(file, place, mark + tomlkit.dumps(document), environment)


def _put(file: Path, document: TOMLDocument, key: str, value: object) -> None:
    import tomlkit

    section, _, name = key.rpartition(".")
    if not section:
        document[name] = value
        return
    if section not in document:
        document[section] = tomlkit.table()
    table = document[section]
    if not isinstance(table, dict):
        raise ConfigError(
            [
                f"{file}: {section} = {notation.written(table)}: is a group of settings; write [{section}] and the settings below it"
            ]
        )
    table[name] = value


def _toml(key: str, written: str) -> object:
    """Return the value as a TOML value if it can be read as one; otherwise it stays text, which `load` refuses."""
    default = entries()[key].value(Settings())
    if isinstance(default, bool):
        with suppress(ValueError):
            return values.switch(written)
    elif isinstance(default, int | float):
        for number in (int, float):
            with suppress(ValueError):
                return number(written)
    elif isinstance(default, tuple):
        return list(values.items(written))
    return written


def _replace(file: Path, place: Path, text: str, environment: Mapping[str, str] | None) -> Settings:
    status = place.stat()
    with files.replacing(place) as new:
        new.write(text.encode())
        new.flush()
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(new.fileno(), status.st_uid, status.st_gid)
        os.fchmod(new.fileno(), status.st_mode & 0o7777)
        return _read(Path(new.name), file, environment)


def _read(new: Path, file: Path, environment: Mapping[str, str] | None) -> Settings:
    """Return the settings of the new file under the name of the file that it replaces; relative paths are below its directory."""
    try:
        settings = load(new, environment, base=file.absolute().parent)
    except ConfigError as error:
        raise ConfigError([mistake.replace(str(new), str(file)) for mistake in error.mistakes]) from None
    origins = {key: settings.origin(key) for key in entries(type(settings))}
    origins = {key: str(file) if origin == str(new) else origin for key, origin in origins.items()}
    return settings.came_from(origins, file, settings.ignored)
