"""The name of a host as a client writes it into HTTP's `Host` field (RFC 9110 7.2): any letters, an underscore too."""

from __future__ import annotations

import re

from mailmoat.settings.values import text


def host_name(value: object) -> str:
    """In lower case, without a port or a trailing dot; ValueError when it is none."""
    name = text(value).lower().rstrip(".")
    if not re.fullmatch(r"[a-z0-9._-]+", name, re.ASCII):
        raise ValueError("not a host name")
    return name
