"""The exceptions of mailmoat.

A fault of a peer is a value, and a refusal of the policy a verdict; these are for faults on our side. Their text is for the
administrator and is never sent to a client.
"""

from __future__ import annotations


class MailmoatError(Exception):
    """What all of ours have in common."""


class ConfigError(MailmoatError):
    """A settings file or the environment is wrong; `mistakes` has one plain sentence each, naming file, key, value and fix."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class DirectoryError(MailmoatError):
    """The directory of recipients cannot be read, asked or written; the text names what, and has no password in it."""


class SourceError(DirectoryError):
    """A source does not answer, or not in a way that can be used: an outage. What is known of it stays in force."""


class LookupFailedError(SourceError):
    """A source answered one lookup with an error: it is there, and other lookups may have answers."""
