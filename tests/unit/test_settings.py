"""Settings: what is read, in which order, and that every mistake is told with its place and its mend."""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mailmoat.errors import ConfigError
from mailmoat.net.address import canonical
from mailmoat.settings import Listener, NextHop, Settings, entries, load, notation, reference, sources, values, warnings
from mailmoat.settings.listener import parse_listener
from mailmoat.settings.next_hop import Server, parse_next_hop
from mailmoat.settings.rate import Rate
from mailmoat.settings.sections.delivery import retry_waits
from mailmoat.settings.sections.mx import NOT_PUBLIC
from mailmoat.settings.sections.pressure import Thresholds

ROOT = Path(__file__).parents[2]

DEFAULTS = {
    "workers": 0,
    "listen": (Listener("0.0.0.0", 25), Listener("::", 25)),
    "listen_proxy_networks": (),
    "spool_dir": Path("/var/spool/mailmoat"),
    "user": None,
    "drain_time": 30.0,
    "tarpit.time": 0.0,
    "tarpit.auth_time": 5.0,
    "tarpit.escalate": False,
    "tarpit.escalate_after": 10,
    "tarpit.escalate_max": 30.0,
    "tarpit.exempt_networks": (),
    "tarpit.max_held": 50_000,
    "tarpit.max_session": 180.0,
    "relay.local_domains": (),
    "relay.default_domain": None,
    "relay.unfiltered_domains": (),
    "relay.networks": (),
    "recipients.file": None,
    "recipients.delimiter": "+",
    "recipients.postmaster": None,
    "recipients.abuse": None,
    "recipients.blocked": (),
    "recipient_domains": (),
    "recipients.lookup": True,
    "directory.interval": 300.0,
    "directory.max_age": 86_400.0,
    "directory.when_stale": "unknown",
    "directory.shrink_limit": 20,
    "directory.target_domains": (),
    "directory.timeout": 5.0,
    "directory.cache_time": 300.0,
    "directory.absent_cache_time": 60.0,
    "directory.cache_entries": 100_000,
    "directory.concurrency": 50,
    "directories": (),
    "auth.file": None,
    "auth.dovecot": None,
    "auth.mechanisms": (),
    "auth.senders": None,
    "auth.relay": True,
    "auth.hashing_queue": 64,
    "auth.cache_time": 300.0,
    "helo.own_name": "off",
    "helo.own_names": (),
    "helo.malformed": "off",
    "helo.unqualified": "off",
    "helo.literal": "off",
    "helo.unresolvable": "off",
    "helo.dns_time": 5.0,
    "sender_filter.blocked": (),
    "sender_filter.blocked_file": None,
    "sender_filter.action": "reject",
    "sender_filter.header_from": True,
    "sender_filter.blank": "off",
    "sender_filter.reserved_domains": "off",
    "sender_filter.unresolvable": "off",
    "sender_filter.dns_failure": "accept",
    "sender_filter.dns_time": 5.0,
    "reputation.action": "stamp",
    "reputation.block_level": 7,
    "reputation.block_time": 86_400.0,
    "reputation.harvest": 50,
    "senderid.enabled": False,
    "senderid.spoofed_domain_action": "StampStatus",
    "senderid.temp_error_action": "StampStatus",
    "senderid.bypassed_sender_domains": (),
    "senderid.bypassed_recipients": (),
    "senderid.internal_servers": (),
    "senderid.exchange_headers": False,
    "senderid.private_networks": "check",
    "senderid.submitter": False,
    "senderid.spf_mfrom_action": "StampStatus",
    "senderid.void_lookups": 2,
    "delivery.next_hop": None,
    "delivery.connections": 20,
    "delivery.rate": None,
    "delivery.retry": (60.0,) * 4 + (600.0,) * 6 + (1800.0,),
    "delivery.expire": 5 * 86400.0,
    "delivery.delay_report": 4 * 3600.0,
    "delivery.connect_time": 30.0,
    "delivery.chunking": True,
    "delivery.greeting_time": 300.0,
    "delivery.handshake_time": 30.0,
    "delivery.mail_time": 300.0,
    "delivery.rcpt_time": 300.0,
    "delivery.data_time": 120.0,
    "delivery.block_time": 180.0,
    "delivery.end_of_data_time": 600.0,
    "delivery.idle_time": 5.0,
    "delivery.return_size": 50_000,
    "delivery.tls": "may",
    "delivery.tls_optional": True,
    "delivery.tls_names": (),
    "delivery.tls_ca": None,
    "delivery.tls_certificate": None,
    "delivery.tls_key": None,
    "delivery.auth_name": None,
    "delivery.auth_password_file": None,
    "delivery.xclient": False,
    "delivery.bounce_tags": "mx",
    "routes": (),
    "mx.port_number": 25,
    "mx.max_hosts": 5,
    "mx.max_addresses": 10,
    "mx.prefer": "any",
    "mx.ignored_networks": NOT_PUBLIC,
    "mx.own_hosts": (),
    "mx.dane": True,
    "mx.mta_sts": True,
    "mx.tls_ca": None,
    "mx.tls_report": True,
    "ndr.enabled": True,
    "ndr.copy_to": (),
    "ndr.unresolved_next_hop": None,
    "ndr.per_address": Rate(10, 3600, 10),
    "ndr.per_domain": Rate(100, 3600, 100),
    "ndr.total": Rate(1000, 3600, 1000),
    "ndr.inside_per_address": Rate(1000, 3600, 1000),
    "ndr.inside_per_domain": Rate(5000, 3600, 5000),
    "ndr.inside_total": Rate(10_000, 3600, 10_000),
    "ndr.fold_time": 60.0,
    "ndr.flood_alarm": 50,
    "ndr.check_domain": True,
    "reports.languages": ("en",),
    "reports.match_original": True,
    "reports.templates": None,
    "bounce_tags.mode": "off",
    "bounce_tags.unsigned_domains": (),
    "bounce_tags.exempt": (),
    "bounce_tags.days": 7,
    "bounce_tags.rotate_days": 90,
    "dns.servers": (),
    "dns.trust_ad": False,
    "dns.timeout": 2.0,
    "dns.lifetime": 5.0,
    "dns.budget_queries": 40,
    "dns.budget_time": 20.0,
    "dns.cache_size": 16 << 20,
    "dns.cache_time": 86400.0,
    "dns.negative_time": 3600.0,
    "dns.failures": 5,
    "dns.open_time": 30.0,
    "dns.reverse_time": 5.0,
    "dns_lists.action": "stamp",
    "dns_lists.threshold": 1,
    "dns_lists.time": 3.0,
    "dns_lists.providers": (),
    "limits.local_part": 256,
    "limits.domain": 255,
    "limits.path": 514,
    "limits.command_line": 2048,
    "limits.text_line": 1000,
    "limits.recipients": 100,
    "limits.null_sender_recipients": 2,
    "limits.message_size": 37_748_736,
    "limits.header_size": 262_144,
    "limits.hops": 100,
    "limits.command_time": 300.0,
    "limits.data_time": 180.0,
    "limits.data_rate": 100,
    "limits.session_time": 3600.0,
    "limits.errors": 20,
    "limits.auth_failures": 5,
    "limits.idle_commands": 100,
    "limits.connections": 0,
    "limits.connections_per_source": 100,
    "limits.connections_per_source_percent": 2,
    "limits.connection_rate": None,
    "limits.message_rate": Rate(600, 60, 600),
    "limits.recipient_rate": None,
    "limits.unknown_recipient_rate": None,
    "limits.null_sender_rate": None,
    "limits.byte_rate": None,
    "limits.auth_failure_rate": Rate(30, 600, 30),
    "limits.held_input": 16_384,
    "limits.content_memory": 33_554_432,
    "limits.memory_content": 2_097_152,
    "lists.block_files": (),
    "lists.allow_files": (),
    "lists.refuse_at": "recipient",
    "lists.reply": "Client [%s] is blocked",
    "lists.url": "",
    "lists.open_recipients": (),
    "smtp.chunking": True,
    "smtp.bare_newline": "refuse",
    "smtp.early_talkers": "note",
    "smtp.nul_in_header": "refuse",
    "smtp.xclient_networks": (),
    "smtp.xforward_networks": (),
    "tls.certificate": (),
    "tls.key": (),
    "tls.minimum": "1.2",
    "tls.offer": True,
    "tls.client_ca": None,
    "tls.client_certificates": "off",
    "tls.client_subjects": (),
    "tls.client_fingerprints": (),
    "tls.tickets": 2,
    "tls.ticket_rotation": 43_200.0,
    "tls.handshake_time": 30.0,
    "tls.handshakes": 1000,
    "tls.handshakes_per_source": 50,
    "tls.withhold": 3600.0,
    "tls.withhold_networks": (),
    "tls.required_networks": (),
    "tls.required_domains": (),
    "pressure.disk": Thresholds(96, 99, 97, 94),
    "pressure.memory": Thresholds(72, 75, 73, 71),
    "pressure.queue": None,
    "pressure.lag": Thresholds(2, 5, 2, 1),
    "policy.agents": (),
    "policy.agent_time": 30.0,
    "admin.listen": "127.0.0.1:8025",
    "admin.hosts": (),
    "log.format": "auto",
    "log.level": "info",
}


