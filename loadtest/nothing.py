"""A server that does nothing: `python -m loadtest.nothing`. It answers each step of `loadtest.steady` at once, and keeps and decides nothing.

The times of good mail at it are those of the machine itself: how long client and server wait for a processor, and for the network. What
good mail takes at a real server beyond that is the server's. Prints its port of 127.0.0.1, then serves until it is ended.
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

from loadtest.processes import free_port

LINE, CONTENT = b"\r\n", b"\r\n.\r\n"
"""Where a command ends, and where content does."""
CODES = {b"DATA": b"354", b"QUIT": b"221"}


class Nothing(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self.transport = cast("asyncio.Transport", transport)
        self.input, self.end = b"", LINE
        self.transport.write(b"220 nothing\r\n")

    def data_received(self, octets: bytes) -> None:
        """Answer each command and each end of content."""
        self.input += octets
        while self.end in self.input:
            line, _, self.input = self.input.partition(self.end)
            code = CODES.get(line[:4], b"250") if self.end == LINE else b"250"
            self.end = CONTENT if code == b"354" else LINE
            self.transport.write(code + b" nothing\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Nothing, "127.0.0.1", port)
    print(port, flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(free_port()))


if __name__ == "__main__":
    main()
