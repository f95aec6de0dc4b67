"""The metrics of each source of recipients, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from mailmoat.directory.freshness import Freshness, LiveState, SourceFreshness, SyncState
from mailmoat.directory.source_metrics import gathered
from mailmoat.metrics import GATHERED, render, share

NOW = 1_700_000_000_000


def shown(*sources, live=()):
    text = render(share(1, sources=1), gathered(Freshness(sources, live), NOW))
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("mailmoat_directory_source_")
    }


def test_a_synchronised_source_has_its_name_as_label():
    found = shown(
        SourceFreshness("office", SyncState.SHRUNK, synced_ms=NOW - 90_000, entries=1_000_000, left_out=3, kept=4, read_seconds=1.5, failures=2),
        SourceFreshness("plant"),
    )  # fmt: skip
    office = {key[0].removeprefix("mailmoat_directory_source_"): value for key, value in found.items() if key[1:] == ("office",)}  # fmt: skip
    assert office == {"age_seconds": 90, "entries": 1_000_000, "left_out": 3, "kept": 4, "read_seconds": 1.5, "failures_total": 2}  # fmt: skip
    states = {key[2]: value for key, value in found.items() if key[:2] == ("mailmoat_directory_source_state", "office")}
    assert states == {"new": 0, "current": 0, "failed": 0, "shrunk": 1}
    assert found["mailmoat_directory_source_state", "plant", "new"] == 1
    assert ("mailmoat_directory_source_age_seconds", "plant") not in found


def test_a_live_source_has_its_answers():
    state = LiveState("asked", "no answer in time", answered_ms=NOW, counts={"exists": 1_234_567, "unknown": 3, "error": 2, "failed": 1}, answer_seconds=2.5)  # fmt: skip
    found = shown(live=(state, LiveState("idle")))
    answers = {
        key[2]: value for key, value in found.items() if key[:2] == ("mailmoat_directory_source_answers_total", "asked")
    }
    expected = {"exists": 1_234_567, "absent": 0, "unknown": 3, "cached": 0, "stale": 0, "error": 2, "failed": 1, "refused": 0, "no-room": 0}  # fmt: skip
    assert answers == expected
    assert found["mailmoat_directory_source_answer_seconds_total", "asked"] == 2.5
    assert found["mailmoat_directory_source_state", "asked", "failed"] == 1
    assert found["mailmoat_directory_source_state", "idle", "new"] == 1


def test_without_sources_there_is_nothing():
    assert shown() == {}
    assert len(GATHERED) == len({family.meaning for family in GATHERED.values()})
