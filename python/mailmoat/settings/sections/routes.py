"""`[[routes]]`: next hops for the recipients of some domains, each with settings of its own.

A row has the settings of `[delivery]` by the same names; one that it does not set is as in `[delivery]`. An account, its password and the
names in a certificate belong to the server they were written for: a row has only its own.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError, create_model
from pydantic_core import PydanticCustomError

from mailmoat.settings import notation, values
from mailmoat.settings.array import row_setting
from mailmoat.settings.next_hop import NextHopValue
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from mailmoat.settings.sections.delivery import DeliverySettings, NextHopSettings

EVERY_DOMAIN: Final = "*"
MOST_ROUTES: Final = 1000
OWN: Final = frozenset({"domains", "next_hop"})
"""What a row has beside the settings of `[delivery]`, or has to have."""
NOT_INHERITED: Final = frozenset({"next_hop", "auth_name", "auth_password_file", "tls_names"})


def domain_pattern(value: object) -> str:
    """Read `example.com`, `.example.com` for the domains below it, or `*`, in the form that recipients are compared in."""
    written = values.text(value)
    if written == EVERY_DOMAIN:
        return written
    dot = "." if written.startswith(".") else ""
    return dot + values.domain(written.removeprefix("."))


class RoutedDomains(Section):
    """Where the recipients of some domains go."""

    domains: Annotated[
        tuple[Annotated[str, PlainValidator(domain_pattern)], ...],
        BeforeValidator(values.items),
        Form("domains such as example.com, .example.com or *, separated by commas", notation.show),
    ] = Field(
        description="Domains of the recipients: `example.com`, `.example.com` for all domains below it, `*` for every domain. The first route that has the domain of a recipient counts."
    )
    next_hop: NextHopValue = Field(description="Where their messages go.")


def _fields() -> Iterator[tuple[str, Any]]:
    """Yield the settings of `[delivery]` that a row can have, each without a default."""
    for name, field in NextHopSettings.model_fields.items():
        if name not in OWN:
            yield name, row_setting(field, f"As `delivery.{name}`, for this route.")


if TYPE_CHECKING:

    class RouteSettings(RoutedDomains):
        """One row."""

else:
    RouteSettings = create_model("RouteSettings", __base__=RoutedDomains, **dict(_fields()))


def in_common(delivery: DeliverySettings) -> NextHopSettings:
    """Return the part of `[delivery]` that routes have, too."""
    return NextHopSettings.model_construct(**{name: getattr(delivery, name) for name in NextHopSettings.model_fields})


def merged(delivery: NextHopSettings, route: RoutedDomains) -> NextHopSettings:
    """Return the settings of a route with what it has of `[delivery]`. ValidationError, a ValueError, when they contradict each other."""
    inherited = {name: getattr(delivery, name) for name in NextHopSettings.model_fields.keys() - NOT_INHERITED}
    own = {name: getattr(route, name) for name in route.model_fields_set - {"domains"}}
    return NextHopSettings.model_validate(inherited | own)


def redirected(delivery: NextHopSettings, next_hop: str) -> NextHopSettings:
    """Return the settings of a next hop that is given by its text alone. ValueError when it is none, or cannot have what `[delivery]` asks for."""
    try:
        return merged(delivery, RoutedDomains.model_validate({"domains": (), "next_hop": next_hop}))
    except ValidationError as error:
        raise ValueError(_wrong(error)) from None


def not_contradictory(delivery: DeliverySettings, routes: tuple[RoutedDomains, ...]) -> None:
    """Raise PydanticCustomError for the first route whose settings contradict each other."""
    if len(routes) > MOST_ROUTES:
        raise ValueError(f"{len(routes)} routes, more than {MOST_ROUTES}")
    for number, route in enumerate(routes):
        try:
            merged(delivery, route)
        except ValidationError as error:
            raise _mistake(number, error) from None


def _mistake(number: int, error: ValidationError) -> PydanticCustomError:
    detail = error.errors()[0]
    context = {
        "error": _wrong(error).replace("delivery.", ""),
        "key": f"routes.{number}.{detail['loc'][0]}",
        "value": detail["input"],
    }
    return PydanticCustomError("contradiction", "{error}", context)


def _wrong(error: ValidationError) -> str:
    detail = error.errors()[0]
    return str(detail.get("ctx", {}).get("error", detail["msg"]))