@pytest.fixture
def toml(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "mailmoat.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def mistakes(config: Path | None = None, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(config, environment)
    return caught.value.mistakes


@pytest.mark.parametrize(
    "rows",
    [
        '[{"name": "a", "url": "postgresql://u:s3cret@db/mail"}]',
        '[{"name": "a", "url": "ldaps://u:s3c/s3cret@x@db"}]',
        '[{"name": "a", "url": "mysql://db/mail?password=s3cret"}]',
        '[{"name": "a", "url": "ldaps://db", "password": "s3cret"}]',
        '[{"name": "a", "url": "ldaps://db", "bind_secret": "s3cret"}]',
        '[{"name": "a", "url": "ldaps://u:s3cret@db", "password": "s3cret"',
    ],
)
def test_a_mistake_shows_no_password(rows):
    found = mistakes(MAILMOAT_HOSTNAME="mx.test", MAILMOAT_DIRECTORIES=rows)
    assert any("irectories" in each or "DIRECTORIES" in each for each in found)
    assert "s3c" not in "".join(found)


def test_the_file_of_a_password_is_shown():
    rows = '[{"name": "a", "url": "file:///x", "password_files": "/etc/p"}]'
    assert any('"/etc/p"' in each for each in mistakes(MAILMOAT_DIRECTORIES=rows))


def test_defaults():
    settings = load(None, {})
    found = {key: entry.value(settings) for key, entry in entries().items()}
    assert found.pop("hostname")
    assert found == DEFAULTS
    assert {settings.origin(key) for key in entries()} == {"default"}


def test_a_tree_made_by_hand_reads_nothing(monkeypatch):
    monkeypatch.setenv("MAILMOAT_WORKERS", "7")
    assert Settings(tarpit={"time": "5s"}).tarpit.time == 5.0
    assert Settings().workers == 0


def test_environment_over_file_over_default(toml):
    file = toml("workers = 3\n[tarpit]\ntime = 5\nmax_held = 10\n")
    settings = load(file, {"MAILMOAT_TARPIT__TIME": "2.5"})
    assert (settings.workers, settings.tarpit.time, settings.tarpit.max_held) == (3, 2.5, 10)
    assert settings.tarpit.max_session == 180.0
    assert settings.origin("workers") == settings.origin("tarpit.max_held") == str(file)
    assert settings.origin("tarpit.time") == "MAILMOAT_TARPIT__TIME"
    assert settings.origin("tarpit.max_session") == "default"


def test_the_process_environment_is_read_unless_another_is_given(toml, monkeypatch):
    monkeypatch.setenv("MAILMOAT_CONFIG", str(toml("workers = 4")))
    monkeypatch.setenv("MAILMOAT_DRAIN_TIME", "1m")
    settings = load()
    assert (settings.workers, settings.drain_time) == (4, 60.0)


def test_named_file_over_mailmoat_config(toml, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("workers = 9")
    assert load(toml("workers = 4"), {"MAILMOAT_CONFIG": str(other)}).workers == 4
    assert load(None, {"MAILMOAT_CONFIG": str(other)}).workers == 9
    assert load(None, {"MAILMOAT_CONFIG": ""}).workers == 0


def test_every_setting_can_come_from_the_environment():
    for key, entry in entries().items():
        default = entry.value(load(None, {}))
        written = entry.form.show(default)
        if written:
            settings = load(None, {entry.environment: written})
            assert entry.value(settings) == default, key
            assert settings.origin(key) == entry.environment


def test_lists_are_arrays_or_have_commas(toml):
    file = toml('listen = ["127.0.0.1:25", "proxy://[::1]:26"]\nlisten_proxy_networks = "10.0.0.0/8, ::1"\n')
    settings = load(file, {"MAILMOAT_RELAY__LOCAL_DOMAINS": "Example.TEST., bücher.example,"})
    assert settings.listen == (Listener("127.0.0.1", 25), Listener("::1", 26, proxy=True))
    assert settings.listen_proxy_networks == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert settings.relay.local_domains == ("example.test", "xn--bcher-kva.example")


def test_a_word_is_written_in_any_case():
    settings = load(environment={"MAILMOAT_SENDERID__SPOOFED_DOMAIN_ACTION": "reject", "MAILMOAT_LOG__LEVEL": "Debug"})
    assert settings.senderid.spoofed_domain_action == "Reject"
    assert settings.log.level == "debug"


def test_addresses_and_domains_are_normalised():
    settings = load(
        None,
        {
            "MAILMOAT_HOSTNAME": "MX.Example.Test",
            "MAILMOAT_RECIPIENTS__BLOCKED": "All@EXAMPLE.test, x@b.test",
            "MAILMOAT_NDR__COPY_TO": "Postmaster@EXAMPLE.test",
            "MAILMOAT_DELIVERY__NEXT_HOP": "smtp://Hub.Example.Test",
        },
    )
    assert settings.hostname == "mx.example.test"
    assert settings.recipients.blocked == ("All@example.test", "x@b.test")
    assert settings.ndr.copy_to == (("*", "Postmaster@example.test"),)
    hub = Server("smtp", "hub.example.test", 25)
    assert settings.delivery.next_hop == NextHop("servers", "smtp://hub.example.test:25", ((hub,),))


@pytest.mark.parametrize(
    ("delivery", "wrong"),
    [
        (
            {"NEXT_HOP": "smtps://hub.test", "TLS": "none"},
            "at smtps:// there is nothing but TLS; write may, encrypt or verify",
        ),
        ({"NEXT_HOP": "smtp://192.0.2.1", "TLS": "verify"}, "the next hop has no name, only an address"),
        ({"NEXT_HOP": "smtp://[2001:db8::1]", "TLS": "verify"}, "the next hop has no name, only an address"),
        ({"AUTH_NAME": "edge"}, "delivery.auth_name is set, without a password; set both or neither"),
    ],
)
def test_settings_of_the_next_hop_that_contradict_each_other(delivery, wrong):
    (found,) = mistakes(**{f"MAILMOAT_DELIVERY__{name}": value for name, value in delivery.items()})
    assert wrong in found
    assert "; write " in found or "; " in wrong


def test_a_setting_that_is_missing_is_called_so():
    (found,) = mistakes(MAILMOAT_DELIVERY__AUTH_NAME="edge")
    assert found.startswith("delivery.auth_password_file is not set: delivery.auth_name is set")


def test_a_next_hop_by_its_address_is_verified_by_a_name():
    names = {"NEXT_HOP": "smtps://192.0.2.1", "TLS": "verify", "TLS_NAMES": "Hub.test., other.test"}
    delivery = load(None, {f"MAILMOAT_DELIVERY__{name}": value for name, value in names.items()}).delivery
    assert (str(delivery.next_hop), delivery.tls_names) == ("smtps://192.0.2.1:465", ("hub.test", "other.test"))


def test_a_fingerprint_is_written_with_or_without_colons():
    digits = "0123456789abcdef" * 4
    colons = ":".join(digits[at : at + 2].upper() for at in range(0, 64, 2))
    settings = Settings(tls={"client_certificates": "record", "client_fingerprints": [digits, colons]})
    assert settings.tls.client_fingerprints == (digits, digits)


def test_the_default_domain_is_the_first_local_one():
    assert Settings(relay={"local_domains": "a.test,b.test"}).relay.default_domain == "a.test"
    assert (
        Settings(relay={"local_domains": "a.test,b.test", "default_domain": "B.test"}).relay.default_domain == "b.test"
    )


def test_relative_paths_count_from_the_file_or_the_working_directory(toml, tmp_path, monkeypatch):
    file = toml('spool_dir = "spool"\n[recipients]\nfile = "r.txt"\n[delivery]\nnext_hop = "maildir:./var/maildir"\n')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = load(file, {"MAILMOAT_RECIPIENTS__FILE": "here.txt"})
    assert settings.spool_dir == tmp_path / "spool"
    assert settings.recipients.file == elsewhere / "here.txt"
    assert settings.delivery.next_hop.path == tmp_path / "var/maildir"
    assert load(file, {}, base=Path("/srv")).spool_dir == Path("/srv/spool")
    file = toml('[tls]\ncertificate = ["a.pem", "/b.pem"]\nkey = "a.key, /b.key"\nclient_ca = "ca.pem"\n')
    tls = load(file, {}).tls
    assert tls.certificate == (tmp_path / "a.pem", Path("/b.pem"))
    assert tls.key == (tmp_path / "a.key", Path("/b.key"))
    assert tls.client_ca == tmp_path / "ca.pem"
    assert load(None, {"MAILMOAT_SPOOL_DIR": "/abs"}).spool_dir == Path("/abs")


def test_frozen():
    settings = load(None, {})
    with pytest.raises(ValidationError):
        settings.workers = 3
    with pytest.raises(ValidationError):
        settings.tarpit.time = 3.0


# --- mistakes ---


def test_all_mistakes_at_once(toml):
    file = toml('wrokers = 3\nhostname = "a b"\n[tarpit]\ntime = "soon"\n[delivery]\nnext-hop = "discard:"\n')
    found = mistakes(file, MAILMOAT_TARPITTIME="5", MAILMOAT_LIMITS__HOPS="many", MAILMOAT_TARPIT__MAX_HELD="-1")
    assert len(found) == 7
    text = "\n".join(found)
    assert f"{file}: wrokers = 3: no such setting; did you mean workers?" in found
    assert f'{file}: delivery.next-hop = "discard:": no such setting; did you mean delivery.next_hop?' in found
    assert 'MAILMOAT_TARPITTIME = "5": no such setting; did you mean MAILMOAT_TARPIT__TIME?' in found
    assert f'{file}: tarpit.time = "soon": not a duration; write a duration up to 240 s, such as 5 or 2.5s' in found
    assert f'{file}: hostname = "a b": ' in text
    assert 'MAILMOAT_LIMITS__HOPS = "many": not a whole number, 0 or more; write a whole number, 0 or more' in found
    assert 'MAILMOAT_TARPIT__MAX_HELD = "-1": ' in text


TIMES = ("CONNECT", "GREETING", "MAIL", "RCPT", "DATA", "BLOCK", "END_OF_DATA", "IDLE")


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("WORKERS", "2.5", "not a whole number"),
        ("WORKERS", " ", "not a whole number"),
        ("HOSTNAME", " ", "empty"),
        ("LISTEN", ",", "nothing to listen on"),
        ("LISTEN", "25", "the port is missing"),
        ("LISTEN", "127.0.0.1:", "nothing is not a port"),
        ("LISTEN", "127.0.0.1:65536", "65536 is not a port"),
        ("LISTEN", "localhost:25", "localhost is not an IP address"),
        ("LISTEN", "::1:25", "no host and port"),
        ("LISTEN_PROXY_NETWORKS", "10.0.0.1/8", "an address in 10.0.0.0/8"),
        ("TARPIT__EXEMPT_NETWORKS", "office", "not a network"),
        ("TARPIT__TIME", "241", "longer than 240 s"),
        ("TARPIT__TIME", "inf", "not a duration"),
        ("TARPIT__TIME", "-1", "not a duration"),
        ("DRAIN_TIME", "5 weeks", "not a duration"),
        ("RELAY__LOCAL_DOMAINS", "fine.test, b d", '"b d"'),
        ("RECIPIENTS__LOOKUP", "maybe", "neither true nor false"),
        ("RECIPIENTS__BLOCKED", "all", "an address without a domain"),
        ("SENDERID__SPOOFED_DOMAIN_ACTION", "drop", "not one of the choices; write StampStatus, Reject or Delete"),
        ("SENDERID__TEMP_ERROR_ACTION", "Delete", "would silently lose legitimate messages"),
        ("SENDERID__BYPASSED_RECIPIENTS", "alice", "an address without a domain"),
        ("SENDERID__INTERNAL_SERVERS", "10.0.0.1/8", "an address in 10.0.0.0/8"),
        ("DELIVERY__NEXT_HOP", "hub.test:25", "not a next hop"),
        ("DELIVERY__NEXT_HOP", "smtp://", "no host"),
        ("DELIVERY__NEXT_HOP", "smtp://hub.test:0", "0 is not a port"),
        ("DELIVERY__NEXT_HOP", "smtp://1.2.3", "is neither an address nor a name"),
        ("RECIPIENTS__DELIMITER", "+%", "% begins no subaddress"),
        ("RECIPIENTS__DELIMITER", "x", "x begins no subaddress"),
        ("DELIVERY__NEXT_HOP", "maildir:", "not a next hop"),
        ("DELIVERY__NEXT_HOP", "maildir:/srv/{domain}/{user}", "{user} is not a placeholder"),
        ("DELIVERY__NEXT_HOP", "maildir:/srv/%d/%n", "%d is not a placeholder"),
        ("DELIVERY__NEXT_HOP", "maildir:/srv/%{local}", "%{local} is not a placeholder"),
        ("DELIVERY__NEXT_HOP", "maildir:/srv/{local", "{ is not a placeholder"),
        *((f"DELIVERY__{name}_TIME", "0", "must be above 0") for name in TIMES),
        ("DELIVERY__RETURN_SIZE", "129KiB", "more than a report can hold; write octets, up to 128KiB"),
        ("DELIVERY__TLS", "must", "not one of the choices; write none, may, encrypt, verify or dane"),
        ("DELIVERY__TLS_NAMES", "hub test", "not a host name"),
        ("DELIVERY__TLS_KEY", "/etc/key.pem", "a key without delivery.tls_certificate; set that, too, or remove this"),
        ("DELIVERY__AUTH_PASSWORD_FILE", "/etc/password", "delivery.auth_name is not set; set both or neither"),
        ("RECIPIENTS__POSTMASTER", "admin", "an address without a domain"),
        ("RECIPIENTS__POSTMASTER", "j\u00fcrgen@example.com", "the local part is not ASCII"),
        ("DELIVERY__CONNECTIONS", "0", "1 or more"),
        ("DELIVERY__RETRY", ",", "no wait in it"),
        ("DELIVERY__RETRY", "0", "a wait below one second"),
        ("DELIVERY__RETRY", "1m*100000", "more than 1000 waits"),
        ("LIMITS__MESSAGE_SIZE", "36MB", "not a size"),
        ("SMTP__BARE_NEWLINE", "allow", "not one of the choices; write refuse or normalise"),
        ("ADMIN__LISTEN", "8025", "the port is missing"),
        ("ADMIN__LISTEN", "proxy://127.0.0.1:8025", "takes no scheme"),
        ("AUTH__HASHING_QUEUE", "0", "1 or more"),
        ("AUTH__HASHING_QUEUE", "-1", "not a whole number, 1 or more; write a whole number, 1 or more"),
        ("AUTH__HASHING_QUEUE", "many", "not a whole number, 1 or more; write a whole number, 1 or more"),
        ("AUTH__MECHANISMS", "PLAIN, SCRAM SHA", "not a SASL mechanism; write SASL mechanisms such as SCRAM-SHA-256"),
        ("TLS__KEY", "key.pem", "not one for each of tls.certificate: 1 for 0; name as many, or none where"),
        ("TLS__MINIMUM", "1.1", "not one of the choices; write 1.2 or 1.3"),
        (
            "TLS__CLIENT_CERTIFICATES",
            "verify",
            "nothing can be verified without tls.client_ca; name its file, too, or write off or record",
        ),
        ("TLS__CLIENT_FINGERPRINTS", "ab:cd", "not a SHA-256 fingerprint"),
        ("TLS__TICKET_ROTATION", "9m", "below 10m"),
        ("TLS__HANDSHAKE_TIME", "0", "must be above 0"),
        ("LOG__LEVEL", "loud", "not one of the choices; write debug, info, warning or error"),
    ],
)
def test_one_mistake(name, value, wrong):
    (found,) = mistakes(**{f"MAILMOAT_{name}": value})
    assert found.startswith(f"MAILMOAT_{name} = ")
    assert wrong in found
    assert "; write " in found or "; " in wrong


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tarpit = 5", "tarpit = 5: is a group of settings; write [tarpit] and the settings below it"),
        ("[tarpti]\ntime = 5", "tarpti = {...}: no such setting; did you mean tarpit?"),
        ("[tsl]\noffer = true", "tsl = {...}: no such setting; did you mean tls?"),
        ("[dsn]\ntrust_ad = true", "dsn = {...}: no such setting; did you mean dns?"),
        ("local_domains = []", "local_domains = []: no such setting; did you mean relay.local_domains?"),
        # Postfix's setting of this name is our local_domains.
        (
            "[relay]\nrelay_domains = []",
            "relay.relay_domains = []: no such setting; did you mean relay.local_domains?",
        ),
        (
            "[tarpit]\nlocal_domains = []",
            "tarpit.local_domains = []: no such setting; did you mean relay.local_domains?",
        ),
        ("colour = 1", "colour = 1: no such setting; remove it"),
        ("workers = true", "workers = true: not a whole number, 0 or more; write a whole number, 0 or more"),
        ("[workers]\nx = 1", "workers = {...}: not a whole number, 0 or more; write a whole number, 0 or more"),
        ("[relay]\nlocal_domains = 5", "relay.local_domains = 5: not a list; write domains"),
        ("[relay]\nlocal_domains = ['a.test', 5]", "relay.local_domains = 5: not a string; write domains"),
    ],
)
def test_mistakes_only_a_file_can_have(toml, text, expected):
    file = toml(text)
    (found,) = mistakes(file)
    assert found.startswith(f"{file}: {expected}")


