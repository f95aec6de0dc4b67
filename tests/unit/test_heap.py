"""When a worker gives memory back to the system."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mailmoat import _native
from mailmoat.runtime import heap
from mailmoat.runtime.heap import CONNECTION_OCTETS, FREED, FREED_OF_MOST, Heap


class Worker:
    """A worker in which nothing but connections takes memory."""

    def __init__(self):
        self.forgotten = []
        self.heap = Heap([lambda: self.forgotten.append(1)])
        self.config = SimpleNamespace(content_in_memory=0, take_most_in_memory=lambda: 0)

    def tick(self, connections):
        self.heap.tick(self.config, connections)


@pytest.fixture
def trims(monkeypatch):
    made = []
    monkeypatch.setattr(heap, "_native", SimpleNamespace(trim_heap=lambda: made.append(1)))
    return made


MANY = 2 * FREED // CONNECTION_OCTETS
FEW = 2 * FREED_OF_MOST // CONNECTION_OCTETS


def test_memory_of_a_flood_is_given_back_and_what_is_freed_after_it_a_tick_later(trims):
    worker = Worker()
    for connections, so_far in ((MANY, 0), (0, 1), (0, 2), (0, 2), (MANY, 2), (MANY, 2)):
        worker.tick(connections)
        assert len(trims) == so_far


def test_what_is_left_of_a_flood_is_given_back_too(trims):
    worker = Worker()
    for connections, so_far in ((FEW, 0), (FEW * 2 // 3, 0), (FEW // 3, 1), (FEW // 3, 2), (FEW // 3, 2), (0, 2)):
        worker.tick(connections)
        assert len(trims) == so_far


def test_free_objects_of_python_are_given_back_once_most_of_a_flood_has_left(trims, monkeypatch):
    collected = []
    monkeypatch.setattr(heap.gc, "collect", lambda: collected.append(1))
    worker = Worker()
    for connections, so_far in ((4 * MANY, 0), (3 * MANY, 0), (MANY, 1)):
        worker.tick(connections)
        assert len(collected) == so_far
    assert trims


def test_a_flood_within_a_tick_counts(trims):
    worker = Worker()
    worker.heap.opened(MANY)
    worker.tick(0)
    assert len(trims) == len(worker.forgotten) == 1


def test_trimming_says_whether_memory_was_given_back():
    assert _native.trim_heap() in {True, False}


FORKED = """
import gc, os
from pathlib import Path
from mailmoat.runtime import heap

def own():
    rolled = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rolled if line.startswith("Private_Dirty:")) << 10

made = [(number,) * (number % 20 + 1) for number in range(40_000)]
del made
heap.share()
if os.fork():
    os.wait()
else:
    before = own()
    gc.collect()
    print(own() - before, flush=True)
    os._exit(0)
"""


def test_a_forked_process_copies_no_free_objects():
    run = subprocess.run([sys.executable, "-c", FORKED], stdout=subprocess.PIPE, check=True)
    assert int(run.stdout) < 1 << 19  # 2 MiB otherwise
