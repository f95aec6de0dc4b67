"""Postfix's smtp-sink as a next hop: the real one beside tests/doubles/next_hop.py."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.integration.conftest import free_port, wait_for
from tests.needs import find_peer


class SmtpSink:
    """Runs as long as the context. `directory` gets a file a transaction: `X-...-Args:` lines of the envelope, then the content."""

    host = "127.0.0.1"

    def __init__(self, *options: str, directory: Path | None = None) -> None:
        self.kind = "lmtp" if "-L" in options else "smtp"
        self.port, self.directory = free_port(), directory
        account = ["-u", "root"] if os.geteuid() == 0 else []
        written = [] if directory is None else ["-d", str(directory / "m.")]
        self._command = [find_peer("smtp-sink"), *account, *written, *options, f"127.0.0.1:{self.port}", "200"]

    def __enter__(self) -> Self:
        if self.directory is not None:
            self.directory.mkdir(exist_ok=True)
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_for(self._listens, what="smtp-sink")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def messages(self) -> list[bytes]:
        return [path.read_bytes() for path in self.directory.iterdir()] if self.directory else []

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._command
        try:
            socket.create_connection((self.host, self.port)).close()
        except ConnectionRefusedError:
            return False
        return True
