"""What an agent sees of a session: values to read, and nothing to act with.

Each property is read from the session machine when it is asked for, so it is what holds at that stage. Before the first command and
outside a transaction names are empty and addresses None. Never writes, never moves the session; has no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailmoat._native import Address, HeaderFirewall, Session
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.client import Client


class View:
    """The `SessionView` of one session, and its `RcptView` while `recipient` is set."""

    __slots__ = ("_firewall", "_session", "client", "recipient", "session_id")

    def __init__(self, session: Session, session_id: str, client: Client, firewall: HeaderFirewall) -> None:
        self._session = session
        self._firewall = firewall
        self.session_id = session_id
        self.client = client
        self.recipient: Address

    @property
    def helo_name(self) -> str:
        """Name given with HELO or EHLO."""
        return self._session.helo_name

    @property
    def reverse_path(self) -> Address | None:
        """None is the null reverse-path."""
        return self._session.reverse_path

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Those accepted in the transaction and not dropped since."""
        return tuple(self._session.recipients)

    @property
    def submitter(self) -> Address | None:
        """What the client gave as SUBMITTER."""
        return self._session.submitter

    @property
    def declared_size(self) -> int:
        """Size of the content as the client declared it."""
        return self._session.declared_size

    @property
    def header(self) -> bytes:
        """The header section as it will be kept."""
        header = self._session.header
        return header if self.client.trust.believed else self._firewall.clean(header)

    @property
    def received_header(self) -> bytes:
        """The header section as the client sent it."""
        return self._session.header


if TYPE_CHECKING:

    def _is_rcpt_view(view: View) -> RcptView:
        return view
