"""Where a worker's small objects come from: the C library's heap, which gives memory back by the page.

Python has a heap of its own for objects of up to 512 octets, in arenas of 1 MiB, and gives an arena back when nothing in it is in use: of a flood
in which one object in each arena is made that stays, all remains. Objects made before are in these arenas, close together, and stay there.

Python's function to free takes blocks of both kinds, as it must: larger objects always come from the C library. Only this is used, by
the interface that Python documents (PyMem_SetAllocator), and only where Python's own heap is in force and `trim_heap` does something: not
with debug hooks, without the global lock, or on other C libraries.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

RAW, MEM, OBJ = range(3)
OWN_HEAP: Final = b"pymalloc"
ALLOCATOR_NAME: Final = "_PyMem_GetCurrentAllocatorName"
"""Exported, but not documented: a Python without it keeps its heap."""


class Allocator(ctypes.Structure):
    """PyMemAllocatorEx."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free")]


def use_c_library() -> bool:
    """Take small objects from the C library from now on; False where that must not be."""
    if not _is_glibc() or _in_force() != OWN_HEAP:
        return False
    raw = _allocator(RAW)
    for domain in (MEM, OBJ):
        allocator = _allocator(domain)
        if raw.context or allocator.context:
            return False
        allocator.malloc, allocator.calloc = raw.malloc, raw.calloc
        ctypes.pythonapi.PyMem_SetAllocator(domain, ctypes.byref(allocator))
    return True


def _allocator(domain: int) -> Allocator:
    found = Allocator()
    ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(found))
    return found


def _in_force() -> bytes | None:
    """Return the name of Python's allocator; None where it cannot be known."""
    try:
        name = getattr(ctypes.pythonapi, ALLOCATOR_NAME)
    except AttributeError:
        return None
    name.restype = ctypes.c_char_p
    found: bytes | None = name()
    return found


def _is_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except ValueError:
        return False
