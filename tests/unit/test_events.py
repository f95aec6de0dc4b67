"""Every event of the log is in one table, with its fields; the calls and the manual are held to it."""

import ast
import typing
from pathlib import Path

from tests.events import MANUAL, table

import mailmoat
from mailmoat.events import Event, Level

PACKAGE = Path(mailmoat.__file__).parent
CODE = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text())
    for path in PACKAGE.rglob("*.py")
    if path.name != "events.py"
}


def calls():
    """Each call that logs an event: place, event, keywords; `partial(maillog.event, ...)` is one."""
    for name, tree in CODE.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                texts = [ast.unparse(argument) for argument in (node.func, *node.args)]
                if texts[0] == "partial":
                    del texts[0]
                if texts[0] in {"event", "maillog.event"} and len(texts) > 1:
                    yield f"{name}:{node.lineno}", texts[1], node.keywords


def test_each_call_names_an_event_and_its_fields():
    found = list(calls())
    assert len(found) > 40
    for place, event, keywords in found:
        fields = Event[event.removeprefix("Event.")].fields
        for keyword in keywords:
            assert keyword.arg == "level" or keyword.arg in fields, f"{place}: {event} has no field {keyword.arg}"


def test_each_event_is_used():
    used = {
        node.attr
        for tree in CODE.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Event"
    }
    assert used == set(Event.__members__)


def test_the_table_is_in_order():
    for event in Event:
        assert event.value == event.name.lower().replace("_", "-")
        assert event.level in typing.get_args(Level)
        assert event.meaning
        assert set(event.fields.values()) <= {"text", "number", "seconds", "flag", "list", "object", "any"}
        assert not event.meaning.endswith(".")


def test_a_reason_is_a_word_and_never_text():
    """Free text has fields of its own, so that reasons can be counted: none is put together or taken from an exception."""
    for place, event, keywords in calls():
        for keyword in keywords:
            if keyword.arg == "reason":
                assert not isinstance(keyword.value, (ast.JoinedStr, ast.Constant)), f"{place}: {event}"
                assert "str(" not in ast.unparse(keyword.value), f"{place}: {event}"


def test_the_manual_has_the_table():
    """Written by `python -m tests.events`."""
    assert table() in MANUAL.read_text()
