"""The boundary between Python and Rust: typed, documented, held to the built module by mypy.stubtest.

Bytes, str, ints, enums and frozen classes cross; never callbacks, settings, sockets, the loop, or exceptions for a peer's bad input.
An *owner* or *waiter* is any Python object: it is kept and handed back, never called.
Each member of an enum is one object: `is` compares it.
"""

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final, TypedDict, final, type_check_only

# --- message ---

class RecipientState(IntEnum):
    """What became of a recipient; the spool stores the number."""

    PENDING = 0
    """Not tried, or every attempt ended in a temporary failure."""
    DELIVERED = 1
    """The next hop took it."""
    FAILED = 2
    """It failed for good and is to be reported."""
    CLOSED = 3
    """Nothing more is to be done: it failed for good and was reported, or no report is allowed; or others took its place."""
    RELAYED = 4
    """The next hop took it and reports no success; its sender asked for a report, which is to be made."""
    PLACED = 5
    """It is in its mailbox; its sender asked for a report, which is to be made."""
    EXPANDED = 6
    """Several others took its place; its sender asked for a report, which is to be made."""

@final
class Recipient:
    """One recipient of a message as it was stored. Those that are pending or failed and have the same next hop, due time and
    attempts are a group.
    """

    def __eq__(self, other: object, /) -> bool: ...
    @property
    def address(self) -> str:
        """Without angle brackets."""
    @property
    def parameters(self) -> dict[str, str | None]:
        """Of RCPT; the value is None where the keyword has none."""
    @property
    def state(self) -> RecipientState: ...
    @property
    def is_open(self) -> bool:
        """Something is still to be done for it: it is pending or failed."""
    @property
    def reply(self) -> str:
        """The reply or reason behind the state; empty when never tried."""
    @property
    def due(self) -> int:
        """Next attempt, milliseconds since the epoch."""
    @property
    def attempts(self) -> int:
        """Attempts made for it."""
    @property
    def next_hop(self) -> str:
        """Key of the destination of the last attempt, as it was given to `Partition.settle`; empty before the first."""
    @property
    def next_hop_fixed(self) -> str:
        """Next hop that an operator chose, in its written form; empty where the routes decide."""
    @property
    def reported(self) -> bool:
        """A delay report was made for it."""

def decode_xtext(text: str) -> str:
    """Return the printable text that a parameter encodes (RFC 3461 4); what is no such encoding as it is."""

def decode_unitext(text: str) -> str:
    """Return the text that an address of the type utf-8 encodes (RFC 6533 3); what is no such encoding as it is."""

@final
class Outcome:
    """What an attempt made of one recipient."""

    def __new__(cls, index: int, state: RecipientState, reply: str) -> Outcome:
        """Make an outcome; `index` is the place in `Message.recipients`. ValueError if `state` is not one."""
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def index(self) -> int: ...
    @property
    def state(self) -> RecipientState: ...
    @property
    def reply(self) -> str:
        """The reply, or our own reason, in one line."""

