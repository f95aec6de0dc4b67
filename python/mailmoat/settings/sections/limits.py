"""`[limits]`: limits for one client.

A rate is that of one source, an IPv4 address or an IPv6 /64; the networks around it have a multiple (`FACTORS` of the shared memory).
"""

from pydantic import Field

from mailmoat.settings.fields import Count, Duration, OptionalByteRate, OptionalRate, Percent, Size
from mailmoat.settings.rate import Rate
from mailmoat.settings.section import Section


class LimitsSettings(Section):
    """Limits for one client; 0 turns a limit off."""

    local_part: Count = Field(default=256, description="Octets of a local part. 0 = off.")
    domain: Count = Field(default=255, description="Octets of a domain. 0 = off.")
    path: Count = Field(default=514, description="Octets of a path with its brackets. 0 = off.")
    command_line: Count = Field(
        default=2048,
        description="Octets of a command line with CRLF; MAIL and RCPT may have as many more as `limits.path` is above 256, and as their "
        "parameters need. 0 = off.",
    )
    text_line: Count = Field(default=1000, description="Octets of a line of content with CRLF. 0 = off.")
    recipients: Count = Field(default=100, description="Recipients of one transaction; those beyond get 452. 0 = off.")
    null_sender_recipients: Count = Field(
        default=2,
        description="Recipients of one transaction with the null reverse-path: bounces go to one, some servers add a copy. Those beyond get 452. 0 = off.",
    )
    message_size: Size = Field(default=36 << 20, description="Octets of one message, announced as SIZE. 0 = off.")
    header_size: Size = Field(
        default=256 << 10,
        description="Octets of a header section; a message with a longer one is refused with 552. 0 = off.",
    )
    hops: Count = Field(default=100, description="Received fields at which a message is refused as looping. 0 = off.")
    command_time: Duration = Field(
        default=300.0, description="Wait for the next command, up to its last octet, in seconds. 0 = off."
    )
    data_time: Duration = Field(default=180.0, description="Wait for the next block of content, in seconds. 0 = off.")
    data_rate: Size = Field(
        default=100,
        description="Octets of content that must come in a second, on average over `data_time`. 0, or without a `data_time` = off.",
    )
    session_time: Duration = Field(default=3600.0, description="Length of a session, in seconds. 0 = off.")
    errors: Count = Field(
        default=20,
        description="5xx replies in one session, and recipients far beyond `recipients`; then 421 and close. 0 = off.",
    )
    auth_failures: Count = Field(
        default=5, description="Failed AUTH commands (535) in one session; then 421 and close. 0 = off."
    )
    idle_commands: Count = Field(
        default=100,
        description="Commands in a row that do not advance a message (NOOP, RSET, VRFY ...); then 421 and close. 0 = off.",
    )
    connections: Count = Field(default=0, description="Connections at the same time on this machine. 0 = off.")
    connections_per_source: Count = Field(
        default=100, description="Connections at the same time from one IPv4 address or IPv6 /64. 0 = off."
    )
    connections_per_source_percent: Percent = Field(
        default=2,
        description="Per cent of the connections that `connections` leaves free which one source may have, 10 in any case. 0 = off.",
    )
    connection_rate: OptionalRate = Field(
        default=None,
        description="New connections of one source; then 421 for a greeting. The next two networks have 3 and 9 times as many.",
    )
    message_rate: OptionalRate = Field(
        default=Rate(600, 60, 600),
        description="MAIL commands of one source; then 421 4.4.2 and close. Networks as `connection_rate`.",
    )
    recipient_rate: OptionalRate = Field(
        default=None, description="RCPT commands of one source; then 452 4.5.3. Networks as `connection_rate`."
    )
    unknown_recipient_rate: OptionalRate = Field(
        default=None,
        description="Recipients of one source that do not exist; then RCPT gets 421 4.7.0 and close. Networks as `connection_rate`.",
    )
    null_sender_rate: OptionalRate = Field(
        default=None,
        description="Recipients of messages with the null reverse-path from one source; then 450 4.7.0. Networks as `connection_rate`.",
    )
    byte_rate: OptionalByteRate = Field(
        default=None,
        description="Octets of accepted messages of one source; then MAIL gets 421 4.7.0 and close. Networks as `connection_rate`.",
    )
    auth_failure_rate: OptionalRate = Field(
        default=Rate(30, 600, 30),
        description="Failed AUTH commands of one source; then AUTH gets 454 4.7.0 without a check. Networks as `connection_rate`.",
    )
    held_input: Size = Field(
        default=16 << 10, description="Octets of input kept from a held client; then reading stops. 0 = off."
    )
    content_memory: Size = Field(
        default=32 << 20,
        description="Octets of content a worker keeps in memory for all sessions; beyond it, content goes to files. 0 = off.",
    )
    memory_content: Size = Field(
        default=2 << 20,
        description="Octets of content kept in memory until it is stored; the body of a larger one goes to a file as it comes. 0 = off.",
    )
