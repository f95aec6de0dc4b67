"""The SQL settings of a row of `[[directories]]`."""

import pytest
from pydantic import ValidationError

from mailmoat.settings import Settings

QUERY = "SELECT email AS address FROM users"


def settings(**given):
    row = {"name": "db", "url": "postgresql://h/mail", **given}
    return Settings(hostname="mx.example.test", directories=[row]).directories[0]


def test_a_query_is_taken_as_it_is():
    row = settings(query=f"{QUERY}\nWHERE active = 1, 2;")
    assert row.query == f"{QUERY}\nWHERE active = 1, 2;"
    assert (row.full_interval, row.changes_overlap, row.query_timeout, row.connections) == (3600, 60, 60, 8)


@pytest.mark.parametrize(
    ("given", "key", "reason"),
    [
        ({}, "url", "without query"),
        ({"mode": "live"}, "url", "without lookup_query"),
        ({"query": QUERY, "url": "postgresql://h"}, "url", "write postgresql://HOST/DATABASE"),
        ({"query": QUERY, "url": "mysql://h/"}, "url", "write mysql://HOST/DATABASE"),
        ({"query": QUERY, "changes_query": QUERY}, "changes_query", "WHERE modified >= :since"),
        ({"mode": "live", "lookup_query": QUERY}, "lookup_query", "WHERE email = :address"),
        ({"query": QUERY, "url": "mysql://h/mail", "notify_channel": "c"}, "notify_channel", "has no channels"),
        ({"query": QUERY, "url": "ldap://h"}, "query", "ldap: has no queries"),
        ({"query": QUERY, "connections": 0}, None, "connections"),
    ],
)
def test_a_row_that_cannot_be_is_refused(given, key, reason):
    with pytest.raises(ValidationError) as refused:
        settings(**given)
    [error] = refused.value.errors()
    assert key is None or error["ctx"]["key"] == f"directories.0.{key}"
    assert reason in str(refused.value)


def test_a_sqlite_file_is_a_database():
    assert settings(url="sqlite:///x.db", query=QUERY).url.family == "sqlite"
