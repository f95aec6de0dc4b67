"""MTA-STS: what is a record and a policy, what is kept, and what holds when something fails (RFC 8461)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doubles.resolver import FakeResolver

from mailmoat import clock, maillog
from mailmoat.mta_sts import cache as caches
from mailmoat.mta_sts.cache import KeptPolicy, PolicyCache
from mailmoat.mta_sts.fetch import FetchError, FetchResult
from mailmoat.mta_sts.policies import REST, Applied, Policies
from mailmoat.mta_sts.policy import LONGEST_AGE, Mode, StsPolicy, read, record_id
from mailmoat.resolver import Budget

ENFORCE = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.test\r\nmx: *.example.net\r\nmax_age: 604800\r\n"
POLICY = StsPolicy(Mode.ENFORCE, 604_800, ("mail.example.test", "*.example.net"))


# --- records and policies ---


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ;\tid=1 ; "], "1"),
        ([b"v=STSv1; more=x:y; id=1; id=2"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=1", b"v=STSv10; id=2"], "1"),
        ([b"v=STSv1; id=1", b"v=STSv1; id=1;"], None),
        ([b"v=STSv1; id="], None),
        ([b"v=STSv1;"], None),
        ([b"v=STSv1; id=1; ;"], None),
        ([b"v=STSv1; id=a-b"], None),
        ([b"v=STSv1; id=" + b"1" * 33], None),
        ([b"v=STSv1; id=\xc3\xa9"], None),
        ([b"V=STSv1; id=1"], None),
        ([b" v=STSv1; id=1"], None),
        ([], None),
    ],
)
def test_the_record_says_which_policy_there_is(records, found):
    """RFC 8461 3.1."""
    assert record_id(records) == found


@pytest.mark.parametrize(
    ("octets", "policy"),
    [
        (ENFORCE, POLICY),
        (ENFORCE.replace(b"\r\n", b"\n"), POLICY),
        (ENFORCE.rstrip(), POLICY),
        (ENFORCE.replace(b": ", b":\t "), POLICY),
        (ENFORCE + b"mode: none\r\nextra: \xc3\xa9 x\r\n\r\n", POLICY),
        (ENFORCE.replace(b"mail.example", b"Mail.Example"), POLICY),
        (b"version: STSv1\nmode: none\nmax_age: 0", StsPolicy(Mode.NONE, 0)),
        (
            b"max_age: 9999999999\nmx: a.test\nversion: STSv1\nmode: testing",
            StsPolicy(Mode.TESTING, LONGEST_AGE, ("a.test",)),
        ),
    ],
)
def test_a_policy_is_lines_of_keys_and_values(octets, policy):
    """RFC 8461 3.2."""
    assert read(octets) == policy


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        ENFORCE.replace(b"STSv1", b"STSv2"),
        ENFORCE.replace(b"enforce", b"Enforce"),
        ENFORCE.replace(b"604800", b"-1"),
        ENFORCE.replace(b"604800", b"1" * 11),
        ENFORCE.replace(b"max_age", b"age"),
        ENFORCE.replace(b"*.example.net", b"*.*.net"),
        ENFORCE.replace(b"*.example.net", b"a*.example.net"),
        ENFORCE.replace(b"*.example.net", b""),
        b"version: STSv1\nmode: enforce\nmax_age: 1",
    ],
)
def test_anything_else_is_no_policy(octets):
    with pytest.raises(ValueError):
        read(octets)


@given(st.binary() | st.text().map(str.encode))
def test_any_octets_are_a_policy_or_none(octets):
    with contextlib.suppress(ValueError):
        assert list(read(octets).lines())
    assert record_id([octets]) is None or octets.startswith(b"v=STSv1")


def test_a_wildcard_is_one_label():
    """RFC 8461 4.1."""
    for host, permitted in [
        ("mail.example.test", True),
        ("a.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("example.test", False),
        ("net", False),
        ("", False),
    ]:
        assert POLICY.permits(host) is permitted, host


def test_a_policy_is_written_as_reports_have_it():
    """RFC 8460 4.5."""
    assert read("\n".join(POLICY.lines()).encode()) == POLICY


# --- kept ---


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still; put it forward by adding seconds."""
    time = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    monkeypatch.setattr(clock, "wall_ms", lambda: int(time[0] * 1000) + 1_700_000_000_000)
    return time


