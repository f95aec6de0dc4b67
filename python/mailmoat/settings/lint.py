"""Warnings about settings that are valid but unwise: shown by `check-config` and at the start, never a reason to refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailmoat.settings.directory_lint import directory_warnings
from mailmoat.settings.mx_lint import mx_warnings
from mailmoat.settings.notation import show_duration
from mailmoat.settings.port_lint import port_warnings
from mailmoat.settings.sections.routes import in_common, merged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mailmoat.settings.sections.tarpit import TarpitSettings
    from mailmoat.settings.tree import Settings

PATIENT = 30
"""Seconds of tarpit that legitimate senders put up with."""
SOON = 3600
"""Seconds in which a next hop that restarts may not be back."""
WIDEST = {4: 8, 6: 32}
"""Shortest network prefix that can still be one organisation's: the largest block ever given to one of them."""

PUBLIC_RESOLVERS = frozenset(
    [
        "1.1.1.1",
        "1.0.0.1",
        "8.8.8.8",
        "8.8.4.4",
        "9.9.9.9",
        "149.112.112.112",
        "208.67.222.222",
        "208.67.220.220",
        "2606:4700:4700::1111",
        "2606:4700:4700::1001",
        "2001:4860:4860::8888",
        "2001:4860:4860::8844",
        "2620:fe::fe",
    ]
)


def warnings(settings: Settings) -> list[str]:
    """Return one plain sentence for each setting that an administrator probably did not intend."""
    return [
        *_environment(settings),
        *_hostname(settings),
        *port_warnings(settings),
        *_tarpit(settings),
        *_relay(settings),
        *_front_servers(settings),
        *_filters(settings),
        *_senderid(settings),
        *_policy(settings),
        *_dns_lists(settings),
        *_delivery(settings),
        *_expiry(settings),
        *_bounces(settings),
        *mx_warnings(settings),
        *directory_warnings(settings),
        *_tls(settings),
    ]


def _environment(settings: Settings) -> Iterator[str]:
    for name in settings.ignored:
        yield f"{name} is ignored: it looks like a variable of a container platform, and is not a setting"


def _hostname(settings: Settings) -> Iterator[str]:
    """Return why the name cannot be looked up from outside, as RFC 5321 4.1.1.1 requires."""
    name, fix = settings.hostname, "write the name in your MX record"
    labels = name.rstrip(".").split(".")
    if labels[-1] in {"localhost", "localdomain"}:
        yield f"hostname is {name}, the name of every machine for itself: {fix}"
    elif name.startswith("[") or labels[-1].isdigit():
        yield f"hostname is {name}, an address, not a name: {fix}"
    elif len(labels) == 1:
        yield f"hostname is {name}, a name without a domain, which other servers cannot look up: {fix}"
    elif not all(label.replace("-", "").isalnum() for label in labels):
        yield f"hostname is {name}, which contains a character that is not allowed in a host name (RFC 1123 2.1): {fix}"


def _tarpit(settings: Settings) -> Iterator[str]:
    time = settings.tarpit.time
    known = settings.recipients.file or settings.directories
    if time and not (settings.recipients.lookup and known):
        lacking = "recipients.file is not set" if settings.recipients.lookup else "recipients.lookup is off"
        yield f"the tarpit is on without a recipient filter ({lacking}): there is little for it to delay"
    if time > PATIENT:
        yield f"tarpit.time is {time:g} s: above {PATIENT} s legitimate senders with a mistyped recipient wait long, too"
    if settings.tarpit.escalate:
        yield from _escalation(settings.tarpit)
    if time and settings.tarpit.max_session and settings.tarpit.max_session < time:
        yield "tarpit.max_session is below tarpit.time: the first delayed reply ends the session"


def _escalation(tarpit: TarpitSettings) -> Iterator[str]:
    longest = tarpit.escalate_max
    if not tarpit.time:
        yield "tarpit.escalate has no effect: tarpit.time is 0, and nothing doubles it"
    elif longest <= tarpit.time:
        yield f"tarpit.escalate has no effect: tarpit.escalate_max, {longest:g} s, is not above tarpit.time"
    if longest > PATIENT:
        yield f"tarpit.escalate_max is {longest:g} s: many clients give up after {PATIENT} to 60 s, and connect again"
    if tarpit.max_session and tarpit.max_session < longest:
        yield "tarpit.max_session is below tarpit.escalate_max: the first reply delayed so long ends the session"


