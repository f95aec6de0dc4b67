"""The kit every `Directory` passes, real or fake: a new source of recipients adds one maker to `MAKERS`."""

from __future__ import annotations

import pytest
from tests.doubles.directory import FakeDirectory

from mailmoat._native import Address, Normalisation
from mailmoat.directory.directory import Directory, Presence, Redirection
from mailmoat.directory.inputs import RecipientsCompiler
from mailmoat.directory.snapshot import Scope, SnapshotKeeper
from mailmoat.directory.snapshot_directory import SnapshotDirectory

LISTED = (
    "ann@local.test",
    "Mixed.Case@Local.TEST",
    "ann@bücher.test",
    '"a b"@local.test',
    "someone%remote.tld@local.test",
    "ann+listed@local.test",
    "carol@whole.test",
    "carol+ok@gone.test",
)
WHOLE = ("whole.test",)
ALIASES = {
    "info@local.test": ("ann@local.test", "bob@other.test"),
    "keeps@local.test": ("keeps@local.test", "bob@other.test"),
}
EXCLUDED = ("gone@whole.test", "carol@gone.test", "ann+spam@local.test")


def make_fake(_path):
    return FakeDirectory(LISTED, WHOLE, EXCLUDED, aliases=ALIASES)


def make_fake_down(_path):
    return FakeDirectory(LISTED, WHOLE, EXCLUDED, down=True)


def make_file(path):
    lines = [*LISTED, *(f"@{domain}" for domain in WHOLE), *(f"!{address}" for address in EXCLUDED)]
    lines += [f"{alias} = {', '.join(targets)}" for alias, targets in ALIASES.items()]
    (path / "recipients").write_text("\n".join(lines), encoding="utf-8")
    assert (
        SnapshotKeeper(path / "recipients", path / "snapshot", RecipientsCompiler(path / "recipients", (), Scope()))
        .compile()
        .problems
        == ()
    )
    return SnapshotDirectory(path / "snapshot", Normalisation("+"))


def make_file_down(path):
    (path / "snapshot").write_bytes(b"torn")
    return SnapshotDirectory(path / "snapshot", Normalisation("+"))


MAKERS = [pytest.param(make_fake, make_fake_down, id="fake"), pytest.param(make_file, make_file_down, id="file")]


@pytest.fixture
def directory(maker, tmp_path) -> Directory:
    return maker(tmp_path)


@pytest.mark.parametrize(("maker", "down"), MAKERS)
class TestDirectory:
    @pytest.mark.parametrize(
        ("address", "answer"),
        [
            ("ann@local.test", Presence.EXISTS),
            ("ANN@LOCAL.test.", Presence.EXISTS),
            ('"ann"@local.test', Presence.EXISTS),
            ("mixed.case@local.test", Presence.EXISTS),
            ("ann@xn--bcher-kva.test", Presence.EXISTS),
            ("ann@BÜCHER.test", Presence.EXISTS),
            (r'"a\ b"@local.test', Presence.EXISTS),
            ("someone%remote.tld@local.test", Presence.EXISTS),
            ("@route.test:ann@local.test", Presence.EXISTS),
            ("anybody@whole.test", Presence.EXISTS),
            ("gone@whole.test", Presence.ABSENT),
            ("GONE@Whole.test", Presence.ABSENT),
            ("bob@local.test", Presence.ABSENT),
            ("ann@sub.local.test", Presence.ABSENT),
            ("anybody@sub.whole.test", Presence.ABSENT),
            ('"ann@local.test"@local.test', Presence.ABSENT),
            ("ann%whole.test@local.test", Presence.ABSENT),
            ("someone@remote.tld", Presence.ABSENT),
            ("victim%evil.example@whole.test", Presence.ABSENT),
            ("evil.example!victim@whole.test", Presence.ABSENT),
            (r'"victim\@evil.example"@whole.test', Presence.ABSENT),
            ("|sh@whole.test", Presence.ABSENT),
            ("ann+tag@local.test", Presence.EXISTS),
            ("ANN+Tag+more@local.test", Presence.EXISTS),
            ("ann+@local.test", Presence.EXISTS),
            ("ann+listed@local.test", Presence.EXISTS),
            ("ann+spam@local.test", Presence.ABSENT),
            ("bob+tag@local.test", Presence.ABSENT),
            ("+ann@local.test", Presence.ABSENT),
            ("ann+x%evil.example@local.test", Presence.ABSENT),
            ("ann-tag@local.test", Presence.ABSENT),
            ("carol+tag@whole.test", Presence.EXISTS),
            ("anybody+tag@whole.test", Presence.EXISTS),
            ("gone+tag@whole.test", Presence.ABSENT),
            ("carol+ok@gone.test", Presence.EXISTS),
            ("carol+no@gone.test", Presence.ABSENT),
        ],
    )
    def test_it_answers(self, directory, down, address, answer):
        assert directory.lookup(Address.parse(address)) is answer

    @pytest.mark.parametrize(
        ("address", "alias"),
        [
            ("info@local.test", "info@local.test"),
            ("INFO+tag@local.test", "info@local.test"),
            ("keeps@local.test", "keeps@local.test"),
        ],
    )
    def test_it_gives_the_targets_of_an_alias(self, directory, down, address, alias):
        targets = tuple(map(Address.parse, ALIASES[alias]))
        assert directory.lookup(Address.parse(address)) == Redirection(targets)

    @pytest.mark.parametrize("address", ["ann@local.test", "gone@whole.test", "bob@local.test"])
    def test_trouble_is_unknown_never_absent(self, maker, down, tmp_path, address):
        directory = down(tmp_path)
        assert directory.lookup(Address.parse(address)) is Presence.UNKNOWN
        assert "unknown" in directory.explain(Address.parse(address))

    @pytest.mark.parametrize("address", ["ann@local.test", "gone@whole.test", "bob@local.test"])
    def test_it_explains_its_answer_in_one_line(self, directory, down, address):
        address = Address.parse(address)
        sentence = directory.explain(address)
        assert str(address) in sentence
        assert directory.lookup(address).value in sentence
        assert "\n" not in sentence
