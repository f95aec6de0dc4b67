"""The texts of reports in one language: a file of sections, and how values get into them.

A section begins with its name in brackets on a line of its own; a line that begins with `#` is a comment. A name in braces is a
placeholder; each section has its own. A line with a placeholder that has no value is left out; one that consists of a placeholder
takes all lines of its value, indented like itself.

Pure. `parse` raises TemplateError, which names the line. A template has every section that a report needs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mailmoat.reports.kind import ReportKind
from mailmoat.reports.line import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TEXT: Final = frozenset(
    {"server", "subject", "date", "until", "recipients", "others", "postmaster", "queue_id", "attached"}
)
_SUBJECT: Final = frozenset({"server", "subject"})
_SPAN: Final = frozenset({"number"})
_NOTHING: Final = frozenset[str]()

PLACEHOLDERS: Final = {
    "name": _NOTHING,
    **{f"{kind}.subject": _SUBJECT for kind in ReportKind},
    **{f"{kind}.text": _TEXT for kind in ReportKind},
    "others": frozenset({"messages"}),
    "recipient": frozenset({"address", "reason", "said"}),
    "said.remote": frozenset({"remote", "reply"}),
    "said.own": frozenset({"reply"}),
    "attached.whole": _NOTHING,
    "attached.header": _NOTHING,
    **dict.fromkeys(("days", "hours", "minutes", "seconds"), _SPAN),
}
"""Every section that a template must have, with the placeholders that it may have."""
_REASON: Final = frozenset({"time", "address"})
_SECTION: Final = re.compile(r"\[([^\[\]]*)\]\s*")
_REASON_NAME: Final = re.compile(r"reason\.[45](\.[0-9]{1,3}){0,2}")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_LINE: Final = Line(utf8=True)
"""What is for people keeps its letters; an encoding takes care of them."""


class TemplateError(Exception):
    """A template that cannot be used: the line, from 1, and what is wrong with it."""

    def __init__(self, line: int, wrong: str) -> None:
        super().__init__(f"line {line}: {wrong}")
        self.line = line
        self.wrong = wrong


class Template:
    """The texts of one language, by section."""

    __slots__ = ("_sections", "language")

    def __init__(self, language: str, sections: Mapping[str, str]) -> None:
        self.language = language
        self._sections = dict(sections)

    def over(self, shipped: Template) -> Template:
        """Return a template with these sections, and the others of `shipped`."""
        return Template(self.language, shipped._sections | self._sections)

    @property
    def missing(self) -> list[str]:
        """The sections that are not there and must be."""
        return [name for name in PLACEHOLDERS if name not in self._sections]

    def fill(self, section: str, **values: str) -> str:
        """Return a section with values in the place of placeholders, lines ended by CRLF, the last without."""
        return "\r\n".join(_filled(self._sections[section], values))

    def reason(self, status: str, **values: str) -> str:
        """Return why, and what can be done, by a status code such as 5.1.1; empty when nothing is known."""
        classes = status.split(".")
        for known in range(len(classes), 0, -1):
            section = "reason." + ".".join(classes[:known])
            if section in self._sections:
                return self.fill(section, **values)
        return ""

    def span(self, seconds: float) -> str:
        """Return a time in words, in the largest unit of which it is a whole number."""
        whole = round(seconds)
        unit, size = next((unit for unit in _UNITS if whole and whole % unit[1] == 0), _UNITS[-1])
        number = whole // size
        one, _, more = self._sections[unit].partition("|")
        return (one if number == 1 or not more else more).strip().replace("{number}", str(number))


_UNITS: Final = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))


def parse(language: str, text: str) -> Template:
    """Read a file of texts; TemplateError for what is not one."""
    sections: dict[str, list[str]] = {}
    lines: list[str] | None = None
    allowed = _NOTHING
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if heading := _SECTION.fullmatch(line):
            name = heading[1]
            if name in sections:
                raise TemplateError(number, f"[{name}] is there twice")
            allowed = _allowed(name, number)
            lines = sections[name] = []
        elif lines is not None:
            _check(line, allowed, number)
            lines.append(line.rstrip())
        elif line.strip():
            raise TemplateError(number, "a text before the first section, such as [failed.text]")
    return Template(language, {name: "\n".join(lines).strip("\n") for name, lines in sections.items()})


def _allowed(name: str, number: int) -> frozenset[str]:
    if _REASON_NAME.fullmatch(name):
        return _REASON
    if name not in PLACEHOLDERS:
        raise TemplateError(number, f"[{name}] is not a section of a report")
    return PLACEHOLDERS[name]


def _check(line: str, allowed: frozenset[str], number: int) -> None:
    for name in _PLACEHOLDER.findall(line):
        if name not in allowed:
            known = ", ".join(f"{{{one}}}" for one in sorted(allowed)) or "none"
            raise TemplateError(number, f"{{{name}}} is not a placeholder of this section; those are {known}")


def _filled(text: str, values: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines with their values; where one is left out between two empty lines, one of these is, too."""
    after_gap = left_out = False
    for line in text.split("\n"):
        names = _PLACEHOLDER.findall(line)
        if any(not values.get(name) for name in names):
            left_out = True
            continue
        if left_out and after_gap and not line:
            continue
        after_gap, left_out = not line, False
        indent = line[: len(line) - len(line.lstrip())]
        if len(names) == 1 and line.strip() == f"{{{names[0]}}}":
            yield from (f"{indent}{one}".rstrip() for one in values[names[0]].split("\r\n"))
        elif names:
            filled = _PLACEHOLDER.sub(lambda found: values[found[1]], line.strip())
            yield _LINE.fold(filled, first=indent, rest=indent)
        else:
            yield line
