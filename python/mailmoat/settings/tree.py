"""The typed tree of all settings: names, defaults, meanings, and how each is written.

A tree is frozen and whole: every value in it was checked, and a process that needs other settings gets another tree. Making one
with `Settings(...)` reads no file and no environment (`sources.load` does); it fails with pydantic's ValidationError. The
description of a field is its line in the operator's manual: a field without one does not pass the tests.
"""

import os
import socket  # noqa: TID251 - asks for this machine's name, opens nothing
from collections import Counter
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mailmoat.settings import notation, returned, values
from mailmoat.settings.addressee import addressee
from mailmoat.settings.delimiter import delimiter
from mailmoat.settings.host_name import host_name
from mailmoat.settings.name_server import NameServer, name_server
from mailmoat.settings.notation import Form
from mailmoat.settings.values import Listener, NextHop

DURATION = Form("seconds, or a number with s, m, h or d, such as 5s, 4m or 2h", notation.show_duration)
DOMAINS = Form("domains such as example.com, separated by commas", notation.show)
NETWORKS = Form("networks such as 192.0.2.0/24 or 2001:db8::/32, separated by commas", notation.show)
LISTENERS = Form(
    "addresses with ports such as 0.0.0.0:25, [::]:25 or proxy://10.0.0.1:25, comma between", notation.show
)
NAME_SERVERS = Form(
    "IP addresses, each with a port or without, such as 127.0.0.1 or [::1]:5353, comma between", notation.show
)
NEXT_HOP = Form("smtp://host:port, lmtp://host:port, maildir:PATH or discard:", notation.show, notation.next_hop_below)
FORMATS = ("auto", "json", "human")
LEVELS = ("debug", "info", "warning", "error")
DEFAULT = "default"
"""The origin of a value that nobody set."""
ACTIONS = ("StampStatus", "Reject", "Delete")

Duration = Annotated[float, PlainValidator(values.duration), DURATION]
Wait = Annotated[
    float,
    PlainValidator(values.wait),
    Form("seconds above 0, or a number with s, m, h or d, such as 2s or 1m", notation.show_duration),
]
Count = Annotated[int, PlainValidator(values.count), Form("a whole number, 0 or more", notation.show)]
Positive = Annotated[int, PlainValidator(values.positive), Form("a whole number, 1 or more", notation.show)]
Size = Annotated[int, PlainValidator(values.size), Form("octets, or a number with KiB, MiB or GiB", notation.show_size)]
Switch = Annotated[bool, PlainValidator(values.switch), Form("true or false", notation.show)]
Domain = Annotated[str, PlainValidator(values.domain), Form("a domain such as mx.example.com", notation.show)]
OptionalDomain = Annotated[
    str | None, PlainValidator(values.optional(values.domain)), Form("a domain such as example.com", notation.show)
]
Domains = Annotated[tuple[Domain, ...], BeforeValidator(values.items), DOMAINS]
Networks = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, PlainValidator(values.network)], ...],
    BeforeValidator(values.items),
    NETWORKS,
]
Listeners = Annotated[
    tuple[Annotated[Listener, PlainValidator(values.listener)], ...], BeforeValidator(values.items), LISTENERS
]
Recipients = Annotated[
    tuple[Annotated[str, PlainValidator(values.recipient_key)], ...],
    BeforeValidator(values.items),
    Form("addresses such as all@example.com, separated by commas", notation.show),
]
Delimiter = Annotated[str, PlainValidator(delimiter), Form("characters such as + or +-, or nothing", notation.show)]
Action = Annotated[
    Literal["StampStatus", "Reject", "Delete"],
    PlainValidator(values.one_of(*ACTIONS)),
    Form("StampStatus, Reject or Delete", notation.show),
]
NameServers = Annotated[
    tuple[Annotated[NameServer, PlainValidator(name_server)], ...], BeforeValidator(values.items), NAME_SERVERS
]
Directory = Annotated[Path, PlainValidator(values.path), Form("a directory", notation.show, notation.below)]


