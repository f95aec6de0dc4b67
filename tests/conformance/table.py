"""The table of docs/conformance.md, made from rows.toml and the tests beside it.

`python -m tests.conformance.table` writes it; test_table.py holds it to the tests. Nothing is run: a row is met because its
tests are there and `make test` passes.
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "docs" / "conformance.md"
STATUS = ("met", "in part", "not yet", "deliberately not")
HEAD = """# Conformance

What the published standards require of an edge server, and whether mailmoat meets it. Written by `make conformance`
(`python -m tests.conformance.table`) from `tests/conformance/`; do not edit.

Each test named here connects to a running server over TCP, and checks what it relayed at a scripted next hop. Those of `test_rfc7208.py` and
`test_rfc4406.py` use the evaluation of records instead, with a real name server over UDP. Level: M must, S should,
Y may but worth it, P common practice outside any RFC. A row that is met *in part* names what its tests do not show.
"""


def rows() -> Iterator[tuple[str, str, dict[str, str]]]:
    """(title of the section, id, row), in the order of rows.toml."""
    for section in tomllib.loads((HERE / "rows.toml").read_text()).values():
        for name, row in section["rows"].items():
            yield section["title"], name, row


def tests() -> dict[str, list[str]]:
    """Row id -> `file.py::test`, of all tests marked `@row("id", ...)`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(HERE.glob("test_*.py")):
        for test in ast.parse(path.read_text()).body:
            for mark in getattr(test, "decorator_list", ()):
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "row":
                    for name in mark.args:
                        found[ast.literal_eval(name)].append(f"{path.name}::{test.name}")
    return found


def render() -> str:
    """The document."""
    shown = tests()
    everything = list(rows())
    statuses = [row.get("status", "met") for _, _, row in everything]
    count = ", ".join(f"{statuses.count(status)} {status}" for status in STATUS if status in statuses)
    lines = [HEAD, f"{len(everything)} rows: {count}.", ""]
    title = ""
    for section, name, row in everything:
        if section != title:
            title = section
            lines += [
                "",
                f"## {title}",
                "",
                "| row | level | requirement | status | tests |",
                "| --- | --- | --- | --- | --- |",
            ]
        status = row.get("status", "met")
        remark = row.get("why") or row.get("note")
        status = f"{status}: {remark}" if remark else status
        names = "<br>".join(f"`{test}`" for test in shown.get(name, []))
        lines.append(f"| {name} | {row['level']} | {row['text']} | {status} | {names} |".replace("|  |", "| |"))
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


if __name__ == "__main__":
    text = render()
    changed = not TARGET.exists() or TARGET.read_text() != text
    TARGET.write_text(text)
    place = TARGET.relative_to(HERE.parents[1])
    print(f"{place} written: {len(list(rows()))} rows, {'changed' if changed else 'as it was'}")
