"""`mailmoat block export` and `mailmoat allow export`: a list for other programs, a firewall among them."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mailmoat.cli import list_text
from mailmoat.cli.options import ConfigOption, fail, settings_in_force

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.lists.ranges import Range
    from mailmoat.lists.sources import ListName
    from mailmoat.settings import Settings


class ExportForm(StrEnum):
    """The forms a list is written in."""

    LIST = "list"
    CIDR = "cidr"
    JSON = "json"
    NFT = "nft"


def export(
    context: typer.Context,
    config: ConfigOption = None,
    *,
    form: Annotated[
        ExportForm,
        typer.Option(
            "--format",
            help="list: as import takes it. cidr: prefixes that are blocked in the end. json. nft: a file for nft -f.",
        ),
    ] = ExportForm.LIST,
) -> None:
    """Print the entries in force, those of the files of the settings among them."""
    from mailmoat.lists.sources import ListName

    settings, name = settings_in_force(config), context.obj
    if name is ListName.ALLOW and form in (ExportForm.CIDR, ExportForm.NFT):
        fail(f"--format {form} is for a firewall, which is to block: use mailmoat block export")
    for text in _texts(settings, name, form):
        sys.stdout.write(text)


def _texts(settings: Settings, name: ListName, form: ExportForm) -> Iterator[str]:
    from mailmoat import clock
    from mailmoat.lists import export as forms

    match form:
        case ExportForm.LIST:
            return forms.text(list_text.select(settings, name, None))
        case ExportForm.JSON:
            return forms.as_json(list_text.select(settings, name, None))
        case ExportForm.CIDR:
            return forms.cidr(_ranges(settings))
        case ExportForm.NFT:
            ports = [listener.port for listener in settings.listen]
            return forms.nft(_ranges(settings), ports, clock.wall_ms() // 1000)


def _ranges(settings: Settings) -> list[Range]:
    from mailmoat.lists.ranges import blocked_ranges
    from mailmoat.lists.sources import ListName

    return blocked_ranges(*(list_text.select(settings, name, None) for name in ListName))
