"""docs/agents.md does what it says: its files are installed as pip leaves them, its setting, its dialogue, its log line and its metrics."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from tests.doubles.installed import install

import mailmoat

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page():
    """Its blocks by language, in their order."""
    blocks = {}
    for language, body in BLOCK.findall((ROOT / "docs/agents.md").read_text()):
        blocks.setdefault(language, []).append(body)
    return blocks


@pytest.fixture
def serve(server, page, tmp_path):
    """A server whose settings file is the page's, in an environment that has the page's package."""
    [agent, waiting], [project, settings] = page["python"], page["toml"]
    package = tomllib.loads(project)
    [module] = package["tool"]["setuptools"]["py-modules"]
    installed = tmp_path / "site-packages"
    installed.mkdir()
    points = package["project"]["entry-points"]["mailmoat.agents"]
    install(installed, {module: agent}, points, package["project"]["name"])
    install(installed, {"own_senders": waiting}, {"own_senders": "own_senders:OwnSenders"})
    path = os.pathsep.join([str(installed), str(Path(mailmoat.__file__).parents[1])])
    return lambda **environment: server(settings, PYTHONPATH=path, **environment)


def say(mx, *commands):
    """The lines of the server's side."""
    client = mx.client(hello="")
    return [client.greeting, *(client.ask(command) for command in commands)]


def test_the_agent_is_short(page):
    [agent, _] = page["python"]
    assert len([line for line in agent.splitlines() if line.strip()]) <= 25


def test_the_page_does_what_it_says(serve, page):
    mx = serve()
    script = [line.partition(": ") for line in page["text"][0].splitlines()]
    said = say(mx, *(text for who, _, text in script if who == "C"))
    shown = [text.removesuffix("...") for who, _, text in script if who == "S"]
    shown[0] = shown[0].replace("mx.example.com", "mx.example.test")
    assert [line[: len(text)] for line, text in zip(said, shown, strict=True)] == shown
    [line] = mx.until(lambda: mx.logged("command-refused"), what="line of the refusal")
    [example] = map(json.loads, page["json"])
    assert line.keys() == example.keys()
    differs = {"time", "session", "client"}
    assert {key: line[key] for key in line.keys() - differs} == {key: example[key] for key in line.keys() - differs}
    assert mx.metric("helo_addresses_total") == 1
    assert mx.metric(f'policy_refusals_total{{reason="{example["reason"]}"}}') == 1
    for greeting in ("HELO client.remote.tld", "EHLO [192.0.2.1]"):
        assert say(mx, greeting)[1].startswith("250")
    assert mx.metric("helo_addresses_total") == 1


def test_its_setting_is_one_like_any_other(serve):
    mx = serve(MAILMOAT_HELO_ADDRESS__REFUSE="off")
    assert say(mx, "HELO 203.0.113.7")[1].startswith("250")
    assert mx.metric("helo_addresses_total") == 1
    shown = json.loads(mx.cli("settings", "--json", "--changed").stdout)
    [setting] = [one for one in shown if one["name"] == "helo_address.refuse"]
    assert (setting["value"], setting["origin"]) == (False, "MAILMOAT_HELO_ADDRESS__REFUSE")
    assert mx.cli("check-config").returncode == 0


def test_the_agent_that_waits(serve):
    mx = serve(MAILMOAT_POLICY__AGENTS="own_senders")
    said = say(
        mx, "EHLO client.remote.tld", *(f"MAIL FROM:<{path}>" for path in ("ghost@example.test", "alice@example.test"))
    )
    assert said[2] == "550 5.1.8 This sender does not exist here"
    assert said[3].startswith("250 2.1.0 ")
    assert mx.metric('policy_refusals_total{reason="own-sender-unknown"}') == 1


def test_what_is_wrong_with_the_list_is_said_and_a_reload_does_not_change_it(serve, server):
    bare = server('[policy]\nagents = ["helo_address"]\n', start=False)
    wrong = bare.cli("check-config")
    assert wrong.returncode == 1
    assert "policy.agents" in wrong.stderr
    assert "helo_address: no agent of this name is installed" in wrong.stderr
    mx = serve()
    mx.config.write_text("")
    mx.process.send_signal(1)
    [line] = mx.until(lambda: mx.logged("reload-refused"), what="refused reload")
    assert "restart the server" in json.dumps(line)
    assert say(mx, "HELO 203.0.113.7")[1].startswith("550")
