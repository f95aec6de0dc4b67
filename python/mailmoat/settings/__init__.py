"""The typed settings tree; the only reader of files and environment.

`load` gives the tree in force or raises `ConfigError` with every mistake; `warnings` lists what is valid but unwise;
`entries` and `reference` list all settings. Everything else in the program gets a `Settings` and reads nothing.
"""

from __future__ import annotations

from mailmoat.settings.edit import write_setting
from mailmoat.settings.lint import warnings
from mailmoat.settings.listener import Listener
from mailmoat.settings.next_hop import NextHop
from mailmoat.settings.reference import Entry, entries, reference
from mailmoat.settings.sources import load, settings_file
from mailmoat.settings.tree import DEFAULT, Settings

__all__ = [
    "DEFAULT",
    "Entry",
    "Listener",
    "NextHop",
    "Settings",
    "entries",
    "load",
    "reference",
    "settings_file",
    "warnings",
    "write_setting",
]
