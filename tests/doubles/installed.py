"""A package with agents as `pip install` leaves it: its modules, and a dist-info directory that names their entry points."""

from __future__ import annotations


def install(directory, modules, agents, package="agents-of-ours"):
    """Put `modules` (name: text) into a directory for sys.path; `agents` are entry points (name: `module:Class`)."""
    for name, text in modules.items():
        (directory / f"{name}.py").write_text(text)
    info = directory / f"{package.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    lines = "".join(f"{name} = {value}\n" for name, value in agents.items())
    (info / "entry_points.txt").write_text(f"[mailmoat.agents]\n{lines}")
