"""The house rules that tools can hold: who knows whom, who may do what, how long things are, what they are called.

An exception to a rule stands here by name with its reason, so that it is made on purpose and seen in review; one that no longer is
one fails too.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from tests.needs import need_module

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "mailmoat"
PYTHON = sorted(PACKAGE.rglob("*.py"))
RUST = sorted(path for path in (ROOT / "rust").rglob("*.rs") if "fuzz" not in path.relative_to(ROOT).parts)
RUST_TESTS = [path for path in RUST if path.stem.endswith("tests")]
PURE_RUST = [
    path
    for path in RUST
    if path.name != "lib.rs" and path.parent != ROOT / "rust" / "python" and path not in RUST_TESTS
]

JOINTS = {
    "directory/sql/connection.py": "a database driver that raises anything is an outage of its source",
    "directory_process/keeper.py": "a source that raises costs the others nothing, and what is known of it stays in force",
    "delivery/reporting.py": "a report that cannot be made stays owed and costs its message an attempt",
    "policy/pipeline.py": "an agent that raises costs its client a 451",
    "mailauth/spf/checker.py": "a record that makes pyspf raise is a PermError",
    "receive/authentication.py": "a backend that raises costs its client a 454",
    "receive/steps.py": "a session that raises costs its client the session",
    "runtime/timers.py": "an owner that raises when it is due costs the others nothing",
    "runtime/spool.py": "a waiter or listener that raises costs the others none of their completions",
    "settings/extension.py": "an agent of an administrator that raises when it is imported is a mistake in the settings",
    "supervisor/process.py": "what a forked child raises must not unwind into the frames of the supervisor",
    "supervisor/reload.py": "a reload that raises leaves the old settings in force",
}
"""Where every exception is caught: Python code of somebody else ends there."""

ENVIRONMENT = {
    "settings/sources.py": "the settings",
    "supervisor/systemd.py": "NOTIFY_SOCKET is systemd's message to the process, not a setting",
}

CLOCKS = {"clock.py": "the one owner"}

UNSAFE = ["buffers", "mapped", "region"]
"""Memory shared between processes, a mapped file, and parts of a mapping that have an owner each."""

MAX_LINES = 300
LONG_FILES = {
    "events.py": "one table, that of the log",
    "rust/machine/wheel.rs": "one algorithm and the explanation it needs",
}

MAX_FUNCTION = 40
LONG_FUNCTIONS = {}

FORBIDDEN_WORDS = {
    "data", "handler", "handlers", "helper", "helpers", "hook", "hooks", "info", "manager", "misc", "plugin", "plugins",
    "user", "util", "utils",
}  # fmt: skip
"""Of a file's or a class's name; `user` is a client or an account, the others say nothing."""
TERMS = {
    "rust/machine/smtp/server/data.rs": "RFC 5321 4.1.1.4 calls the command so",
    "resolver/answer.py:NoData": "RFC 2308 2.2 calls it so",
}


def name(path):
    return path.relative_to(ROOT if path.suffix == ".rs" else PACKAGE).as_posix()


@cache
def tree(path):
    return ast.parse(path.read_text())


def code_lines(path):
    """Lines without the tests that a Rust module has at its end."""
    return len(code(path).splitlines())


def code(path):
    """A file without the tests that a Rust module has at its end."""
    return re.split(r"\n#\[cfg\(test\)\]\n(?:mod tests \{|impl )", path.read_text())[0]


def run(*command):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dependencies_point_one_way():
    need_module("importlinter")
    run(
        "-c",
        "import sys; from importlinter.cli import lint_imports_command as lint; sys.argv = ['lint-imports']; lint()",
    )


def test_ruff_is_clean():
    need_module("ruff")
    run("-m", "ruff", "check", "--quiet", "--output-format", "concise")


def test_ruff_would_format_nothing():
    need_module("ruff")
    run("-m", "ruff", "format", "--check", "--output-format", "concise")


def test_mypy_is_clean():
    need_module("mypy")
    run("-m", "mypy")


def test_the_boundary_is_typed_as_it_is_built():
    need_module("mypy")
    run("-m", "mypy.stubtest", "mailmoat._native", "--mypy-config-file", "pyproject.toml", "--ignore-missing-stub")


def test_pure_rust_modules_do_not_know_pyo3():
    assert [name(path) for path in PURE_RUST if re.search(r"\bpyo3\b", path.read_text())] == []


def test_pure_rust_modules_forbid_unsafe_code():
    """A module is under the lints of those it is in."""
    forbids = re.compile(r"^#!\[(forbid|deny)\(unsafe_code\)\]$", re.MULTILINE)
    around = {
        path: [path, *(parent.with_suffix(".rs") for parent in path.parents if parent.name)] for path in PURE_RUST
    }
    files = {path for paths in around.values() for path in paths if path in PURE_RUST}
    under = {path for path in files if forbids.search(path.read_text())}
    assert [name(path) for path in PURE_RUST if not under & set(around[path])] == []
    allows = re.compile(r"#!?\[allow\(unsafe_code\)\].*\n(?:(?:pub )?mod (\w+);)?")
    assert sorted(module for path in PURE_RUST for module in allows.findall(path.read_text())) == UNSAFE


def test_machines_touch_no_file_clock_thread_or_socket():
    """Nor the room that does; `clippy.toml` names what they would do it with."""
    room = ROOT / "rust" / "machine"
    effects = re.compile(
        r"\b(std::(env|fs|os|process|sync::(mpsc|Mutex|Condvar|RwLock)|thread|time)|crate::(python|store)|libc|memmap2"
        r"|rusqlite|rustix)\b|\bnet::\{?[^;]*(Tcp|Udp)"
    )
    machines = [path for path in RUST if room in path.parents and path not in RUST_TESTS]
    assert [name(path) for path in machines if effects.search(code(path))] == []
    clippy = tomllib.loads((ROOT / "clippy.toml").read_text())
    assert {"std::fs::File", "std::time::Instant", "std::thread::JoinHandle", "std::net::TcpStream"} <= set(
        clippy["disallowed-types"]
    )
    allows = re.compile(r"#!\[allow\(.*clippy::disallowed_")
    assert {path.parent.name or path for path in RUST if allows.search(path.read_text())} == {"rust", "python"}
    assert not allows.search((ROOT / "rust" / "machine.rs").read_text())


def test_every_reply_of_the_machine_has_its_name_in_one_file():
    machines = [path for path in PURE_RUST if "server" in path.parts or path.parent.name == "smtp"]
    made = {name(path) for path in machines if re.search(r"\bReply(::(new|fixed)\(| \{ code)", code(path))}
    assert made == {"rust/machine/smtp/reply.rs"}
    replies = ROOT / "rust" / "machine" / "smtp" / "reply.rs"
    named = re.findall(r"^pub (?:const|fn) (\w+)[:(]", code(replies).partition("impl fmt::Display")[2], re.MULTILINE)
    used = "\n".join(code(path) for path in PURE_RUST if path != replies)
    assert [reply for reply in named if f"reply::{reply}" not in used and f"use {reply}" not in used] == []


def test_keywords_of_extensions_are_in_one_table():
    """The client's side reads them from the reply to EHLO; 8BITMIME is a value of BODY, too."""
    keywords = "SMTPUTF8|SUBMITTER|ENHANCEDSTATUSCODES|STARTTLS|CHUNKING|BDAT"
    machines = [path for path in PURE_RUST if "client" not in path.with_suffix("").parts and "smtp" in path.parts]
    found = {name(path) for path in machines if re.search(rf'^[^/]*(?<!b)"({keywords})"', code(path), re.MULTILINE)}
    assert found == {"rust/machine/smtp/extensions.rs"}