class Branch(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TarpitSettings(Branch):
    """Holding 5xx replies back, so that harvesting addresses does not pay."""

    time: Annotated[
        float,
        PlainValidator(values.tarpit_time),
        Form(f"a duration up to {values.LONGEST_TARPIT} s, such as 5 or 2.5s", notation.show_duration),
    ] = Field(
        default=0.0,
        description="How long each 5xx reply to an unauthenticated client is held, in seconds. 0 = off; 5 is usual.",
    )
    exempt_networks: Networks = Field(default=(), description="Networks whose clients are never held.")
    max_held: Count = Field(
        default=50_000,
        description="Sessions held at the same time on this machine; beyond it the longest held is closed with 421. 0 = no bound.",
    )
    max_session: Duration = Field(
        default=180.0, description="Sum of all delays in one session, in seconds; then 421 and close. 0 = no bound."
    )


class RelaySettings(Branch):
    """Whose messages are taken, and for whom."""

    local_domains: Domains = Field(
        default=(), description="Domains for which mail is received; the recipient filter applies."
    )
    default_domain: OptionalDomain = Field(
        default=None, validate_default=True, description="Domain given to an address that has none."
    )
    relay_domains: Domains = Field(
        default=(),
        description="Other domains for which mail is accepted (backup MX); no recipient filter applies.",
    )
    networks: Networks = Field(
        default=(),
        description="Networks whose clients may send to any domain. No client is trusted by default, not even on loopback.",
    )

    @field_validator("default_domain")
    @classmethod
    def _first_local_domain(cls, value: str | None, others: ValidationInfo) -> str | None:
        return value or next(iter(others.data.get("local_domains", ())), None)


class RecipientsSettings(Branch):
    """Which recipients exist."""

    file: Annotated[
        Path | None, PlainValidator(values.optional(values.path)), Form("a path", notation.show, notation.below)
    ] = Field(
        default=None,
        description="File of the recipients that exist: an address, `@domain` or `!address` per line. Read again when it changes.",
    )
    delimiter: Delimiter = Field(
        default="+",
        description="Characters that begin a subaddress: `alice+tag` exists when `alice` does. Empty = off.",
    )
    postmaster: Annotated[
        str | None,
        PlainValidator(values.optional(addressee)),
        Form("an address such as admin@example.com", notation.show),
    ] = Field(
        default=None,
        description="Address that gets what is sent to postmaster at a local domain, which is always taken. Without one the next hop must know it.",
    )
    blocked: Recipients = Field(
        default=(), description="Recipients refused although they exist, and their subaddresses with them."
    )
    lookup: Switch = Field(
        default=True,
        description="Refuse unknown recipients at RCPT. Off: they are accepted and cause a bounce later.",
    )


class SenderIdSettings(Branch):
    """Whether the sender's domain permits the address a message came from (Sender ID and SPF)."""

    enabled: Switch = Field(
        default=False, description="Check messages from outside by Sender ID and SPF, and stamp them."
    )
    spoofed_domain_action: Action = Field(
        default="StampStatus",
        description="What happens on the Sender ID status Fail: stamp only, refuse with 550, or accept and drop silently.",
    )
    temp_error_action: Annotated[
        Literal["StampStatus", "Reject"],
        PlainValidator(values.temp_error_action),
        Form("StampStatus or Reject", notation.show),
    ] = Field(
        default="StampStatus",
        description="What happens on TempError, such as DNS being down: only the stamp, or a 451 so that the sender tries again.",
    )
    bypassed_sender_domains: Domains = Field(
        default=(), description="Domains of senders that are not checked; a subdomain is another domain."
    )
    bypassed_recipients: Recipients = Field(
        default=(), description="Recipients that get their messages, stamped, whatever the status is."
    )
    internal_servers: Networks = Field(
        default=(),
        description="Our own servers in front of this one: the sender is the first address in Received that is none of them.",
    )
    private_networks: Annotated[
        Literal["check", "skip"],
        PlainValidator(values.one_of("check", "skip")),
        Form("check or skip", notation.show),
    ] = Field(
        default="check",
        description="What happens to a message from a private address (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7): checked as any other, or no status. Loopback and link-local addresses never have one.",
    )
    exchange_headers: Switch = Field(
        default=False,
        description="Stamp X-MS-Exchange-Organization-SenderIdResult and -PRD, for an Exchange behind us.",
    )
    submitter: Switch = Field(
        default=False,
        description="Offer SUBMITTER (RFC 4405) and refuse a message whose header names another address, or, at MAIL, whose domain's status is Fail where `senderid.spoofed_domain_action` is Reject.",
    )
    spf_mfrom_action: Action = Field(
        default="StampStatus",
        description="What happens when the plain SPF check of MAIL FROM or HELO fails; with Reject or Delete, TempError follows `senderid.temp_error_action`.",
    )
    void_lookups: Count = Field(
        default=2,
        description="Lookups without an answer that one SPF record may cause (RFC 7208 4.6.4); more is PermError.",
    )


class DeliverySettings(Branch):
    """How accepted messages are handed on."""

    next_hop: Annotated[NextHop | None, PlainValidator(values.optional(values.next_hop)), NEXT_HOP] = Field(
        default=None, description="Where accepted messages go. Without one they stay in the spool until they expire."
    )
    connections: Positive = Field(default=20, description="Connections to the next hop at the same time, per worker.")
    retry: Annotated[
        tuple[float, ...],
        PlainValidator(values.retry),
        Form("waits such as 1m*4, 10m*6, 30m", notation.show_retry),
    ] = Field(
        default=values.retry("1m*4, 10m*6, 30m"),
        description="Waits between the attempts for one message; the last one repeats. `10m*6` is six times ten minutes.",
    )
    expire: Duration = Field(
        default=432_000.0,
        description="Age, in seconds, at which a message still undelivered goes back to its sender with a report.",
    )
    connect_time: Wait = Field(default=30.0, description="Wait for a connection to the next hop, in seconds.")
    greeting_time: Wait = Field(default=300.0, description="Wait for the next hop's greeting, in seconds.")
    mail_time: Wait = Field(default=300.0, description="Wait for the reply to MAIL, in seconds.")
    rcpt_time: Wait = Field(default=300.0, description="Wait for the reply to RCPT, in seconds.")
    data_time: Wait = Field(default=120.0, description="Wait for the reply to DATA, in seconds.")
    block_time: Wait = Field(default=180.0, description="Wait for the next hop to take a block of content, in seconds.")
    end_of_data_time: Wait = Field(default=600.0, description="Wait for the reply to the end of data, in seconds.")
    idle_time: Wait = Field(
        default=5.0, description="How long an unused connection to the next hop is kept, in seconds."
    )
    return_size: Annotated[
        int,
        PlainValidator(returned.return_size),
        Form(f"octets, up to {notation.show_size(returned.LARGEST)}, such as 50000 or 64KiB", notation.show_size),
    ] = Field(
        default=50_000,
        description="Octets up to which a message goes back whole in a report to a sender who is known to be the sender; otherwise the header section.",
    )


class NdrSettings(Branch):
    """Reports about messages that could not be delivered."""

    enabled: Switch = Field(default=True, description="Send non-delivery reports. RFC 5321 6.1 wants them sent.")
    copy_to: Annotated[
        str | None,
        PlainValidator(values.optional(addressee)),
        Form("an address such as postmaster@example.com", notation.show),
    ] = Field(default=None, description="Address that gets a copy of every non-delivery report.")


class DnsSettings(Branch):
    """Questions to the domain name system, each worker's its own."""

    servers: NameServers = Field(
        default=(), description="Name servers to ask, in this order; they must recurse. Port 53 unless given."
    )
    timeout: Wait = Field(default=2.0, description="Wait for one server's answer, in seconds; then the next is asked.")
    lifetime: Wait = Field(
        default=5.0, description="Wait for the answer to one question, all tries together, in seconds."
    )
    budget_queries: Positive = Field(
        default=40, description="Questions one message may ask beyond what is already known; then it has no answers."
    )
    budget_time: Wait = Field(default=20.0, description="Time one message may spend on its questions, in seconds.")
    cache_size: Size = Field(default=16 << 20, description="Octets of memory for answers that are kept, per worker.")
    cache_time: Duration = Field(
        default=86_400.0, description="How long an answer is kept at most, in seconds; its own time is often less."
    )
    negative_time: Duration = Field(
        default=3600.0,
        description="How long the answer that a name or record is not there is kept at most, in seconds.",
    )
    failures: Positive = Field(
        default=5,
        description="Questions in a row that nobody answers after which a name, a zone, or all servers are left alone.",
    )
    open_time: Duration = Field(
        default=30.0, description="How long they are left alone, in seconds; then one question finds out more."
    )


class LimitsSettings(Branch):
    """Bounds on what one client may ask for; 0 switches a bound off."""

    local_part: Count = Field(default=256, description="Octets of a local part. 0 = off.")
    domain: Count = Field(default=255, description="Octets of a domain. 0 = off.")
    path: Count = Field(default=514, description="Octets of a path with its brackets. 0 = off.")
    command_line: Count = Field(
        default=512,
        description="Octets of a command line with CRLF; MAIL and RCPT may have as many more as `limits.path` is above 256. 0 = off.",
    )
    text_line: Count = Field(default=1000, description="Octets of a line of content with CRLF. 0 = off.")
    recipients: Count = Field(default=100, description="Recipients of one transaction; those beyond get 452. 0 = off.")
    message_size: Size = Field(default=36 << 20, description="Octets of one message, announced as SIZE. 0 = off.")
    header_size: Size = Field(
        default=256 << 10,
        description="Octets of a header section; a message with a longer one is refused with 552. 0 = off.",
    )
    hops: Count = Field(default=100, description="Received fields at which a message is refused as looping. 0 = off.")
    command_time: Duration = Field(default=300.0, description="Wait for the next command, in seconds. 0 = off.")
    data_time: Duration = Field(default=180.0, description="Wait for the next block of content, in seconds. 0 = off.")
    session_time: Duration = Field(default=3600.0, description="Length of a session, in seconds. 0 = off.")
    errors: Count = Field(
        default=20,
        description="5xx replies in one session, and recipients far beyond `recipients`; then 421 and close. 0 = off.",
    )
    idle_commands: Count = Field(
        default=100,
        description="Commands in a row that do not advance a message (NOOP, RSET, VRFY ...); then 421 and close. 0 = off.",
    )
    connections: Count = Field(default=0, description="Connections at the same time on this machine. 0 = off.")
    connections_per_source: Count = Field(
        default=100, description="Connections at the same time from one IPv4 address or IPv6 /64. 0 = off."
    )
    held_input: Size = Field(
        default=16 << 10, description="Octets kept of what a held client sends ahead; then reading stops. 0 = off."
    )
    content_memory: Size = Field(
        default=16 << 20,
        description="Octets of content a worker keeps in memory for all sessions; beyond it, content goes to files. 0 = off.",
    )
    memory_content: Size = Field(
        default=128 << 10,
        description="Octets of content kept in memory while it is received; the body of a larger one goes to a file. 0 = off.",
    )


class SmtpSettings(Branch):
    """The dialogue."""

    bare_newline: Annotated[
        Literal["refuse", "normalise"],
        PlainValidator(values.one_of("refuse", "normalise")),
        Form("refuse or normalise", notation.show),
    ] = Field(
        default="refuse",
        description="What happens to a bare CR or LF: refuse the content, or make it CRLF.",
    )
    nul_in_header: Annotated[
        Literal["refuse", "accept"],
        PlainValidator(values.one_of("refuse", "accept")),
        Form("refuse or accept", notation.show),
    ] = Field(
        default="refuse",
        description="What happens to a NUL in a header field: refuse the content, or pass it on as it is.",
    )


class AdminSettings(Branch):
    """Metrics and health."""

    listen: Annotated[
        str,
        PlainValidator(values.admin_listen),
        Form("an address with a port such as 127.0.0.1:8025, or off", notation.show_or_off),
    ] = Field(default="127.0.0.1:8025", description="Address and port for /metrics and /healthz. `off` = nowhere.")
    hosts: Annotated[
        tuple[Annotated[str, PlainValidator(host_name)], ...],
        BeforeValidator(values.items),
        Form("names such as mail.internal, separated by commas", notation.show),
    ] = Field(
        default=(),
        description="Names under which /metrics and /healthz can be requested, in addition to IP addresses, `hostname` and names without a dot.",
    )


class LogSettings(Branch):
    """The log, on standard output."""

    format: Annotated[
        Literal["auto", "json", "human"],
        PlainValidator(values.one_of(*FORMATS)),
        Form("auto, json or human", notation.show),
    ] = Field(default="auto", description="JSON, or readable lines; auto: readable lines on a terminal, else JSON.")
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        PlainValidator(values.one_of(*LEVELS)),
        Form("debug, info, warning or error", notation.show),
    ] = Field(default="info", description="Lowest level that is logged.")


