"""Measures how long a server lets others wait: sends NOOP every `PAUSE` until it is stopped. Prints JSON.

`python -m loadtest.compare.probe --port 2525` ends at the end of its standard input, and prints the round trips in milliseconds. What
the network and this client take is in them: compare with those of a server that does not do what is measured.
"""

from __future__ import annotations

import argparse
import gc
import json
import select
import socket
import sys
import time

from loadtest.compare.sender import HELLO
from loadtest.report import spread

PAUSE = 0.01


def main() -> None:
    """Run with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    gc.disable()
    trips = []
    with socket.create_connection(("127.0.0.1", options.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(4096)
        connection.sendall(HELLO)
        connection.recv(4096)
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            asked = time.perf_counter()
            connection.sendall(b"NOOP\r\n")
            if not connection.recv(4096):
                sys.exit("the server closed the connection")
            trips.append((time.perf_counter() - asked) * 1000)
    print(json.dumps(spread(trips)))


if __name__ == "__main__":
    main()
