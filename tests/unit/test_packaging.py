"""What the wheel brings beside the package, and that the unit, the sample settings and the manual agree about places."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from mailmoat.settings import load, warnings

ROOT = Path(__file__).parents[2]
SHARE = ROOT / "packaging/data/share/doc/mailmoat"
UNIT = (ROOT / "docs/systemd/mailmoat.service").read_text()
PREFIX = "/opt/mailmoat"


def of_unit(key: str) -> str:
    return re.search(rf"^{key}=(.*)$", UNIT, re.MULTILINE)[1]


def test_the_wheel_brings_manual_settings_and_unit():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["maturin"]["data"] == "packaging"
    brought = {str(path.relative_to(SHARE)): path for path in SHARE.rglob("*") if not path.is_dir()}
    assert brought.keys() == {
        "manual.md",
        "active-directory.md",
        "ldap.md",
        "sql.md",
        "coming-from.md",
        "agents.md",
        "settings.md",
        "mailmoat.toml",
        "CHANGELOG.md",
        "systemd/mailmoat.service",
    }
    for name, path in brought.items():
        original = ROOT / name if name == "CHANGELOG.md" else ROOT / "docs" / name
        assert path.resolve() == original, "a link, so that nothing is there twice"


def test_the_manual_finds_what_it_names_where_it_is_installed():
    text = (SHARE / "manual.md").read_text()
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert target.startswith("https://") or (SHARE / target).exists(), target
    for place in re.findall(rf"{PREFIX}/share/doc/mailmoat/(\S+)", text):
        assert (SHARE / place).exists(), place


def test_the_units_places_are_those_of_the_installation():
    assert of_unit("ExecStart").startswith(f"{PREFIX}/bin/mailmoat serve")
    assert of_unit("Documentation") == f"file:{PREFIX}/share/doc/mailmoat/manual.md"
    sample = load(ROOT / "docs/mailmoat.toml", {})
    assert sample.spool_dir == Path("/var/lib") / of_unit("StateDirectory")
    assert sample.user is None, "the unit is without root already"


def test_the_sample_settings_want_no_second_look():
    assert warnings(load(ROOT / "docs/mailmoat.toml", {})) == []
