"""Which settings of a source decide what it has: with others its table is read anew, and only with others."""

import pytest

from mailmoat.directory.identity import ANYHOW, identity
from mailmoat.settings import Settings
from mailmoat.settings.sections.directories import SourceSettings, merged


def digest(**given):
    tree = Settings(hostname="mx.test", directories=[{"name": "a", "url": "ldaps://h.test", **given}])
    return identity(merged(tree.directory, tree.directories[0]))


def test_every_name_is_one_of_a_setting():
    assert SourceSettings.model_fields.keys() >= ANYHOW


@pytest.mark.parametrize("given", [{"name": "b"}, {"domains": "a.test"}, {"tls_ca": "/ca"}, {"interval": "1m"}])
def test_what_changes_no_entry_changes_no_identity(given):
    assert digest(**given) == digest()


@pytest.mark.parametrize(
    "given", [{"url": "ldaps://i.test"}, {"base": "o=x"}, {"filter": "(a=b)"}, {"attributes": "m"}]
)
def test_what_decides_about_entries_is_the_identity(given):
    assert digest(**given) != digest()
