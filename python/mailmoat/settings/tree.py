"""The typed tree of all settings: the sections, and the settings without a section.

A tree is frozen and complete: every value in it was checked, and a process that needs other settings gets another tree. Making one
with `Settings(...)` reads no file and no environment (`sources.load` does); it fails with pydantic's ValidationError. The
description of a field is its line in the operator's manual: a field without one does not pass the tests.
"""

import os
import socket  # noqa: TID251 - asks for this machine's name, opens nothing
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, PlainValidator, PrivateAttr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mailmoat._native import Normalisation
from mailmoat.settings import notation, values
from mailmoat.settings.array import show_rows
from mailmoat.settings.fields import Count, Directory, Domain, Duration, Networks
from mailmoat.settings.listener import Listener, parse_listener
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Extension
from mailmoat.settings.sections import directories, recipient_domains
from mailmoat.settings.sections.admin import AdminSettings
from mailmoat.settings.sections.auth import AuthSettings
from mailmoat.settings.sections.bounce_tags import BounceTagsSettings
from mailmoat.settings.sections.delivery import DeliverySettings
from mailmoat.settings.sections.directories import SourceSettings
from mailmoat.settings.sections.directory import DirectorySettings
from mailmoat.settings.sections.dns import DnsSettings
from mailmoat.settings.sections.dns_lists import DnsListsSettings
from mailmoat.settings.sections.helo import HeloSettings
from mailmoat.settings.sections.limits import LimitsSettings
from mailmoat.settings.sections.lists import ListsSettings
from mailmoat.settings.sections.log import LogSettings
from mailmoat.settings.sections.mx import MxSettings
from mailmoat.settings.sections.ndr import NdrSettings
from mailmoat.settings.sections.policy import PolicySettings
from mailmoat.settings.sections.pressure import PressureSettings
from mailmoat.settings.sections.recipient_domains import RecipientDomainSettings
from mailmoat.settings.sections.recipients import RecipientsSettings
from mailmoat.settings.sections.relay import RelaySettings
from mailmoat.settings.sections.reports import ReportsSettings
from mailmoat.settings.sections.reputation import ReputationSettings
from mailmoat.settings.sections.routes import RouteSettings, not_contradictory
from mailmoat.settings.sections.sender_filter import SenderFilterSettings
from mailmoat.settings.sections.senderid import SenderIdSettings
from mailmoat.settings.sections.smtp import SmtpSettings
from mailmoat.settings.sections.tarpit import TarpitSettings
from mailmoat.settings.sections.tls import TlsSettings

DEFAULT = "default"
"""The origin of a value that nobody set."""

Listeners = Annotated[
    tuple[Annotated[Listener, PlainValidator(parse_listener)], ...],
    BeforeValidator(values.items),
    Form(
        "addresses with ports such as 0.0.0.0:25, [::]:25, submissions://0.0.0.0:465 or proxy://10.0.0.1:25, comma between",
        notation.show,
    ),
]


@cache
def machine_name() -> str:
    """Return the name of this machine, with its domain if the resolver has one."""
    name = socket.gethostname()
    return next((known for known in (name, socket.getfqdn(name)) if "." in known), name)


