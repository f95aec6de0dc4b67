"""How long a next hop is waited for at each stage of a dialogue (RFC 5321 4.5.3.2)."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from mailmoat._native import TimeLimit

TimeLimits: TypeAlias = tuple[float, ...]
"""Seconds, by `TimeLimit`; a tuple, because it is looked up with every reply."""


class PoolSettings(Protocol):
    """What the pool needs of the settings' `delivery`; times in seconds."""

    @property
    def connections(self) -> int: ...  # noqa: D102 - the setting of this name
    @property
    def connect_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def greeting_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def handshake_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def mail_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def rcpt_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def data_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def block_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def end_of_data_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def idle_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def xclient(self) -> bool: ...  # noqa: D102 - the setting of this name
    @property
    def chunking(self) -> bool: ...  # noqa: D102 - the setting of this name


def time_limits(settings: PoolSettings) -> TimeLimits:
    """Return the limit that the settings have for each stage."""
    limits = {
        TimeLimit.GREETING: settings.greeting_time,
        TimeLimit.MAIL: settings.mail_time,
        TimeLimit.RCPT: settings.rcpt_time,
        TimeLimit.DATA: settings.data_time,
        TimeLimit.BLOCK: settings.block_time,
        TimeLimit.END_OF_DATA: settings.end_of_data_time,
        TimeLimit.IDLE: settings.idle_time,
        TimeLimit.HANDSHAKE: settings.handshake_time,
    }
    return tuple(limits[limit] for limit in TimeLimit)
