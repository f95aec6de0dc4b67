"""The manual's table of events, made of `mailmoat.events`: `python -m tests.events` writes it."""

from itertools import takewhile
from pathlib import Path

from mailmoat.events import Event

MANUAL = Path(__file__).parents[1] / "docs" / "manual.md"
HEADER = "| Event | Level | Meaning | Fields |\n| --- | --- | --- | --- |\n"


def table() -> str:
    """One row an event, in the order of the enum; a field that is not text has its type."""
    return HEADER + "".join(
        f"| `{event}` | {event.level} | {event.meaning} | {', '.join(map(_field, event.fields.items()))} |\n"
        for event in Event
    )


def _field(field: tuple[str, str]) -> str:
    name, kind = field
    return f"`{name}`" if kind == "text" else f"`{name}` ({kind})"


def write() -> None:
    """Put the table in the place of the one that is there."""
    before, _, rest = MANUAL.read_text().partition(HEADER)
    rows = takewhile(lambda line: line.startswith("| `"), rest.splitlines(keepends=True))
    MANUAL.write_text(before + table() + rest[sum(map(len, rows)) :])


if __name__ == "__main__":
    write()