def test_unknown_names_in_the_environment():
    assert mistakes(MAILMOAT_WOMBAT="1") == ['MAILMOAT_WOMBAT = "1": no such setting; remove it from the environment']
    assert mistakes(MAILMOAT_TARPIT="5")[0].startswith('MAILMOAT_TARPIT = "5": no such setting; ')
    assert mistakes(mailmoat_workers="5")[0].endswith("did you mean MAILMOAT_WORKERS?")
    assert load(None, {"MAILMOAT_TEST_REQUIRE_PEERS": "1", "MAILMOATX": "1", "PATH": "/bin"}).workers == 0


def test_a_file_that_is_not_toml(toml):
    file = toml("workers = 3\n[tarpit\n")
    (found,) = mistakes(file)
    assert found.startswith(f"{file}: is not TOML: ")
    assert "line 2" in found
    file.write_bytes(b"workers = 3\n# M\xfcller\n")
    assert mistakes(file) == [f"{file}: line 2 is not UTF-8; save the file as UTF-8"]


def test_a_file_that_cannot_be_read(tmp_path):
    missing = tmp_path / "none.toml"
    assert mistakes(missing, MAILMOAT_WORKERS="x")[0].startswith(
        f"{missing}: cannot be read: No such file or directory; "
    )
    assert mistakes(tmp_path)[0].startswith(f"{tmp_path}: cannot be read: Is a directory; ")


