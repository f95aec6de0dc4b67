"""Arrays of tables in the settings: rows in their order, from the file or the environment, each mistake with its row and its line."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import pytest
from pydantic import Field, create_model
from tests.doubles.installed import install

from mailmoat import settings
from mailmoat.errors import ConfigError
from mailmoat.settings import Settings, array, entries, sources
from mailmoat.settings.fields import Domain
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section

AGENT = """
from typing import Annotated
from mailmoat.policy.agent import Agent
from mailmoat.settings.array import show_rows
from mailmoat.settings.fields import Count, Domain, Duration, Names, OptionalPath
from mailmoat.settings.notation import Form
from mailmoat.settings.section import Section
from pydantic import Field

class Hop(Section):
    domain: Domain = Field(description="Where.")
    weight: Count = Field(default=1, description="How much.")
    tags: Names = Field(default=(), description="Which.")
    file: OptionalPath = Field(default=None, description="A file.")
    time: Duration = Field(default=1.0, description="How long.")

class RoutingSettings(Section):
    hops: Annotated[tuple[Hop, ...], Form("[[routing.hops]] for each", show_rows)] = Field(
        default=(), description="The hops, in this order."
    )
    most: Count = Field(default=3, description="How many.")

class Routing(Agent):
    name, section = "routing", RoutingSettings
"""
FILE = """\
[policy]
agents = ["routing"]

[routing]
most = 4

[[routing.hops]]
domain = "B.test"
file = "b.txt"

# a comment
[[ routing . hops ]]
domain = "a.test"
weight = 7
tags = "x, y"
time = "2m"
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, {"agent_with_rows": AGENT}, {"routing": "agent_with_rows:Routing"}, "agent_with_rows")
    written = tmp_path / "mailmoat.toml"
    written.write_text(FILE)
    yield written
    sys.modules.pop("agent_with_rows", None)


def mistakes(file, **environment):
    with pytest.raises(ConfigError) as raised:
        settings.load(file, environment)
    return raised.value.mistakes


def test_rows_of_the_file_in_their_order(file, tmp_path):
    tree = settings.load(file, {})
    first, second = tree.routing.hops
    assert (first.domain, first.weight, first.file) == ("b.test", 1, tmp_path / "b.txt")
    assert (second.domain, second.weight, second.tags, second.time) == ("a.test", 7, ("x", "y"), 120.0)
    assert tree.routing.most == 4
    assert tree.origin("routing.hops") == str(file)


def test_inline_tables_are_rows_as_well(file):
    file.write_text(
        'policy.agents = ["routing"]\n[routing]\nhops = [{domain = "a.test"}, {domain = "b.test", weight = 0}]\n'
    )
    assert [(hop.domain, hop.weight) for hop in settings.load(file, {}).routing.hops] == [("a.test", 1), ("b.test", 0)]
    file.write_text(
        'policy.agents = ["routing"]\n[routing]\nhops = [{domain = "a.test"}, {domain = "b.test", weight = -1}]\n'
    )
    (found,) = mistakes(file)
    assert found.startswith(f"{file}: routing.hops[2].weight = -1: not a whole number")


