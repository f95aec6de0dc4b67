"""What README and docs say exists: commands, names in the environment, links, settings, tests."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from mailmoat.cli import application
from mailmoat.events import Event
from mailmoat.settings import entries, load
from mailmoat.settings.sources import CONFIG

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "loadtest/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# Names an example shows to be wrong.
WRONG = {"MAILMOAT_TARPIT_TIME"}
# Of the agent that docs/agents.md adds.
ADDED = {"MAILMOAT_HELO_ADDRESS__REFUSE"}
# Read by the tests and the Makefile, not by the program.
OF_TESTS = re.compile(r"MAILMOAT_(TEST_\w+|STREAMS)")


def pages(*, without: str = "") -> list:
    return [
        pytest.param(page, id=page.name if page.parent != ROOT / "loadtest" else "loadtest")
        for page in PAGES
        if page.name != without
    ]


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == language]


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def commands(page: Path) -> list[list[str]]:
    """Every `mailmoat ...` of the page: typed at a prompt, or named in a sentence."""
    typed = [line for body in blocks(page, "console") for line in re.findall(r"^\$ (.*)$", body, re.MULTILINE)]
    named = re.findall(r"`([^`\n]+)`", re.sub(BLOCK, "", page.read_text()))
    found = []
    for text in (*typed, *named):
        # `--peers mailmoat` is the comparison's.
        match = re.search(r"(?:^|(?<!--peers)\s|/)mailmoat ((?:[a-z-]+|--).*)$", text)
        if match and not re.match(r"(systemctl|useradd|journalctl|install|kill)\b", text):
            found.append(shlex.split(match[1], comments=True))
    return found


@pytest.mark.parametrize("page", pages())
def test_every_command_exists_with_its_options(page):
    for words in commands(page):
        command = get_command(application())
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in words if word.startswith("-") and word not in options | {"--help"}]
        assert not unknown, f"{page.name}: mailmoat {command.name}: {unknown}"
        assert not hasattr(command, "commands") or not [word for word in words if not word.startswith("-")], (
            page,
            words,
        )


@pytest.mark.parametrize("page", pages())
def test_every_name_in_the_environment_exists(page):
    known = {entry.environment for entry in entries().values()} | {CONFIG} | WRONG | ADDED
    found = {name for name in re.findall(r"MAILMOAT_\w*[A-Z]\b", page.read_text()) if not OF_TESTS.fullmatch(name)}
    assert found <= known, found - known


@pytest.mark.parametrize("page", pages())
def test_every_setting_exists(page):
    groups = {key.partition(".")[0] for key in entries() if "." in key}
    named = {
        name
        for name in re.findall(r"`([a-z]+\.[a-z_]+)(?: = [^`]*)?`", page.read_text())
        if name.partition(".")[0] in groups
    }
    # `log.jsonl` is a file.
    assert named - {"log.jsonl"} <= entries().keys(), named - entries().keys()


@pytest.mark.parametrize("page", pages())
def test_every_internal_link_leads_somewhere(page):
    text = re.sub(BLOCK, "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, part = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if part:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert part in map(anchor, headings), f"{page.name}: {target}"


@pytest.mark.parametrize("page", pages(without="agents.md"))
def test_every_settings_file_shown_can_be_used(page, tmp_path):
    for body in blocks(page, "toml"):
        assert tomllib.loads(body), page
        file = tmp_path / "mailmoat.toml"
        file.write_text(body)
        load(file, {})


def test_the_manuals_example_of_a_recipient_file_is_true(tmp_path, monkeypatch):
    """The settings, the file and the question it shows give the answers it shows."""
    section = (ROOT / "docs/manual.md").read_text().partition("\n## Recipient file\n")[2].partition("\n## ")[0]
    shown = {
        kind: body for kind, body in reversed(BLOCK.findall(section)) if "recipients check" in body or kind != "console"
    }
    question, *answers = shown["console"].splitlines()
    (tmp_path / "mailmoat.toml").write_text(f'spool_dir = "spool"\n{shown["toml"]}')
    (tmp_path / "recipients.txt").write_text(shown["text"])
    monkeypatch.chdir(tmp_path)
    words = shlex.split(question.removeprefix("$ mailmoat "))
    assert CliRunner().invoke(application(), words).stdout.splitlines() == answers


def test_the_manuals_example_of_mistakes_is_true(tmp_path, monkeypatch):
    """`check-config` prints for bad.toml what the manual shows."""
    section = (ROOT / "docs/manual.md").read_text().partition("With this `bad.toml`:")[2].partition("\n### ")[0]
    (_, file), (_, session) = BLOCK.findall(section)[:2]
    command, *shown = session.splitlines()
    (tmp_path / "bad.toml").write_text(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAILMOAT_TARPIT_TIME", "3")
    done = CliRunner().invoke(application(), shlex.split(command.partition("mailmoat ")[2]))
    assert done.output.splitlines() == shown
    assert done.exit_code == 1


def test_the_manual_shows_settings_as_they_are_printed(tmp_path, monkeypatch):
    (tmp_path / "mailmoat.toml").write_text('hostname = "mx.example.com"\nworkers = 2\n')
    monkeypatch.chdir(tmp_path)
    shown = re.search(
        r"^\$ mailmoat (settings --config .*)\n((?:.*\n)+?)\.\.\.$", (ROOT / "docs/manual.md").read_text(), re.MULTILINE
    )
    assert CliRunner().invoke(application(), shlex.split(shown[1])).stdout.startswith(shown[2])


@pytest.mark.parametrize("page", pages())
def test_every_log_line_shown_is_one(page):
    for body in blocks(page, "json"):
        for line in body.splitlines():
            shown = json.loads(line)
            assert {"time", "level", "event"} <= shown.keys(), page
            assert shown.keys() <= {"time", "level", "event", *Event(shown["event"]).fields}, line


def test_the_manual_describes_every_metric():
    """Name, type, labels and values of each family, once; the families are those of a server without agents of others."""
    tell = """
