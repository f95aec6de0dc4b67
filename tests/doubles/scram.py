"""A client of SCRAM-SHA-256 that can choose any channel binding, and lie; held to scramp and to RFC 7677 in the tests of our server."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac, sha256


class Client:
    """A client of SCRAM that can lie. `header` is its GS2 header, `data` what it takes for the channel binding."""

    def __init__(self, name="user", password="pencil", header="n,,", data=b"", extension=""):
        self.password, self.header, self.data = password, header, data
        self.bare = f"n={name},r=fyko+d2lbbFgONRv9qkxdawL{extension}"
        self.first = (header + self.bare).encode()

    def final(self, challenge, *, nonce=None, extension="", proof=None):
        parts = dict(part.split("=", 1) for part in challenge.decode().split(","))
        salted = pbkdf2_hmac("sha256", self.password.encode(), b64decode(parts["s"]), int(parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        bare = f"c={b64encode(self.header.encode() + self.data).decode()},r={nonce or parts['r']}{extension}"
        message = f"{self.bare},{challenge.decode()},{bare}".encode()
        self.server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        signature = hmac.digest(sha256(key).digest(), message, "sha256")
        proved = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        return f"{bare},p={b64encode(proved if proof is None else proof).decode()}".encode()
