"""An HTTPS server on 127.0.0.1 that says for each request what its rule says, in threads of its own.

    with WebServer(context, b"HTTP/1.1 200 OK\\r\\n...") as server:      # any octets; None: nothing, the connection stays open
        ... server.port
        assert server.requests == [b"GET /.well-known/mta-sts.txt HTTP/1.1\\r\\n..."]

`answer` may be changed while it runs.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import Self


def page(body: bytes, *, status: str = "200 OK", kind: str = "text/plain", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


class WebServer:
    def __init__(
        self, context: ssl.SSLContext, answer: bytes | None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.context, self.answer = context, answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server((host, port), backlog=16)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), self.context.wrap_socket(plain, server_side=True) as connection:
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(65536)
                if not received:
                    return
                request += received
            self.requests.append(request)
            if self.answer is None:
                connection.recv(1)
            else:
                connection.sendall(self.answer)
                connection.unwrap()
