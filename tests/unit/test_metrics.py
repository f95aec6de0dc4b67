"""The metrics' names, and their text as Prometheus reads it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mailmoat.metrics import DEFINITIONS, WORKERS_WANTED, Metrics, index, render, share


def parsed(shared):
    return {family.name: family for family in text_string_to_metric_families(render(shared))}


def values(shared):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parsed(shared).values()
        for sample in family.samples
    }


def test_every_definition_is_rendered_once_with_its_kind_and_meaning():
    families = parsed(share(2, sources=1))
    assert len(families) == len(DEFINITIONS)
    for definition in DEFINITIONS:
        family = families[definition.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (definition.kind, definition.meaning)
        assert definition.name.endswith("_total") == (definition.kind == "counter")
        assert definition.name.startswith("mailmoat_")
        expected = [
            dict(zip(definition.label.split(","), value.split(","), strict=True)) if definition.label else {}
            for value in definition.values
        ]
        assert [sample.labels for sample in family.samples] == expected


def test_slots_are_summed_and_what_all_say_is_said_once():
    shared = share(2, sources=1)
    first, second, supervisor = (Metrics(shared, slot) for slot in range(3))
    first.add(index("mailmoat_replies_total", "5"))
    second.add(index("mailmoat_replies_total", "5"), 2)
    second.add(index("mailmoat_tarpit_seconds_total"), 4900)
    first.set(index("mailmoat_directory_entries"), 1000)
    second.set(index("mailmoat_directory_entries"), 1000)
    supervisor.set(WORKERS_WANTED, 2)
    shown = values(shared)
    assert shown["mailmoat_replies_total", "5"] == 3
    assert shown["mailmoat_replies_total", "2"] == 0
    assert shown["mailmoat_tarpit_seconds_total",] == 4.9
    assert shown["mailmoat_directory_entries",] == 1000
    assert shown["mailmoat_workers_wanted",] == 2


def test_a_dead_workers_gauges_go_and_its_counters_stay():
    shared = share(1, sources=1)
    worker = Metrics(shared, 0)
    for definition in DEFINITIONS:
        for value in definition.values:
            worker.add(index(definition.name, value), definition.unit)
    shared.reset_gauges(0)
    kinds = {definition.name: definition.kind for definition in DEFINITIONS}
    for (name, *_), value in values(shared).items():
        assert value == (1 if kinds[name] == "counter" else 0), name


def test_a_wrong_name_is_found_at_once():
    with pytest.raises(KeyError):
        index("mailmoat_replies_total", "6")
    with pytest.raises(KeyError):
        index("mailmoat_replies_total")
