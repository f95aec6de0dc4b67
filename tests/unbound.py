"""A real validating resolver: Unbound, with zones of our own that ldns-signzone has signed, on a port of 127.0.0.1.

    with namespace.alone(), Unbound(tmp_path, signed={"signed.test": ZONE}, plain={"plain.test": ZONE}) as unbound:
        ... unbound.address == "127.0.0.1:port"

A zone is text of records below it, without SOA and NS. One in `forged` is signed, and then its addresses are changed. It has no
way to other name servers: start it in a network namespace.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.needs import find_peer

START = "@ 300 IN SOA ns.invalid. root.invalid. 1 3600 600 86400 60\n@ 300 IN NS ns.invalid.\n"
TIME = 20.0


class Unbound:
    def __init__(
        self,
        directory: Path,
        *,
        signed: Mapping[str, str],
        plain: Mapping[str, str] | None = None,
        forged: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._anchors: list[str] = []
        self._zones = {
            **{name: self._signed(name, text) for name, text in signed.items()},
            **{name: self._written(name, text) for name, text in (plain or {}).items()},
            **{name: self._forged(self._signed(name, text)) for name, text in (forged or {}).items()},
        }

    def _written(self, name: str, text: str) -> Path:
        file = self._directory / f"{name}.zone"
        file.write_text(f"$ORIGIN {name}.\n$TTL 300\n{START}{text}\n")
        return file

    def _signed(self, name: str, text: str) -> Path:
        file = self._written(name, text)
        base = self._run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", name).strip()
        self._run("ldns-signzone", "-o", name, file, base)
        self._anchors.append((self._directory / f"{base}.ds").read_text())
        return file.with_name(f"{file.name}.signed")

    @staticmethod
    def _forged(file: Path) -> Path:
        lines = file.read_text().splitlines(keepends=True)
        file.write_text(
            "".join(line.rsplit(None, 1)[0] + "\t192.0.2.66\n" if "\tA\t" in line else line for line in lines)
        )
        return file

    def _run(self, program: str, *arguments: str | Path) -> str:
        command = [find_peer(program), *map(str, arguments)]
        return subprocess.run(command, cwd=self._directory, check=True, capture_output=True, text=True).stdout

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (self._directory / "anchors").write_text("".join(self._anchors))
        settings = self._directory / "unbound.conf"
        settings.write_text(self._settings())
        self._log = (self._directory / "unbound.log").open("wb")
        command = [find_peer("unbound"), "-d", "-p", "-c", str(settings)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + TIME
        while not self._listens():
            assert self._process.poll() is None, (self._directory / "unbound.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(TIME)
        self._log.close()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _settings(self) -> str:
        server = {
            "interface": f"127.0.0.1@{self.port}",
            "access-control": "127.0.0.0/8 allow",
            "username": '""',
            "chroot": '""',
            "directory": f'"{self._directory}"',
            "use-syslog": "no",
            "trust-anchor-file": '"anchors"',
            "local-zone": '"test." nodefault',
            "num-threads": "1",
        }
        text = "server:\n" + "".join(f"  {key}: {value}\n" for key, value in server.items())
        text += "remote-control:\n  control-enable: no\n"
        for name, file in self._zones.items():
            text += f'auth-zone:\n  name: "{name}."\n  zonefile: "{file}"\n'
            text += "  for-downstream: no\n  for-upstream: yes\n  fallback-enabled: no\n"
        return text