def _relay(settings: Settings) -> Iterator[str]:
    relay = settings.relay
    if not relay.local_domains:
        yield "relay.local_domains is empty: all recipients are refused, except those that are relayed"
    elif relay.default_domain not in relay.local_domains:
        yield f"relay.default_domain {relay.default_domain} is not a local domain: recipients without a domain are refused"
    for domain in sorted(set(relay.local_domains) & set(relay.unfiltered_domains)):
        yield f"relay.unfiltered_domains has {domain}, which is in relay.local_domains as well: its recipients are filtered"
    for network in relay.networks:
        widest = WIDEST[network.version]
        if network.prefixlen < widest:
            yield f"relay.networks has {network}, wider than /{widest}: this is an open relay"


def _front_servers(settings: Settings) -> Iterator[str]:
    for network in settings.smtp.xclient_networks:
        widest = WIDEST[network.version]
        if network.prefixlen < widest:
            yield f"smtp.xclient_networks has {network}, wider than /{widest}: strangers can claim to be any client"


def _filters(settings: Settings) -> Iterator[str]:
    wanted, helo = settings.sender_filter, settings.helo
    if wanted.blank == "reject":
        yield "sender_filter.blank is reject: no bounce reaches you, and callers that verify your addresses refuse your mail (RFC 5321 4.5.5)"
    if wanted.action == "drop" and (wanted.blocked or wanted.blocked_file):
        yield "sender_filter.action is drop: a legitimate sender is not informed that its message was dropped; with reject it is"
    if wanted.dns_failure == "defer" and wanted.unresolvable != "reject":
        yield f"sender_filter.dns_failure has no effect: sender_filter.unresolvable is {wanted.unresolvable}"
    for domain in sorted(set(wanted.blocked) & set(settings.relay.local_domains)):
        yield f"sender_filter.blocked has {domain}, which is a local domain: mail from your own people outside is refused"
    for name in ("malformed", "unqualified", "literal", "unresolvable"):
        if getattr(helo, name) == "reject":
            yield f"helo.{name} is reject: legitimate servers with a wrong name are refused, which RFC 5321 4.1.4 does not allow; with stamp they are not"


def _senderid(settings: Settings) -> Iterator[str]:
    senderid = settings.senderid
    actions = ("spoofed_domain_action", "temp_error_action", "spf_mfrom_action")
    if not senderid.enabled:
        for name in actions:
            if getattr(senderid, name) != "StampStatus":
                yield f"senderid.{name} is {getattr(senderid, name)} and senderid.enabled is off: nothing is checked"
        if senderid.submitter:
            yield "senderid.submitter is on and senderid.enabled is off: SUBMITTER is not offered"
    for name in actions:
        if getattr(senderid, name) == "Delete":
            yield f"senderid.{name} is Delete: a legitimate sender is not informed that its message was dropped; with Reject it is"
    for network in senderid.internal_servers:
        widest = WIDEST[network.version]
        if network.prefixlen < widest:
            yield f"senderid.internal_servers has {network}, wider than /{widest}: strangers count as your own servers"


def _policy(settings: Settings) -> Iterator[str]:
    budget, agent_time = settings.dns.budget_time, settings.policy.agent_time
    for key, time in (("sender_filter", settings.sender_filter), ("helo", settings.helo)):
        if time.unresolvable != "off" and agent_time <= time.dns_time:
            yield f"policy.agent_time is {agent_time:g} s, not above {key}.dns_time: a slow DNS becomes a 451"
    if settings.senderid.enabled and agent_time <= budget:
        yield f"policy.agent_time is {agent_time:g} s, not above dns.budget_time: a check of a sender that takes its time becomes a 451"