def test_a_proxy_address_wants_to_know_who_may_speak(toml):
    file = toml('listen = ["proxy://127.0.0.1:25"]\nworkers = "x"')
    found = mistakes(file)
    assert len(found) == 2
    assert found[1].startswith("listen_proxy_networks is not set: listen has a proxy:// address, and nobody may speak")
    assert load(file, {"MAILMOAT_LISTEN_PROXY_NETWORKS": "127.0.0.0/8", "MAILMOAT_WORKERS": "1"}).listen[0].proxy


@pytest.mark.parametrize(
    ("listen", "wrong"),
    [
        ("127.0.0.1:25, [::1]:25, 127.0.0.1:25", "127.0.0.1:25 is listed 2 times"),
        ("127.0.0.1:25, proxy://127.0.0.1:25", "127.0.0.1:25 is listed 2 times"),
        ("[::1]:25, [0:0::1]:25", "[::1]:25 is listed 2 times"),
    ],
)
def test_an_address_is_served_in_one_way_only(listen, wrong):
    (found,) = mistakes(MAILMOAT_LISTEN=listen, MAILMOAT_LISTEN_PROXY_NETWORKS="127.0.0.1")
    assert found.startswith("MAILMOAT_LISTEN = ")
    assert wrong in found


@pytest.mark.parametrize("listen", ["127.0.0.1:8025", "proxy://127.0.0.1:8025"])
def test_the_admin_address_is_not_one_of_smtp(listen, toml):
    networks = {"MAILMOAT_LISTEN_PROXY_NETWORKS": "127.0.0.1"}
    (found,) = mistakes(MAILMOAT_LISTEN=listen, **networks)
    assert found.startswith('admin.listen = "127.0.0.1:8025": it is in listen, too, ')
    file = toml('[admin]\nlisten = "127.0.0.1:25"\n')
    (found,) = mistakes(file, MAILMOAT_LISTEN=listen.replace("8025", "25"), **networks)
    assert found.startswith(f'{file}: admin.listen = "127.0.0.1:25": it is in listen, too, ')