@pytest.fixture(autouse=True)
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(maillog, "event", lambda event, **fields: lines.append((event.value, fields)))
    return lines


def test_a_kept_policy_is_there_for_others_until_it_expires(tmp_path, now):
    kept = KeptPolicy("1", clock.wall_ms(), POLICY)
    PolicyCache(tmp_path).put("example.test", kept)
    other = PolicyCache(tmp_path)
    assert other.get("example.test") == kept
    assert other.get("other.test") is None
    now[0] += POLICY.max_age - 1
    assert other.get("example.test") == kept
    now[0] += 1
    assert other.get("example.test") is None


@pytest.mark.parametrize("domain", ["../example.test", "a/b", ".hidden", "", "x" * 300, "[192.0.2.1]"])
def test_what_is_no_name_is_no_file(tmp_path, domain):
    cache = PolicyCache(tmp_path / "spool")
    cache.put(domain, KeptPolicy("1", clock.wall_ms(), POLICY))
    assert list(tmp_path.iterdir()) == []
    assert cache.get(domain) is None


def test_a_damaged_file_is_no_policy(tmp_path):
    cache = PolicyCache(tmp_path)
    cache.put("example.test", KeptPolicy("1", clock.wall_ms(), POLICY))
    (file,) = (tmp_path / caches.DIRECTORY).iterdir()
    for octets in (b"", b"{", b"[]", b"\xff" * 100, b'{"id":"1","fetched":1,"policy":{"mode":"x","max_age":1}}'):
        file.write_bytes(octets)
        assert cache.get("example.test") is None


def test_policies_are_kept_within_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "MOST", 20)
    monkeypatch.setattr(caches, "LOOK", 10)
    cache = PolicyCache(tmp_path)
    for number in range(50):
        cache.put(f"d{number}.test", KeptPolicy("1", clock.wall_ms(), POLICY))
        assert len(list((tmp_path / caches.DIRECTORY).iterdir())) < 30
    assert cache.get("d49.test") is not None


def test_a_file_that_another_worker_has_just_removed_is_no_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "LOOK", 1)
    (tmp_path / caches.DIRECTORY).mkdir()
    (tmp_path / caches.DIRECTORY / "gone.test").symlink_to(tmp_path / "nowhere")  # in the list, and not there
    cache = PolicyCache(tmp_path)
    cache.put("example.test", KeptPolicy("1", clock.wall_ms(), POLICY))
    assert cache.get("example.test") is not None


# --- found ---


class Site:
    """A domain's record and policy, and who looks for them."""

    def __init__(self, tmp_path):
        self.resolver = FakeResolver()
        self.tmp_path = tmp_path
        self.served: bytes | FetchError = ENFORCE
        self.fetched: list[str] = []
        self.policies = self.worker()

    def worker(self) -> Policies:
        return Policies(self.resolver, PolicyCache(self.tmp_path), self._fetch)

    async def _fetch(self, domain: str) -> bytes:
        self.fetched.append(domain)
        await asyncio.sleep(0)
        if isinstance(self.served, FetchError):
            raise self.served
        return self.served

    def publish(self, identifier: str | None) -> None:
        """In the DNS, from now on."""
        fresh = FakeResolver()
        if identifier is not None:
            fresh.add("_mta-sts.example.test", "TXT", f"v=STSv1; id={identifier}")
        self.resolver.__dict__.update(fresh.__dict__)

    def find(self, *workers: Policies) -> Applied:
        async def all_of_them():
            found = await asyncio.gather(
                *(each.find("example.test", Budget(10, 10)) for each in workers or (self.policies,))
            )
            for each in workers or (self.policies,):
                if each._fetches:
                    await asyncio.wait(each._fetches.values())
            return found[-1]

        return asyncio.run(all_of_them())

    def fail(self) -> None:
        self.served = FetchError(FetchResult.UNREACHABLE, "gone")


@pytest.fixture
def site(tmp_path, now):
    return Site(tmp_path)


def test_a_domain_without_a_record_has_no_policy(site):
    assert site.find() == Applied()
    assert site.fetched == []


