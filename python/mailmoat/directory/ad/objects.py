"""From an object of Active Directory to an entry: which kinds of objects receive mail, by which addresses. Values only.

What follows Exchange: an object receives mail at each SMTP address in its `proxyAddresses`, hidden from address lists or not, and its
account need not be enabled. Addresses of other kinds (X400, SIP, EUM, X500) are passed over; text that is no address is left out and reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from mailmoat._native import Address
from mailmoat.directory.notation import notation
from mailmoat.directory.source import Entry, Listed
from mailmoat.printable import printable
from mailmoat.settings.sections.directory_ad import Disabled, Kind, Secondary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mailmoat.ldap.message import SearchEntry

ADDRESS_ATTRIBUTES: Final = ("proxyAddresses", "mail")
"""Where addresses are, unless the settings name other attributes."""
_TYPED: Final = re.compile(r"([A-Za-z][A-Za-z0-9.-]*):(.*)", re.ASCII | re.DOTALL)
"""An address with its kind before it; capitals show the primary one of its kind."""
_ACCOUNT_DISABLED: Final = 0x2
"""In userAccountControl."""
_WITHOUT_LOGON: Final = (
    1 << 1  # linked: its account is in another forest
    | 1 << 2  # shared
    | 1 << 4  # room
    | 1 << 5  # equipment
    | 1 << 33  # the last three again, where the mailbox is in Exchange Online
    | 1 << 34
    | 1 << 35
)
"""Values of msExchRecipientTypeDetails of mailboxes that have a disabled account by design."""


_CLASSES: Final = {
    Kind.USERS: (b"user",),
    Kind.GROUPS: (b"group", b"msexchdynamicdistributionlist"),
    Kind.CONTACTS: (b"contact",),
    Kind.PUBLIC_FOLDERS: (b"publicfolder",),
}
_NEVER: Final = b"computer"
"""Is a user, too, by its classes."""


class Mapping(NamedTuple):
    """How objects become entries."""

    attributes: tuple[str, ...] = ADDRESS_ATTRIBUTES
    kinds: frozenset[Kind] = frozenset(Kind)
    disabled: Disabled = Disabled.ACCEPT
    secondary: Secondary = Secondary.KEEP
    targets: tuple[str, ...] = ()
    """Attributes with addresses that get the mail of an object instead of it."""

    @property
    def needed(self) -> tuple[str, ...]:
        """The attributes that `entry` needs."""
        needed = ("objectGUID", "objectClass", "userAccountControl", "msExchRecipientTypeDetails")
        return tuple(dict.fromkeys((*needed, *self.attributes, *self.targets)))

    @property
    def filter(self) -> str:
        """The filter of objects that may be recipients."""
        return f"(&{self.any_kind}(|{''.join(f'({name}=*)' for name in self.attributes)}))"

    @property
    def any_kind(self) -> str:
        """The filter of objects of the kinds that count, deleted ones as well."""
        names = [name.decode() for kind in Kind if kind in self.kinds for name in _CLASSES[kind]]
        return f"(|{''.join(f'(objectClass={name})' for name in names)})"

    def entry(self, found: SearchEntry) -> tuple[Entry, str | None]:
        """Return the entry of an object, without addresses if it receives no mail; and a sentence about the first value that is no address."""
        unique = found.attributes.get("objectguid", [b""])[0]
        if not self.counts(found):
            return Entry(unique, found.dn, ()), None
        addresses, wrong = _addresses(found, self.attributes)
        primary = addresses[:1] if self.secondary is Secondary.REWRITE else []
        targets = _targets(found, self.targets) or tuple(map(str, primary))
        listed = [Listed(notation(one.key), () if targets == (str(one),) else targets) for one in addresses]
        return Entry(unique, found.dn, tuple(listed)), wrong

    def has_domain(self, found: SearchEntry, domain: str) -> bool:
        """Return whether one of its values is `@domain`: an object has no whole domain."""
        return any(text.lower() == f"@{domain}" for text, _ in _written(found, self.attributes))

    def counts(self, found: SearchEntry) -> bool:
        """Return whether an object is of a kind that counts, and not a disabled account that does not."""
        classes = {value.lower() for value in found.attributes.get("objectclass", ())}
        if _NEVER in classes or not any(classes.intersection(_CLASSES[kind]) for kind in self.kinds):
            return False
        if self.disabled is Disabled.ACCEPT or not _number(found, "useraccountcontrol") & _ACCOUNT_DISABLED:
            return True
        return self.disabled is Disabled.SHARED and bool(_number(found, "msexchrecipienttypedetails") & _WITHOUT_LOGON)


def _addresses(found: SearchEntry, names: Sequence[str]) -> tuple[list[Address], str | None]:
    """Return the addresses in these attributes, the primary one first, each once; and what is wrong with the first value that is none.

    Where no value is marked as the primary one, that of `mail` is.
    """
    primary: list[Address] = []
    mail: list[Address] = []
    others: list[Address] = []
    wrong = None
    for name in names:
        unmarked = mail if name.lower() == "mail" else others
        for text, is_primary in _written(found, (name,)):
            try:
                address = _parse(text)
            except ValueError as error:
                wrong = wrong or f"{printable(found.dn)}: {printable(text[:100])} is no address: {error}"
            else:
                (primary if is_primary else unmarked).append(address)
    return list(dict.fromkeys((*primary, *mail, *others))), wrong


def _targets(found: SearchEntry, names: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses in these attributes, and what is none as it is written: `bounds` decides what takes its place."""
    targets = []
    for text, _ in sorted(_written(found, names), key=lambda written: not written[1]):
        try:
            targets.append(str(_parse(text)))
        except ValueError:
            targets.append(text.encode("ascii", "backslashreplace").decode())
    return tuple(dict.fromkeys(targets))


def _written(found: SearchEntry, names: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield each SMTP address as it is written, and whether it is the primary one."""
    for name in names:
        for value in found.attributes.get(name.lower(), ()):
            text = value.decode("utf-8", "replace").strip()
            typed = _TYPED.fullmatch(text)
            if typed is None:
                yield text, False
            elif typed[1].lower() == "smtp":
                yield typed[2], typed[1].isupper()


def _number(found: SearchEntry, name: str) -> int:
    """Return an attribute as a number; 0 where there is none."""
    try:
        return int(found.attributes.get(name, [b"0"])[0])
    except ValueError:
        return 0


def _parse(text: str) -> Address:
    """Return an address with its domain. ValueError for anything else, and for octets that were not UTF-8."""
    if "\N{REPLACEMENT CHARACTER}" in text:
        raise ValueError("it is not UTF-8")
    address = Address.parse(text)
    if not address.domain:
        raise ValueError("it has no domain")
    return address
