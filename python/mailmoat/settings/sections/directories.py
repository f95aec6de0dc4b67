"""`[[directories]]`: sources of recipients beside the recipient file, each with settings of its own.

A row has the settings of `[directory]` by the same names; one that it does not set is as in `[directory]`. What only one kind of source
needs is in a section of its own, which the row mixes in.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, PlainValidator, create_model
from pydantic_core import PydanticCustomError

from mailmoat.settings import notation, values
from mailmoat.settings.array import row_setting
from mailmoat.settings.fields import Domains, OptionalPath, Switch
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.sections.directory import DirectorySettings
from mailmoat.settings.sections.directory_ad import AdFields
from mailmoat.settings.sections.directory_ldap import LdapFields, ldap_mistakes
from mailmoat.settings.sections.directory_script import ScriptFields
from mailmoat.settings.sections.directory_sql import SqlFields, sql_mistakes
from mailmoat.settings.source_url import NEXT_HOP, SourceUrlValue

MOST_SOURCES: Final = 200
"""The number of a source is one octet of each record in the snapshot."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}", re.ASCII)


def source_name(value: object) -> str:
    """Read a name of letters, digits and `-`: it names files, and is a label of metrics."""
    written = values.text(value)
    if not _NAME.fullmatch(written):
        raise ValueError("not a name of up to 32 letters, digits and -")
    return written


class AnySourceFields(Section):
    """What every source has."""

    name: Annotated[
        str, PlainValidator(source_name), Form("a name of letters, digits and -, such as office", notation.show)
    ] = Field(description="Name of the source, in the log, in metrics and in commands.")
    url: SourceUrlValue = Field(
        description="Where it is: `ad://`, `ads://`, `ldap://`, `ldaps://HOST[:PORT]`, `ldapi:///PATH`, `postgresql://` or `mysql://HOST/DATABASE`, `sqlite:///PATH`, `file:///PATH`, `script:///PATH`, or `next_hop:`. Several servers in order of preference have commas between them."
    )
    mode: Annotated[
        Literal["sync", "live"],
        PlainValidator(values.one_of("sync", "live")),
        Form("sync or live", notation.show),
    ] = Field(
        default="sync",
        description="`sync`: all entries are read, and then what changes. `live`: the source is asked for each address, as `next_hop:` always is.",
    )
    domains: Domains = Field(
        default=(),
        description="Domains whose recipients it has; its addresses at others do not count. Empty = all of `relay.local_domains`.",
    )
    whole_domains: Switch = Field(
        default=False,
        description="Whether its entries for whole domains (`@example.com`) count. They make every address of the domain exist, or, as another name of a domain (`@example.net = @example.com`), each that exists there.",
    )
    account: Annotated[
        str | None, PlainValidator(values.optional(values.text)), Form("the name of an account", notation.show)
    ] = Field(default=None, description="Account of this server at the source. Without one: anonymous.")
    password_file: OptionalPath = Field(
        default=None, description="File with its password alone. Read again when it changes."
    )
    tls_ca: OptionalPath = Field(
        default=None,
        description="File with the CA certificates (PEM) by which the source is verified. Empty = those of the system.",
    )
    tls_certificate: OptionalPath = Field(
        default=None, description="File with the certificate (PEM) that the source gets when it asks for one."
    )
    tls_key: OptionalPath = Field(
        default=None, description="File with its private key (PEM). Empty = it is in `tls_certificate`."
    )


class SourceFields(ScriptFields, SqlFields, AdFields, LdapFields, AnySourceFields):
    """What a row has of its own. The reference has the last of these classes first."""


def _fields() -> Iterator[tuple[str, Any]]:
    """Yield the settings of `[directory]` that a row can have, each without a default."""
    for name, field in DirectorySettings.model_fields.items():
        yield name, row_setting(field, f"As `directory.{name}`, for this source.")


if TYPE_CHECKING:

    class SourceSettings(SourceFields, DirectorySettings):
        """One row. Merged with `[directory]`, it has a value for each setting of it."""

else:
    SourceSettings = create_model("SourceSettings", __base__=SourceFields, **dict(_fields()))


NEXT_HOP_TIMES: Final = {"timeout": 15.0, "cache_time": 86_400.0, "absent_cache_time": 3600.0}
"""Of the next hop, where neither its row nor `[directory]` says anything else. It may hold refusals for some seconds, as our tar pit does."""


def merged(directory: DirectorySettings, row: SourceSettings) -> SourceSettings:
    """Return a row with what it has of `[directory]`."""
    names = DirectorySettings.model_fields.keys() - row.model_fields_set
    inherited: dict[str, object] = {name: getattr(directory, name) for name in names}
    if row.url.family == NEXT_HOP:
        inherited |= {name: NEXT_HOP_TIMES[name] for name in NEXT_HOP_TIMES.keys() & names - directory.model_fields_set}
    mode = row.mode if "mode" in row.model_fields_set else row.url.modes[0]
    return row.model_copy(update={"mode": mode, **inherited})


def sources(directory: DirectorySettings, rows: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
    """Return all rows, each with what it has of `[directory]`."""
    return tuple(merged(directory, row) for row in rows)


def why_not_synchronised(name: object, rows: tuple[SourceSettings, ...]) -> str:
    """Return why no source of this name is synchronised, with the names there are; `rows` are from `sources`."""
    if any(row.name == name and row.mode == "live" for row in rows):
        return f"{name}: the source is live: it is asked for each address, and is never read whole"
    synchronised, live = (", ".join(row.name for row in rows if row.mode == mode) for mode in ("sync", "live"))
    known = f"those are {synchronised}" if synchronised else "there is none"
    return f"{name}: no source of this name is synchronised; {known}{f'; live are {live}' if live else ''}"


def not_contradictory(rows: tuple[SourceSettings, ...]) -> None:
    """Raise PydanticCustomError for the first row that contradicts itself or another one."""
    if len(rows) > MOST_SOURCES:
        raise ValueError(f"{len(rows)} sources, more than {MOST_SOURCES}")
    times = Counter(row.name.lower() for row in rows)
    for number, row in enumerate(rows):
        if times[row.name.lower()] > 1:
            raise _mistake(number, "name", row.name, "another source has this name")
        if row.password_file is not None and row.account is None:
            raise _mistake(number, "password_file", str(row.password_file), "a password without an account")
        if row.tls_key is not None and row.tls_certificate is None:
            raise _mistake(number, "tls_key", str(row.tls_key), "a key without tls_certificate")
        if "mode" in row.model_fields_set and row.mode not in row.url.modes:
            raise _mistake(number, "mode", row.mode, f"{row.url.scheme}: is always {row.url.modes[0]}")
        login = row.account, row.password_file
        for setting, error in chain(ldap_mistakes(row, row.url, row.mode, login), sql_mistakes(row, row.url, row.mode)):
            raise _mistake(number, setting, notation.show(getattr(row, setting)), error)


def _mistake(number: int, name: str, value: str, error: str) -> PydanticCustomError:
    context = {"error": error, "key": f"directories.{number}.{name}", "value": value}
    return PydanticCustomError("contradiction", "{error}", context)