shown = {f.name: [f.kind, f.labels, [sample for sample, _ in f.samples()]] for f in FAMILIES.values()}
for f in GATHERED.values():
    shown[f.name] = [f.kind, [*f.labels], [f'="{member}"' for members in f.labels.values() if members for member in members]]
print(json.dumps(shown))"""
    code = f"import json, mailmoat.admin.app, mailmoat.worker; from mailmoat.metrics import FAMILIES, GATHERED; {tell}"
    families = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    section = (ROOT / "docs/manual.md").read_text().partition("\n## Metrics and health\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `mailmoat_")]
    shown = {row[0].strip("`"): row[1:4] for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in rows)}
    assert len(shown) == len(rows)
    assert shown.keys() == families.keys()
    for name, (kind, labels, samples) in families.items():
        assert shown[name][:2] == [kind, ", ".join(f"`{label}`" for label in labels)], name
        values = {text for sample in samples for text in re.findall(r'="([^"]+)"', sample)}
        assert values <= set(re.findall(r"`([^`]+)`", shown[name][2])), name


def test_every_limit_is_in_the_table_of_limits():
    text = (ROOT / "docs/manual.md").read_text().partition("\n## Limits\n")[2].partition("\n## ")[0]
    assert {key for key in entries() if key.startswith("limits.")} <= set(re.findall(r"`(limits\.\w+)`", text))


def test_every_setting_in_the_tables_for_newcomers_exists():
    """The middle column of docs/coming-from.md names settings, commands, or nothing."""
    rows = re.findall(r"^\| (.+) \| (.+) \| .*\|$", (ROOT / "docs/coming-from.md").read_text(), re.MULTILINE)
    ours = [cell for _, cell in rows if cell not in {"mailmoat", "---"}]
    named = {name for cell in ours for name in re.findall(r"`([^`]+)`", cell)}
    settings = {name for name in named if not name.startswith("mailmoat ")}
    assert settings <= entries().keys(), settings - entries().keys()
    assert all(re.fullmatch(r"-|`[^`]+`(, `[^`]+`)*", cell) for cell in ours), ours
    policy = {key for key in entries() if key.startswith(("relay.", "recipients."))}
    assert policy <= settings | {"recipients.postmaster"}


def test_every_check_of_a_decision_exists():
    text = (ROOT / "docs/decisions.md").read_text()
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name
    rust = "\n".join(path.read_text() for path in (ROOT / "rust").rglob("*.rs"))
    for name in re.findall(r"`\w+::([a-z]\w+)`", text):
        assert f"fn {name}(" in rust, name


def test_each_decision_has_its_six_lines():
    text = (ROOT / "docs/decisions.md").read_text().partition("\n## Where the code differs")[0]
    titles = re.findall(r"^## (.+)", text, re.MULTILINE)
    assert [title for title in titles if titles.count(title) > 1] == [], "a decision is written down twice"
    for decision in text.split("\n## ")[1:]:
        kinds = re.findall(r"^\* (\w+):", decision, re.MULTILINE)
        assert kinds == ["Context", "Choice", "Rejected", "Cost", "Check"], decision.splitlines()[0]


def test_the_unit_leaves_time_to_drain():
    unit = (ROOT / "docs/systemd/mailmoat.service").read_text()
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])
    assert stop > load(None, {}).drain_time + 5