def test_the_environment_replaces_all_rows(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    rows = [{"domain": "C.test", "tags": ["z"], "file": "c.txt"}, {"domain": "d.test"}]
    tree = settings.load(file, {"MAILMOAT_ROUTING__HOPS": json.dumps(rows)})
    assert [hop.domain for hop in tree.routing.hops] == ["c.test", "d.test"]
    assert tree.routing.hops[0].file == tmp_path.parent / "c.txt"
    assert tree.origin("routing.hops") == "MAILMOAT_ROUTING__HOPS"
    assert settings.load(file, {"MAILMOAT_ROUTING__HOPS": "[]"}).routing.hops == ()


def test_what_is_shown_can_be_read_again(file):
    tree = settings.load(file, {})
    entry = entries(type(tree))["routing.hops"]
    shown = entry.form.show(tree.routing.hops)
    assert json.loads(shown)[1] == {"domain": "a.test", "weight": 7, "tags": "x, y", "time": "2m"}
    assert settings.load(file, {entry.environment: shown}).routing.hops == tree.routing.hops
    assert [(each.key, each.default) for each in entry.row.values()][:2] == [
        ("routing.hops[].domain", "required"),
        ("routing.hops[].weight", "1"),
    ]


def test_each_mistake_names_its_row_and_its_line(file):
    file.write_text(
        FILE.replace("weight = 7", 'weight = "many"')
        .replace('file = "b.txt"', 'fiel = "b.txt"')
        .replace('"x, y"', '["x", "y z"]')
    )
    fiel, weight, tags = mistakes(file)
    assert fiel == f'{file}: line 9: routing.hops[1].fiel = "b.txt": no such setting; did you mean file?'
    assert weight.startswith(f'{file}: line 14: routing.hops[2].weight = "many": not a whole number')
    assert tags == (
        f'{file}: line 15: routing.hops[2].tags = "y z": not a name of small letters, digits and _; '
        "write names such as helo_address, separated by commas"
    )


def test_what_a_row_must_have(file):
    file.write_text(FILE.replace('domain = "a.test"\n', ""))
    (found,) = mistakes(file)
    assert found == f"{file}: line 12: routing.hops[2].domain is not set; write a domain such as mx.example.com"


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("x.test", "not JSON; write [[routing.hops]] for each"),
        ("{}", "not an array of tables"),
        ("[1]", "not an array of tables"),
    ],
)
def test_what_is_no_array_in_the_environment(file, written, wrong):
    (found,) = mistakes(file, MAILMOAT_ROUTING__HOPS=written)
    assert found.startswith(f'MAILMOAT_ROUTING__HOPS = "{written}": {wrong}')


def test_mistakes_in_the_environment_name_the_variable_and_the_row(file):
    unknown, weight = mistakes(file, MAILMOAT_ROUTING__HOPS='[{"domain": "a.test", "weight": true, "wait": 1}]')
    assert unknown == "MAILMOAT_ROUTING__HOPS: routing.hops[1].wait = 1: no such setting; remove it"
    assert weight.startswith("MAILMOAT_ROUTING__HOPS: routing.hops[1].weight = true: not a whole number")


def test_a_table_in_place_of_an_array(file):
    file.write_text('policy.agents = ["routing"]\n[routing.hops]\ndomain = "a.test"\n')
    (found,) = mistakes(file)
    assert found == f"{file}: routing.hops = {{...}}: not an array of tables; write [[routing.hops]] for each"


def test_the_line_of_a_row_needs_its_header():
    assert array.line_of(FILE, "routing.hops", 1) == 7
    assert array.line_of(FILE, "routing.hops", 2, "time") == 16
    assert array.line_of(FILE, "routing.hops", 1, "weight") == 7
    assert array.line_of(FILE, "routing.hops", 3) is None
    assert array.line_of(FILE, "hops", 1) is None
    assert array.line_of("[[a]]\nx = 1\n[b]\ny = 2\n", "a", 1, "y") == 1


class Route(Section):
    domain: Domain = Field(description="Where.")


def test_an_array_without_a_section(tmp_path, monkeypatch):
    kind = Annotated[tuple[Route, ...], Form("[[hops]] for each", array.show_rows)]
    tree = create_model("Settings", __base__=Settings, hops=(kind, Field(default=(), description="The hops.")))
    monkeypatch.setattr(sources, "_tree", lambda *_: (tree, set()))
    file = tmp_path / "mailmoat.toml"
    file.write_text('[[hops]]\ndomain = "b.test"\n[[hops]]\ndomain = "a.test"\n')
    assert [route.domain for route in settings.load(file, {}).hops] == ["b.test", "a.test"]
    assert settings.load(file, {"MAILMOAT_HOPS": '[{"domain": "c.test"}]'}).hops[0].domain == "c.test"
    file.write_text('[[hops]]\ndomain = "b.test"\n\n[[hops]]\ndomain = ""\n')
    assert mistakes(file) == [f'{file}: line 5: hops[2].domain = "": empty; write a domain such as mx.example.com']
