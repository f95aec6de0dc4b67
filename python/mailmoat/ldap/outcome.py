"""How an operation or a connection fails: errors with a plain sentence that names the server. No password is in any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat.errors import SourceError
from mailmoat.printable import printable

if TYPE_CHECKING:
    from mailmoat.ldap.message import Done

PROTOCOL_ERROR: Final = 2
SIZE_LIMIT_EXCEEDED: Final = 4
UNDEFINED_ATTRIBUTE_TYPE: Final = 17
ADMIN_LIMIT_EXCEEDED: Final = 11
UNAVAILABLE_CRITICAL_EXTENSION: Final = 12
NO_SUCH_OBJECT: Final = 32
INVALID_CREDENTIALS: Final = 49
BUSY: Final = 51
UNAVAILABLE: Final = 52
UNWILLING_TO_PERFORM: Final = 53
SYNC_REFRESH_REQUIRED: Final = 4096
"""RFC 4533 2.2."""
_LONGEST_TEXT: Final = 200
_NAMES: Final = {
    1: "operationsError",
    PROTOCOL_ERROR: "protocolError",
    3: "timeLimitExceeded",
    SIZE_LIMIT_EXCEEDED: "sizeLimitExceeded",
    7: "authMethodNotSupported",
    8: "strongerAuthRequired",
    10: "referral",
    ADMIN_LIMIT_EXCEEDED: "adminLimitExceeded",
    UNAVAILABLE_CRITICAL_EXTENSION: "unavailableCriticalExtension",
    13: "confidentialityRequired",
    NO_SUCH_OBJECT: "noSuchObject",
    34: "invalidDNSyntax",
    48: "inappropriateAuthentication",
    INVALID_CREDENTIALS: "invalidCredentials",
    50: "insufficientAccessRights",
    BUSY: "busy",
    UNAVAILABLE: "unavailable",
    UNWILLING_TO_PERFORM: "unwillingToPerform",
    SYNC_REFRESH_REQUIRED: "e-syncRefreshRequired",
}
"""RFC 4511 4.1.9."""
_FIXES: Final = {
    SIZE_LIMIT_EXCEEDED: "raise the server's limit of entries for the account",
    8: "use TLS: ldaps:// or ads://, or remove tls",
    10: "this server does not have base",
    13: "use TLS: ldaps://, or remove tls",
    NO_SUCH_OBJECT: "base does not exist, or the account may not see it",
    34: "base or account is no distinguished name",
    INVALID_CREDENTIALS: "account is wrong, or the password in password_file",
    50: "the account may not read this",
}
"""What an administrator corrects."""


class ServerError(SourceError):
    """A server cannot be reached, does not answer, or does not answer as LDAP does."""


class LdapError(ServerError):
    """A server answered that it does not do what was asked."""

    def __init__(self, server: str, done: Done) -> None:
        name = _NAMES.get(done.code, "result")
        text = printable(done.text[:_LONGEST_TEXT].strip("\0 \r\n"))
        self.done = done
        fix = f", {_FIXES[done.code]}" if done.code in _FIXES else ""
        self.reason = f"{name} ({done.code}){fix}" + (f": {text}" if text else "")
        super().__init__(f"{server}: {self.reason}")

    @property
    def code(self) -> int:
        """The result code (RFC 4511 A)."""
        return self.done.code
