"""Who imports whom: layers point one way (import-linter, in `test_architecture.py`), no files import each other, no room is a house."""

from collections import Counter
from pathlib import Path

from tests.needs import need_module

PACKAGE = Path(__file__).parents[1] / "python" / "mailmoat"

LARGEST_ROOM = 0.15
"""Of all Python lines: a room that has more is two rooms."""


def test_no_files_import_each_other():
    need_module("grimp")
    import grimp

    graph = grimp.build_graph("mailmoat", cache_dir=None)
    imports = {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}
    assert circles(imports) == []


def circles(imports):
    """The strongly connected components of more than one module (Kosaraju), in the order of their names."""
    finished = [module for tree in trees(imports, sorted(imports)) for module in tree]
    importers = {module: {other for other in imports if module in imports[other]} for module in imports}
    return sorted((set(tree) for tree in trees(importers, reversed(finished)) if len(tree) > 1), key=sorted)


def trees(edges, starts):
    """The modules reached from each start and from none before it, each after all that it leads to."""
    seen = set()
    for start in starts:
        tree, path = [], []
        if start not in seen:
            seen.add(start)
            path.append((start, iter(sorted(edges[start]))))
        while path:
            following = next((other for other in path[-1][1] if other not in seen), None)
            if following is None:
                tree.append(path.pop()[0])
            else:
                seen.add(following)
                path.append((following, iter(sorted(edges[following]))))
        yield tree


def test_a_circle_is_found():
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "f"}, "f": {"g"}, "g": {"e"}}
    assert circles(imports) == [{"b", "c"}, {"e", "f", "g"}]


def test_no_room_is_a_house():
    lines = Counter()
    for path in PACKAGE.rglob("*.py"):
        lines[path.relative_to(PACKAGE).parts[0]] += len(path.read_text().splitlines())
    shares = {room: count / lines.total() for room, count in lines.items()}
    assert {room: share for room, share in shares.items() if share > LARGEST_ROOM} == {}