class Settings(BaseSettings):
    """All settings of one server."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="MAILMOAT_", env_nested_delimiter="__", enable_decoding=False
    )
    extensions: ClassVar[tuple[type[Extension], ...]] = ()
    """The agents from outside, in the order of `policy.agents`."""
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _file: Path | None = PrivateAttr(default=None)
    _ignored: tuple[str, ...] = PrivateAttr(default=())

    workers: Count = Field(default=0, description="Worker processes. 0 = one for each CPU.")
    hostname: Domain = Field(
        default_factory=machine_name,
        validate_default=True,
        description="Name of this server in the greeting and in Received.",
    )
    listen: Listeners = Field(
        default=(Listener("0.0.0.0", 25), Listener("::", 25)),
        description="Addresses and ports for SMTP. The scheme says what is spoken: `smtp://` (the default), `smtps://` (TLS from the first octet on), `submission://` and `submissions://` (the same two, and clients must authenticate). After `proxy://`, or `proxy+` before another scheme, a PROXY protocol header (v1 or v2) comes first.",
    )
    listen_proxy_networks: Networks = Field(
        default=(),
        validate_default=True,
        description="Networks that may speak the PROXY protocol at `proxy://` addresses.",
    )
    spool_dir: Directory = Field(
        default=Path("/var/spool/mailmoat"), description="Where accepted messages are kept until they are delivered."
    )
    user: Annotated[str | None, PlainValidator(values.optional(values.text)), Form("a system user", notation.show)] = (
        Field(default=None, description="Account the server runs as after it has bound its addresses as root.")
    )
    drain_time: Duration = Field(
        default=30.0, description="How long sessions and deliveries may go on after SIGTERM or a reload, in seconds."
    )
    tarpit: TarpitSettings = TarpitSettings()
    relay: RelaySettings = RelaySettings()
    recipients: RecipientsSettings = RecipientsSettings()
    recipient_domains: Annotated[
        tuple[RecipientDomainSettings, ...], Form("[[recipient_domains]] for each", show_rows)
    ] = Field(
        default=(),
        description="Domains at which dots, case or the delimiter of subaddresses are not as usual in the part before the @, as an array of tables. It concerns what is looked up and compared; recipients are delivered as the client wrote them.",
    )
    directory: DirectorySettings = DirectorySettings()
    directories: Annotated[tuple[SourceSettings, ...], Form("[[directories]] for each", show_rows)] = Field(
        default=(),
        description="Sources of recipients beside `recipients.file`, as an array of tables. The first that has an address decides about it.",
    )
    auth: AuthSettings = AuthSettings()
    reputation: ReputationSettings = ReputationSettings()
    helo: HeloSettings = HeloSettings()
    sender_filter: SenderFilterSettings = SenderFilterSettings()
    senderid: SenderIdSettings = SenderIdSettings()
    delivery: DeliverySettings = DeliverySettings()
    routes: Annotated[tuple[RouteSettings, ...], Form("[[routes]] for each", show_rows)] = Field(
        default=(),
        description="Other next hops for the recipients of some domains, as an array of tables; the first that has the domain of a recipient counts, and `delivery.next_hop` where none has. A route does not make a domain relayable: see `relay.local_domains` and `relay.unfiltered_domains`.",
    )
    mx: MxSettings = MxSettings()
    ndr: NdrSettings = NdrSettings()
    reports: ReportsSettings = ReportsSettings()
    bounce_tags: BounceTagsSettings = BounceTagsSettings()
    dns: DnsSettings = DnsSettings()
    dns_lists: DnsListsSettings = DnsListsSettings()
    limits: LimitsSettings = LimitsSettings()
    lists: ListsSettings = ListsSettings()
    pressure: PressureSettings = PressureSettings()
    smtp: SmtpSettings = SmtpSettings()
    tls: TlsSettings = TlsSettings()
    policy: PolicySettings = PolicySettings()
    admin: AdminSettings = AdminSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the arguments of the constructor only: `sources` reads, and records the origin of each value."""
        return (init_settings,)

    @field_validator("listen")
    @classmethod
    def _listens_somewhere(cls, value: tuple[Listener, ...]) -> tuple[Listener, ...]:
        if not value:
            raise ValueError("nothing to listen on")
        for place, times in Counter(each.place for each in value if each.port).items():
            if times > 1:
                raise ValueError(f"{place} is listed {times} times; each address can be listed once")
        return value

    @field_validator("routes")
    @classmethod
    def _routes_are_possible(
        cls, value: tuple[RouteSettings, ...], others: ValidationInfo
    ) -> tuple[RouteSettings, ...]:
        if "delivery" in others.data:
            not_contradictory(others.data["delivery"], value)
        return value

    @field_validator("recipient_domains")
    @classmethod
    def _domains_are_possible(
        cls, value: tuple[RecipientDomainSettings, ...], others: ValidationInfo
    ) -> tuple[RecipientDomainSettings, ...]:
        if "recipients" in others.data:
            recipient_domains.not_contradictory(others.data["recipients"], value)
        return value

    @field_validator("directories")
    @classmethod
    def _sources_are_possible(cls, value: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        directories.not_contradictory(value)
        return value

    @field_validator("dns")
    @classmethod
    def _dane_is_possible(cls, value: DnsSettings, others: ValidationInfo) -> DnsSettings:
        if not {"delivery", "routes", "mx"} <= others.data.keys():
            return value
        levels = {"delivery.tls": others.data["delivery"].tls}
        levels |= {f"routes.{number}.tls": route.tls for number, route in enumerate(others.data["routes"])}
        key = next((key for key, level in levels.items() if level == "dane"), None)
        if key is not None and not (value.trust_ad and others.data["mx"].dane):
            error = "no mail would be sent: DANE needs mx.dane and dns.trust_ad, and a resolver that validates DNSSEC in dns.servers"
            raise PydanticCustomError("contradiction", "{error}", {"error": error, "key": key, "value": "dane"})
        return value

    @field_validator("admin")
    @classmethod
    def _admin_has_its_own_address(cls, value: AdminSettings, others: ValidationInfo) -> AdminSettings:
        places = {each.place for each in others.data.get("listen", ()) if each.port}
        if value.listen and parse_listener(value.listen).place in places:
            error = "it is in listen, too, and SMTP is spoken there"
            raise PydanticCustomError(
                "taken", "{error}", {"error": error, "key": "admin.listen", "value": value.listen}
            )
        return value

    @field_validator("listen_proxy_networks")
    @classmethod
    def _proxy_networks_are_listed(cls, value: tuple[object, ...], others: ValidationInfo) -> tuple[object, ...]:
        if not value and any(each.proxy for each in others.data.get("listen", ())):
            raise ValueError("listen has a proxy:// address, and nobody may speak the PROXY protocol there")
        return value

    @property
    def normalisation(self) -> Normalisation:
        """Which spellings of a recipient are one mailbox; made anew."""
        return recipient_domains.normalisation(self.recipients, self.recipient_domains, self.relay.local_domains)

    @property
    def worker_count(self) -> int:
        """How many worker processes there are to be."""
        return self.workers or len(os.sched_getaffinity(0))

    def came_from(self, origins: dict[str, str], file: Path | None = None, ignored: tuple[str, ...] = ()) -> Self:
        """Return the same tree with the origins of its values.

        `origins`: key -> file or environment name; `file`: the settings file; `ignored`: names in the environment that look like
        ours and belong to another program.
        """
        self._origins, self._file, self._ignored = dict(origins), file, ignored
        return self

    @property
    def file(self) -> Path | None:
        """The settings file it was read from."""
        return self._file

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names in the environment that a container platform made."""
        return self._ignored

    def origin(self, key: str) -> str:
        """Return `default`, the path of the settings file, or the environment name that gave the value of `key`."""
        return self._origins.get(key, DEFAULT)