def test_accounts_come_from_one_source(toml):
    file = toml('[auth]\nfile = "accounts"\ndovecot = "auth"\n')
    (found,) = mistakes(file)
    assert found.endswith(": auth.file is set as well, and accounts come from one source; remove one of them")
    settings = load(
        None, {"MAILMOAT_AUTH__DOVECOT": "/run/dovecot/auth", "MAILMOAT_AUTH__MECHANISMS": "plain,Scram-SHA-256"}
    )
    assert settings.auth.dovecot == Path("/run/dovecot/auth")
    assert settings.auth.mechanisms == ("PLAIN", "SCRAM-SHA-256")


def test_free_ports_and_one_port_of_several_addresses_are_no_mistake():
    assert len(load(None, {"MAILMOAT_LISTEN": "127.0.0.1:0, 127.0.0.1:0"}).listen) == 2
    # The kernel gives a connection to the address that is named before it gives it to "all".
    assert len(load(None, {"MAILMOAT_LISTEN": "0.0.0.0:25, [::]:25, 127.0.0.1:25"}).listen) == 3


def test_a_container_platforms_variables_are_ignored_and_told():
    made = {
        "MAILMOAT_PORT": "tcp://10.0.0.1:25",
        "MAILMOAT_PORT_25_TCP": "tcp://10.0.0.1:25",
        "MAILMOAT_PORT_25_TCP_ADDR": "10.0.0.1",
        "MAILMOAT_PORT_25_TCP_PORT": "25",
        "MAILMOAT_PORT_25_TCP_PROTO": "tcp",
        "MAILMOAT_SERVICE_HOST": "10.0.0.1",
        "MAILMOAT_SERVICE_PORT": "25",
        "MAILMOAT_SERVICE_PORT_SMTP": "25",
        "MAILMOAT_ADMIN_SERVICE_HOST": "10.0.0.1",
        "MAILMOAT_ADMIN_PORT_8025_TCP_ADDR": "10.0.0.1",
        "MAILMOAT_VERSION": "0.1.0",
        "MAILMOAT_NAME": "/web/mailmoat",
        "MAILMOAT_ENV_LANG": "C",
    }
    settings = load(None, {**made, "MAILMOAT_WORKERS": "3"})
    assert settings.workers == 3
    assert settings.ignored == tuple(sorted(made))
    said = warnings(settings)
    assert all(any(text.startswith(f"{name} is ignored") for text in said) for name in made)
    assert not [entry for entry in entries().values() if sources.PLATFORM.fullmatch(entry.environment)]


