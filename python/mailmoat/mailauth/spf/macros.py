"""Macro strings of records and explanations (RFC 7208 7): checked without knowing any value, and expanded.

Pure and linear in the length of the text. Differs from pyspf's own expansion where that departs from the RFC:
transformed parts are always joined by dots, zero parts are a mistake, a name that is too long loses labels from the left, and a long
explanation is not shortened.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable

_MACRO: Final = re.compile(r"%(?:([%_-])|\{([slodiphcrtv])([0-9]*)(r?)([.\-+,/_=]*)\})", re.IGNORECASE)
_LITERALS: Final = {"%": "%", "_": " ", "-": "%20"}
_TOP_LABEL: Final = re.compile(r"(?![0-9]+\Z)[0-9a-z](?:[0-9a-z-]*[0-9a-z])?\Z", re.IGNORECASE)
_MAX_NAME: Final = 253
_MAX_DIGITS: Final = 9


class MacroError(ValueError):
    """The text is no macro string; says why."""


def check(text: str, *, explanation: bool = False) -> bool:
    """Raise MacroError unless `text` is a macro string; return whether it ends in a macro.

    The letters c, r and t are for explanations (RFC 7208 7.2).
    """
    end = strays = 0
    for macro in _MACRO.finditer(text):
        strays += text.count("%", end, macro.start())
        end = macro.end()
        letter, digits = (macro[2] or "").lower(), macro[3]
        if letter and letter in "crt" and not explanation:
            raise MacroError(f"Macro for explanations only: {macro[0]}")
        if digits and (len(digits) > _MAX_DIGITS or not int(digits)):
            raise MacroError(f"Macro with an impossible number of parts: {macro[0]}")
    if strays or "%" in text[end:]:
        raise MacroError("Invalid macro")
    return bool(text) and end == len(text)


def names_mailbox(text: str) -> bool:
    """Return whether the local part of the sender is a part of what `text` stands for: it holds `%{s}` or `%{l}`."""
    return any((macro[2] or "-") in "sSlL" for macro in _MACRO.finditer(text))


def check_domain(text: str) -> None:
    """Raise MacroError unless `text` is a domain-spec: a macro string that ends in a top label or a macro (RFC 7208 7.1)."""
    if check(text):
        return
    _, dot, label = text.removesuffix(".").rpartition(".")
    if not dot or not _TOP_LABEL.match(label):
        raise MacroError("Invalid domain found (use FQDN)")


def expand(text: str, value: Callable[[str], str], *, explanation: bool = False) -> str:
    """Put `value(letter)` for each macro, letters in lower case; MacroError when `text` is no macro string."""
    check(text, explanation=explanation)
    return _MACRO.sub(lambda macro: _expand_one(macro, value), text)


def expand_domain(text: str, value: Callable[[str], str]) -> str:
    """Return the name a domain-spec stands for, without trailing dot, cut from the left to the length of a name (RFC 7208 7.3)."""
    name = (expand(text, value) if "%" in text else text).removesuffix(".")
    excess = len(name) - _MAX_NAME
    if excess > 0:
        dot = name.find(".", excess - 1)
        name = name[dot + 1 :]
    return name


def _expand_one(macro: re.Match[str], value: Callable[[str], str]) -> str:
    literal, letter, digits, reverse, delimiters = macro.groups()
    if literal:
        return _LITERALS[literal]
    text = value(letter.lower())
    if digits or reverse or delimiters:
        parts = re.split(f"[{re.escape(delimiters or '.')}]", text)
        if reverse:
            parts.reverse()
        text = ".".join(parts[-int(digits) :] if digits else parts)
    return quote(text, safe="~") if letter.isupper() else text
