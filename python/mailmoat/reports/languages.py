"""The languages that there are texts in: those shipped, and those of an administrator's directory.

A directory has a file for each language, such as `de.txt` or `pt-br.txt`. One of a language that is shipped may have some of its
sections alone; of any other language it has to have all. Raises nothing but `examine` (ConfigError): a file that cannot be used is
named, and what is shipped is used in its place.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailmoat.errors import ConfigError
from mailmoat.reports.original import header_field
from mailmoat.reports.template import Template, TemplateError, parse

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from mailmoat.settings import Settings

SHIPPED: Final = Path(__file__).parent / "texts"
MAX_FILE: Final = 256 * 1024
"""Octets of a file of texts."""
MAX_LANGUAGES: Final = 3
"""In one report, of those that the original names."""
_TAG: Final = re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,8}){0,4}")


@cache
def shipped() -> dict[str, Template]:
    """Return the templates that come with the program, by language tag."""
    return {path.stem: parse(path.stem, path.read_text("utf-8")) for path in sorted(SHIPPED.glob("*.txt"))}


def load(directory: Path | None, before: Mapping[str, Template] | None = None) -> tuple[dict[str, Template], list[str]]:
    """Return all templates by language tag, and a sentence for each mistake: file, line, what is wrong.

    `before` has what was read the last time: it stays for a file that cannot be used now.
    """
    templates, mistakes = dict(shipped()), list[str]()
    before = before or templates
    if directory is None:
        return templates, mistakes
    try:
        paths = sorted(directory.glob("*.txt"))
        if not directory.is_dir():
            return dict(before), [f"{directory} is not a directory"]
    except OSError as error:
        return dict(before), [f"{directory} cannot be read: {error.strerror}"]
    for path in paths:
        language = path.stem.lower()
        try:
            templates[language] = _read(path, language)
            continue
        except TemplateError as error:
            mistakes.append(f"{path}, line {error.line}: {error.wrong}")
        except OSError as error:
            mistakes.append(f"{path} cannot be read: {error.strerror}")
        if language in before:
            templates[language] = before[language]
    return templates, mistakes


def examine(settings: Settings) -> None:
    """Read all files for their mistakes: ConfigError, also for a language without texts."""
    if found := unusable(settings):
        raise ConfigError(found)


def unusable(settings: Settings) -> list[str]:
    """Return a sentence for each mistake of the files, and for each language without texts."""
    templates, found = load(settings.reports.templates)
    mistakes = [f"reports.templates: {mistake}" for mistake in found]
    for language in settings.reports.languages:
        if language not in templates:
            known = ", ".join(sorted(templates))
            mistakes.append(f"reports.languages: there are no texts in {language}; write one of {known}, or add a file")
    return mistakes


def _read(path: Path, language: str) -> Template:
    if not _TAG.fullmatch(language):
        raise TemplateError(1, "the name of the file is not a language, such as de.txt or pt-br.txt")
    octets = path.read_bytes()[: MAX_FILE + 1]
    if len(octets) > MAX_FILE:
        raise TemplateError(1, f"the file has more than {MAX_FILE} octets")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TemplateError(octets[: error.start].count(b"\n") + 1, "it is not in UTF-8") from None
    template = parse(language, text)
    if language in shipped():
        return template.over(shipped()[language])
    if template.missing:
        raise TemplateError(text.count("\n") + 1, f"[{template.missing[0]}] is missing")
    return template


def chosen(header: bytes, offered: Container[str]) -> tuple[str, ...]:
    """Return those of the languages offered that the header section of a message asks for: what it is in, else what its sender reads.

    RFC 3282: `Content-Language`, `Accept-Language`; RFC 4647 3.4 (lookup).
    """
    written = _distinct(_tags(header_field(header, "Content-Language")), offered)
    if written:
        return written[:MAX_LANGUAGES]
    return _distinct(_tags(header_field(header, "Accept-Language")), offered)[:1]


def _distinct(tags: Iterator[str], offered: Container[str]) -> tuple[str, ...]:
    found = (_lookup(tag, offered) for tag in tags)
    return tuple(dict.fromkeys(tag for tag in found if tag))


def _lookup(tag: str, offered: Container[str]) -> str:
    while tag and tag not in offered:
        tag = tag.rpartition("-")[0]
    return tag


def _tags(value: str) -> Iterator[str]:
    """Yield the language tags of a list, the one that is liked best first."""
    ranked: list[tuple[float, str]] = []
    for item in re.sub(r"\([^()]*\)", " ", value).lower().split(","):
        tag, _, rest = item.partition(";")
        quality = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", rest)
        if _TAG.fullmatch(tag.strip()) and not (quality and float(quality[1]) == 0):
            ranked.append((-float(quality[1]) if quality else -1.0, tag.strip()))
    return (tag for _, tag in sorted(ranked, key=lambda each: each[0]))