def test_an_empty_variable_is_none(toml):
    file = toml("workers = 3\n")
    for name in ("MAILMOAT_WORKERS", "MAILMOAT_HOSTNAME", "MAILMOAT_LISTEN", "MAILMOAT_NO_SUCH", "MAILMOAT_CONFIG"):
        settings = load(file, {name: ""})
        assert (settings.workers, settings.origin("workers")) == (3, str(file))


def test_a_version_needs_no_quotes(toml):
    assert load(toml("[tls]\nminimum = 1.3\n"), {}).tls.minimum == "1.3"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "mailmoat.toml"
    file.write_bytes(b"\xef\xbb\xbfworkers = 3\r\n")
    assert load(file, {}).workers == 3


def test_the_default_file_is_read_when_it_is_there(toml, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "DEFAULT_FILE", tmp_path / "mailmoat.toml")
    assert load(None, {}).file is None
    file = toml("workers = 3\n")
    other = tmp_path / "other.toml"
    other.write_text("workers = 4\n")
    assert load(None, {}).workers == 3
    assert load(None, {}).file == file
    assert load(None, {"MAILMOAT_CONFIG": str(other)}).workers == 4
    assert load(other, {}).workers == 4


def test_admin_can_be_switched_off(toml):
    assert load(toml('[admin]\nlisten = ""\n'), {}).admin.listen == ""
    settings = load(None, {"MAILMOAT_ADMIN__LISTEN": "off"})
    assert entries()["admin.listen"].form.show(settings.admin.listen) == "off"


