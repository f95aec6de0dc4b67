"""How a setting is written: the fix in a message, the text of a value, and the base of a relative path."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DURATION_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
SIZE_UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
_SECRET: Final = re.compile(r"(?:password|passwd|passphrase|pwd|secret)(?!_file)", re.IGNORECASE)
"""In the name of what nobody else may read."""
_BEFORE_AT: Final = re.compile(r"://[^\s\"]*@")
"""The account of a URL."""
_NAMED: Final = re.compile(rf"({_SECRET.pattern}\w*\"?\s*[=:]\s*\"?)[^\"&\s,}}]+", re.IGNORECASE)
"""A secret behind its name: in a URL, in JSON or in TOML."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a setting is written: `write` completes "write ..."; `show` turns its value back into that form."""

    write: str
    show: Callable[[object], str]
    rebase: Callable[[str, Path], str] | None = None
    """For what holds a path: the same text with a relative path put below a directory."""


def below(written: str, directory: Path) -> str:
    """Return a relative path below `directory`; an absolute one as it is."""
    return str(directory / written) if written else written


def each_below(written: str, directory: Path) -> str:
    """Return each relative path of a comma list below a directory; absolute ones as they are."""
    return ", ".join(below(path.strip(), directory) for path in written.split(","))


def show(value: object) -> str:
    """Return any value as an administrator writes it in the environment."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(show(item) for item in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def names_secret(text: str) -> bool:
    """Return whether the name of a secret is in a text, such as `password`; that of a file with one is none."""
    return _SECRET.search(text) is not None


def written(value: object, name: str = "") -> str:
    """Return any value as it would be in a TOML file, to say what is wrong with it; without a password that is in it, or that `name` says it is."""
    if names_secret(name):
        return "..."
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(_NAMED.sub(r"\1...", _BEFORE_AT.sub("://...@", value)), ensure_ascii=False)
        case list() | tuple():
            return f"[{', '.join(map(written, value))}]"
        case dict():
            return "{...}"
    return str(value)


def show_or_off(value: object) -> str:
    """Return a value that may be off."""
    return show(value) or "off"


def show_duration(value: object) -> str:
    """Return the seconds in the largest unit that leaves a whole number."""
    seconds = float(str(value))
    for unit, length in DURATION_UNITS.items():
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s" if seconds else "0"


def show_size(value: object) -> str:
    """Return the octets in the largest unit that leaves a whole number."""
    octets = int(str(value))
    for unit, length in SIZE_UNITS.items():
        if octets and octets % length == 0:
            return f"{octets // length}{unit}"
    return str(octets)


def show_retry(value: object) -> str:
    """Return the waits, equal neighbours as one with `*`."""
    runs: list[tuple[str, int]] = []
    for wait in value if isinstance(value, tuple) else ():
        written = show_duration(wait)
        if runs and runs[-1][0] == written:
            runs[-1] = (written, runs[-1][1] + 1)
        else:
            runs.append((written, 1))
    return ", ".join(written if times == 1 else f"{written}*{times}" for written, times in runs)
