"""Names and passwords as they are compared: prepared by SASLprep (RFC 4013, a profile of RFC 3454), names also without case.

Pure. What cannot be prepared (control characters, private use, mixed directions, nothing left) is a ValueError that contains no part
of the text.
"""

from __future__ import annotations

import stringprep
from typing import Final
from unicodedata import normalize, ucd_3_2_0

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
"""RFC 4013 2.3: other spaces, controls, private use, non-characters, surrogates, and what changes or tags the display."""


def prepare(text: str, *, stored: bool = False) -> str:
    """Return `text` prepared by SASLprep; ValueError if that fails or leaves nothing.

    `stored`: it is kept, and characters that Unicode 3.2 does not assign are refused (RFC 3454 7).
    """
    if text.isascii():
        prepared = text
        wrong = not text.isprintable()
    else:
        mapped = "".join(
            " " if stringprep.in_table_c12(each) else each for each in text if not stringprep.in_table_b1(each)
        )
        prepared = ucd_3_2_0.normalize("NFKC", mapped)
        wrong = any(table(each) for each in prepared for table in _PROHIBITED) or _mixes_directions(prepared)
        if stored and any(map(stringprep.in_table_a1, prepared)):
            raise ValueError("a character in it is too new for SASLprep (Unicode 3.2)")
    if wrong:
        raise ValueError("a character in it is not allowed (control characters are not)")
    if not prepared:
        raise ValueError("it is empty")
    return prepared


def account_key(name: str) -> str:
    """Return the form in which names of accounts are compared: prepared, in lower case (RFC 8265 3.3); ValueError as for `prepare`."""
    return normalize("NFC", prepare(name).lower())


def _mixes_directions(text: str) -> bool:
    """Return whether text breaks the rules for writing from right to left (RFC 3454 6)."""
    if not any(map(stringprep.in_table_d1, text)):
        return False
    ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return not ends or any(map(stringprep.in_table_d2, text))
