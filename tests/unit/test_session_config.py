"""The configuration of a listener crosses the boundary as one value, and a limit has one name everywhere."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.receiving import config

from mailmoat import _native
from mailmoat.settings.tree import LimitsSettings, SmtpSettings

STUB = Path(_native.__file__).with_name("_native.pyi")
OTHERS = {
    "hostname", "default_domain", "incoming_dir", "asked", "workers", "submitter", "tarpit_time", "tarpit_max_session",
    "auth_time", "normalisation",
}  # fmt: skip
"""What is no limit and no rule of the dialogue, `recipient_domains` among them; `tarpit_time` and the two behind it are `tarpit.time`, `tarpit.max_session` and `tarpit.auth_time`."""

OF_CLIENTS = {"early_talkers", "xclient_networks", "xforward_networks"}
"""What depends on the client, or on the time before a session begins, and not on the listener."""


def test_a_limit_has_the_name_of_its_setting():
    classes = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef)]
    (config,) = (node for node in classes if node.name == "SessionConfig")
    (new,) = (node for node in config.body if isinstance(node, ast.FunctionDef) and node.name == "__new__")
    names = {argument.arg for argument in new.args.kwonlyargs}
    settings = LimitsSettings.model_fields.keys() | SmtpSettings.model_fields.keys()
    assert names - OTHERS <= settings
    assert SmtpSettings.model_fields.keys() - OF_CLIENTS <= names


def test_a_member_of_an_enum_is_one_object(tmp_path):
    """What the machine hands out is the member that its class has."""
    for enum in (_native.Step, _native.Stage, _native.AnswerKind, _native.PraKind, _native.ClientStep):
        assert [enum(number) for number in range(len(enum))] == list(enum)
    session = _native.Session(config(tmp_path, asked=1 << _native.Stage.HELO), "s1", "192.0.2.1", False)
    assert session.connect() is _native.Step.NEED_INPUT
    assert session.receive(b"HELO c\r\n") is _native.Step.ASK
    assert session.stage is _native.Stage.HELO
    assert _native.read_answer(b"")[0] is _native.AnswerKind.UNREADABLE
    assert _native.responsible_address(b"")[0] is _native.PraKind.ABSENT
