"""One word, one meaning: no name contains a word that the glossary of CONTRIBUTING.md replaces by another.

Names are those that the code defines (files, classes, functions, parameters, attributes, variables) in Python and Rust, settings, metrics
and log events. An exception is listed here by word with its reason; one that no name needs any more fails, too.
"""

import ast
import re
from pathlib import Path

import mailmoat.worker  # noqa: F401 - declares what a server counts
from mailmoat.events import Event
from mailmoat.metrics import FAMILIES, GATHERED
from mailmoat.settings import entries

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "mailmoat"
PYTHON = sorted(PACKAGE.rglob("*.py*"))
RUST = sorted(
    path
    for path in (ROOT / "rust").rglob("*.rs")
    if not path.stem.endswith("tests") and ROOT / "rust/fuzz/target" not in path.parents
)

ALLOWED = {
    "claim": ("claim", "a partition is claimed by its lock: a verb, not an identity"),
    "delays": ("DELAYS_SPENT", "those of the tarpit, not the timers"),
    "head": ("head", "the first entry of a linked list in the timer wheel"),
}
"""Word -> the names that may contain it, and why."""


def replaced() -> set[str]:
    """The words of the last column."""
    glossary = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Glossary\n")[2]
    rows = re.findall(r"^\| [^|]+ \| [^|]+ \| ([^|]*) \|$", glossary, re.MULTILINE)
    return {word for cell in rows for word in re.findall(r"`(\w+)`", cell)}


def words(name: str) -> str:
    """`_HeldSession` -> `_held_session_`."""
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return f"_{re.sub(r'[^a-z0-9]+', '_', spelled)}_".replace("__", "_")


def python_names(path: Path):
    yield path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def rust_names(path: Path):
    """Those before the tests of a module: the name of a test is a sentence."""
    yield path.stem
    text = path.read_text().partition("\n#[cfg(test)]\nmod ")[0]
    yield from re.findall(r"\b(?:fn|struct|enum|trait|mod|type|const|static|let(?: mut)?) ([A-Za-z_]\w*)", text)
    yield from re.findall(r"(?:^|[(,|])\s*(?:pub(?:\(\w+\))? )?(?:mut )?([a-z_]\w*): ", text, re.MULTILINE)
    yield from re.findall(r"^ +([A-Z]\w*)(?:\(.*\)|,| \{)", text, re.MULTILINE)


def names() -> set[str]:
    python = {name for path in PYTHON if path.suffix in {".py", ".pyi"} for name in python_names(path)}
    rust = {name for path in RUST for name in rust_names(path)}
    return python | rust | set(entries()) | set(FAMILIES) | set(GATHERED) | set(Event)


def test_no_name_contains_a_word_that_the_glossary_replaces():
    forbidden = replaced()
    found = {(word, name) for name in names() for word in forbidden if f"_{word}_" in words(name)}
    allowed = {(word, name) for word, (allowed_names, _) in ALLOWED.items() for name in allowed_names.split()}
    assert sorted(found - allowed) == []
    assert sorted(allowed - found) == [], "exceptions that no name needs any more"


def test_a_word_of_the_glossary_is_explained_once():
    glossary = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Glossary\n")[2]
    terms = [
        term
        for row in re.findall(r"^\| ([^|]+) \| [^|]+ \| [^|]* \|$", glossary, re.MULTILINE)
        for term in row.split(", ")
    ]
    assert len(terms) == len(set(terms))