@cache
def machine_name() -> str:
    """The name of this machine, with its domain where the resolver knows one."""
    name = socket.gethostname()
    return next((known for known in (name, socket.getfqdn(name)) if "." in known), name)


class Settings(BaseSettings):
    """All settings of one server."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="MAILMOAT_", env_nested_delimiter="__", enable_decoding=False
    )
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
        description="Addresses and ports for SMTP. At a `proxy://` address a PROXY protocol header (v1 or v2) comes first.",
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
    senderid: SenderIdSettings = SenderIdSettings()
    delivery: DeliverySettings = DeliverySettings()
    ndr: NdrSettings = NdrSettings()
    dns: DnsSettings = DnsSettings()
    limits: LimitsSettings = LimitsSettings()
    smtp: SmtpSettings = SmtpSettings()
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
        """What the constructor is given and nothing else: `sources` reads, and keeps where each value came from."""
        return (init_settings,)

    @field_validator("listen")
    @classmethod
    def _listens_somewhere(cls, value: tuple[Listener, ...]) -> tuple[Listener, ...]:
        if not value:
            raise ValueError("nothing to listen on")
        places = Counter((listener.host, listener.port) for listener in value if listener.port)
        for (host, port), times in places.items():
            if times > 1:
                raise ValueError(
                    f"{values.bracketed(host)}:{port} is listed {times} times; each address can be listed once"
                )
        return value

    @field_validator("admin")
    @classmethod
    def _admin_has_its_own_address(cls, value: AdminSettings, others: ValidationInfo) -> AdminSettings:
        places = {replace(listener, proxy=False) for listener in others.data.get("listen", ()) if listener.port}
        if value.listen and values.listener(value.listen) in places:
            error = "it is in listen, too, and SMTP is spoken there"
            raise PydanticCustomError(
                "taken", "{error}", {"error": error, "key": "admin.listen", "value": value.listen}
            )
        return value

    @field_validator("listen_proxy_networks")
    @classmethod
    def _somebody_may_speak_proxy(cls, value: tuple[object, ...], others: ValidationInfo) -> tuple[object, ...]:
        if not value and any(listener.proxy for listener in others.data.get("listen", ())):
            raise ValueError("listen has a proxy:// address, and nobody may speak the PROXY protocol there")
        return value

    @property
    def worker_count(self) -> int:
        """How many worker processes there are to be."""
        return self.workers or len(os.sched_getaffinity(0))

    def came_from(self, origins: dict[str, str], file: Path | None = None, ignored: tuple[str, ...] = ()) -> Self:
        """The same tree that knows where its values came from.

        `origins`: key -> file or environment name; `file`: the settings file; `ignored`: names in the environment that look like
        ours and are somebody else's.
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
        """`default`, the path of the settings file, or the environment name that gave the value of `tarpit.time`."""
        return self._origins.get(key, DEFAULT)
