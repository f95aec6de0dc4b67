"""Agents of administrators: listed in the settings, found by entry point, with a section like any other; each mistake has a sentence."""

from __future__ import annotations

import itertools
import sys

import pytest
from tests.doubles.installed import install
from tests.doubles.policy import services

from mailmoat import settings
from mailmoat.errors import ConfigError
from mailmoat.policy.registry import agents
from mailmoat.settings import entries

AGENT = """
from mailmoat.policy.agent import Agent
from mailmoat.settings.fields import Count, Networks
from mailmoat.settings.section import Section
from pydantic import Field

class OursSettings(Section):
    most: Count = Field(default=3, description="How many.")
    networks: Networks = Field(default=(), description="Where.")

class Ours(Agent):
    name, section = "ours", OursSettings

    def __init__(self, services):
        self.most = services.section(OursSettings).most

class Plain(Agent):
    name = "plain"
"""
_numbers = itertools.count()


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Install agents: their module's text, and the class of each name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def put(text, **classes):
        module = f"agents_of_ours_{next(_numbers)}"
        made.append(module)
        install(tmp_path, {module: text}, {name: f"{module}:{kind}" for name, kind in classes.items()}, module)
        return module

    yield put
    for module in made:
        sys.modules.pop(module, None)


def load(**environment):
    return settings.load(environment={f"MAILMOAT_{name}": value for name, value in environment.items()})


def test_a_listed_agent_has_its_section_in_the_environment_and_in_the_list_of_settings(put):
    put(AGENT, ours="Ours", plain="Plain")
    tree = load(POLICY__AGENTS="ours, plain", OURS__MOST="7")
    assert tree.ours.most == 7
    assert tree.origin("ours.most") == "MAILMOAT_OURS__MOST"
    found = entries(type(tree))
    assert [key for key in found if key.startswith("ours.")] == ["ours.most", "ours.networks"]
    assert (found["ours.most"].default, found["ours.most"].meaning) == ("3", "How many.")
    assert "ours.most" not in entries(), "another tree has no such setting"
    made = agents(services(tree))
    assert [agent.name for agent in made][-4:] == ["relay", "recipient_filter", "ours", "plain"]
    assert made[-2].most == 7


def test_they_are_asked_before_the_checks_of_senders_in_their_order(put):
    put(AGENT, ours="Ours", plain="Plain")
    tree = load(POLICY__AGENTS="plain,ours", SENDERID__ENABLED="on")
    assert [agent.name for agent in agents(services(tree, checker=object()))][-5:] == [
        "relay", "recipient_filter", "plain", "ours", "sender_id",
    ]  # fmt: skip


def test_in_the_file(put, tmp_path):
    put(AGENT, ours="Ours")
    file = tmp_path / "mailmoat.toml"
    file.write_text('[policy]\nagents = ["ours"]\n[ours]\nmost = 5\nnetworks = ["10.0.0.0/8"]\n')
    tree = settings.load(file, {})
    assert (tree.ours.most, str(tree.ours.networks[0]), tree.origin("ours.most")) == (5, "10.0.0.0/8", str(file))
    file.write_text('[policy]\nagents = ["ours"]\n[ours]\nmost = -1\nmosst = 1\n')
    assert mistakes(lambda: settings.load(file, {})) == [
        f"{file}: ours.mosst = 1: no such setting; did you mean ours.most?",
        f"{file}: ours.most = -1: not a whole number, 0 or more; write a whole number, 0 or more",
    ]


def test_nothing_unlisted_is_loaded(put):
    module = put("raise RuntimeError('loaded')", ours="Ours")
    assert load().extensions == ()
    assert module not in sys.modules
    assert mistakes(lambda: load(OURS__MOST="1")) == [
        'MAILMOAT_OURS__MOST = "1": no such setting; remove it from the environment'
    ]


def mistakes(act):
    with pytest.raises(ConfigError) as raised:
        act()
    return raised.value.mistakes


