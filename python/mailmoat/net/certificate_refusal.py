"""Why the certificate of a server is refused, in a sentence, with the setting to correct."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

_FIXES: Final = {
    10: "renew it",
    **dict.fromkeys((18, 19, 20, 21), "tls_ca must have the CA that signed it"),
    **dict.fromkeys((62, 64), "url must have a name of the certificate"),
}
"""By OpenSSL's number: expired; self-signed, no issuer; another name, another address."""


def refusal(error: ssl.SSLCertVerificationError) -> str:
    """Return the sentence."""
    fix = f"; {_FIXES[error.verify_code]}" if error.verify_code in _FIXES else ""
    return f"its certificate is refused: {error.verify_message}{fix}"
