"""Docstrings of functions are in the imperative: they begin with a verb ("Return the queue ID"), as ruff's D401 wants it.

D401 knows verbs in other forms ("Returns") and finds no sentence without one. This finds those that begin with what a verb never is:
an article, a pronoun, a question word, a preposition, code. A property is a noun, like the attribute that it looks like.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "python").rglob("*.py*")) + sorted((ROOT / "loadtest").rglob("*.py"))
NO_VERB = re.compile(
    r"(a|an|the|this|that|these|those|it|its|he|his|there|here|what|whether|which|who|whom|whose|why|when|where|how|all|any|both|each"
    r"|every|everything|nothing|nobody|some|several|one|two|no|none|not|only|of|in|at|by|from|for|with|without|as|and|or|but|while"
    r"|until|after|before|if|unless|true|false)\b",
    re.IGNORECASE,
)
"""What begins a docstring without a verb in front."""


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        decorators = [ast.unparse(item) for item in node.decorator_list]
        text = ast.get_docstring(node)
        if text and not any(re.search(r"property$|\.setter$", decorator) for decorator in decorators):
            yield node.name, text


def test_docstrings_of_functions_begin_with_a_verb():
    found = [
        f"{path.relative_to(ROOT)}:{name}: {text.splitlines()[0]}"
        for path in SOURCES
        if path.suffix in {".py", ".pyi"}
        for name, text in functions(path)
        if NO_VERB.match(text) or not re.match(r"[A-Z][a-z]+\b(?!-)", text)
    ]
    assert found == []
