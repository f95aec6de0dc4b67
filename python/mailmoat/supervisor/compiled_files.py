"""The files that a server compiles for its workers: the recipient file and the file of blocked senders. Values."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mailmoat import maillog
from mailmoat.directory.directory import DIRECTORY_STATE, SourceState
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory.snapshot import SNAPSHOT_NAME
from mailmoat.events import Event
from mailmoat.policy.sender_file import SENDER_FILE_STATE, SENDERS_SNAPSHOT, SenderCompiler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mailmoat.directory.snapshot import Compiler
    from mailmoat.metrics import Family
    from mailmoat.settings import Settings


class CompiledFile(NamedTuple):
    """A file, what is made of it, and what is said about it."""

    name: str
    """What people call it."""
    source: Path
    snapshot: Path
    compiler: Compiler
    state: Family[SourceState]
    compiled: Callable[..., None]
    """Log that it is in force."""
    refused: Callable[..., None]
    """Log why it is not."""
    waits: Callable[..., None]
    """Log that it may be unfinished."""


def recipient_file(settings: Settings) -> CompiledFile | None:
    """Return what the recipients of these settings are compiled from; None when they name no file and no source that is read whole.

    Without a file, the directory of the tables has its place.
    """
    compiler = RecipientsCompiler.of(settings)
    if not compiler.inputs:
        return None
    return CompiledFile(
        "recipient file" if compiler.text else "directory",
        compiler.source(settings),
        settings.spool_dir / SNAPSHOT_NAME,
        compiler,
        DIRECTORY_STATE,
        partial(maillog.event, Event.DIRECTORY_COMPILED),
        partial(maillog.event, Event.DIRECTORY_REFUSED),
        partial(maillog.event, Event.DIRECTORY_WAITS),
    )


def blocked_senders(settings: Settings, source: Path) -> CompiledFile:
    """Return the file of blocked senders of these settings."""
    return CompiledFile(
        "file of blocked senders",
        source,
        settings.spool_dir / SENDERS_SNAPSHOT,
        SenderCompiler(),
        SENDER_FILE_STATE,
        partial(maillog.event, Event.SENDER_FILE_COMPILED),
        partial(maillog.event, Event.SENDER_FILE_REFUSED),
        partial(maillog.event, Event.SENDER_FILE_WAITS),
    )


def compiled_files(settings: Settings) -> tuple[CompiledFile, ...]:
    """Return those that are set."""
    recipients, senders = recipient_file(settings), settings.sender_filter.blocked_file
    return (
        *((recipients,) if recipients else ()),
        *((blocked_senders(settings, senders),) if senders else ()),
    )
