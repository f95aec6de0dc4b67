"""How long a next hop is waited for at each stage of a dialogue (RFC 5321 4.5.3.2)."""

from __future__ import annotations

from typing import Protocol


class PoolSettings(Protocol):
    """What the pool needs of the settings' `delivery`; times in seconds (RFC 5321 4.5.3.2)."""

    @property
    def connections(self) -> int: ...  # noqa: D102 - the setting of this name
    @property
    def connect_time(self) -> float: ...  # noqa: D102 - the setting of this name
    @property
    def greeting_time(self) -> float: ...  # noqa: D102 - the setting of this name
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


def in_order(settings: PoolSettings) -> tuple[float, ...]:
    """Give the limits in the order of `Client.timeout_kind`."""
    return (
        settings.greeting_time,
        settings.mail_time,
        settings.rcpt_time,
        settings.data_time,
        settings.block_time,
        settings.end_of_data_time,
        settings.idle_time,
    )