@pytest.mark.parametrize(
    ("text", "kind", "wrong"),
    [
        ("raise RuntimeError('no licence')", "Ours", "cannot be loaded: RuntimeError: no licence; repair it, or remove the name"),
        ("import sys; sys.exit('no licence')", "Ours", "cannot be loaded: SystemExit: no licence; repair it, or remove the name"),
        ("import nowhere_to_be_found", "Ours", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        (AGENT, "Missing", "has no attribute 'Missing'"),
        ("class Ours: name = 'ours'", "Ours", "is no agent; name a class that is derived from mailmoat.policy.agent.Agent"),
        ("ours = 1", "ours", "1 is no agent"),
        (AGENT, "Plain", "its class has the name 'plain'; give it the name of its entry point"),
        (AGENT.replace("def __init__", "def on_male(self, view): ...\n    def __init__"), "Ours", "its method on_male is never called; name it after a stage: on_connect, on_helo, on_mail, "),
        (AGENT.replace("default=3, ", ""), "Ours", "its setting most has no default; give it one"),
        (AGENT.replace("most: Count", "most: int"), "Ours", "its setting most needs a type of mailmoat.settings.fields"),
        (AGENT.replace('description="How many."', ""), "Ours", "its setting most needs a type of mailmoat.settings.fields and a description"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_agent_is_a_mistake_in_the_settings(put, text, kind, wrong):
    put(text, ours=kind)
    [mistake] = mistakes(lambda: load(POLICY__AGENTS="ours"))
    assert mistake.startswith('MAILMOAT_POLICY__AGENTS = "ours": ours: ')
    assert wrong in mistake


def test_the_settings_of_an_agent_that_cannot_be_loaded_are_no_mistake_of_their_own(put, tmp_path):
    put("import nowhere_to_be_found", ours="Ours")
    file = tmp_path / "mailmoat.toml"
    file.write_text('tarpit.max = 1\n[policy]\nagents = ["ours", "tarpit"]\n[ours]\nmost = 5\n')
    ours, tarpit, unknown = mistakes(lambda: settings.load(file, {"MAILMOAT_OURS__MOST": "7"}))
    assert "ours: agents_of_ours" in ours
    assert "tarpit: no agent of this name is installed" in tarpit
    assert "tarpit.max = 1: no such setting" in unknown


def test_names_that_are_taken_unknown_or_listed_twice(put, tmp_path):
    put(AGENT.replace('name, section = "ours"', 'name, section = "tarpit"'), tarpit="Ours")
    assert "a setting has this name" in mistakes(lambda: load(POLICY__AGENTS="tarpit"))[0]
    [unknown] = mistakes(lambda: load(POLICY__AGENTS="ours"))
    assert "ours: no agent of this name is installed (installed: tarpit); install it, or remove the name" in unknown
    put(AGENT, ours="Ours")
    assert "ours: it is listed twice; remove one" in mistakes(lambda: load(POLICY__AGENTS="ours,ours"))[0]
    put(AGENT, ours="Ours")
    assert "several packages have an agent of this name" in mistakes(lambda: load(POLICY__AGENTS="ours"))[0]
    file = tmp_path / "mailmoat.toml"
    file.write_text("policy = 1\n")
    assert "is a group of settings" in mistakes(lambda: settings.load(file, {}))[0]
    file.write_text("[policy]\nagents = [7]\n")
    assert mistakes(lambda: settings.load(file, {})) == [
        f"{file}: policy.agents = 7: not a name of small letters, digits and _; write names such as helo_address, separated by commas"
    ]


def test_two_agents_have_two_sections(put):
    put(AGENT + 'class Other(Ours):\n    name = "other"\n', ours="Ours", other="Other")
    [shared] = mistakes(lambda: load(POLICY__AGENTS="ours,other"))
    assert "other: its section OursSettings is that of ours; derive a class of its own" in shared
