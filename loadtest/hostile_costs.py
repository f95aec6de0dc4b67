"""What each kind of hostile client costs, and gets: `python -m loadtest.hostile_costs`.

For each kind a server with one worker and its defaults is started, and so many connections of the kind are kept at it. Prints a
line for each: memory of the worker for one open connection (octets), its processor time for one connection made (microseconds) and in a second
of the attack (per cent of a core), and what the client heard last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loadtest.hostile import KINDS
from loadtest.processes import ROOT, Tree, end_tidily
from loadtest.servers import Setup, start_mailmoat

DEFAULTS = {
    "MAILMOAT_TARPIT__MAX_SESSION": "180",
    "MAILMOAT_LIMITS__CONNECTIONS_PER_SOURCE": "100",
    "MAILMOAT_LIMITS__ERRORS": "20",
    "MAILMOAT_LIMITS__IDLE_COMMANDS": "100",
    "MAILMOAT_LOG__LEVEL": "info",
    "MAILMOAT_TLS__OFFER": "on",
}


def measure(name: str, connections: int, seconds: float) -> dict[str, object]:
    """Measure one kind."""
    with tempfile.TemporaryDirectory(prefix="mailmoat-hostile-") as temporary:
        server = start_mailmoat(Path(temporary), Setup(workers=1, tarpit=0), DEFAULTS)
        try:
            tree = Tree(server.process.pid)
            time.sleep(1)
            before, cpu = tree.memory().pss, tree.cpu()
            command = [sys.executable, "-m", "loadtest.hostile", "--port", str(server.port), "--kind", name]
            command += ["--connections", str(connections), "--seconds", str(seconds)]
            crowd = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            assert crowd.stdout is not None
            crowd.stdout.readline()
            opened = tree.cpu()
            time.sleep(seconds * 0.7)
            held, busy = tree.memory().pss, tree.cpu()
            found = json.loads(crowd.communicate()[0].splitlines()[-1])
            time.sleep(1)
            kind = found["kinds"][name]
            return {
                "kind": name,
                "octets": round((held - before) / connections),
                "us": round((tree.cpu() - cpu) / kind["made"] * 1e6),
                "share": round((busy - opened) / (seconds * 0.7) * 100, 1),
                **kind,
                "failed": found["failed"],
            }
        finally:
            server.stop()


def main() -> None:
    """Run as the command line says."""
    end_tidily()
    parser = argparse.ArgumentParser(prog="loadtest.hostile_costs", description=__doc__.partition("\n")[0])
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--kind", action="append")
    options = parser.parse_args()
    for kind in KINDS:
        if not options.kind or kind.name in options.kind:
            print(json.dumps(measure(kind.name, options.connections, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
