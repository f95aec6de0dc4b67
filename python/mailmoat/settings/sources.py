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
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from mailmoat.errors import ConfigError
from mailmoat.settings import notation, values
from mailmoat.settings.extension import extended, find
from mailmoat.settings.leaves import Written, leaves, mistake, nested, probable
from mailmoat.settings.reference import PREFIX, entries
from mailmoat.settings.tree import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailmoat.settings.leaves import Flat

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
    file = Written(str(config or ""), _text(config, mistakes) if config else "")
    table = _table(config, file.text, mistakes) if config else {}
    tree, lost = _tree(table, ours, config, mistakes)
    table = {name: value for name, value in table.items() if name not in lost}
    ours = {name: value for name, value in ours.items() if _section_of(name) not in lost}
    known = entries(tree)
    from_file = dict(leaves(table, tree, file, (base or config.parent).absolute(), mistakes)) if config else {}
    from_environment = _environment({name: ours[name] for name in ours.keys() - set(ignored)}, tree, mistakes)
    origins = {key: str(config) for key in from_file} | {key: known[key].environment for key in from_environment}
    try:
        settings = tree(**nested(from_file | from_environment))
    except ValidationError as error:
        mistakes += [mistake(detail, known, origins, file) for detail in error.errors()]
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
            meant = probable(name.upper(), known) or "remove it from the environment"
            mistakes.append(f"{name} = {notation.written(ours[name], name)}: no such setting; {meant}")
    source = _Environment({name: value for name, value in ours.items() if name in known}, tree)
    return dict(leaves(source(), tree, Written(), Path.cwd(), mistakes))


def _text(path: Path, mistakes: list[str]) -> str:
    """Return the text of a file; one that cannot be read becomes a mistake."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}; name a settings file that is there and readable")
    except UnicodeDecodeError as error:
        mistakes.append(not_toml(path, error))
    return ""


def _table(path: Path, text: str, mistakes: list[str]) -> dict[str, object]:
    """Return what is written in a file; one that is no TOML becomes a mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        mistakes.append(not_toml(path, error))
    return {}


def not_toml(file: Path, error: ValueError) -> str:
    """Return what is wrong with a settings file that a parser refused with `error`, and the fix."""
    if isinstance(error, UnicodeDecodeError):
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"{file}: line {line} is not UTF-8; save the file as UTF-8"
    return f"{file}: is not TOML: {error}; correct it there (text needs quotes)"
