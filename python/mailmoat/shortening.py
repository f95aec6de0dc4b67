"""Shorten the fields of a log line: texts and lists keep their beginning and end, and the omitted part is counted.

Pure; the values are those that `msgspec.to_builtins` gives.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

LEFT_OUT: Final = "left_out"
"""The field that says of how many values each list was cut, by the name of the field it is in."""


def shortened(fields: dict[str, Any], values: int, characters: int) -> dict[str, Any]:
    """Return the fields, with lists limited to that many values and texts to roughly that many characters."""
    left_out: Counter[str] = Counter()
    short = {key: _short(key, value, values, characters, left_out) for key, value in fields.items() if key != LEFT_OUT}
    before = fields.get(LEFT_OUT, {})
    left_out.update({key: count for key, count in before.items() if isinstance(count, int)})
    return {**short, LEFT_OUT: dict(left_out)} if left_out else short


def _short(name: str, value: object, values: int, characters: int, left_out: Counter[str]) -> object:
    if isinstance(value, str):
        half = characters // 2
        return value if len(value) <= characters else f"{value[:half]}...{value[len(value) - half :]}"
    if isinstance(value, (list, dict)):
        entries = list(value.items() if isinstance(value, dict) else enumerate(value))
        if len(entries) > values:
            left_out[name] += len(entries) - values
            entries = entries[: values // 2] + entries[len(entries) - (values + 1) // 2 :]
        short = {key: _short(_key(name, key), entry, values, characters, left_out) for key, entry in entries}
        return (
            {_key("", key)[:characters]: entry for key, entry in short.items()}
            if isinstance(value, dict)
            else [*short.values()]
        )
    return value


def _key(name: str, key: object) -> str:
    """Return the name that counts for an entry: its key in an object, its list's name in a list."""
    return key if isinstance(key, str) else name
