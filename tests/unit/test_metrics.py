"""How families are declared, and their text as Prometheus reads it."""

import ast
import re
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import mailmoat.worker  # declares what a server counts
from mailmoat.directory.directory import DIRECTORY_STATE, SourceState
from mailmoat.mailauth.results import Status
from mailmoat.mailauth.senderid.counted import SENDERID_RESULTS
from mailmoat.mailauth.senderid.identities import IdentityKind
from mailmoat.metrics import (
    DIRECTORY_ENTRIES,
    FAMILIES,
    TARPIT_TIME,
    WORKERS_WANTED,
    Family,
    Metrics,
    render,
    share,
    single,
)
from mailmoat.policy.agents.recipient_filter import RecipientRule
from mailmoat.policy.verdict import POLICY_REFUSALS
from mailmoat.receive.session_log import REPLIES, ReplyClass

PACKAGE = Path(mailmoat.worker.__file__).parent


class Colour(StrEnum):
    RED = "red"
    BLUE = "light-blue"


class Shape(StrEnum):
    ROUND = "round"


@pytest.fixture
def declared():
    """Forgets the families that a test declares."""
    before = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(before)


def parsed(shared):
    return {family.name: family for family in text_string_to_metric_families(render(shared))}


def values(shared):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parsed(shared).values()
        for sample in family.samples
    }


def test_every_family_is_rendered_once_with_its_kind_and_meaning():
    shown = parsed(share(2, sources=1))
    assert len(shown) == len(FAMILIES)
    for family in FAMILIES.values():
        found = shown[family.name.removesuffix("_total")]
        assert (found.type, found.documentation) == (family.kind, family.meaning)
        assert all(tuple(sample.labels) == family.labels for sample in found.samples)
        assert len(found.samples) == len(list(family.samples())) > 0, family.name


def test_no_two_values_share_a_row():
    rows = [row for family in FAMILIES.values() for _, row in family.samples()]
    assert len(rows) == len(set(rows))


def test_an_enum_is_a_label():
    assert {SENDERID_RESULTS[identity, status] for identity in IdentityKind for status in Status} == {
        row for _, row in SENDERID_RESULTS.samples()
    }
    assert len({DIRECTORY_STATE[state] for state in SourceState}) == len(SourceState)
    assert POLICY_REFUSALS[RecipientRule.BLOCKED] in {row for _, row in POLICY_REFUSALS.samples()}
    with pytest.raises(KeyError):
        REPLIES["6xx"]


@pytest.mark.usefixtures("declared")
def test_a_family_declared_by_an_agent_is_counted_and_shown():
    family = Family("mailmoat_painted_total", "Things painted.", {"colour": Colour, "shape": Shape})
    weight = single("mailmoat_paint_weight_grams", "Weight of the paint.", same=True)
    shared = share(1, sources=1)
    worker = Metrics(shared, 0)
    worker.add(family[Colour.BLUE, Shape.ROUND], 3)
    worker.set(weight, 7)
    shown = values(shared)
    assert shown["mailmoat_painted_total", "light-blue", "round"] == 3
    assert shown["mailmoat_painted_total", "red", "round"] == 0
    assert shown["mailmoat_paint_weight_grams",] == 7


@pytest.mark.usefixtures("declared")
def test_a_family_can_be_extended_by_another_enum():
    family = Family[StrEnum]("mailmoat_things_total", "Things.", {"thing": ()})
    family.extend(Colour)
    red = family[Colour.RED]
    family.extend(Shape)
    family.extend(Colour)
    assert family[Colour.RED] == red
    assert [sample.partition("{")[2] for sample, _ in family.samples()] == [
        'thing="red"}',
        'thing="light-blue"}',
        'thing="round"}',
    ]


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    ("name", "meaning", "labels"),
    [
        ("mailmoat_sessions_total", "Declared already.", {}),
        ("other_things_total", "Not of ours.", {}),
        ("mailmoat_Things", "Upper case.", {}),
        ("mailmoat_things", "Two\nlines.", {}),
        ("mailmoat_things", "A label with a blank.", {"a b": Colour}),
        ("mailmoat_things", "A value with a quotation mark.", {"thing": StrEnum("Odd", {"ONE": 'a"b'})}),
    ],
)
def test_a_wrong_declaration_is_an_error_at_import(name, meaning, labels):
    with pytest.raises(ValueError, match=name):
        Family(name, meaning, labels)


def test_slots_are_summed_and_what_all_say_is_said_once():
    shared = share(2, sources=1)
    first, second, supervisor = (Metrics(shared, slot) for slot in range(3))
    first.add(REPLIES[ReplyClass.PERMANENT])
    second.add(REPLIES[ReplyClass.PERMANENT], 2)
    second.add(TARPIT_TIME, 4900)
    first.set(DIRECTORY_ENTRIES, 1000)
    second.set(DIRECTORY_ENTRIES, 1000)
    supervisor.set(WORKERS_WANTED, 2)
    shown = values(shared)
    assert shown["mailmoat_replies_total", "5xx"] == 3
    assert shown["mailmoat_replies_total", "2xx"] == 0
    assert shown["mailmoat_tarpit_seconds_total",] == 4.9
    assert shown["mailmoat_directory_entries",] == 1000
    assert shown["mailmoat_workers_wanted",] == 2


def test_a_dead_workers_gauges_go_and_its_counters_stay():
    shared = share(1, sources=1)
    worker = Metrics(shared, 0)
    for family in FAMILIES.values():
        for _, row in family.samples():
            worker.add(row, family.unit)
    shared.reset_gauges(0)
    kinds = {family.name: family.kind for family in FAMILIES.values()}
    for (name, *_), value in values(shared).items():
        assert value == (1 if kinds[name] == "counter" else 0), name


def test_whatever_a_server_counts_is_declared_before_it_forks():
    """What `mailmoat serve` imports before the fork declares every family there is in the package."""
    count = "from mailmoat.metrics import FAMILIES; print(sorted(FAMILIES))"
    modules = [
        ".".join(("mailmoat", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if path.stem not in {"__init__", "__main__"}
    ]
    served = "import mailmoat.worker; from mailmoat.admin import process; from mailmoat.supervisor import supervisor"
    runs = [f"{served}; {count}", f"import {', '.join(modules)}; {count}"]
    before, everything = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for code in runs
    )
    assert before == everything


def test_no_label_is_written_beside_its_enum():
    """A family's labels are enums, or come by `extend`, and a row is asked for by a member: no text stands for a label."""
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    families, found = set(), []
    for node in nodes:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.value or node).startswith("Family"):
            families.add(ast.unparse(node.target))
            labels = node.value.args[2].values
            found += [text for label in labels if not re.fullmatch(r"[A-Z]\w+|\(\)", text := ast.unparse(label))]
    for node in nodes:
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in families:
            parts = [part.value for part in ast.walk(node.slice) if isinstance(part, ast.Constant)]
            found += [ast.unparse(node) for part in parts if isinstance(part, str)]
    assert found == []
    assert {"REPLIES", "SENDERID_RESULTS", "DNS_FAILURES", "CONNECTIONS_REFUSED"} <= families
