"""The exceptions of mailmoat.

A peer's fault is a value and a policy's refusal a verdict; these are for what is wrong on our own side. Their text is for the
operator and never reaches the wire.
"""

from __future__ import annotations


class MailmoatError(Exception):
    """What all of ours have in common."""


class ConfigError(MailmoatError):
    """A settings file or the environment is wrong; `mistakes` has one plain sentence each, naming file, key, value and fix."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes
