"""Authentication results as text for the spool: a JSON list of `AuthResult`, which the spool keeps and never reads.

Pure. Promises: `decode(encode(results)) == results`; text that is not such a list, from a later version or a damaged row, decodes
to no results, which vouch for nobody. Raises nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mailmoat.mailauth.results import AuthResult

_DECODER: Final = msgspec.json.Decoder(tuple[AuthResult, ...])


def encode(results: tuple[AuthResult, ...]) -> str:
    """Return the text; empty for no results."""
    return msgspec.json.encode(results).decode() if results else ""


def decode(text: str) -> tuple[AuthResult, ...]:
    """Return the results in a text of `encode`."""
    try:
        return _DECODER.decode(text) if text else ()
    except (msgspec.DecodeError, RecursionError):  # a ValidationError is one
        return ()