# --- values ---


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("5", 5),
        (5, 5),
        (2.5, 2.5),
        ("2.5s", 2.5),
        ("4m", 240),
        ("2h", 7200),
        ("5d", 432_000),
        (" 1 m ", 60),
        (".5", 0.5),
    ],
)
def test_duration(written, seconds):
    assert values.duration(written) == seconds


@pytest.mark.parametrize(("written", "octets"), [("36MiB", 36 << 20), (7, 7), ("48 KiB", 48 << 10), ("1GiB", 1 << 30)])
def test_size(written, octets):
    assert values.size(written) == octets


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("maildir:/var/mail/x", ("maildir", "maildir:/var/mail/x", (), Path("/var/mail/x"))),
        ("discard:", ("discard", "discard:")),
        ("mx", ("mx", "mx")),
    ],
)
def test_next_hop(written, parts):
    assert parse_next_hop(written) == NextHop(*parts)


def test_retry_from_an_array():
    assert retry_waits(["1m*2", 600, "1h"]) == (60.0, 60.0, 600.0, 3600.0)


@given(st.floats(min_value=0, max_value=1e6).map(lambda seconds: round(seconds, 3)))
def test_a_duration_survives_being_shown(seconds):
    assert values.duration(notation.show_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.integers(min_value=0, max_value=1 << 40))
def test_a_size_survives_being_shown(octets):
    assert values.size(notation.show_size(octets)) == octets


@given(st.lists(st.integers(min_value=1, max_value=10_000).map(float), min_size=1, max_size=50).map(tuple))
def test_a_retry_schedule_survives_being_shown(waits):
    assert retry_waits(notation.show_retry(waits)) == waits


@given(st.ip_addresses(), st.integers(0, 65535), st.booleans(), st.booleans(), st.booleans())
def test_a_listener_survives_being_shown(address, port, proxy, implicit_tls, submission):
    listener = Listener(canonical(str(address)), port, proxy, implicit_tls, submission)
    assert parse_listener(str(listener)) == listener


SETTABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


@given(st.sampled_from(sorted(entries())), SETTABLE)
def test_no_text_breaks_load(key, text):
    entry = entries()[key]
    with suppress(ConfigError):
        assert load(None, {entry.environment: text}).origin(key) == (entry.environment if text else "default")


# --- second looks ---

