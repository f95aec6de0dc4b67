"""Haraka as a peer, where it is installed: `HARAKA_PREFIX` names the directory whose node_modules has it.

A plugin of a few lines gives it mailmoat's policy. Where nothing is relayed the plugin never names a
next hop, so that messages wait. Its outbound queue writes and syncs a file a message before the 250.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from loadtest.processes import ROOT, free_port, start
from loadtest.servers import DOMAIN, Running, Setup

PLUGIN = """\
const known = new Set(JSON.parse(require('fs').readFileSync(process.env.KNOWN)))
const delay = Number(process.env.DELAY) * 1000
exports.hook_rcpt = (next, connection, [recipient]) => {
  if (known.has(`${recipient.user}@${recipient.host}`.toLowerCase())) { connection.relaying = true; return next(OK) }
  setTimeout(() => next(DENY, 'User unknown'), delay)
}
const port = Number(process.env.NEXT_HOP)
exports.hook_get_mx = (next) => { if (port) next(OK, { priority: 0, exchange: '127.0.0.1', port }) }
"""


def installed() -> Path | None:
    """Return the package's directory."""
    for place in (os.environ.get("HARAKA_PREFIX"), ROOT / ".venv" / "haraka"):
        if place and (Path(place) / "node_modules" / "Haraka" / "haraka.js").exists():
            return Path(place) / "node_modules" / "Haraka"
    return None


class Haraka:
    """Haraka with its disk queue."""

    name = "haraka"
    promise = "on disk (a file and fsync a message)"
    held_limit = 5_000
    unheld = 0

    def missing(self, setup: Setup | None = None) -> str:  # noqa: ARG002 - it can do all of them
        """Say that npm installs it."""
        if shutil.which("node") is None:
            return "Haraka needs node and npm"
        return "" if installed() else "Haraka is not installed: npm install --prefix .venv/haraka Haraka"

    def version(self) -> str:
        """Return the version of the package."""
        place = installed()
        version = json.loads((place / "package.json").read_text())["version"] if place else "not installed"
        return f"Haraka {version}"

    def start(self, directory: Path, setup: Setup) -> Running:
        """Start it with a configuration below `directory`."""
        port, log, place = free_port(), directory / "haraka.log", installed()
        config, queue = directory / "config", directory / "queue"
        for made in (config, queue, directory / "plugins"):
            made.mkdir()
        known = directory / "known.json"
        known.write_text(json.dumps(setup.addresses()))
        (directory / "plugins" / "same_policy.js").write_text(PLUGIN)
        files = {
            "smtp.ini": f"listen=127.0.0.1:{port}\nnodes={setup.workers or 'cpus'}\n",
            "plugins": "same_policy\n",
            "me": f"mx.{DOMAIN}\n",
            "loglevel": "NOTICE\n",
            "databytes": "0\n",
            "outbound.ini": "concurrency_max=20\nenable_tls=false\n",
        }
        for name, text in files.items():
            (config / name).write_text(text)
        if place:
            shutil.copy(place / "config" / "connection.ini", config)
        environment = {
            **os.environ,
            "KNOWN": str(known),
            "DELAY": str(setup.tarpit),
            "NEXT_HOP": str(setup.next_hop or 0),
        }
        process = start(
            ["node", str(place / "bin" / "haraka") if place else "", "-c", str(directory)], log, environment
        )

        def queued() -> int:
            return sum(1 for _ in queue.iterdir())

        return Running(process, port, log, queued if setup.next_hop else lambda: 0).await_greeting()