def test_only_the_joints_catch_every_exception():
    found = {name(path) for path in PYTHON if any(swallows(node) for node in ast.walk(tree(path)))}
    assert sorted(found - set(JOINTS)) == []


def swallows(node):
    """An `except` for all that does not end in `raise`."""
    if not isinstance(node, ast.ExceptHandler):
        return False
    caught = ast.unparse(node.type) if node.type else "BaseException"
    ends = node.body[-1]
    raises_again = isinstance(ends, ast.Raise) and ends.exc is None
    return re.search(r"\b(Base)?Exception\b", caught) is not None and not raises_again


def test_only_settings_reads_the_environment():
    found = {name(path) for path in PYTHON if {"os.environ", "os.environb", "os.getenv"} & set(used_names(path))}
    assert found == set(ENVIRONMENT)


def test_only_the_clock_reads_clocks_and_makes_random_numbers():
    found = {name(path) for path in PYTHON if {"time", "random"} & set(imported(path))}
    assert found == set(CLOCKS)


def test_nobody_sleeps():
    assert [name(path) for path in PYTHON if {"asyncio.sleep", "time.sleep"} & set(used_names(path))] == []


@pytest.mark.parametrize(
    ("attribute", "owner"), [("ipv4_mapped", "net/address.py"), ("fsync", "files.py"), ("O_DIRECTORY", "files.py")]
)
def test_a_rule_of_the_base_is_written_once(attribute, owner):
    """How an IPv4-mapped address is read and how a file reaches the disk were written in many places."""
    found = {name(path) for path in PYTHON if any(used.endswith(f".{attribute}") for used in used_names(path))}
    assert found == {owner}


