"""The placeholders of a query (`:address`, `:since`), in the form that a database binds values to.

A value never gets into the text of a query. Quoted text, quoted names and comments are left as they are, and so is a cast (`::text`).
Reads nothing of SQL beside that: what else is wrong is said by the database.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRICT: Final = (r"'(?:[^']|'')*'", r'"(?:[^"]|"")*"')
_ESCAPING: Final = (r"'(?:[^'\\]|\\.|'')*'", r'"(?:[^"\\]|\\.|"")*"')
_COMMENTS: Final = (r"--[^\n]*", r"/\*.*?\*/")
_NAME: Final = r"(?<![\w\[\].:]):(?P<name>[A-Za-z_]\w*)"


class Syntax(NamedTuple):
    """What a database leaves alone in a query, and how it writes a placeholder."""

    skipped: re.Pattern[str]
    """Matches what is left alone, or a placeholder as the group `name`."""
    numbered: bool
    """`$1`, which can occur several times; else `?` for each value."""


def _syntax(*skipped: str, numbered: bool = False) -> Syntax:
    return Syntax(re.compile("|".join([*skipped, *_COMMENTS, "::", _NAME]), re.DOTALL), numbered)


POSTGRESQL: Final = _syntax(r"(?<!\w)[eE]" + _ESCAPING[0], *_STRICT, r"\$(?P<tag>\w*)\$.*?\$(?P=tag)\$", numbered=True)
MYSQL: Final = _syntax(*_ESCAPING, "`[^`]*`", r"#[^\n]*")
SQLITE: Final = _syntax(*_STRICT, "`[^`]*`", r"\[[^\]]*\]")


class Query(NamedTuple):
    """A query as it is sent."""

    setting: str
    """The name of the setting that has it, for what is wrong with it."""
    text: str
    names: tuple[str, ...]
    """Of the values that it takes, in their order."""

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return the values in the order in which they are bound."""
        return [values[name] for name in self.names]


def prepare(setting: str, written: str, known: tuple[str, ...], syntax: Syntax) -> Query:
    """Return a query of the settings for a database. SourceError for a placeholder that is not one of `known`."""
    names: list[str] = []

    def bound(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return match[0]
        if name not in known:
            raise SourceError(f"{setting}: there is no :{name}; {_choice(known)}")
        if not syntax.numbered:
            names.append(name)
            return "?"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    text = syntax.skipped.sub(bound, written.strip().rstrip("; \n\t"))
    return Query(setting, text, tuple(names))


def _choice(known: tuple[str, ...]) -> str:
    if not known:
        return "it takes no values"
    return "write " + " or ".join(f":{name}" for name in known)
