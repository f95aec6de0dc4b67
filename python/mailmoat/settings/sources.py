"""Where settings come from: defaults, below a TOML file, below the environment.

`load` is the only reader of the settings file and of the environment. It finds all mistakes and says for each
the place, the text, what is wrong and the fix; an unknown name is a mistake, too. An empty variable counts as
none. Names that a container platform makes when a service or a container is called mailmoat are not mistakes: they are
ignored, and `lint.warnings` says so. Raises `ConfigError` and nothing else.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from mailmoat.errors import ConfigError
from mailmoat.settings import notation, values
from mailmoat.settings.extension import extended, find
from mailmoat.settings.reference import PREFIX, entries
from mailmoat.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from mailmoat.settings.reference import Entry

CONFIG = PREFIX + "CONFIG"
DEFAULT_FILE = Path("/etc/mailmoat/mailmoat.toml")
"""Read by every command when it is there and no other is named."""
AGENTS = "policy.agents"
TEST = PREFIX + "TEST_"
PLATFORM = re.compile(
    PREFIX
    + r"(VERSION|NAME|ENV_\w+|(\w+_)?SERVICE_(HOST|PORT(_\w+)?)|(\w+_)?PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)
"""Kubernetes' variables of a service, Docker's of a link, and the version that images are labelled with."""

Flat = dict[str, object]
"""Values as written, by key (`tarpit.time`)."""


def load(
    config: Path | None = None, environment: Mapping[str, str] | None = None, *, base: Path | None = None
) -> Settings:
    """Return the settings in force.

    `config` is the settings file; without it that of `settings_file`. `environment` replaces the process's. Relative paths in the file count from `base`, which is the file's directory unless given.
    """
    environment = os.environ if environment is None else environment  # noqa: TID251 - the one place
    config = settings_file(config, environment)
    mistakes: list[str] = []
    ours = {name: value for name, value in environment.items() if name.upper().startswith(PREFIX) and value}
    ignored = tuple(sorted(filter(PLATFORM.fullmatch, ours)))
    table = _table(config, mistakes) if config else {}
    tree, lost = _tree(table, ours, config, mistakes)
    table = {name: value for name, value in table.items() if name not in lost}
    ours = {name: value for name, value in ours.items() if _section_of(name) not in lost}
    known = entries(tree)
    from_file = dict(_leaves(table, tree, str(config), (base or config.parent).absolute(), mistakes)) if config else {}
    from_environment = _environment({name: ours[name] for name in ours.keys() - set(ignored)}, tree, mistakes)
    origins = {key: str(config) for key in from_file} | {key: known[key].environment for key in from_environment}
    try:
        settings = tree(**_nested(from_file | from_environment))
    except ValidationError as error:
        mistakes += [_mistake(detail, known, origins) for detail in error.errors()]
    if mistakes:
        raise ConfigError(mistakes)
    return settings.came_from(origins, config, ignored)


def settings_file(config: Path | None = None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the file `load` reads: `config`, else the one `MAILMOAT_CONFIG` names, else `DEFAULT_FILE` if it is there, else none."""
    environment = os.environ if environment is None else environment  # noqa: TID251 - the one place
    if config or environment.get(CONFIG):
        return config or Path(environment[CONFIG])
    try:
        DEFAULT_FILE.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it may be there: reading it says what is in the way
    return DEFAULT_FILE


def _tree(
    table: Mapping[str, object], ours: Mapping[str, str], config: Path | None, mistakes: list[str]
) -> tuple[type[Settings], set[str]]:
    """Return the tree with the sections of the agents that `policy.agents` lists, and the names of those that cannot be used.

    It is looked at before all else. The settings of an agent that cannot be used are no mistakes of their own.
    """
    policy = table.get("policy")
    written: object = policy.get("agents", ()) if isinstance(policy, dict) else ()
    where = f"{config}: {AGENTS}"
    variable = entries()[AGENTS].environment
    if variable in ours:
        written, where = ours[variable], variable
    try:
        names = [values.name(name) for name in values.items(written)]
    except ValueError:
        return Settings, set()  # the tree says what is wrong with it
    kinds, problems = find(names)
    mistakes += [f"{where} = {notation.written(written)}: {problem}" for problem in problems]
    return extended(kinds), set(names) - {kind.name for kind in kinds} - Settings.model_fields.keys()