@final
class Message:
    """Envelope, trace and content of one message; never changes.

    The trace is what goes in front of the content: fields added here and, when the content is in a file, the header section too,
    unless an older version stored it. Only both together are the message.
    """

    def __new__(
        cls,
        *,
        queue_id: str,
        arrival: int,
        reverse_path: str,
        recipients: list[str],
        content: bytes,
        trace: bytes = ...,
        parameters: dict[str, str | None] = ...,
        results: str = ...,
        tls_optional: bool = ...,
    ) -> Message:
        """Return a message made here, such as a report. ValueError when `parameters` has a keyword or value that MAIL cannot have."""
    @staticmethod
    def imported(path: str, queue_id: str, incoming_dir: str) -> Message:
        """Return the message in a file that `queue_export` wrote, with this queue id; large content is copied to `incoming_dir`.

        Its recipients are as they were. ValueError with a sentence when the file is no such file or is damaged, OSError when it
        cannot be read.
        """
    @property
    def queue_id(self) -> str: ...
    @property
    def arrival(self) -> int:
        """Milliseconds since the epoch."""
    @property
    def reverse_path(self) -> str:
        """Without angle brackets; empty for the null reverse-path."""
    @property
    def recipients(self) -> list[Recipient]:
        """In the order of their RCPT commands. A new list each time."""
    @property
    def pending(self) -> int:
        """How many of them it is still to be delivered to."""
    @property
    def parameters(self) -> dict[str, str | None]:
        """Of MAIL, without SIZE; the value is None where the keyword has none."""
    @property
    def results(self) -> str:
        """Authentication results, as `Session.message` was given them; empty when nothing was checked."""
    @property
    def smtputf8(self) -> bool:
        """MAIL had SMTPUTF8."""
    @property
    def is_tls_optional(self) -> bool:
        """The header section has `TLS-Required: No`, and MAIL had no REQUIRETLS."""
    @property
    def eight_bit(self) -> bool:
        """An octet above 127 occurs in trace or content."""
    @property
    def session_id(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def size(self) -> int:
        """Octets of trace and content."""
    def open_content(self) -> ContentReader | None:
        """Open the content file, or what is to be in it; None when `octets` has all of the content. OSError when it cannot be opened."""
    def octets(self) -> bytes:
        """Trace and content; of a content file the trace alone, which goes before it."""

@final
class ContentReader:
    """A content file that is read from its beginning, out of memory as long as its octets are there."""

    def read(self, most: int) -> bytes:
        """Return the next octets, at most so many; none at the end. OSError when they cannot be read."""

# --- address ---

@final
class Address:
    """A mailbox in its one normalised form; compares and hashes by value. Odd dots stay outside quotes if they came so."""

    @staticmethod
    def parse(text: str) -> Address:
        """Return a mailbox without angle brackets; ValueError with a plain sentence that names what is wrong."""
    @property
    def local(self) -> str:
        """Unquoted, in NFC, its case kept."""
    @property
    def domain(self) -> str:
        """A-labels in lower case, or a literal such as `[192.0.2.1]`; empty when none was given."""
    @property
    def key(self) -> str:
        """A key that is the same for all spellings of one mailbox: the local part in small letters, and in quotes unless it is a
        dot-atom. Of recipients, `Normalisation.key` is the key.
        """
    @property
    def may_route(self) -> bool:
        """A server behind us may read an address elsewhere, a program or a file out of the local part: it holds one of
        `@ % ! : /`, begins with `-` or `|`, or encapsulates an address (`IMCEASMTP-`).
        """
    def without_detail(self, delimiters: str) -> Address | None:
        """Return the address this one is a subaddress of: its local part ends before the first of `delimiters`; None without one."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Normalisation:
    """Which spellings of a local part are one mailbox, by domain; compares by value, and does not change."""

    def __new__(
        cls,
        delimiters: str = "",
        domains: Sequence[tuple[str, str, str, str]] | None = None,
        ours: Sequence[str] | None = None,
    ) -> Normalisation:
        """Take the characters that begin the detail of a subaddress, and domains with options of their own: (normalised domain, dots
        `keep` or `ignore`, case `ignore` or `keep`, delimiters). At the domains `ours` a detail is handed on to the targets of an alias.
        ValueError for other words.
        """
    def key(self, address: Address) -> str:
        """Return the key of a recipient in directories, the same for all spellings of one mailbox."""
    def without_detail(self, address: Address) -> Address | None:
        """Return the address that this one is a subaddress of; None when it is none."""
    def with_detail_of(self, address: Address, target: Address) -> Address | None:
        """Return `target` with the detail of the subaddress `address`; None where it stays as it is: at another domain than ours, with a
        detail of its own, or where there are no details.
        """
    def without_dots(self, address: Address) -> Address | None:
        """Return the address without dots; None when it has none, or they mean something."""

def normalise_address(text: str) -> str:
    """Return the normalised form of a mailbox without angle brackets; ValueError as `Address.parse`."""

def address_key(text: str) -> str:
    """Return the directory key of a mailbox without angle brackets; ValueError as `Address.parse`."""

def normalise_domain(text: str) -> str:
    """Return the normalised form of a domain or address literal; ValueError with a plain sentence."""

# --- client ---

@final
class ClientStep(IntEnum):
    """What a client needs next."""

    WAIT = 0
    """Input, at most as long as `time_limit` says."""
    READY = 1
    """The connection is set up: a transaction may begin."""
    DONE = 2
    """The transaction has ended: take the outcomes. The next may begin."""
    CLOSED = 3
    """Write what `output` gives and close. Outcomes are there if a transaction was running."""
    MORE = 4
    """Content from a file: call `output` again whenever the transport has room."""
    START_TLS = 5
    """Write what `output` gives, then call `start_tls`."""

@final
class TimeLimit(IntEnum):
    """What a next hop is waited for (RFC 5321 4.5.3.2)."""

    GREETING = 0
    """The greeting, and the reply to EHLO, HELO, LHLO or STARTTLS."""
    MAIL = 1
    """The reply to MAIL or RSET."""
    RCPT = 2
    DATA = 3
    BLOCK = 4
    """Room for the next part of the content."""
    END_OF_DATA = 5
    IDLE = 6
    """Nothing, between two transactions; and the reply to QUIT."""
    HANDSHAKE = 7
    """The end of the TLS handshake, which has this time as a whole."""

@final
class Credentials:
    """Name and password of an account at a next hop. Nothing gives the password back."""

    def __new__(cls, name: str, password: str) -> Credentials:
        """Make credentials. ValueError unless both have 1 to 255 octets and no control character."""
    @property
    def name(self) -> str: ...

@final
class Client:
    """One connection to a next hop, in SMTP or LMTP (RFC 5321, RFC 2033, RFC 2920): no socket, no clock.

    After each call that gives a step, write `output()`. Bad input is a step; ValueError is for a caller's mistake.
    """

    def __new__(
        cls,
        helo_name: str,
        *,
        lmtp: bool = False,
        tls: str = "none",
        credentials: Credentials | None = None,
        xclient: bool = False,
        chunking: bool = True,
        callout: bool = False,
    ) -> Client:
        """Speak on a connection just made; with credentials authenticate before anything is sent (RFC 4954).

        `tls`: `none`; `may`: STARTTLS where it is offered; `encrypt`, `verify`: nothing is sent without TLS, and what waits
        because of that is deferred with 4.7.0 or 4.7.5 (RFC 3207). What is verified is what the `TlsClient` of `start_tls` asks for.
        `xclient`: say who brought each message where XCLIENT or XFORWARD is offered. Without `chunking` CHUNKING is as if not offered.
        `callout`: only ask whether recipients exist. RSET follows RCPT, never DATA. A recipient that RCPT accepts is DELIVERED, one that
        it refuses with 5xx is FAILED; after anything else, a refusal of MAIL included, it is PENDING.

        Raises:
            ValueError: `helo_name` is not printable ASCII without spaces, or `tls` is none of these.
            OSError: the system gives no random octets.

        """
    def start_tls(self, policy: TlsClient, host: str) -> ClientStep:
        """Begin the TLS handshake with this host: after START_TLS, or before anything was received (implicit TLS).

        From now on `receive` takes and `output` gives ciphertext. The handshake is done when `tls` is no longer None; a failed one is
        CLOSED, with the reason in `refusal` and `tls_fault`.

        Raises:
            ValueError: it is not the time for it, or `host` is neither a host name nor an address.

        """
    @property
    def tls(self) -> TlsFacts | None:
        """What is known of TLS once the handshake is done."""
    @property
    def tls_fault(self) -> str | None:
        """Why TLS failed, such as `no suite in common` or `alert 48 unknown_ca`."""
    @property
    def retry_in_clear(self) -> bool:
        """It closed because TLS, asked for with `may`, failed: another connection without TLS may be tried at once."""
    def receive(self, chunk: bytes) -> ClientStep:
        """Take what the socket gave; the step."""
    def output(self) -> bytes:
        """Take what is to be written; may turn the step from MORE to WAIT or CLOSED."""
    def begin(self, message: Message, recipient_indexes: list[int]) -> ClientStep:
        """Begin a transaction; ValueError unless the step is READY or DONE. Reads no file beyond its header section.

        It takes the first of the recipients, as many as the next hop's limits permit (RFC 9422); CLOSED where none fits this session.
        """
    def mark(self, mark: str) -> None:
        """Put this before the reverse-path of each transaction that begins from now on, unless it is null; empty for nothing.

        ValueError for what cannot be the beginning of a local part.
        """
    def quit(self) -> ClientStep:
        """End an idle connection: QUIT is written, its reply gives CLOSED."""
    def end(self, cause: str) -> ClientStep:
        """Close, the connection being lost or given up: undecided recipients are deferred with `421 4.4.2 {cause} {place}`; CLOSED."""
    def outcomes(self) -> list[Outcome]:
        """Take (recipient index, state 0 deferred, 1 delivered, 2 failed, reply in one ASCII line), one for each recipient of the transaction."""
    @property
    def step(self) -> ClientStep: ...
    @property
    def time_limit(self) -> TimeLimit:
        """The one that applies now."""
    @property
    def refusal(self) -> tuple[RecipientState, str] | None:
        """Why the connection closed before it was ready: (state 0 or 2, reply)."""
    @property
    def authentication_refused(self) -> bool:
        """That it closed because authentication failed, or none was possible."""
    @property
    def offers(self) -> tuple[bool, bool, int | None, bool] | None:
        """8BITMIME, SMTPUTF8, the limit of SIZE (0 without a limit) and BINARYMIME as the next hop offers them; None before it is ready."""
    @property
    def replies(self) -> int:
        """Whole replies read so far: the progress that starts a time limit anew."""
    @property
    def untouched(self) -> bool:
        """Closed before anything but 421 was replied to the transaction."""

# --- dns ---

@final
class AnswerKind(IntEnum):
    """What a name server's message says."""

    FOUND = 0
    NO_NAME = 1
    NO_DATA = 2
    BOGUS = 3
    UNREADABLE = 4

def read_answer(
    octets: bytes,
) -> tuple[AnswerKind, int, tuple[str | tuple[int, str] | tuple[int, int, int, bytes] | bytes, ...], str]:
    """Return (kind, seconds it may be cached, records, alias) of a name server's message, whatever its octets are.

    A, AAAA: the address; PTR, CNAME: the name; MX: (preference, name); TXT: its strings, joined; TLSA: (usage, selector, matching type,
    octets). Of names the first 50 are read; of others 500 at most, and a message with more is unreadable. The alias is the name at the end
    of the CNAMEs, empty where there are none. It takes less than a millisecond.
    """

# --- header ---

@final
class PraKind(IntEnum):
    """What a header section says of its purported responsible address (RFC 4407 2)."""

    FOUND = 0
    ABSENT = 1
    ILL_FORMED = 2
    LENIENT = 3

def responsible_address(header: bytes) -> tuple[PraKind, str, Address | None]:
    """Return the purported responsible address of a header section (RFC 4407 2); a body after it is not read.

    `FOUND`, the field (`Resent-Sender`, `Resent-From`, `Sender` or `From`) and its mailbox, whose domain is never empty but may
    be an address literal. `LENIENT`, the same: the field breaks the grammar and still has one reading. `ABSENT`, empty,
    None: no such field is there with anything in it. `ILL_FORMED`, the field that makes it so, None: it is there too often, or
    does not hold exactly one mailbox with a domain.
    """

def received_sources(header: bytes) -> list[str | None]:
    """Return for each Received field, top first, the address of the client as its writer saw it, in canonical form; None where it is missing."""

def authors(header: bytes) -> list[Address]:
    """Return every mailbox of every `From` field of a header section, in their order, at most 256; a body after it is not read.

    Of a field that breaks RFC 5322 and has more than one reading, each `local@domain` in it.
    """

@final
class HeaderFirewall:
    """Takes out of a stranger's header section what only this host and those inside may say; compares by value.

    That is each field whose name begins with one of `prefixes`, whatever the case, and each Authentication-Results whose
    authserv-id is this one, however it is spelled (RFC 8601 5). Order and octets of all else stay as they are.
    """

    def __new__(cls, authserv_id: str, prefixes: list[str]) -> HeaderFirewall: ...
    def clean(self, header: bytes) -> bytes:
        """Return a header section as it is kept."""
    def __eq__(self, other: object, /) -> bool: ...

# --- certificate ---

@final
class Certificate:
    """What a certificate says (RFC 5280 4.1). Whoever made it chose the texts: each is one line of bounded length."""

    def __new__(cls, der: bytes) -> Certificate:
        """Read one in DER; ValueError when the octets are not exactly that."""
    def covers(self, name: str) -> bool:
        """Return whether it is for this host: a name, or an address as text; a wildcard is for one label (RFC 6125 6.4.3)."""
    @property
    def subject(self) -> str:
        """As `CN=mx.example.com, O=Example`."""
    @property
    def issuer(self) -> str:
        """The same of who signed it."""
    @property
    def names(self) -> list[str]:
        """Host names and addresses it is for, lower case; the common name only where there are none."""
    @property
    def not_before(self) -> int:
        """Seconds since the epoch from which it is valid."""
    @property
    def not_after(self) -> int:
        """Seconds since the epoch until which it is valid."""
    @property
    def key_kind(self) -> str:
        """As `ECDSA P-256` or `RSA 2048`."""
    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in lower-case hexadecimal."""
    @property
    def public_key_digest(self) -> str:
        """SHA-256 of its public key in lower-case hexadecimal, as a TLSA record `3 1 1` has it (RFC 6698 2.1)."""
    @property
    def self_signed(self) -> bool:
        """Subject and issuer are the same."""

@final
class TlsIdentity:
    """A certificate chain with the private key of its first certificate. Nothing shows the key."""

    def __new__(cls, chain: bytes, key: bytes) -> TlsIdentity:
        """Read both from PEM, which may be the same file; ValueError with a sentence that completes "FILE: "."""
    @staticmethod
    def self_signed(names: list[str], days: int, now: int) -> tuple[bytes, bytes]:
        """Make a certificate that signs itself, with a new ECDSA P-256 key: chain and key in PEM, valid from an hour before `now`
        (seconds since the epoch) for `days`. ValueError for a name that cannot be in a certificate.
        """
    @property
    def chain(self) -> list[Certificate]:
        """The certificates, the server's own first."""

# --- session ---

OPEN_CONTENT_FILES: Final = 64
"""Content files being received that are open between two writes, at most."""
ALWAYS_IN_MEMORY: Final = 8192
"""Octets of memory each content may have, whatever the others take."""

@final
class Step(IntEnum):
    """What a session needs next."""

    NEED_INPUT = 0
    ASK = 1
    HOLD = 2
    COMMIT = 3
    CLOSE = 4
    WAIT = 5
    YIELD = 6
    START_TLS = 7
    SECURED = 8
    AUTHENTICATE = 9
    REPLACE_CLIENT = 10

@final
class Stage(IntEnum):
    """Where policy can be asked (RFC 5321 3). DISCONNECT is none of the session's: agents are notified that the connection is gone."""

    CONNECT = 0
    HELO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    END_OF_HEADERS = 5
    END_OF_DATA = 6
    DISCONNECT = 7

@final
class NextClient:
    """What XCLIENT says of a client. What is not said is None; what is not known there is empty."""

    @property
    def address(self) -> str | None:
        """In its one spelling."""
    @property
    def port(self) -> str | None: ...
    @property
    def name(self) -> str | None:
        """A host name in lower case."""
    @property
    def helo_name(self) -> str | None:
        """What HELO or EHLO takes."""
    @property
    def login(self) -> str | None:
        """The account that the client has authenticated as."""
    @property
    def destination(self) -> str | None:
        """The address that the client connected to."""
    @property
    def destination_port(self) -> str | None: ...

@final
class Refusal:
    """What a session refused."""

    @property
    def recipient(self) -> str:
        """As rendered or, where it could not be read, as sent; empty when it was something else."""
    @property
    def command(self) -> str:
        """What it was otherwise: the command as sent, `end of data`, `connection`."""
    @property
    def mail_from(self) -> str:
        """Reverse-path of the transaction; empty without one."""
    @property
    def reply(self) -> str: ...

@final
class End(IntEnum):
    """Why a session was closed; those from TOO_MANY_CONNECTIONS on are for `Session.stop`."""

    QUIT = 0
    NOT_SMTP = 1
    BAD_CHUNK = 2
    TOO_MANY_ERRORS = 3
    NO_PROGRESS = 4
    TARPIT_LIMIT = 5
    REFUSED = 6
    TOO_MANY_CONNECTIONS = 7
    TIMEOUT = 8
    SESSION_TIME = 9
    EVICTED = 10
    IDLE_CLOSED = 11
    SHUTDOWN = 12
    FAULT = 13
    TLS_FAILED = 14
    """The session's own: the handshake failed, or the client broke TLS."""
    AUTH_FAILURES = 15
    PRESSURE = 16

@final
class SessionConfig:
    """What sessions of a worker have in common from their beginning on; 0 switches a limit off."""

    def __new__(
        cls,
        *,
        hostname: str,
        default_domain: str,
        incoming_dir: str,
        asked: int,
        tarpit_time: int,
        tarpit_max_session: int,
        auth_time: int,
        auth_failures: int,
        local_part: int,
        domain: int,
        path: int,
        command_line: int,
        text_line: int,
        recipients: int,
        null_sender_recipients: int,
        message_size: int,
        header_size: int,
        memory_content: int,
        content_memory: int,
        workers: int,
        hops: int,
        errors: int,
        idle_commands: int,
        bare_newline: str,
        nul_in_header: str,
        submitter: bool,
        chunking: bool,
        normalisation: Normalisation | None = None,
    ) -> SessionConfig:
        """Make a configuration: `asked` is a set of `1 << stage` bits; times in milliseconds, sizes in octets; limits have the names of their settings;
        `auth_time` is the least delay of a failed AUTH; `memory_content` what one content may have in memory, `content_memory` what all of this
        worker may;
        `workers` share the disk; `submitter` offers SUBMITTER (RFC 4405), `chunking` CHUNKING (RFC 3030).

        Raises:
            ValueError: `bare_newline` is neither `refuse` nor `normalise`, or `nul_in_header` neither `refuse` nor `accept`.

        """
    def offering(self, *, message_size: int, eight_bit: bool, smtputf8: bool, binary: bool) -> SessionConfig:
        """Return the same with another limit of SIZE, with or without 8BITMIME (then 8-bit content is refused), SMTPUTF8 and
        BINARYMIME (which needs 8BITMIME and CHUNKING); content of both is counted together.
        """
    @property
    def content_in_memory(self) -> int:
        """Octets of content in memory now, without the first 8 KiB of each."""
    def take_most_in_memory(self) -> int:
        """Return the highest number since the last call."""

@final
class TlsClock:
    """The time by which TLS judges certificates and tickets, seconds since the epoch: set it at least every few seconds."""

    def __new__(cls, seconds: int) -> TlsClock: ...
    def set(self, seconds: int) -> None: ...

@final
class TlsServer:
    """What all TLS connections of a listener share; never changed, replaced whole."""

    def __new__(
        cls,
        identities: list[TlsIdentity],
        *,
        clock: TlsClock,
        minimum: str,
        client_certificates: str,
        client_ca: bytes,
        tickets: int,
        ticket_secret: bytes,
        ticket_rotation: int,
        ticket_epoch: int,
    ) -> TlsServer:
        """Serve these identities, the first one where the client names none of theirs.

        `minimum`: `1.2` or `1.3`. `client_certificates`: `off`; `record`: any is taken and judged for the record; `verify`: one that cannot
        be verified ends the handshake; `require`: one is needed. `client_ca`: PEM. `tickets` for each full handshake (0: no
        resumption; none where client certificates are asked for).

        Ticket keys: time is cut into epochs of `ticket_rotation` seconds, numbered from 1970 on. `ticket_secret` (32 octets) is that of
        `ticket_epoch`; that of the next epoch is HMAC-SHA-256 of it over `next`. Tickets of the current epoch and the one
        before are valid in every process that began with the same secret: hand over that of the epoch before the current one.

        Raises:
            ValueError: no identity, or a rule that is none of these, or no CA where one is needed.

        """

@final
class TlsClient:
    """A TLS policy of the sending side, and the sessions that its destinations can resume; never changed."""

    def __new__(
        cls,
        *,
        clock: TlsClock,
        verify: bool,
        ca: bytes,
        identity: TlsIdentity | None,
        minimum: str,
        maximum: str = "1.3",
        names: list[str] | None = None,
        tlsa: list[tuple[int, int, int, bytes]] | None = None,
        authentic: bool = True,
    ) -> TlsClient:
        """Ask this of servers: with `verify` a certificate of one of the CAs (PEM) for one of the names, or for the host where there is
        none; without, anything.

        With TLSA records a verified server has to match one of them, whatever the CAs (RFC 7672 3); its sessions are not resumed.
        Where the names are not `authentic`, a server that is verified for them does not count as verified (RFC 7672 2.2.1).

        With a CA and without `verify` the verdict is for the record alone. `identity` is shown to a server that asks for a certificate.

        Raises:
            ValueError: no CA where one is needed, or a version that is neither `1.2` nor `1.3`.

        """

@final
class TlsFacts:
    """What is known of a TLS connection once its handshake is done."""

    @property
    def version(self) -> str:
        """`TLSv1.2` or `TLSv1.3`."""
    @property
    def cipher_suite(self) -> str:
        """By its name in the registry of IANA."""
    @property
    def group(self) -> str:
        """Of the key exchange; empty when it is not known."""
    @property
    def server_name(self) -> str:
        """What the client asked for (SNI); empty when it did not."""
    @property
    def resumed(self) -> bool: ...
    @property
    def peer_fingerprint(self) -> str:
        """SHA-256 of the peer's certificate in lower-case hexadecimal; empty without one."""
    @property
    def peer_subject(self) -> str: ...
    @property
    def peer_names(self) -> list[str]:
        """Host names in the peer's certificate."""
    @property
    def peer_chain(self) -> list[bytes]:
        """The certificates that the peer has shown, DER, its own first."""
    @property
    def verified(self) -> bool:
        """The peer's certificate was verified, chain and, for a server, name."""
    @property
    def verdict(self) -> str:
        """Why it was not; empty when it was, and when nobody asked."""
    @property
    def exporter(self) -> bytes:
        """`tls-exporter` (RFC 9266): 32 octets with TLS 1.3, else none."""
    @property
    def end_point(self) -> bytes:
        """`tls-server-end-point` (RFC 5929 4): the hash of the server's certificate."""

@final
class Session:
    """An SMTP server session (RFC 5321): octets in, steps out. Each method that moves it returns a step.

    After ASK call `pass_`, `refuse`, `report` or `discard`; after HOLD wait `hold` milliseconds and call `release`; after
    COMMIT call `message`, store it, then `committed` or `not_committed`. Until then `receive` keeps input and says WAIT.
    After YIELD let the other sessions have their turn, then call `proceed`; all that make progress, where this one makes none.
    After START_TLS write the output, then call `start_tls` and write its output, the 220, or call `refuse_tls`; SECURED comes when the handshake is done: then call `proceed`,
    or `connect` where the session has not begun. After AUTHENTICATE call `challenge`, `authenticated` or `not_authenticated`.
    """

    def __new__(cls, config: SessionConfig, id: str, peer: str, exempt: bool) -> Session: ...
    def connect(self) -> Step: ...
    def start_tls(self, setup: TlsServer) -> Step:
        """Begin the TLS handshake: NEED_INPUT, or WAIT when it is not the time for it.

        After START_TLS: the 220 is in `output`, the last that leaves in clear, and input behind the command is dropped (RFC 3207).
        Before `connect`: implicit TLS (RFC 8314 3). From now on `receive` takes and `output` gives ciphertext.
        """
    def refuse_tls(self) -> Step:
        """Say 454 4.7.0 after START_TLS, and go on in clear."""
    def offer_tls(self, offered: bool) -> None:
        """Offer STARTTLS from the next EHLO on, or not; at first it is not offered."""
    def require_tls(self) -> None:
        """Refuse all commands but EHLO, NOOP, STARTTLS and QUIT until TLS is on (RFC 3207 4): with 530, after `refuse_tls` with 451."""
    @property
    def tls(self) -> TlsFacts | None:
        """What is known of TLS once the handshake is done."""
    @property
    def handshaking(self) -> bool:
        """A TLS handshake has begun, and is neither done nor failed."""
    @property
    def tls_fault(self) -> str | None:
        """Why TLS failed, such as `no suite in common` or `alert 48 unknown_ca`."""
    @property
    def tls_nothing_in_common(self) -> bool:
        """It failed because client and server have no version, suite, group or signature scheme in common."""
    @property
    def tls_closed(self) -> bool:
        """The client has closed its side of TLS: nothing follows."""
    @property
    def injected(self) -> int:
        """Octets behind STARTTLS that were thrown away (RFC 3207 6)."""
    def receive(self, octets: bytes | memoryview) -> Step:
        """Take what the socket gave; a view is read where it is, and not kept."""
    def proceed(self) -> Step:
        """Work on what is kept of the input, for one turn."""
    def pass_(self) -> Step: ...
    def refuse(self, code: int, enhanced: str, text: str) -> Step: ...
    def report(self, code: int, enhanced: str, text: str) -> Step:
        """Accept at RCPT, and report the recipient as failed with this reply afterwards."""
    def redirect(self, addresses: Sequence[Address]) -> Step:
        """Accept the recipient at RCPT as given; the message goes to these addresses instead, each once, of which it may be one. Refuse
        it with 452 when the transaction has recipients and not enough room for these.
        """
    def discard(self) -> Step:
        """Reply 250 at content stages and discard the message."""
    def release(self) -> Step: ...
    def screen(self, screen: Screen) -> None:
        """Pass stages at which this screen has nobody to ask, from now on; ASK comes at the others. It ends with whatever makes another
        client of this one: `authenticated`, `replace_client`, the end of a TLS handshake.
        """
    @property
    def asked(self) -> int:
        """The agents to be asked at the stage of the last ASK: bits by their places among those of the stage, all 64 without a screen."""
    def offer_auth(self, mechanisms: list[str]) -> None:
        """List these mechanisms from the next EHLO on; without any, AUTH is known and waits for TLS. To be called again when TLS is on."""
    def require_auth(self) -> None:
        """Accept no mail from a client that has not authenticated (RFC 6409 4.3)."""
    def identify(self) -> None:
        """Count the client as authenticated, though not by AUTH."""
    @property
    def sasl(self) -> tuple[str, bytes | None, bool] | None:
        """After AUTHENTICATE: the mechanism in capital letters, what the client said (None: nothing yet), and whether the exchange begins."""
    def challenge(self, octets: bytes) -> Step:
        """Go on with the exchange: the client is to answer this."""
    def authenticated(self) -> Step:
        """End the exchange: the client is who it says, and nothing is held from now on."""
    def not_authenticated(self, code: int, enhanced: str, text: str) -> Step:
        """End the exchange with this reply; a 5xx one is held for `auth_time` at least. There is no `Refusal` of it."""
    def add_fields(self, fields: bytes) -> None:
        """Put whole header fields below our Received, on top of the client's; after COMMIT, before `message`."""
    def message(
        self,
        *,
        queue_id: str,
        arrival: int,
        date: str,
        stamps: bytes,
        firewall: HeaderFirewall | None,
        results: str = ...,
    ) -> Message | None:
        """Return the message with its Received field (RFC 5321 4.4); None if policy discards it. The content goes through the
        firewall, the stamps do not. `results` is kept with it and never read here.
        """
    def drop_recipients(self, recipients: list[str]) -> None:
        """Take these out of the transaction, at END_OF_HEADERS or END_OF_DATA before `pass_`; the message goes to the
        rest. With nobody left it is discarded.
        """
    def committed(self) -> Step: ...
    def not_committed(self, code: int, enhanced: str, text: str) -> Step: ...
    def stop(self, end: End, enhanced: str, text: str) -> Step:
        """End from outside with a 421 of this text: what is held or open is dropped."""
    def output(self) -> bytes:
        """Take the replies to be written."""
    def take_refused(self) -> list[Refusal]:
        """Return the refusals since the last call, each once, at most 100 per session."""
    @property
    def has_refused(self) -> bool:
        """`take_refused` has something to give."""
    @property
    def refusals_left_out(self) -> int:
        """Refusals beyond those that `take_refused` gives."""
    def message_accepted(self, queue_id: str, octets: int) -> None:
        """Note for the log that the transaction with the last recipient has brought a message of this size."""
    def take_envelopes(self) -> tuple[list[tuple[str, list[tuple[str, int]], str, int, int]], int]:
        """Return the first and the last transaction that had a recipient policy was asked about, and how many there were between them.

        Each is its reverse-path, its first and last recipients with the codes of their replies, the queue ID of its message (empty for
        none), the size of it in octets, and how many recipients are left out.
        """
    def hold_refusals(self, milliseconds: int) -> None:
        """Delay each 5xx reply by this time from now on, in place of the configuration's time; an exempt session delays none."""
    def offer_proxied(self, xclient: bool, xforward: bool) -> None:
        """Offer XCLIENT and XFORWARD, or one of them, to a server in front of us; before `connect`."""
    @property
    def next_client(self) -> NextClient | None:
        """What XCLIENT says of the client that replaces this one, after REPLACE_CLIENT."""
    def replace_client(self, address: str, exempt: bool) -> Step:
        """Make the session that of the client at this address, exempt from the tarpit or not, and greet it, after REPLACE_CLIENT."""
    @property
    def origin(self) -> dict[str, str]:
        """Where a server in front says that the message comes from (XFORWARD); empty without that."""
    def peer_name(self, name: str) -> None:
        """Name the peer in the messages that follow: a host name that its address has, and that has the address."""
    @property
    def stage(self) -> Stage:
        """The stage of the last ASK."""
    @property
    def hold(self) -> int:
        """Milliseconds of the last HOLD."""
    @property
    def buffered(self) -> int:
        """Octets of input kept and not yet worked on."""
    @property
    def is_pending(self) -> bool:
        """An answer, a release or a commit is awaited."""
    @property
    def end(self) -> End | None:
        """Why it was closed; None while it is open."""
    @property
    def transactions(self) -> int:
        """Transactions begun."""
    @property
    def content_octets(self) -> int:
        """Octets of all its contents that came, refused ones among them."""
    @property
    def in_content(self) -> bool: ...
    @property
    def in_transaction(self) -> bool: ...
    @property
    def makes_no_progress(self) -> bool:
        """It has given so many commands without a message that the sessions which bring some come first."""
    @property
    def helo_name(self) -> str:
        """Name given with HELO or EHLO, the asked one at HELO; empty before."""
    @property
    def reverse_path(self) -> Address | None:
        """None for the null reverse-path and outside a transaction."""
    @property
    def recipient(self) -> Address | None:
        """The recipient asked about at RCPT."""
    @property
    def recipients(self) -> list[Address]:
        """The accepted ones of the transaction, in their order."""
    @property
    def submitter(self) -> Address | None:
        """The SUBMITTER parameter of MAIL; its domain is never empty. Told by the peer: never believe it alone."""
    @property
    def declared_size(self) -> int:
        """The SIZE parameter of MAIL; 0 without one."""
    @property
    def header(self) -> bytes:
        """The header section of the content with the empty line that ends it, once it is there."""
    @property
    def replies(self) -> list[int]:
        """Counts of replies by the first digit of the code."""
    @property
    def refusals(self) -> list[str]:
        """The last 4xx and 5xx replies."""
    @property
    def holds(self) -> int: ...
    @property
    def held(self) -> int:
        """Milliseconds of all holds."""
    @property
    def commands(self) -> int: ...
    @property
    def messages(self) -> int: ...

# --- shared ---

@final
class Prefix:
    """An address cut to a length, such as `192.0.2.0/24`; an IPv4-mapped one is IPv4. Bits beyond the length are 0."""

    def __new__(cls, text: str) -> Prefix:
        """Parse an address, or an address and a length. ValueError with a sentence: it is none, or has bits beyond the length."""
    @staticmethod
    def nested(packed: bytes) -> list[Prefix]:
        """Return the prefixes that count for a packed address, the smallest first: IPv4 /32 and /24; IPv6 /64, /56 and /48.

        ValueError: neither 4 nor 16 octets.
        """
    @property
    def length(self) -> int:
        """Up to 32 for IPv4, 128 for IPv6."""
    @property
    def is_ipv4(self) -> bool: ...
    @property
    def short(self) -> str:
        """As a text, an address alone without its length."""
    @property
    def too_wide(self) -> int | None:
        """The length that it is shorter than if it is hardly meant for a list: 8 for IPv4, 16 for IPv6; None for one that may be meant."""
    def covers(self, other: Prefix) -> bool:
        """Return whether the other is in it, or is it."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Suspicion(IntEnum):
    """What is known of a message that is noted as being in memory."""

    UNSUSPECTED = 0
    IN_COMPANY = 1
    """A worker died with it in memory; now it is in memory with others."""
    ALONE = 2
    """A worker died with it in memory; now it is the only one in memory."""

class Incident(IntEnum):
    """What went wrong with a source."""

    NO_COMMON_TLS = 0
    """A TLS handshake found no version or cipher suite that both sides have."""
    TLS_DONE = 1
    """A TLS handshake came to its end: no incident, but what excuses one."""
    IDLE_TLS = 2
    """A client with too many failed authentications used a TLS connection for nothing."""

@final
class Shared:
    """Memory shared by all processes of a server; made before fork. Slots `0..workers-1` are the workers', the last is the supervisor's.

    A slot or index that does not exist raises IndexError.
    """

    def __new__(cls, workers: int, metrics: int, *, gauges: list[int] = ..., sources: int = 65_536) -> Shared:
        """Map `metrics` cells a slot, those at the indexes `gauges` reset for a dead worker, and room for `sources` sources a slot.

        A source takes 16 octets; their number is rounded up to a power of two. OSError when memory is short.
        """
    @property
    def slots(self) -> int:
        """Workers and supervisor."""
    @property
    def size(self) -> int:
        """Octets mapped; what nobody touched takes no memory."""
    def add(self, slot: int, index: int, n: int = 1) -> None:
        """Add to a metric; `n` may be negative for a gauge."""
    def set(self, slot: int, index: int, value: int) -> None: ...
    def sum(self, index: int) -> int:
        """Return the metric summed over the slots."""
    def greatest(self, index: int) -> int:
        """Return the greatest value of a metric over the slots."""
    def row(self, slot: int) -> list[int]: ...
    def reset_gauges(self, slot: int) -> None:
        """Reset gauges, oldest held session and eviction requests of a dead worker to 0; counters stay."""
    def set_oldest_held(self, slot: int, since_ms: int) -> None:
        """Set since when the slot's longest-held session is held, in monotonic milliseconds; 0 if it holds none."""
    def oldest_held(self) -> int | None:
        """Return the slot that has the host's longest-held session."""
    def request_eviction(self, slot: int) -> None:
        """Ask the slot to close its longest-held session; the caller wakes its worker."""
    def take_eviction_requests(self, slot: int) -> int:
        """Return the number of evictions requested since the last call."""
    def source_enter(self, slot: int, source: bytes) -> list[int] | None:
        """Count a connection from a packed address, in each of its prefixes (`Prefix.nested`; ValueError: neither 4 nor 16 octets).

        Gives the connections of each of the prefixes on all slots, this one included, the smallest prefix first, and 0 for a level that the
        address does not have. None: the table has no place, nothing was counted and `source_leave` must not be called. Only the
        slot's own worker may call it.
        """
    def source_leave(self, slot: int, source: bytes) -> None:
        """Take back one `source_enter`; an unknown source changes nothing."""
    def source_counts(self, of: Prefix | None, most: int) -> tuple[list[tuple[str, int]], int]:
        """Return prefixes and their connections on all slots, those in a prefix and around it, or all: `most` of them, with most connections
        first; and how many more there are.
        """
    def source_clear(self, slot: int) -> None:
        """Forget the sources of a dead worker."""
    def at_next_hop(self, name: str) -> tuple[int, int, int]:
        """Return what all slots have at a destination: connections, workers that have or want one, and those of them that wait for one."""
    def next_hop_clear(self, slot: int) -> None:
        """Forget the connections to next hops of a dead worker."""
    def notes_settle(self, slot: int, crashed: bool) -> None:
        """Empty the notes of a dead worker's slot; those of one that crashed are kept for whoever adopts its partitions. For the supervisor alone."""
    def crashed_with(self, tag: str) -> list[tuple[str, int]] | None:
        """Take the queue ids of what the crashed owner of a partition had in memory, each with its `Suspicion`.

        None: the supervisor has not seen the owner's death yet; ask again.
        """
    def incident_add(self, kind: Incident, source: bytes, now: int, seconds: int) -> int:
        """Count an incident of a packed address (an IPv6 source is its /64) at this monotonic second, for all slots; return the count, at most 4095.

        A count begins with its first incident, and ends `seconds` later. The table is bounded: the count that ends first makes room.
        """
    def incidents(self, kind: Incident, source: bytes, now: int) -> int:
        """Return the incidents of this kind and source that still count."""
    def reputation_note(self, kind: int, address: str, count: int, now: int) -> int | None:
        """Record evidence of a kind (by its number, in the order of `Evidence`) at this monotonic second for the source of an address in text form.

        Return the level that follows, 0 to 9; None for good evidence, which is not judged, for too few events, and for a text that
        is no address. The table is bounded: of the sources an entry competes with, the one with the fewest events is forgotten.
        """
    def reputation_of(self, address: str, now: int) -> tuple[str, list[int], int, int | None] | None:
        """Return of the source of an address: prefix, counts by kind in 1/64 of an event, seconds it is still blocked, level; None: unknown."""
    def reputation_recipients(self, address: str, now: int) -> tuple[int, int]:
        """Return the unknown and the accepted recipients of the source of an address alone, in 1/64; zeros for one that is not known."""
    def reputation_level(self, address: str, now: int) -> int | None:
        """Return the level alone."""
    def reputation_blocks(self, address: str, now: int) -> bool:
        """Return whether the source of an address is blocked."""
    def reputation_block(self, address: str, now: int, seconds: int) -> bool:
        """Block the source of an address that is known; return whether it was not blocked before."""
    def reputation_reset(self, of: Prefix | None, now: int) -> int:
        """Forget the sources in a prefix or around it, or all; return the number of those of which something was remembered."""
    def reputation_list(
        self, of: Prefix | None, now: int, most: int
    ) -> tuple[list[tuple[str, list[int], int, int | None]], int]:
        """Return `most` sources in a prefix or around it, or of all, the worst first, each as in `reputation_of`; and how many are left out."""
    def reputation_dump(self, now: int) -> bytes:
        """Return what is known of all sources, for `reputation_restore`."""
    def reputation_restore(self, octets: bytes, age: int, now: int) -> int:
        """Add what was dumped `age` seconds ago; return how many sources it had. ValueError: no dump."""
    def reputation_save_due(self, now: int, seconds: int) -> bool:
        """Return whether the records are to be saved, which is so every so many seconds, for the process that asks first; first after one interval."""
    def harvest_guess(
        self, address: str, recipient: str, domain: str, now: int, least: int
    ) -> tuple[int | None, bool, Harvest | None] | None:
        """Record an unknown recipient, given by `Address.key` and its domain, of the source of an address.

        `least` guesses of one source in ten minutes are an attack; 0: none are. Return the level of the source, whether the guess is part
        of an attack, and the attack that it begins, once on the host; None when the source tried the same recipient shortly before:
        then nothing is recorded.
        """
    def harvest_hit(self, address: str, now: int) -> None:
        """Count a recipient that exists as found, if the source of this address guesses."""
    def harvests(self) -> int:
        """Return the number of attacks that go on."""
    def harvests_ended(self, now: int, least: int) -> list[Harvest]:
        """Return the attacks that are over, each once on the host; it looks once a second, whoever asks."""

@final
class HarvestScope(IntEnum):
    """What the guesses of an attack have in common."""

    SOURCE = 0
    NET = 1
    """An IPv4 /24 or an IPv6 /48."""
    DOMAIN = 2

@final
class Harvest:
    """A harvest attack, since it began."""

    @property
    def scope(self) -> HarvestScope: ...
    @property
    def prefix(self) -> str:
        """Of the source or the net; empty for a domain."""
    @property
    def domain(self) -> str:
        """That of the recipients, or of the first one; at most 64 octets of it."""
    @property
    def seconds(self) -> int: ...
    @property
    def guesses(self) -> int: ...
    @property
    def found(self) -> int:
        """Recipients that exist and were tried by its sources."""
    @property
    def sources(self) -> int:
        """About; good to about 5,000."""

@final
class NextHopShare:
    """One worker's part of what all workers of the host may do at a destination. IndexError when the slot does not exist."""

    def __new__(
        cls, shared: Shared, slot: int, name: str, connections: int, rate: tuple[int, float, int] | None
    ) -> NextHopShare:
        """Take the name of the destination, the most connections of all workers, and their messages as (count, seconds, burst)."""
    @property
    def is_rated(self) -> bool:
        """Messages have a rate."""
    def enter(self) -> bool:
        """Count one more connection; False: there are as many as may be, and this worker is noted as one that waits."""
    def leave(self) -> None:
        """Take back one `enter`."""
    def rest(self) -> None:
        """Note that this worker waits no longer."""
    def yields(self) -> bool:
        """Return whether another worker waits, while this one has more than its part."""
    def spend(self, now: float) -> float:
        """Spend one message at this monotonic second, or return the seconds until that is possible, and spend nothing."""

@final
class MonotonicClock:
    """The clock that Python's `time.monotonic` reads, for what is decided by it here."""

    def __new__(cls) -> MonotonicClock: ...
    def set(self, seconds: float) -> None:
        """Stand at this time from now on; above 0. For tests."""

@final
class RateLimits:
    """Rates of what a source may do, spent by all workers together (GCRA). Classes are numbered as the rates are given; None is off.

    An address, in text form, spends in each of its prefixes (`Prefix.nested`): the smallest has the rate itself, the next three times as
    much, the largest nine times. A text that is no address, and a class that is off, is never limited. `now` is the monotonic clock in seconds.
    """

    def __new__(cls, shared: Shared, rates: Sequence[tuple[int, float, int] | None]) -> RateLimits:
        """Take rates as (count, seconds, burst)."""
    def lower_debts(self, now: float) -> None:
        """Lower to the burst of these rates what sources have spent beyond it, as they may have at other rates."""
    def spend(self, class_: int, address: str, now: float, units: int = 1, /) -> float:
        """Spend, and return 0; or spend nothing, and return the seconds until that is possible."""
    def charge(self, class_: int, address: str, now: float, units: int = 1, /) -> None:
        """Spend what has happened already, whether there is enough or not."""
    def wait(self, class_: int, address: str, now: float, /) -> float:
        """Return the seconds until one unit can be spent; 0 for now."""
    def take(self, waits: int, spends: int, address: str, now: float) -> tuple[int, float] | None:
        """Look at the classes of the set `waits` of bits `1 << class`, then spend one unit of each class of `spends`, in their order.

        Return the first class that has to wait and its seconds: those before it are spent, those after it are not. None for no wait.
        """
    def show(
        self, of: Prefix | None, now: float, most: int
    ) -> tuple[list[tuple[int, str, int, int, float, float, int]], int]:
        """Return who has spent something, in a prefix or around it, or everywhere: `most` of them, who waits longest first; and how many more
        there are.

        Each: class, prefix, units used now, burst, seconds until one more can be spent, seconds until nothing is used, units spent
        since the prefix was last forgotten.
        """
    def reset(self, of: Prefix | None, now: float) -> int:
        """Forget what was spent in a prefix and in those around it, or everywhere; return how many prefixes were not at rest."""

@final
class ReportBudgets:
    """Budgets of reports, spent by all workers together (GCRA), and the floods that use them up.

    Side 0: about mail of unknown senders outside; 1: of verified ones; 2: from inside. Of senders outside, a report costs its domain
    the more, the less is free of all.
    """

    def __new__(cls, shared: Shared, rates: Sequence[tuple[int, float, int] | None], fold: float) -> ReportBudgets:
        """Take rates as (count, seconds, burst), those of side 0 first, None for off, and the seconds of a fold, 0 for off.

        ValueError when they are not nine.
        """
    def lower_debts(self, now: float) -> None:
        """Lower to the burst of these rates what was spent at other rates."""
    def spend(self, side: int, address: str, domain: str, now: float) -> tuple[int, float] | None:
        """Spend a report of all three budgets and return None; or of none, and return the budget without room and the seconds until it has."""
    def wait(self, side: int, address: str, domain: str, now: float) -> tuple[int, float] | None:
        """Return what `spend` would, and spend nothing."""
    def held(self, address: str, now: float) -> float:
        """Return the seconds for which reports to an address are held after the last one there; 0 for none."""
    def count_withheld(self, side: int, domain: str, now: int, least: int) -> tuple[int, int, int, int] | None:
        """Count a report that is withheld, and return the flood that begins with it: side, reports withheld, domains, seconds.

        `least` of them in ten minutes are a flood; 0: none ever is.
        """
    def floods_ended(self, now: int, least: int) -> list[tuple[int, int, int, int]]:
        """Return the floods that are over, each once on the host."""
    def is_flooded(self, side: int) -> bool:
        """Return whether there is a flood now."""

# --- snapshot ---

@final
class Directory:
    """A compiled recipient directory, mapped read-only; OSError when `path` is no whole snapshot of this version."""

    def __new__(cls, path: str) -> Directory: ...
    def lookup(self, key: str, domain: str) -> tuple[int, int, int]:
        """Look up the address with this `Normalisation.key` and `Address.domain`: (found, number of the input that decides, place there).

        Found is 0 absent, 1 listed, 2 its `@domain` is listed, 3 excluded by `!address`, 4 the snapshot is damaged and nothing is known,
        5 listed as an alias, or its domain is another name of one at which it is listed, 6 its domain is another name of one of which
        every address is listed. The place is a line of the text file or the number of an entry of a table; 0 for none.
        """
    def resolve(
        self, address: Address, normalisation: Normalisation
    ) -> tuple[int, int, int, Address | None, list[Address]]:
        """Look up an address, and the one that it is a subaddress of: (found, number of the input, place there, the address that is listed
        in its place, targets). In its place is the one that it is a subaddress of, or the same without dots where they mean nothing.

        Found is as in `lookup`, or 7: its domain is listed, which does not include an address that `may_route`. Targets are the addresses
        that get its mail instead; none when it is delivered to itself or does not exist. Of one that is absent, at a domain that is another
        name, they are the address at each of the other domains: it may be known elsewhere, and the last one decides here.
        """
    @property
    def entries(self) -> int:
        """Different entries."""
    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """Of the text file it was compiled from: mtime in nanoseconds, octets, inode, ctime in nanoseconds; zeros without one."""
    @property
    def tables(self) -> list[tuple[int, str]]:
        """The tables it was compiled from: number, and what `table_state` returned of it then."""
    def is_for(
        self,
        inputs: Sequence[tuple[int, str, str]],
        default_domain: str,
        local_domains: Sequence[str],
        unfiltered_domains: Sequence[str],
        normalisation: Normalisation,
    ) -> bool:
        """Return whether it was compiled from inputs of these names with these arguments."""

def compile_directory(
    inputs: Sequence[tuple[int, str, str]],
    target_path: str,
    default_domain: str,
    local_domains: Sequence[str],
    unfiltered_domains: Sequence[str],
    normalisation: Normalisation,
) -> tuple[int, list[tuple[int, str]], list[tuple[int, str]]]:
    """Compile a recipient file and tables of directories; return (different entries, problems, warnings).

    An input is (number, name, path): number 0 is a recipient file, 1 to 255 are tables (`directory_process/table.py`). One that is missing,
    was not read whole yet or cannot be read counts as the snapshot at `target_path` has it, if at all. The first input that has
    an address decides about it. A problem or warning is (number of the input, sentence).
    `default_domain` is appended to entries without a domain. Entries of the file outside both kinds of domains are warned about, and
    inputs without any at a local one are a problem, unless no local domain is named. So is a mistake in the file; a bad row of a table is
    left out and counted in a warning. With problems (at most 20 and a count of the rest, each of the file names line and fix)
    `target_path` is left as it is; else it is replaced whole. A table that cannot be read is a problem with which it is replaced. OSError, with the name of the file, when one cannot be read or written.
    """

@final
class KeptTable:
    """What a snapshot has of one table: its length is the number of addresses."""

    def __len__(self) -> int: ...
    def rows(self, first: int, most: int) -> list[tuple[int, str, str]]:
        """Return at most so many addresses from one on, in the order of their entries: number of the entry, text in the notation of a
        table, targets (one a line).
        """

def kept_table(snapshot_path: str, input: tuple[int, str, str]) -> KeptTable | None:
    """Return what the snapshot at a path has of a table, an `input` of `compile_directory`; None where it has no read of it, or there is no
    snapshot.
    """

def table_state(path: str) -> str:
    """Return identity and generation of a table as it is now: equal states mean equal rows. Empty when none was read whole yet. OSError
    when it cannot be read.
    """

@final
class SenderTable:
    """A compiled list of senders, mapped read-only; OSError when the file is missing, cut short or of another version."""

    def __new__(cls, path: str) -> SenderTable: ...
    def lookup(self, key: str, domain: str) -> tuple[int, int]:
        """Return what the nearest entry says of an address (0: nothing, 1: it is listed, 2: its domain or one above it is, 3: it is
        excluded, 4: the file is damaged), and the line of that entry, 0 without one.
        """
    @property
    def entries(self) -> int:
        """Different entries."""
    @property
    def stamp(self) -> tuple[int, int, int, int]:
        """Of the source: mtime and size, inode, ctime; times in nanoseconds since the epoch."""
    def is_for(self, source_path: str) -> bool:
        """Return whether it was compiled from the file of this name."""

def compile_senders(source_path: str, target_path: str) -> tuple[int, list[str], list[str]]:
    """Compile a list of senders; entries, problems and warnings as `compile_directory`, and the same errors."""

def sender_entry(text: str) -> str:
    """Return the normal form of one entry: `user@domain`, `domain`, `.domain` or `!user@domain`; ValueError says what to write."""

# --- lists ---

@final
class ListEntry:
    """An entry of the block list or the allow list. Times are seconds since the epoch."""

    @property
    def allows(self) -> bool:
        """Whether it is on the allow list."""
    @property
    def prefix(self) -> str:
        """Such as `192.0.2.0/24`; of one address the address alone. IPv4-mapped ones are IPv4."""
    @property
    def since(self) -> int:
        """When it was made; 0 when its source does not say."""
    @property
    def until(self) -> int:
        """The second in which it ends; 0 = never."""
    @property
    def reason(self) -> str:
        """Why, for people; may be empty."""
    @property
    def source(self) -> Path:
        """The file that it comes from."""

@final
class ListSnapshot:
    """All lists, compiled, mapped read-only; OSError when `path` is no whole snapshot of this version."""

    def __new__(cls, path: str) -> ListSnapshot: ...
    def find(self, address: str, now: int) -> ListEntry | None:
        """Return the entry that decides about an address at this second: the longest prefix, of equal ones the allow list's. A text
        that is no address is on no list.
        """
    @property
    def entries(self) -> tuple[int, int]:
        """Entries of the block list and of the allow list, those that have ended since it was compiled among them."""
    @property
    def octets(self) -> int:
        """Size of the snapshot."""
    def next_end(self, now: int) -> int:
        """Return the first second after `now` in which an entry ends; 0 when none does. Reads all entries."""
    @property
    def sources(self) -> list[tuple[Path, bool, tuple[int, int, int, int], int]]:
        """What it was compiled from: path, whether it is of the allow list, stamp (as `Directory.stamp`; zeros when there was no file),
        entries.
        """
    def select(self, allow: bool, now: int, within: str | None) -> list[ListEntry]:
        """Return the entries of a list in force at this second, in their order; those inside or around a prefix. ValueError if it is none."""

@final
class EntryList:
    """One list in memory. Prefixes that are none raise ValueError, with a sentence."""

    def __new__(cls) -> EntryList: ...
    def read(self, text: bytes, since: int = 0, until: int = 0) -> None:
        """Take the entries of a text, or of the next whole lines of one; `since` and `until` are for those that name none."""
    @property
    def problems(self) -> list[str]:
        """What is wrong with the text so far, a sentence with the number of the line each; at most 20, and how many more."""
    def add(self, written: str, since: int, until: int, reason: str) -> bool:
        """Add a prefix or give it other terms; return whether it is new."""
    def merge(self, other: EntryList) -> None:
        """Add all entries of another list, which must not be this one."""
    def remove(self, written: str) -> bool:
        """Remove a prefix; return whether it was there."""
    def remove_ended(self, now: int) -> int:
        """Remove what has ended by this second; return how many."""
    def entries(self) -> list[tuple[str, int, int, str]]:
        """Return prefix, since, until and reason of each, in their order."""
    def text(self) -> bytes:
        """Return the list as text that `read` takes."""
    def __len__(self) -> int: ...

def compile_lists(
    target: str, sources: Sequence[tuple[str, bool, bool, bool]], now: int
) -> tuple[int, int, bool, list[tuple[Path, str]]]:
    """Compile sources into the snapshot `target`; return (entries blocked, allowed, whether it is another snapshot, problems).

    A source is its path, whether it is of the allow list, whether it is ours (it may be missing, and have prefixes of any length), and
    whether it may be read now. One that has not changed or may not be read is taken from the snapshot before, and so is one with
    problems: path and sentence each. OSError, with its name, when the snapshot cannot be written. Only one process at a time may call this.
    """

def list_time(written: str) -> int:
    """Return the second that a text such as `2030-12-31` or `2030-12-31T18:00:00Z` names, UTC. ValueError when it names none."""

def list_time_text(seconds: int) -> str:
    """Return a second as `list_time` takes it."""

# --- screen ---

@final
class Tables:
    """What the conditions of a worker are looked up in."""

    def __new__(cls, rates: RateLimits, clock: MonotonicClock) -> Tables:
        """Take the rates with the memory of the host, and their clock; the rest is none."""
    def use_lists(self, lists: ListSnapshot | None) -> None:
        """Take the lists of clients in force; None: nobody is on one."""
    def use_senders(self, senders: SenderTable | None) -> None:
        """Take the blocked senders in force; None: none is."""
    def use_recipients(self, recipients: Directory | None) -> None:
        """Take the recipients in force; None: no recipient is known here."""
    def press(self, is_pressed: bool) -> None:
        """Note whether anybody has to wait because the server is short of something."""

@final
class Condition:
    """What has to hold for an agent to pass without being asked. A condition that cannot be decided does not hold.

    Names of domains and keys of addresses are normalised.
    """

    @staticmethod
    def no_pressure() -> Condition:
        """Hold while the server is short of nothing."""
    @staticmethod
    def within_rates(waits: int, spends: int, *, of_null_sender: int | None = None) -> Condition:
        """Hold if the client can spend of each class, as `RateLimits.take`, and has spent then. `of_null_sender` takes the place of
        `spends` where the reverse-path is null.
        """
    @staticmethod
    def few_unknown(parts: int) -> Condition:
        """Hold if the source of the client has had fewer unknown recipients; in 64ths of an event."""
    @staticmethod
    def unlisted() -> Condition:
        """Hold if the client is on no list of clients."""
    @staticmethod
    def not_blocked() -> Condition:
        """Hold if the source of the client is not blocked for its reputation."""
    @staticmethod
    def level_below(level: int) -> Condition:
        """Hold if the level of the source is lower, or there is none."""
    @staticmethod
    def ordinary_helo(own: Sequence[str]) -> Condition:
        """Hold if the HELO name is a host's, in plain letters and with a dot, and none of ours."""
    @staticmethod
    def clean_sender(
        *, blocked: Sequence[str], delimiters: str, reserved: Sequence[str], takes_null: bool
    ) -> Condition:
        """Hold if the reverse-path is in no table or set of blocked senders, and at none of the reserved domains or below one; with those,
        its domain also has a dot. The null reverse-path holds if it is taken.
        """
    @staticmethod
    def clean_authors(*, blocked: Sequence[str], delimiters: str) -> Condition:
        """Hold if no mailbox of From is in such a table or set; one that is the reverse-path is not looked at again."""
    @staticmethod
    def sender_elsewhere(domains: Sequence[str]) -> Condition:
        """Hold if the reverse-path is at none of these domains."""
    @staticmethod
    def no_submitter() -> Condition:
        """Hold if no SUBMITTER is given with MAIL."""
    @staticmethod
    def recipient_at(domains: Sequence[str]) -> Condition:
        """Hold if the recipient is at one of these domains."""
    @staticmethod
    def known_recipient(
        *, local: Sequence[str], blocked: Sequence[str], roles: Sequence[str], normalisation: Normalisation
    ) -> Condition:
        """Hold if the table of recipients has the address itself, or all of its domain, which is local; and it is no alias, its local part
        none of `roles`, no key of `blocked` could stand for it, and the source of the client has not guessed.
        """

@final
class Screen:
    """The agents that sessions with clients of one kind ask, by stage and in their order."""

    def __new__(cls, tables: Tables, stages: Sequence[Sequence[Sequence[Condition] | None]], crossed: int) -> Screen:
        """Take the conditions of each agent of the seven stages, None for one that is always asked; ValueError for more than 64 of a stage.

        `crossed` are stages that come as ASK even if no agent has to be asked, as `1 << stage` bits.
        """

# --- spool ---

NO_MESSAGE: Final = "no such message"
"""How the error begins of an operation on a message that is not there, or not to be delivered."""

@final
class Partition:
    """A partition of the spool, owned by this process: what it has reported as stored is on disk (RFC 5321 4.5.5, 6.1).

    Make it after fork, and close it before the process ends. `create`, `adopt`, `claim`, `schedule`, `crashed` and `close` block on
    the disk, without the GIL; everything else only hands over to the writer thread. A method given a queue id raises ValueError when
    that is not of this partition, OSError when the partition is closed.

    What changes a message (from `settle` to `redirect`) is kept and tried again while the disk fails; a waiter is notified when it is
    on disk. Of a message that is not there the error text begins with `NO_MESSAGE`.
    """

    @staticmethod
    def create(spool_dir: str) -> Partition:
        """Return a fresh partition below a spool directory that is there. Raises OSError."""
    @staticmethod
    def is_adoptable(spool_dir: str) -> bool:
        """Return whether there is a partition that nobody owns, or it cannot be known: quick enough for a loop to ask again and again."""
    @staticmethod
    def adopt(spool_dir: str) -> Partition | SealedPartition | None:
        """Return a partition whose owner is gone, or None. Its envelopes are checked first; each content is when it is loaded.

        Raises OSError naming a partition that cannot be used. A damaged one has then been moved to `damaged` below the spool
        directory: log it and call again for the next. An orphan that `queue_list` looks at in that instant may be missed: call
        again later.
        """
    @staticmethod
    def claim(spool_dir: str, tag: str) -> Partition | SealedPartition | None:
        """Return this partition, or None when it is owned or gone. Raises OSError as `adopt`."""
    @property
    def tag(self) -> str:
        """Its name: every queue id of it begins with this."""
    @property
    def descriptor(self) -> int:
        """An eventfd, readable while there are completions to fetch; valid as long as this object."""
    @property
    def incoming_dir(self) -> str:
        """Directory for content files being received; what an owner before left there is deleted on adoption."""
    @property
    def spare(self) -> int:
        """Octets free inside the database, as of the last batch; the next messages take them first."""
    @property
    def healthy(self) -> bool:
        """Whether messages can be taken: the last commit worked, the disk has room, the directory is in place. Costs a `stat`.

        While False, inserts fail; recovery is tried once a second.
        """
    @property
    def in_place(self) -> bool:
        """Whether its directory is where it was; one that was moved or deleted takes no message. Costs a `stat`."""
    @property
    def count(self) -> int:
        """Messages in it."""
    def next_queue_id(self) -> str:
        """Return a queue id never given before; spent by one insert, also by one that fails."""
    def note_in(self, shared: Shared, slot: int) -> None:
        """Note in the worker's slot of the shared memory which messages are in memory: `insert` and `load` do from now on, `settle` and
        `remove` take it back.
        """
    def note(self, queue_id: str, suspicion: int) -> None:
        """Note that a message is in memory. ValueError: there is no such `Suspicion`."""
    def unnote(self, queue_id: str) -> None:
        """Take a note back; without one nothing happens."""
    def insert(self, waiter: object, message: Message) -> None:
        """Store; completed when it is on disk. A content file is linked: the message's own path stays good while it lives."""
    def settle(
        self,
        waiter: object | None,
        queue_id: str,
        outcomes: list[Outcome],
        *,
        due: int,
        attempts: int,
        next_hop: str = ...,
        attempt: AttemptRow | None = ...,
        reported: list[int] = ...,
    ) -> None:
        """Store what an attempt made of a group of recipients, when they are due next (milliseconds since the epoch), their
        attempts and the key of their destination. Recipients without an outcome stay as they are.

        `attempt`: how it was made, when it deferred somebody; the latest 20 are kept. `reported`: places of recipients for which a
        delay report was made.
        """
    def end(self, queue_id: str, outcomes: list[Outcome], *, due: int, attempts: int, next_hop: str = ...) -> None:
        """Delete the message if all its open recipients have an outcome here, each an end; otherwise store the outcomes as `settle`."""
    def remove(self, queue_id: str, waiter: object | None = ...) -> None:
        """Delete with the next commit."""
    def hold(self, waiter: object | None, queue_id: str, kind: Held) -> None:
        """Take it out of the schedule until it is released."""
    def release(self, waiter: object | None, queue_id: str) -> None:
        """Put it into the schedule again, and forget the workers it killed."""
    def retry(self, waiter: object | None, queue_id: str, *, due: int) -> None:
        """Make its open recipients due then."""
    def fail(self, waiter: object | None, queue_id: str, reply: str, *, due: int) -> None:
        """Make its pending recipients failed ones, which are reported when they are due; `reply` says why."""
    def redirect(
        self, waiter: object | None, queue_id: str, *, due: int, recipients: list[str] = ..., next_hop: str = ...
    ) -> None:
        """Send what could not be delivered elsewhere: to other recipients, normalised addresses, or to a next hop in its written
        form; to neither: where the routes say. Failed recipients that are not reported yet are tried again.
        """
    def crashed(self, queue_id: str) -> int:
        """Count the death of a worker that was busy with it, and hold it when it was not the first. Return how many there were,
        0 when there is no such message. Raises OSError.
        """
    def load(self, waiter: object, queue_id: str) -> None:
        """Read for delivery, and verify; completed with the message, or with what is damaged. A held message is as one that is gone.

        A content file is read whole for it, in a thread.
        """
    def completions(self) -> list[tuple[object, str | None, Message | DamagedMessage | None]]:
        """Return what was completed since the last call: (waiter, error text for the log or None, what a load found).

        In the order of their commits, but messages with a content file come when that has been read.
        """
    def schedule(self) -> list[Scheduled]:
        """Return every group of open recipients, by messages, oldest first, without held messages. Raises OSError.

        A message that has none is there once: it is to be removed.
        """
    def fill(
        self,
        backlog: Backlog,
        after: int,
        *,
        wall_ms: int,
        now_ms: int,
        longest_ms: int,
        big: int,
        at_once: bool = ...,
    ) -> tuple[int | None, list[str], list[str]]:
        """Add the groups of messages after the sequence `after` to the backlog, for at most some tenths of a second, without the GIL.

        Return the sequence to go on after (None: that was the last), the names of destinations that have no line yet (give them one, and
        go on), and the queue ids of messages that were in memory when a worker crashed: they are not added. `wall_ms` and `now_ms` are the time, since the epoch and of the steady clock; no group waits longer than `longest_ms` from
        now. `big`: octets from which on a message is big. `at_once`: what was deferred is due now. Raises OSError.
        """
    def close(self) -> None:
        """Commit what waits, then give the partition up, or remove it when it is empty. Again: nothing.

        Raises OSError when something could not be committed; the lock is released all the same. Completions can still be fetched.
        """

@final
class Scheduled:
    """A group of recipients of one message: they are tried together."""

    def __eq__(self, other: object, /) -> bool: ...
    @property
    def queue_id(self) -> str: ...
    @property
    def arrival(self) -> int:
        """Of the message, milliseconds since the epoch."""
    @property
    def due(self) -> int:
        """Next attempt, milliseconds since the epoch."""
    @property
    def attempts(self) -> int: ...
    @property
    def next_hop(self) -> str:
        """As `Recipient.next_hop`."""

@final
class SealedPartition:
    """A partition of a later version of mailmoat: owned by this process as long as this object lives, and kept as it is."""

    @property
    def tag(self) -> str:
        """Its name."""
    @property
    def count(self) -> int | None:
        """The number of messages in it, if known."""
    @property
    def reason(self) -> str:
        """Why it is not worked on, for the log."""

@final
class Held(IntEnum):
    """Why a message is in no schedule."""

    NO = 0
    """It is in the schedule."""
    OPERATOR = 1
    """An operator held it."""
    CRASHED = 2
    """Two workers died while they were busy with it."""
    DAMAGED = 3
    """What is stored of it is damaged."""

@final
class AttemptRow:
    """How an attempt was made that deferred somebody; what it made of each recipient is told to `Partition.settle` with it."""

    def __new__(cls, *, at: int, next_hop: str, peer: str) -> AttemptRow: ...
    def __eq__(self, other: object, /) -> bool: ...
    @property
    def at(self) -> int:
        """When it ended, milliseconds since the epoch."""
    @property
    def next_hop(self) -> str:
        """The next hop it was made to."""
    @property
    def peer(self) -> str:
        """`address:port` of the server that was reached; empty when none was."""

@final
class DamagedMessage:
    """What `Partition.load` gives in place of a message of which the stored octets have changed or cannot be read."""

    @property
    def reason(self) -> str:
        """What is damaged, for the log."""

# --- queue ---

@final
class QueueStatus(IntEnum):
    """What a message in the spool waits for."""

    QUEUED = 0
    """Its first attempt."""
    DEFERRED = 1
    """Another attempt."""
    HELD = 2
    """An operator, who held it."""
    CRASHED = 3
    """An operator, because two workers died while they were busy with it."""
    DAMAGED = 4
    """An operator, because what is stored of it is damaged."""

@final
class QueueFilter:
    """Conditions that all hold for the messages an operator means; None and the empty list stand for any."""

    def __new__(
        cls,
        *,
        to: str | None = ...,
        sender: str | None = ...,
        next_hop: str | None = ...,
        arrived_before: int | None = ...,
        statuses: list[QueueStatus] = ...,
    ) -> QueueFilter:
        """Make a filter. ValueError when a status is not one.

        `to` and `sender` are an address, a domain, `.domain` for all below it, `<>` for the null reverse-path, or a text with `*`
        for any letters. `next_hop` is that of an open recipient's last attempt, whole or with `*`. `arrived_before` is milliseconds
        since the epoch.
        """

@type_check_only
class SpoolEntry(TypedDict):
    """One message in the spool, without its content."""

    queue_id: str
    arrival: int  # milliseconds since the epoch
    reverse_path: str
    size: int  # octets of trace and content
    recipients: list[Recipient]  # none when one of them is damaged
    status: QueueStatus
    crashes: int  # workers that died while they were busy with it
    partition: str  # tag
    owned: bool  # a process owns the partition now

@final
class QueuePage:
    """Some of the messages that a filter means."""

    @property
    def entries(self) -> list[SpoolEntry]:
        """By partition and order of coming, at most 500."""
    @property
    def after(self) -> str | None:
        """Where the next page begins; None after the last one."""
    @property
    def examined(self) -> int:
        """How many messages were looked at: never many, so that a page may be empty and not the last one."""

@final
class QueueTally:
    """What is counted of a group of open recipients."""

    def __eq__(self, other: object, /) -> bool: ...
    @property
    def recipients(self) -> int: ...
    @property
    def deferred(self) -> int:
        """Those of them that were tried already."""
    @property
    def oldest(self) -> int:
        """When the first of their messages came, milliseconds since the epoch."""

@final
class QueueStats:
    """What is in the spool."""

    @property
    def messages(self) -> int: ...
    @property
    def recipients(self) -> int:
        """Recipients that something is still to be done for."""
    @property
    def octets(self) -> int:
        """Of trace and content of all messages."""
    @property
    def oldest(self) -> int | None:
        """When the first message came, milliseconds since the epoch; None without one."""
    @property
    def statuses(self) -> list[int]:
        """Messages by their `QueueStatus`."""
    @property
    def next_hops(self) -> dict[str, QueueTally]:
        """By the next hop of the last attempt, or that an operator chose; empty: not tried yet."""
    @property
    def domains(self) -> dict[str, QueueTally]:
        """By the domain of the recipients."""

@final
class QueueAttempt:
    """A stored attempt that deferred somebody."""

    @property
    def number(self) -> int:
        """From 1, among those of the message."""
    @property
    def at(self) -> int:
        """As `AttemptRow.at`."""
    @property
    def next_hop(self) -> str:
        """As `AttemptRow.next_hop`."""
    @property
    def peer(self) -> str:
        """As `AttemptRow.peer`."""
    @property
    def outcomes(self) -> list[Outcome]:
        """What it made of each recipient."""

@final
class StoredMessage:
    """One message in the spool with its history."""

    @property
    def message(self) -> Message:
        """Its envelope is whole; its content may be damaged."""
    @property
    def status(self) -> QueueStatus:
        """What it waits for."""
    @property
    def crashes(self) -> int:
        """Workers that died while they were busy with it."""
    @property
    def attempts(self) -> list[QueueAttempt]:
        """The latest that deferred a recipient, oldest first."""
    @property
    def header(self) -> bytes:
        """The header section with what was put in front of it, as far as it can be read."""
    @property
    def damage(self) -> str | None:
        """What is damaged, for people; None when nothing is."""
    @property
    def owned(self) -> bool:
        """A process owns its partition now."""

@final
class Disk:
    """The disk that holds `path`; OSError when it cannot be asked."""

    def __new__(cls, path: str) -> Disk: ...
    def used(self, spare: int) -> float | None:
        """Return the share that is used, 0.0 to 1.0, of room or of inodes, whichever is shorter; None when the disk cannot be asked.

        At 1.0 unfinished content is refused (452). `spare` is the octets free inside the databases. Of a disk above 100 GiB no more
        than that counts. Costs one `statvfs`.
        """

def trim_heap() -> bool:
    """Give unused memory of the C library's heap back to the system, where that has to be asked for; whether there was any."""

def queue_list(spool_dir: str, filter: QueueFilter, after: str = ...) -> QueuePage:
    """Return the messages that `filter` means among the next ones after `after`, which the page before gave; reads only.

    Partitions of a later version are left out: `newer_partitions` has them. Raises OSError.
    """

def queue_stats(spool_dir: str) -> QueueStats:
    """Count all messages, also those of a running server, but for partitions of a later version; reads only. Raises OSError."""

def queue_message(spool_dir: str, queue_id: str) -> StoredMessage | None:
    """Return a message with its history, or None when there is none; reads all of it, and changes nothing. Raises OSError."""

def queue_export(spool_dir: str, queue_id: str, path: str) -> bool:
    """Write a message to a new file, for `Message.imported`, and return whether there is one; it stays in the spool. Raises OSError."""

def newer_partitions(spool_dir: str) -> list[tuple[str, int | None]]:
    """Return tag and number of messages (None: unknown) of each partition of a later version of mailmoat; reads only. Raises OSError."""

def count_spool(spool_dir: str) -> int:
    """Return the number of messages in all partitions; reads only. Raises OSError."""

# --- backlog ---

@final
class Backlog:
    """The groups of recipients that wait, by destination: a line for each, some fifty octets a group. Never reads a clock.

    `due` and `now` are milliseconds of a clock that never jumps. Of what is due in a line, groups never tried (fresh) and those
    tried before (old) take turns, and so do those of small and of big messages. May be used from several threads.
    """

    def __new__(cls) -> Backlog: ...
    def __len__(self) -> int:
        """Return the number of groups that wait."""
    @property
    def octets(self) -> int:
        """Memory, roughly."""
    def add_partition(self, tag: str) -> None:
        """Accept queue ids of a partition. ValueError: there are too many."""
    def drop_partition(self, tag: str) -> None:
        """Forget a partition of which nothing waits."""
    def line(self, name: str) -> int:
        """Return the number of a destination's line; it is made where there is none."""
    def alias(self, name: str, line: int) -> None:
        """Let what a spool has under this name wait in a line."""
    def name(self, line: int) -> str | None:
        """Return the name of a line's destination; None: there is no such line."""
    def waiting(self, line: int) -> int:
        """Return the number of groups in a line."""
    def is_ready(self, line: int) -> bool:
        """Return whether something in a line is due, as of the last call that changed it."""
    def close(self, line: int) -> bool:
        """Give up a line and its names if nothing waits in it; return whether it is gone."""
    def put(
        self,
        line: int,
        queue_id: str,
        *,
        due: int,
        now: int,
        arrival: int,
        fresh: bool = ...,
        big: bool = ...,
        parted: bool = ...,
        delayed: bool = ...,
        stranded: bool = ...,
        firm: bool = ...,
    ) -> bool:
        """Add a group; return whether something in its line is due. `arrival` of its message: milliseconds since the epoch.

        A message has at most one group in a line. ValueError: the queue id is of no partition that was added.
        """
    def take(self, line: int, now: int, *, fresh: bool = ..., old: bool = ..., big: bool = ...) -> Waiting | None:
        """Take the group whose turn it is, of those that are due and of a kind that is not False."""
    def take_older(self, line: int, now: int, expired: int, overdue: int, most: int) -> list[Waiting]:
        """Take groups, due or not, of messages that arrived before `expired`, or before `overdue` if not `delayed`; `most` at once,
        and none that is `firm`.

        Times are milliseconds since the epoch, rounded down to seconds. Costs the length of the line only where there is one to take.
        """
    def advance(self, now: int) -> list[int]:
        """Return the lines in which something has become due since the last call."""
    def next_due(self) -> int | None:
        """Return when to advance next."""
    def release(self, line: int, now: int) -> bool:
        """Make everything due in a line that is stranded; return whether something in it is due."""
    def lines_of(self, queue_id: str) -> list[int]:
        """Return the lines in which groups of a message wait."""
    def forget(self, queue_id: str, now: int) -> list[int]:
        """Take all groups of a message out; return the lines they waited in."""
    def hurry(self, queue_id: str, now: int) -> list[int]:
        """Make all groups of a message due; return the lines they wait in."""

@final
class Waiting:
    """A group that was taken out of the backlog."""

    @property
    def partition(self) -> str:
        """Its tag."""
    @property
    def queue_id(self) -> str: ...
    @property
    def fresh(self) -> bool:
        """It was never tried."""
    @property
    def big(self) -> bool: ...
    @property
    def parted(self) -> bool:
        """Its message has groups in other lines, or had."""
    @property
    def delayed(self) -> bool:
        """Its delay was reported, or no such report is wanted."""
    @property
    def more(self) -> bool:
        """Something else in its line is due."""

# --- wheel ---

@final
class Wheel:
    """Owners waiting for their deadlines in milliseconds; never reads a clock. An owner is kept and given back, never called."""

    def __new__(cls, now_ms: int) -> Wheel: ...
    def schedule(self, deadline_ms: int, owner: object) -> int:
        """Keep the owner; the key is never 0 and never used twice. A deadline that has passed counts at the next advance."""
    def cancel(self, key: int) -> bool:
        """Return whether the owner still waited."""
    def advance(self, now_ms: int) -> list[object]:
        """Return every owner with a deadline at or before `now_ms`, by deadline, then by order of scheduling. Time never goes back."""
    def fit(self) -> None:
        """Give back the room of owners that have left, as far as no owner is behind it; costs a look at each place."""
    def next_deadline(self) -> int | None:
        """Return when to advance next: the earliest deadline, or somewhat before it after a cancel; then advancing gives nothing."""
    def __len__(self) -> int: ...
