"""Check the tags of recipients, and remove them: a bounce to an address of ours without a valid tag is about a message that we did not send.

A tag that was made here is removed whoever sends to the address, before the recipient filter looks. Without a valid one a message with the null
reverse-path is refused or stamped, as is set; one from a sender goes on, with what is left of a tag removed. Not checked: postmaster
(RFC 5321 4.5.1), addresses that are never signed, and what clients send that no filter judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mailmoat._native import Address
from mailmoat.bounce_tags import tag
from mailmoat.bounce_tags.tag import Check
from mailmoat.policy.agent import Agent
from mailmoat.policy.filter_stamp import FilterRule, filter_stamp
from mailmoat.policy.verdict import PASS, Pass, Reject, Reply

if TYPE_CHECKING:
    from mailmoat.bounce_tags.tag import Tagged
    from mailmoat.policy.agent import RcptView
    from mailmoat.policy.services import Services
    from mailmoat.policy.verdict import Verdict
    from mailmoat.settings import Settings

REFUSED: Final = Reply(550, "5.7.1", "This address sent no message that this bounce could be about")


class BounceTagRule(FilterRule):
    """What is wrong with a bounce."""

    NO_TAG = "bounce-without-tag"
    EXPIRED = "bounce-tag-expired"
    FORGED = "bounce-tag-forged"


RULES: Final = {Check.EXPIRED: BounceTagRule.EXPIRED, Check.FORGED: BounceTagRule.FORGED}


class BounceTags(Agent):
    """Checks recipients at local domains."""

    name = "bounce_tags"

    def __init__(self, services: Services) -> None:
        self._tagger = services.tagger
        self._local = frozenset(services.settings.relay.local_domains)
        self._mode = services.settings.bounce_tags.mode

    @classmethod
    def is_on(cls, settings: Settings) -> bool:
        """Return whether there are tags."""
        return settings.bounce_tags.mode != "off"

    def on_rcpt(self, view: RcptView) -> Verdict:
        """Remove a tag; refuse or stamp a bounce without a valid one."""
        recipient = view.recipient
        if recipient.domain not in self._local:
            return PASS
        tagged, untagged = _parts(recipient)
        if tagged is None or untagged is None:
            rule = BounceTagRule.NO_TAG
            if view.reverse_path is not None or not self._tagger.expects_tag(recipient):
                return PASS
        else:
            checked = self._tagger.check(tagged, recipient.domain)
            if checked is Check.VALID or view.reverse_path is not None or not self._tagger.expects_tag(untagged):
                return Pass(redirected=(untagged,))
            rule = RULES[checked]
        if not view.client.trust.judged or self._mode == "sign":
            return PASS if untagged is None else Pass(redirected=(untagged,))
        if self._mode == "reject":
            return Reject(REFUSED, rule)
        return Pass((filter_stamp(rule),), redirected=() if untagged is None else (untagged,))


def _parts(recipient: Address) -> tuple[Tagged | None, Address | None]:
    """Return the tag of a recipient, and its address without; None for one that has no tag, or one before what is no local part."""
    tagged = tag.parse(recipient.local)
    if tagged is None:
        return None, None
    try:
        return tagged, Address.parse(f"{tagged.local}@{recipient.domain}")
    except ValueError:
        return None, None