def test_patterns_of_classes_name_their_attributes():
    """For each look at a pattern by position Python 3.11 makes a string, and its cache of attributes keeps thousands of them."""
    found = {name(path): node.lineno for path in PYTHON for node in ast.walk(tree(path)) if by_position(node)}
    assert found == {}


def by_position(node):
    return isinstance(node, ast.MatchClass) and bool(node.patterns)


def used_names(path):
    """Dotted names in expressions, and what `from module import name` brings in."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_files_are_short_or_say_why_not():
    paths = [path for path in PYTHON + RUST if path not in RUST_TESTS]
    found = {name(path): lines for path in paths if (lines := code_lines(path)) > MAX_LINES}
    assert found.keys() == LONG_FILES.keys(), found


def test_functions_are_short_or_say_why_not():
    found = {
        f"{name(path)}:{label}": lines for path in PYTHON for label, lines in functions(path) if lines > MAX_FUNCTION
    }
    assert found.keys() == LONG_FUNCTIONS.keys(), found


def functions(path):
    """Each function with the lines of its body, its docstring left out."""
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1


def test_no_name_uses_a_word_that_says_nothing():
    files = {name(path) for path in PYTHON + RUST if FORBIDDEN_WORDS & set(path.stem.lower().split("_"))}
    classes = {
        f"{name(path)}:{node.name}"
        for path in PYTHON
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and FORBIDDEN_WORDS & set(re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower().split("_"))
    }
    types = {
        f"{name(path)}:{found}"
        for path in RUST
        for found in re.findall(r"^\s*(?:pub(?:\(\w+\))? )?(?:struct|enum|trait) (\w+)", path.read_text(), re.MULTILINE)
        if FORBIDDEN_WORDS & set(re.sub(r"(?<!^)(?=[A-Z])", "_", found).lower().split("_"))
    }
    assert (files | classes | types) - set(TERMS) == set()


def test_every_module_has_its_contract():
    short = [name(path) for path in PYTHON if not ast.get_docstring(tree(path))]
    short += [name(path) for path in RUST if path not in RUST_TESTS and not path.read_text().startswith("//!")]
    assert short == []


def test_no_contract_says_who_calls():
    """That is a fact of other files, and was wrong in eight modules when it was looked at."""
    callers = re.compile(r"\b(called|asked) by\b|\bonly caller\b|\bcalls (it|this)\b", re.IGNORECASE)
    assert [name(path) for path in PYTHON if callers.search(ast.get_docstring(tree(path)))] == []


def test_rfc_sections_are_named_in_one_form():
    """`RFC 5321 4.5.2`."""
    other = re.compile(r"\bRFC-?\d|\brfc \d|\bRFC \d+(,? (section|sec\.)|,? §|#)")
    assert [name(path) for path in [*PYTHON, *RUST] if other.search(path.read_text())] == []


def test_every_exception_to_a_rule_names_a_file_that_is_there():
    files = {*JOINTS, *ENVIRONMENT, *CLOCKS, *LONG_FILES, *(label.partition(":")[0] for label in LONG_FUNCTIONS)}
    known = {name(path) for path in PYTHON + RUST}
    assert sorted(files - known) == []


def defined(scope):
    """Names that a module or class defines and that nobody outside calls by themselves: no overrides, nothing registered by a decorator."""
    for node in ast.walk(scope):
        if not isinstance(node, (ast.Module, ast.ClassDef)) or getattr(node, "bases", ()):
            continue
        for inner in node.body:
            match inner:
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() if not inner.decorator_list:
                    yield inner.name
                case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)):
                    yield found


def test_no_name_is_without_use():
    """A word that occurs only where it is defined, in package, tests and load test, is dead code."""
    sources = [path for place in ("python", "tests", "loadtest") for path in (ROOT / place).rglob("*.py")]
    words = Counter(word for path in sources for word in re.findall(r"\w+", path.read_text()))
    checked = [path for path in sources if "loadtest" not in path.parts]
    definitions = Counter(name for path in checked for name in defined(ast.parse(path.read_text())))
    unused = {name for name, count in definitions.items() if words[name] <= count}
    assert {name for name in unused if not name.lower().startswith(("test", "__", "pytest_"))} == set()
