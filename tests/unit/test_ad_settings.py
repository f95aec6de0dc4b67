"""What a row of the settings means for Active Directory."""

import pytest
from pydantic import ValidationError

from mailmoat.directory.ad.objects import ADDRESS_ATTRIBUTES, Mapping
from mailmoat.directory.ad.place import Place
from mailmoat.directory.ad.row import ad_sync, place_of
from mailmoat.errors import ConfigError
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import merged
from mailmoat.settings.sections.directory_ad import Disabled, Kind, Secondary


def row(**given):
    settings = Settings(
        hostname="mx.example.test", directories=[{"name": "office", "url": "ads://dc1.example.test", **given}]
    )
    return merged(settings.directory, settings.directories[0])


def test_without_settings_it_is_what_exchange_accepts():
    assert place_of(row()) == Place(Mapping(ADDRESS_ATTRIBUTES, frozenset(Kind), Disabled.ACCEPT, Secondary.KEEP))


def test_every_setting_has_its_effect():
    given = row(
        object_kinds="users, public_folders",
        disabled_accounts="shared",
        secondary_addresses="rewrite",
        attributes="mail, userPrincipalName",
        target_attributes="targetAddress",
        base="OU=Staff,DC=example,DC=test",
        filter="department=sales",
        condition="company=a*b",
    )
    assert place_of(given) == Place(
        Mapping(
            ("mail", "userPrincipalName"),
            frozenset({Kind.USERS, Kind.PUBLIC_FOLDERS}),
            Disabled.SHARED,
            Secondary.REWRITE,
            ("targetAddress",),
        ),
        "OU=Staff,DC=example,DC=test",
        r"(department=sales)(company=a\2ab)",
    )


def test_a_filter_that_is_none_is_a_mistake_in_the_settings():
    with pytest.raises(ConfigError, match="directories, office: filter: "):
        ad_sync(row(filter="(department=sales"))


@pytest.mark.parametrize("kinds", ["computers", "", []])
def test_a_kind_that_is_none_is_a_mistake_in_the_settings(kinds):
    with pytest.raises(ValidationError):
        row(object_kinds=kinds)