QUIET = {
    "hostname": "mx.a.test",
    "relay": {"local_domains": "a.test"},
    "delivery": {"next_hop": "discard:"},
    "recipients": {"file": __file__},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"hostname": "localhost"}, "hostname is localhost, the name of every machine for itself"),
        (
            {"hostname": "localhost.localdomain"},
            "the name of every machine for itself: write the name in your MX record",
        ),
        ({"hostname": "mx"}, "hostname is mx, a name without a domain"),
        ({"hostname": "192.0.2.1"}, "hostname is 192.0.2.1, an address, not a name"),
        ({"hostname": "[192.0.2.1]"}, "an address, not a name"),
        ({"hostname": "my_mx.a.test"}, "contains a character that is not allowed in a host name"),
        ({"hostname": "mx-1.xn--9ca.test"}, None),
        ({"tarpit": {"time": 5}}, None),
        ({"tarpit": {"time": 5}, "recipients": {}}, "without a recipient filter (recipients.file is not set)"),
        (
            {"tarpit": {"time": 5}, "recipients": {"file": __file__, "lookup": False}},
            "without a recipient filter (recipients.lookup is off)",
        ),
        ({"tarpit": {"time": 31}}, "tarpit.time is 31 s: above 30 s"),
        ({"tarpit": {"time": 5, "max_session": 4}}, "tarpit.max_session is below tarpit.time"),
        ({"senderid": {"enabled": True, "spoofed_domain_action": "reject", "submitter": True}}, None),
        ({"senderid": {"spoofed_domain_action": "Reject"}}, "senderid.spoofed_domain_action is Reject and"),
        ({"senderid": {"spf_mfrom_action": "Reject"}}, "senderid.enabled is off: nothing is checked"),
        ({"senderid": {"temp_error_action": "Reject"}}, "senderid.temp_error_action is Reject and"),
        ({"senderid": {"submitter": True}}, "SUBMITTER is not offered"),
        (
            {"senderid": {"enabled": True, "spoofed_domain_action": "Delete"}},
            "Delete: a legitimate sender is not informed",
        ),
        ({"senderid": {"enabled": True, "internal_servers": "10.0.0.0/8"}}, None),
        ({"senderid": {"enabled": True, "internal_servers": "0.0.0.0/0"}}, "strangers count as your own servers"),
        ({"delivery": {}}, "delivery.next_hop is not set"),
        ({"delivery": {"next_hop": "smtp://192.0.2.1"}}, "recipients.postmaster is not set"),
        ({"delivery": {"next_hop": "lmtp://h.test"}, "recipients": {"file": __file__, "postmaster": "a@b.test"}}, None),
        ({"delivery": {"next_hop": "maildir:/var/mail/{domain}/{local}"}}, None),
        (
            {"delivery": {"next_hop": "discard:", "auth_name": "edge", "auth_password_file": "/etc/password"}},
            "messages wait unless the next hop offers SCRAM-SHA-256",
        ),
        (
            {"delivery": {"next_hop": "discard:", "expire": "5"}},
            "delivery.expire is 5s: mail is returned when the next hop is away for longer",
        ),
        ({"delivery": {"next_hop": "discard:", "expire": "1h", "delay_report": "0"}}, None),
        (
            {"delivery": {"next_hop": "discard:", "expire": "4h"}},
            "delivery.delay_report is 4h, not below delivery.expire: no delay is reported",
        ),
        (
            {"routes": [{"domains": "a.test", "next_hop": "smtp://h.test", "expire": "2"}]},
            "routes[1].expire is 2s: mail is returned",
        ),
        (
            {
                "delivery": {"next_hop": "discard:", "expire": "2d", "delay_report": "1d"},
                "routes": [{"domains": "a.test", "next_hop": "smtp://h.test", "expire": "12h"}],
            },
            "routes[1].delay_report is 1d, not below routes[1].expire",
        ),
        ({"ndr": {"enabled": False}}, "ndr.enabled is off"),
        ({"tls": {"client_certificates": "record", "client_fingerprints": "ab" * 32}}, None),
        ({"tls": {"client_fingerprints": "ab" * 32}}, "tls.client_fingerprints has no effect"),
        (
            {"tls": {"client_certificates": "record", "client_subjects": "a.test"}},
            "tls.client_subjects has no effect: tls.client_certificates is record",
        ),
        ({"tls": {"client_certificates": "verify", "client_ca": __file__, "client_subjects": "a.test"}}, None),
        ({"tls": {"client_certificates": "require", "client_ca": __file__}}, "strangers, who have no certificate"),
        (
            {"tls": {"client_certificates": "require", "client_ca": __file__}, "listen": "submission://0.0.0.0:587"},
            None,
        ),
        ({"tls": {"offer": False, "required_domains": "a.test"}}, "cannot send mail without TLS"),
        (
            {"tls": {"required_networks": "10.0.0.0/8", "withhold_networks": "10.1.0.0/16, ::1"}},
            "tls.withhold_networks takes TLS from it",
        ),
        ({"tls": {"minimum": "1.3"}}, "TLS 1.2 only"),
        ({"relay": {}}, "relay.local_domains is empty"),
        ({"relay": {"local_domains": "a.test", "default_domain": "b.test"}}, "b.test is not a local domain"),
        ({"relay": {"local_domains": "a.test", "unfiltered_domains": "b.test"}}, None),
        ({"relay": {"local_domains": "a.test", "unfiltered_domains": "b.test, a.test"}}, "its recipients are filtered"),
        ({"relay": {"local_domains": "a.test", "networks": "10.0.0.0/8, 2001:db8::/32"}}, None),
        (
            {"relay": {"local_domains": "a.test", "networks": "10.0.0.0/7"}},
            "10.0.0.0/7, wider than /8: this is an open relay",
        ),
        (
            {"relay": {"local_domains": "a.test", "networks": "2001::/16"}},
            "2001::/16, wider than /32: this is an open relay",
        ),
    ],
)
def test_warnings(changes, said):
    found = warnings(Settings(**{**QUIET, **changes}))
    if said is None:
        assert found == []
    else:
        assert len(found) == 1
        assert said in found[0]


# --- the manual ---


def test_every_setting_says_what_it_means_and_in_which_unit():
    for key, entry in entries().items():
        assert re.match(r"[A-Z5].*\.$", entry.meaning), key
        if entry.form.show is notation.show_duration:
            assert "in seconds" in entry.meaning, key
        if entry.form.show is notation.show_size:
            assert "Octets" in entry.meaning, key


def test_the_manual_says_what_the_program_does():
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == reference(), (
        "mailmoat settings --reference > docs/settings.md"
    )
