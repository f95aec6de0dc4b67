"""What the settings of delivery by MX records can be, and what is warned of."""

from __future__ import annotations

import asyncio

import pytest
from tests.doubles.name_server import NameServer

from mailmoat.errors import ConfigError
from mailmoat.resolver.validation import validates
from mailmoat.settings import load, warnings
from mailmoat.settings.sections.dns import DnsSettings

MX = {"MAILMOAT_DELIVERY__NEXT_HOP": "mx"}
ROUTE = {"MAILMOAT_ROUTES": '[{"domains": "*", "next_hop": "mx"}]', "MAILMOAT_DELIVERY__NEXT_HOP": "discard:"}
TRUSTED = {"MAILMOAT_DNS__TRUST_AD": "on", "MAILMOAT_DNS__SERVERS": "127.0.0.1, [::1]:5353"}


def warned(environment, word):
    return [warning for warning in warnings(load(None, environment)) if word in warning]


@pytest.mark.parametrize("where", [MX, ROUTE])
def test_that_dane_is_not_used_is_said_where_mail_goes_by_mx(where):
    (warning,) = warned(where, "DANE is not used")
    assert "dns.trust_ad" in warning
    assert warned(where | {"MAILMOAT_MX__DANE": "off"}, "DANE") == []
    assert warned(where | TRUSTED, "trust_ad") == []
    assert warned({"MAILMOAT_DELIVERY__NEXT_HOP": "smtp://hub.example.com"}, "DANE") == []


def test_a_trusted_resolver_elsewhere_is_warned_of():
    (warning,) = warned(MX | TRUSTED | {"MAILMOAT_DNS__SERVERS": "127.0.0.1, 192.0.2.53"}, "trust_ad")
    assert "192.0.2.53" in warning


DANE = {"MAILMOAT_DELIVERY__TLS": "dane"}
DANE_ROUTE = {"MAILMOAT_ROUTES": '[{"domains": "partner.test", "next_hop": "mx", "tls": "dane"}]'}


@pytest.mark.parametrize("where", [MX | DANE, {"MAILMOAT_DELIVERY__NEXT_HOP": "discard:"} | DANE_ROUTE])
def test_dane_is_refused_where_no_mail_could_be_sent(where):
    assert load(None, where | TRUSTED)
    for missing in ({}, TRUSTED | {"MAILMOAT_MX__DANE": "off"}):
        with pytest.raises(ConfigError) as refused:
            load(None, where | missing)
        assert "DANE needs mx.dane and dns.trust_ad" in " ".join(refused.value.mistakes)


def test_dane_is_for_mx_alone():
    """A Maildir or a Unix socket has no TLS, so that it may inherit the setting."""
    with pytest.raises(ConfigError) as refused:
        load(None, DANE | TRUSTED | {"MAILMOAT_DELIVERY__NEXT_HOP": "smtp://hub.example.com"})
    assert "write verify" in " ".join(refused.value.mistakes)
    inherits = '[{"domains": "here.test", "next_hop": "maildir:/var/mail"}]'
    assert load(None, MX | DANE | TRUSTED | {"MAILMOAT_ROUTES": inherits})


@pytest.mark.parametrize("tls", ["may", "verify"])
@pytest.mark.parametrize("route", [False, True])
def test_no_account_is_given_to_whatever_server_a_domain_names(tmp_path, tls, route):
    file = tmp_path / "password"
    file.write_text("secret\n")
    row = f'[{{"domains": "*", "next_hop": "mx", "tls": "{tls}", "auth_name": "us", "auth_password_file": "{file}"}}]'
    environment = (
        {"MAILMOAT_ROUTES": row}
        if route
        else MX
        | {
            "MAILMOAT_DELIVERY__TLS": tls,
            "MAILMOAT_DELIVERY__AUTH_NAME": "us",
            "MAILMOAT_DELIVERY__AUTH_PASSWORD_FILE": str(file),
        }
    )
    with pytest.raises(ConfigError) as refused:
        load(None, environment)
    assert "an account is for one server" in " ".join(refused.value.mistakes)


@pytest.mark.parametrize("name", ["no name", "", "a..b"])
def test_what_is_no_name_and_no_address_is_a_mistake(name):
    with pytest.raises(ConfigError):
        load(None, {"MAILMOAT_MX__OWN_HOSTS": f"mx.example.com, {name or '[]'}"})


def test_own_hosts_are_names_and_addresses_in_one_spelling():
    settings = load(None, {"MAILMOAT_MX__OWN_HOSTS": "MX.Example.com., 192.0.2.1, 2001:DB8::1"})
    assert settings.mx.own_hosts == ("mx.example.com", "192.0.2.1", "2001:db8::1")


def test_whether_name_servers_validate_is_found_out():
    with NameServer(". SOA ns.test. root.test. 1 2 3 4 5") as server:
        settings = DnsSettings(servers=server.address, trust_ad=True, timeout=0.2, lifetime=0.2)
        assert asyncio.run(validates(settings)) is False
        server.sign(".")
        assert asyncio.run(validates(settings)) is True
        assert asyncio.run(validates(settings.model_copy(update={"trust_ad": False}))) is None
        server.set("", fault="drop")
        assert asyncio.run(validates(settings)) is None
