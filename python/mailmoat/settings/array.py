"""Arrays of tables: a setting whose value is a list of rows, each with settings of its own (in the file `[[name]]`).

In the file each row is a table, in the order in which rows count. In the environment one variable has all rows, as a JSON array of
objects, and replaces those of the file: rows of two origins are never mixed. A mistake in a row names its number, from 1, and the line
of the file.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Field

from mailmoat.settings.notation import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo


def row_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of the rows of a setting, `tuple[Row, ...]`; None for a setting that is no array of tables."""
    arguments = get_args(field.annotation) if get_origin(field.annotation) is tuple else ()
    row = arguments[0] if arguments else None
    return row if isinstance(row, type) and issubclass(row, BaseModel) else None


def form_of(field: FieldInfo) -> Form:
    """Return how a setting is written."""
    return next(item for item in field.metadata if isinstance(item, Form))


def row_setting(field: FieldInfo, description: str) -> tuple[Any, Any]:
    """Return the type and default of a setting that a row can have instead of that of a section: None where the row does not set it."""
    form = form_of(field)

    def show(value: object) -> str:
        return "" if value is None else form.show(value)

    annotation: Any = field.annotation
    kinds = [item for item in field.metadata if not isinstance(item, Form)]
    kind = Annotated[(annotation | None, *kinds, Form(form.write, show, form.rebase))]
    return kind, Field(default=None, description=description)


def rows(value: object) -> list[Mapping[str, object]]:
    """Return the rows as written, from the value in the file or the JSON text in the environment; ValueError when it is no array of tables."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError("not JSON") from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ValueError("not an array of tables")
    return value


def documents(value: object) -> list[dict[str, object]]:
    """Return what is set in each row of an array, as it is written in JSON."""
    return [_document(row) for row in value if isinstance(row, BaseModel)] if isinstance(value, tuple) else []


def show_rows(value: object) -> str:
    """Return an array as it is written in the environment; nothing for one without rows."""
    found = documents(value)
    return json.dumps(found, ensure_ascii=False) if found else ""


def _document(row: BaseModel) -> dict[str, object]:
    shown = {}
    for name, field in type(row).model_fields.items():
        value = getattr(row, name)
        if value != field.default:
            plain = isinstance(value, bool | int | str)
            shown[name] = value if plain else form_of(field).show(value)
    return shown


def line_of(text: str, key: str, number: int, name: str = "") -> int | None:
    """Return the line of a row of a TOML file, from 1, or of its setting `name`; None when the rows have no headers of their own."""
    parts = r"\s*\.\s*".join(rf"[\"']?{re.escape(part)}[\"']?" for part in key.split("."))
    header = re.compile(rf"\s*\[\[\s*{parts}\s*\]\]")
    setting = re.compile(rf"\s*[\"']?{re.escape(name)}[\"']?\s*=") if name else None
    found, row = None, 0
    for at, line in enumerate(text.splitlines(), 1):
        if header.match(line):
            row += 1
            if row > number:
                break
            found = at if row == number else None
        elif found is not None and line.lstrip().startswith("["):
            break
        elif found is not None and setting is not None and setting.match(line):
            return at
    return found
