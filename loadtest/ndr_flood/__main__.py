"""A flood of bounces: `python -m loadtest.ndr_flood [--messages 100000] [--until-over]`.

Forged messages in the names of 50 domains come to a server of two workers, for recipients that it does not know and its next hop refuses.
Between them come good senders: some whose mail arrives, and some who mistype an address and must get a report, each once. Those are unknown
senders, senders that SPF confirms, and clients of our own network. All settings of `ndr` are those that a server has by default. With
`--until-over` it waits until the server says that the flood is over, which takes more than ten minutes.

Prints what it finds, and ends with 1 when something is not as promised: reports beyond the budgets, a good sender who was not told or
told twice, no alarm, a message whose end the log does not tell, or memory that grew with the messages.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from loadtest.ndr_flood import next_hop, sending, verdicts
from loadtest.ndr_flood.mails import INSIDE, UNFILTERED, name_server
from loadtest.ndr_flood.sending import Run
from loadtest.processes import end_tidily, free_port
from loadtest.servers import Setup, start_mailmoat

if TYPE_CHECKING:
    from tests.doubles.name_server import NameServer


async def measure(directory: Path, options: argparse.Namespace, names: NameServer) -> Run:
    """Start the server, and send everything."""
    run = Run(options.messages, await next_hop.start())
    setup = Setup(next_hop=run.hop.port, workers=options.workers, proxied=free_port())
    extra = {
        "MAILMOAT_RELAY__UNFILTERED_DOMAINS": UNFILTERED,
        "MAILMOAT_RELAY__NETWORKS": INSIDE,
        "MAILMOAT_SENDERID__ENABLED": "true",
        "MAILMOAT_DNS__SERVERS": names.address,
        "MAILMOAT_DELIVERY__TLS": "none",
    }
    server = await asyncio.to_thread(start_mailmoat, directory, setup, extra)
    try:
        await sending.flood(server, run)
        if options.until_over:
            await sending.until_over(server)
    finally:
        await asyncio.to_thread(server.stop)
    return run


def main() -> int:
    """Run it, and say what is not as promised."""
    end_tidily()
    parser = argparse.ArgumentParser(prog="python -m loadtest.ndr_flood", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000, help="forged messages")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--until-over", action="store_true", help="wait until the alarm ends: ten minutes more")
    parser.add_argument("--keep-log", type=Path, metavar="PATH", help="copy the server's log here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mailmoat-flood-", ignore_cleanup_errors=True) as directory:
        log = Path(directory) / "mailmoat.log"
        try:
            with name_server() as names, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                run = runner.run(measure(Path(directory), options, names))
        finally:
            if options.keep_log and log.exists():
                options.keep_log.write_bytes(log.read_bytes())
        found = verdicts.judge(run, log, until_over=options.until_over)
    for verdict in found:
        print(verdict.line())
    return 0 if all(verdict.kept for verdict in found) else 1


if __name__ == "__main__":
    sys.exit(main())