def _dns_lists(settings: Settings) -> Iterator[str]:
    lists, agent_time = settings.dns_lists, settings.policy.agent_time
    if not lists.providers:
        return
    if agent_time <= lists.time:
        yield f"policy.agent_time is {agent_time:g} s, not above dns_lists.time: a list that does not answer becomes a 451"
    weights = sum(provider.weight for provider in lists.providers if provider.kind == "block")
    if 0 < weights < lists.threshold:
        yield f"dns_lists.threshold is {lists.threshold}, above the sum of all weights, {weights}: no client is ever listed"
    for server in settings.dns.servers:
        if server.host in PUBLIC_RESOLVERS:
            yield f"dns.servers has {server.host}, a public resolver: many of dns_lists.providers do not answer it; use a name server of your own"


def _delivery(settings: Settings) -> Iterator[str]:
    if settings.delivery.next_hop is None:
        yield "delivery.next_hop is not set: accepted messages stay in the spool until they expire"
    hop = settings.delivery.next_hop
    if hop is not None and hop.servers and settings.relay.local_domains and not settings.recipients.postmaster:
        yield (
            "recipients.postmaster is not set: mail for postmaster at each local domain is accepted (RFC 5321 4.5.1). "
            "Name the address that reads it, or make sure that the next hop accepts postmaster at each domain"
        )
    if settings.delivery.auth_name is not None and settings.delivery.tls != "verify":
        yield (
            "delivery.auth_name is set and delivery.tls is not verify: messages wait unless the next hop offers SCRAM-SHA-256, "
            "because a password is not sent to a server that was not verified"
        )


def _expiry(settings: Settings) -> Iterator[str]:
    times = {"expire", "delay_report"}
    common = in_common(settings.delivery)
    places = [("delivery", common)]
    places += [
        (f"routes[{number}]", merged(common, route))
        for number, route in enumerate(settings.routes, 1)
        if times & route.model_fields_set
    ]
    for place, hop in places:
        expire, delay = show_duration(hop.expire), show_duration(hop.delay_report)
        if hop.expire < SOON:
            yield (
                f"{place}.expire is {expire}: mail is returned when the next hop is away for longer (RFC 5321 4.5.4.1: at least "
                "4 to 5 days). A number without a unit is seconds; write 5d for days"
            )
        elif hop.delay_report >= hop.expire:
            yield f"{place}.delay_report is {delay}, not below {place}.expire: no delay is reported; write 0 if none is wanted"


def _bounces(settings: Settings) -> Iterator[str]:
    ndr, tags = settings.ndr, settings.bounce_tags
    if not ndr.enabled:
        yield "ndr.enabled is off: senders do not learn that their message was not delivered, which RFC 5321 6.1 requires"
    unlimited = [name for name in ("per_address", "per_domain", "total") if getattr(ndr, name) is None]
    if ndr.enabled and unlimited:
        names = " and ".join(f"ndr.{name}" for name in unlimited)
        yield f"{names} is off: whoever sends in the name of others can have this server send them any number of bounces"
    if tags.mode == "reject":
        yield (
            "bounce_tags.mode is reject: bounces and read receipts to addresses that send mail through other servers are refused, "
            "unless bounce_tags.exempt has them"
        )
    if tags.mode == "off" and (tags.unsigned_domains or tags.exempt):
        yield "bounce_tags.mode is off: what else is set in bounce_tags has no effect"


def _tls(settings: Settings) -> Iterator[str]:
    tls = settings.tls
    asked = tls.client_certificates
    if asked == "require" and any(not each.submission for each in settings.listen):
        yield "tls.client_certificates is require: strangers, who have no certificate of yours, cannot send mail with TLS"
    if tls.client_subjects and asked not in {"verify", "require"}:
        yield f"tls.client_subjects has no effect: tls.client_certificates is {asked}, so no certificate is verified"
    if tls.client_fingerprints and asked == "off":
        yield "tls.client_fingerprints has no effect: tls.client_certificates is off, so no client is asked for a certificate"
    if not tls.offer and (tls.required_networks or tls.required_domains):
        yield "tls.offer is off, and tls.required_networks or tls.required_domains name clients that cannot send mail without TLS"
    for network in tls.required_networks:
        if any(network.version == other.version and network.overlaps(other) for other in tls.withhold_networks):
            yield f"tls.required_networks has {network}, and tls.withhold_networks takes TLS from it: its clients cannot send mail"
    if tls.minimum == "1.3":
        yield "tls.minimum is 1.3: senders that have TLS 1.2 only, about one in ten, send in clear text or not at all"
