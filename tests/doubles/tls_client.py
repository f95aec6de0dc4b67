"""The client's end of a TLS connection in memory: OpenSSL by Python's ssl module, without a socket.

`send` and `receive` are what a socket would carry; `heard` is called with the plaintext. Certificates are not verified unless `ca` is given.
"""

from __future__ import annotations

import ssl
from contextlib import suppress


class TlsClient:
    """A client; `begin` begins its handshake."""

    def __init__(self, send, heard, *, name=None, ca=None, session=None, certificate=None, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = ca is not None
        context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
        if ca:
            context.load_verify_locations(cadata=ca)
        if certificate:
            context.load_cert_chain(*certificate)
        if version:
            context.minimum_version = context.maximum_version = version
        self._send, self._heard = send, heard
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name, session=session)
        self.open = False
        self.fault = ""

    def begin(self):
        """Send the ClientHello."""
        self._go_on()

    def say(self, octets):
        """Encrypt and send."""
        self.tls.write(octets)
        self._flush()

    def close(self):
        """Send close_notify."""
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()

    def receive(self, octets):
        """Take what the server sent."""
        self._in.write(octets)
        self._go_on()

    def _go_on(self):
        try:
            if not self.open:
                self.tls.do_handshake()
                self.open = True
            self._flush()
            while octets := self.tls.read(65536):
                self._heard(octets)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.fault = str(error)
        self._flush()

    def _flush(self):
        if octets := self._out.read():
            self._send(octets)