def _section_of(variable: str) -> str:
    """Return the section of a variable in the environment, in small letters."""
    return variable.upper().removeprefix(PREFIX).partition("__")[0].lower()


class _Environment(EnvSettingsSource):
    """The environment handed to `load`."""

    def __init__(self, environment: Mapping[str, str], tree: type[Settings]) -> None:
        self._given = {name.lower(): value for name, value in environment.items()}
        super().__init__(tree)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


def _environment(ours: Mapping[str, str], tree: type[Settings], mistakes: list[str]) -> Flat:
    """Return the settings in the environment; unknown names with our prefix become mistakes."""
    known = {entry.environment for entry in entries(tree).values()}
    for name in sorted(ours.keys() - known - {CONFIG}):
        if not name.startswith(TEST):
            meant = _meant(name.upper(), known) or "remove it from the environment"
            mistakes.append(f"{name} = {notation.written(ours[name])}: no such setting; {meant}")
    source = _Environment({name: value for name, value in ours.items() if name in known}, tree)
    return dict(_leaves(source(), tree, PREFIX, Path.cwd(), mistakes))


def _table(path: Path, mistakes: list[str]) -> dict[str, object]:
    """Return what is written in a file; one that cannot be read becomes a mistake."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}; name a settings file that is there and readable")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(not_toml(path, error))
    return {}


def not_toml(file: Path, error: ValueError) -> str:
    """Return what is wrong with a settings file that a parser refused with `error`, and the fix."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"{file}: line {line} is not UTF-8; save the file as UTF-8"
    return f"{file}: is not TOML: {error}; correct it there (text needs quotes)"


def _leaves(
    table: Mapping[str, object],
    tree: type[Settings],
    where: str,
    directory: Path,
    mistakes: list[str],
    *,
    above: str = "",
) -> Iterator[tuple[str, object]]:
    """Yield the values in nested tables that are settings, by key; relative paths are below `directory`.

    An unknown name becomes a mistake.
    """
    known = entries(tree)
    sections = {key.partition(".")[0] for key in known if "." in key}
    for name, value in table.items():
        key = above + name
        if key in known:
            yield key, _rebased(value, known[key].form.rebase, directory)
        elif key not in sections:
            meant = _meant(key, known.keys() | sections) or "remove it"
            mistakes.append(f"{where}: {key} = {notation.written(value)}: no such setting; {meant}")
        elif isinstance(value, dict):
            yield from _leaves(value, tree, where, directory, mistakes, above=f"{key}.")
        else:
            mistakes.append(
                f"{where}: {key} = {notation.written(value)}: is a group of settings; write [{key}] and the settings below it"
            )


def _rebased(value: object, rebase: Callable[[str, Path], str] | None, directory: Path) -> object:
    """Return a value with its relative paths below `directory`, those in an array as well."""
    if rebase and isinstance(value, str):
        return rebase(value, directory)
    if rebase and isinstance(value, list):
        return [_rebased(item, rebase, directory) for item in value]
    return value


def _meant(name: str, known: set[str]) -> str:
    """Return the name that was probably meant, as a fix; for a key also if its section is missing or wrong."""
    close = get_close_matches(name, sorted(known), n=1, cutoff=0.75)
    close = close or [key for key in sorted(known) if key.rpartition(".")[2] == name.rpartition(".")[2]]
    return f"did you mean {close[0]}?" if close else ""


def _nested(flat: Flat) -> dict[str, Any]:
    """Return nested tables for keys with dots."""
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        table = tables.setdefault(section, {}) if section else tables
        table[name] = value
    return tables


def _mistake(detail: ErrorDetails, known: Mapping[str, Entry], origins: Mapping[str, str]) -> str:
    """Return one sentence: the place, the text, the mistake, the fix."""
    about = detail.get("ctx", {})
    key = about.get("key") or ".".join(part for part in detail["loc"] if isinstance(part, str))
    entry, origin = known[key], origins.get(key)
    wrong = str(about.get("error", detail["msg"]))
    value = about.get("value", detail["input"])
    where = f"{origin if origin == entry.environment else key} = {notation.written(value)}"
    if origin is None and not value:
        where = f"{key} is not set"
    if origin and origin != entry.environment:
        where = f"{origin}: {where}"
    return f"{where}: {wrong}; write {entry.form.write}"
