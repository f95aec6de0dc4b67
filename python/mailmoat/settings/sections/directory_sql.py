"""The settings that only SQL sources have; each row of `[[directories]]` mixes them in.

The queries are the administrator's own. Whether they name the right columns is said by the database, in `mailmoat check-config`; here is only
which of them a row must have.
"""

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field, PlainValidator

from mailmoat.settings import notation, values
from mailmoat.settings.fields import Duration, OptionalDomain, Positive, Wait
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.source_url import SourceUrl

SQL_FAMILIES: Final = frozenset({"postgresql", "mysql", "sqlite"})
_LOOKUP_PLACEHOLDERS: Final = (":address", ":local", ":domain")

Query = Annotated[
    str | None,
    PlainValidator(values.optional(values.text)),
    Form("a query such as SELECT email AS address FROM users", notation.show),
]
Channel = Annotated[
    str | None,
    PlainValidator(values.optional(values.name)),
    Form("the name of a channel, such as recipients", notation.show),
]


class SqlFields(Section):
    """How a database is asked."""

    query: Query = Field(
        default=None,
        description="Query that gives all recipients, with a column `address` and, if there are such, `targets`, `active` or `deleted`, `id` and `changed`.",
    )
    changes_query: Query = Field(
        default=None,
        description="Query that gives the rows changed since `:since`, the highest value of the column `changed` so far. Without one, `query` is run at each `interval`.",
    )
    lookup_query: Query = Field(
        default=None,
        description="Query that gives the rows of one recipient, for the mode `live`: `:address`, or `:local` and `:domain`, and `:at_domain` (`@` and the domain) are its values.",
    )
    default_domain: OptionalDomain = Field(
        default=None,
        description="Domain of an address without one in the rows of `query`. Without this setting such a row is left out.",
    )
    full_interval: Wait = Field(
        default=3600.0,
        description="Time between two runs of `query` where there is a `changes_query`, in seconds. Rows that were deleted are noticed by it.",
    )
    changes_overlap: Duration = Field(
        default=60.0,
        description="Longest time between the moment in the column `changed` and the end of the transaction, in seconds: by so much `:since` is earlier.",
    )
    query_timeout: Wait = Field(
        default=60.0,
        description="Longest wait for the next rows of `query` or `changes_query`, in seconds.",
    )
    notify_channel: Channel = Field(
        default=None,
        description="PostgreSQL: channel on which a NOTIFY means that recipients changed. The source is read at once.",
    )
    connections: Positive = Field(
        default=8,
        description="Connections to the database in the mode `live`, at most; one is used in the mode `sync`.",
    )


def sql_mistakes(row: SqlFields, url: SourceUrl, mode: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the SQL settings of a row: the setting, and a sentence."""
    if url.family not in SQL_FAMILIES:
        yield from ((name, f"{url.scheme}: has no queries") for name in _set(row))
        return
    if url.family != "sqlite" and any(len(server.path) < len("/x") for server in url.servers):
        yield "url", f"no database; write {url.scheme}://HOST/DATABASE"
    needed = "lookup_query" if mode == "live" else "query"
    if getattr(row, needed) is None:
        yield "url", f"a database without {needed}; write one"
    if row.lookup_query is not None and not any(name in row.lookup_query for name in _LOOKUP_PLACEHOLDERS):
        yield "lookup_query", "it does not name the recipient; write for example WHERE email = :address"
    if row.changes_query is not None and ":since" not in row.changes_query:
        yield "changes_query", "it does not name the time; write for example WHERE modified >= :since"
    if row.notify_channel is not None and url.family != "postgresql":
        yield "notify_channel", f"{url.scheme}: has no channels"


def _set(row: SqlFields) -> Iterator[str]:
    return (name for name in SqlFields.model_fields if name in row.model_fields_set)
