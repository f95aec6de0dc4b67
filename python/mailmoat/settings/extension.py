"""Agents from outside: found by entry point, as far as the settings list them, and their sections joined to the tree.

Nothing unlisted is loaded. Never raises: what is wrong with a listed name is a sentence for `ConfigError`, whatever the code behind
it does when it is imported.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import ValidationError, create_model

from mailmoat._native import Stage
from mailmoat.settings import array
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Extension
from mailmoat.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import BaseModel

    from mailmoat.settings.section import Section

GROUP: Final = "mailmoat.agents"
"""The group of entry points that agents are found in."""
METHODS: Final = tuple(f"on_{stage.name.lower()}" for stage in Stage)
"""What an agent overrides."""


def find(names: Sequence[str]) -> tuple[tuple[type[Extension], ...], list[str]]:
    """Load the classes of these names in their order; and say what is wrong with the others, with the fix."""
    found: list[type[Extension]] = []
    problems: list[str] = []
    for name in names:
        kind = _load(name)
        problem = kind if isinstance(kind, str) else next(_mistakes(name, kind, found), "")
        if problem:
            problems.append(f"{name}: {problem}")
        else:
            found.append(cast("type[Extension]", kind))
    return tuple(found), problems


@cache
def extended(kinds: tuple[type[Extension], ...]) -> type[Settings]:
    """Return the tree with the sections of these classes, which it has as `extensions`."""
    if not kinds:
        return Settings
    sections: dict[str, Any] = {kind.name: (kind.section, kind.section()) for kind in kinds if kind.section}
    tree = create_model("Settings", __base__=Settings, **sections)
    tree.extensions = kinds
    return tree


def _load(name: str) -> object:
    """Return what the entry point of this name is, or the sentence that says why there is none."""
    points = tuple(entry_points(group=GROUP, name=name))
    if not points:
        known = ", ".join(sorted(entry_points(group=GROUP).names)) or "none"
        return f"no agent of this name is installed (installed: {known}); install it, or remove the name"
    if len(points) > 1:
        return f"several packages have an agent of this name ({', '.join(point.value for point in points)}); remove one"
    try:
        return points[0].load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the joint between us and the code of an administrator
        why = format_exception_only(error)[-1].strip()
        return f"{points[0].value} cannot be loaded: {why}; repair it, or remove the name"


def _mistakes(name: str, kind: object, others: Sequence[type[Extension]]) -> Iterator[str]:
    if not (isinstance(kind, type) and issubclass(kind, Extension)):
        yield f"{kind!r} is no agent; name a class that is derived from mailmoat.policy.agent.Agent"
    elif getattr(kind, "name", None) != name:
        yield f"its class has the name {getattr(kind, 'name', None)!r}; give it the name of its entry point"
    elif kind in others:
        yield "it is listed twice; remove one"
    elif name in Settings.model_fields:
        yield "a setting has this name; give the agent another one"
    elif unknown := sorted(name for name in dir(kind) if name.startswith("on_") and name not in METHODS):
        yield f"its method {unknown[0]} is never called; name it after a stage: {', '.join(METHODS)}"
    elif kind.section is not None:
        for other in others:
            if other.section is kind.section:  # an agent is given its section by this class
                yield f"its section {kind.section.__name__} is that of {other.name}; derive a class of its own"
        yield from _mistakes_of_section(kind.section)


def _mistakes_of_section(section: type[Section]) -> Iterator[str]:
    try:
        section()
    except ValidationError as error:
        setting = ".".join(map(str, error.errors()[0]["loc"]))
        yield f"its setting {setting} has no default; give it one"
    yield from _mistakes_of_fields(section)


def _mistakes_of_fields(section: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        setting, row = above + name, array.row_of(field)
        if not any(isinstance(item, Form) for item in field.metadata) or not field.description:
            yield f"its setting {setting} needs a type of mailmoat.settings.fields and a description"
        elif row:
            yield from _mistakes_of_fields(row, f"{setting}[].")
