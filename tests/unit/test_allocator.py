"""Small objects from the C library's heap: memory is given back though an object stays here and there."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mailmoat.runtime import allocator

KEPT = """
import json, sys
from pathlib import Path
from mailmoat import _native
from mailmoat.runtime import allocator

def octets():
    rolled = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rolled if line.startswith("Anonymous:")) << 10

before_it = [(number, str(number)) for number in range(10_000)]
used = "with" in sys.argv and allocator.use_c_library()
before = octets()
flood = [f"{number:100}" for number in range(200_000)]
among = octets()
stay = flood[::1000]
del flood, before_it
_native.trim_heap()
print(json.dumps([used, (octets() - before) / (among - before), stay == [f"{number:100}" for number in range(0, 200_000, 1000)]]))
"""


SPREAD = """
import random
from pathlib import Path
from mailmoat import _native
from mailmoat.runtime import allocator

def octets():
    rolled = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in rolled if line.startswith("Anonymous:")) << 10

allocator.use_c_library()
order = list(range(64_000))
random.Random(1).shuffle(order)
before = octets()
flood = [bytes(16 * (number % 62) + 1) for number in range(64_000)]
for number in order:
    flood[number] = None
_native.trim_heap()
print(octets() - before)
"""


def kept(*arguments, **environment):
    """Whether it is used, the part of a flood's memory that stays, and whether what stays is whole."""
    run = [sys.executable, "-c", KEPT, *arguments]
    return json.loads(subprocess.run(run, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True).stdout)


@pytest.fixture(scope="module")
def _glibc():
    if not allocator._is_glibc():
        pytest.skip("only the GNU C library is asked to trim its heap")


@pytest.mark.usefixtures("_glibc")
def test_few_objects_keep_little_memory():
    used, part, whole = kept("with")
    assert (used, whole) == (True, True)
    assert part < 0.2
    _, part, _ = kept()
    assert part > 0.8


@pytest.mark.usefixtures("_glibc")
def test_free_blocks_kept_for_a_thread_hold_few_pages():
    run = subprocess.run([sys.executable, "-c", SPREAD], stdout=subprocess.PIPE, check=True)
    assert int(run.stdout) < 3 << 18


@pytest.mark.parametrize("name", ["debug", "malloc"])
def test_another_allocator_of_python_stays_in_force(name):
    used, _, whole = kept("with", PYTHONMALLOC=name)
    assert (used, whole) == (False, True)
