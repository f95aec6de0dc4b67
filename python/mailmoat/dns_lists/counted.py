"""The metrics of the lists in the DNS. Their label is the place of a provider in the settings: zones are not known when metrics are declared."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailmoat.dns_lists.answers import Outcome
from mailmoat.metrics import Family
from mailmoat.settings.sections.dns_lists import MOST_PROVIDERS

if TYPE_CHECKING:

    class Place(StrEnum):
        """The place of a provider in the settings, from 1."""

else:
    Place = StrEnum("Place", {f"PLACE_{number}": str(number) for number in range(1, MOST_PROVIDERS + 1)})

LOOKUPS: Final = Family[StrEnum](
    "mailmoat_dns_list_lookups_total",
    "Lookups of clients in DNS lists, by place of the provider in the settings and by outcome.",
    {"provider": Place, "outcome": Outcome},
)
SECONDS: Final = Family[Place](
    "mailmoat_dns_list_lookup_seconds_total",
    "Time that answered lookups took, by place of the provider in the settings.",
    {"provider": Place},
    unit=1000,
)
OUT_OF_FORCE: Final = Family[Place](
    "mailmoat_dns_lists_out_of_force",
    "Workers in which a provider is not used because it does not work, by its place in the settings.",
    {"provider": Place},
)