def test_a_policy_is_fetched_once_for_all_messages_and_workers(site):
    site.publish("1")
    assert site.find(site.policies, site.policies) == Applied(POLICY)
    assert site.find() == Applied(POLICY)
    assert site.find(site.worker()) == Applied(POLICY)
    assert site.fetched == ["example.test"]


def test_a_new_id_has_a_new_policy(site, now):
    site.publish("1")
    site.find()
    site.served = ENFORCE.replace(b"enforce", b"none")
    assert site.find().policy.mode is Mode.ENFORCE
    site.publish("2")
    now[0] += 61
    assert site.find().policy.mode is Mode.NONE


@pytest.mark.parametrize("published", [None, "1", "2"])
def test_nothing_that_fails_ends_a_policy_before_its_time(site, now, published):
    """RFC 8461 3.3: no record, no policy, a new record without a policy."""
    site.publish("1")
    site.find()
    site.fail()
    site.publish(published)
    for _ in range(10):
        assert site.find().policy == POLICY
        now[0] += POLICY.max_age / 10.1
    assert site.find(site.worker()).policy == POLICY
    now[0] += POLICY.max_age / 10
    assert site.find().policy is None


def test_a_fetch_that_failed_is_repeated_after_a_while_or_for_another_id(site, now, logged):
    site.fail()
    site.publish("1")
    assert site.find() == Applied(None, FetchResult.UNREACHABLE)
    assert site.find() == Applied()
    now[0] += REST - 1
    assert site.find() == Applied()
    assert len(site.fetched) == 1
    now[0] += 2
    assert site.find() == Applied(None, FetchResult.UNREACHABLE)
    site.publish("2")
    assert site.find() == Applied(None, FetchResult.UNREACHABLE)
    assert len(site.fetched) == 3
    fields = {"domain": "example.test", "reason": "sts-policy-fetch-error", "in_force": "none", "detail": "gone"}
    assert logged[0] == ("sts-policy-not-fetched", fields)


def test_a_policy_that_cannot_be_read_is_a_failure(site):
    site.publish("1")
    site.served = b"<html>"
    assert site.find() == Applied(None, FetchResult.INVALID)


def test_a_policy_is_fetched_again_once_a_day_and_nobody_waits_for_it(site, now):
    """RFC 8461 3.3."""
    site.publish("1")
    site.find()
    now[0] += 86_401
    site.served = ENFORCE.replace(b"enforce", b"testing")
    assert site.find().policy.mode is Mode.ENFORCE
    assert site.find().policy.mode is Mode.TESTING
    assert len(site.fetched) == 2


def test_a_disk_that_is_full_costs_the_other_workers_the_policy_alone(site, tmp_path, logged):
    (tmp_path / caches.DIRECTORY).write_text("in the way")
    site.publish("1")
    assert site.find() == Applied(POLICY)
    assert [name for name, _ in logged] == ["sts-policy-not-kept"]


def test_too_many_domains_at_a_time_are_as_without_a_policy(site):
    async def flood():
        gate = asyncio.Event()

        async def fetch(_domain):
            await gate.wait()
            return ENFORCE

        policies = Policies(site.resolver, PolicyCache(site.tmp_path), fetch)
        for number in range(20):
            site.resolver.add(f"_mta-sts.d{number}.test", "TXT", "v=STSv1; id=1")
        asked = [asyncio.create_task(policies.find(f"d{number}.test", Budget(10, 10))) for number in range(20)]
        done, waiting = await asyncio.wait(asked, timeout=0.05)
        assert [task.result() for task in done] == [Applied()] * 4
        gate.set()
        assert await asyncio.gather(*waiting) == [Applied(POLICY)] * 16
        await policies.close()

    asyncio.run(flood())


def test_what_is_being_fetched_ends_with_the_worker(site):
    async def closed():
        async def fetch(_domain):
            await asyncio.Event().wait()

        policies = Policies(site.resolver, PolicyCache(site.tmp_path), fetch)
        site.publish("1")
        asked = asyncio.create_task(policies.find("example.test", Budget(10, 10)))
        await asyncio.sleep(0.01)
        await policies.close()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(closed())
