"""The PROXY protocol header, versions 1 and 2, as a value machine: octets in, one result out.

A load balancer that forwards a connection names the real client in this header. `ProxyHeader.feed` takes what was read and
answers None (more is needed), a `ProxyResult`, or `BadProxyHeader`: then the connection is closed without a greeting, because the address in a malformed header
must not be trusted. How the octets are cut never changes the result. At most 2,064 octets are kept.
No sockets, no clock, no policy: who may speak it (`listen_proxy_networks`) is decided elsewhere.
Never raises. Type-length-value fields behind a version 2 address, the checksum among them, are skipped.

Specification: HAProxy, doc/proxy-protocol.txt, 2020/03/05, sections 2.1 (text) and 2.2 (binary).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from mailmoat.net import address

_V1_START: Final = b"PROXY "
_V1_LONGEST: Final = 107
_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED: Final = 16
_V2_LONGEST_BLOCK: Final = 2048
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_OCTETS: Final = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Family and transport (unspecified; TCP, UDP over IPv4, IPv6; Unix stream, datagram): octets of the two addresses and ports."""
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class ProxyResult:
    """A whole header: who connected, and what the client sent behind it.

    `source` is (address, port), an IPv4-mapped address as IPv4; None says that the header names nobody (UNKNOWN, LOCAL, Unix) and
    the address of the connection itself counts.
    """

    source: tuple[str, int] | None
    rest: bytes


@dataclass(frozen=True, slots=True)
class BadProxyHeader:
    """What came is no PROXY header; `reason` is a plain sentence for the log."""

    reason: str


class ProxyHeader:
    """The header of one connection; after a result or `BadProxyHeader` it has done its work and is thrown away."""

    __slots__ = ("_octets",)

    def __init__(self) -> None:
        self._octets = b""

    def feed(self, octets: bytes) -> ProxyResult | BadProxyHeader | None:
        """Take the next octets; None means that the header is not whole yet."""
        self._octets += octets
        if self._octets.startswith(_V1_START[: len(self._octets)]):
            return _text(self._octets)
        if self._octets.startswith(_V2_SIGNATURE[: len(self._octets)]):
            return _binary(self._octets)
        return BadProxyHeader("the connection does not begin with a PROXY header")


def _text(octets: bytes) -> ProxyResult | BadProxyHeader | None:
    """Find the one line of version 1."""
    end = octets.find(b"\r\n", 0, _V1_LONGEST)
    if end >= 0:
        return _line(octets[:end], octets[end + 2 :])
    if b"\n" in octets[:_V1_LONGEST]:
        return BadProxyHeader("the PROXY line ends in a bare LF")
    return BadProxyHeader("the PROXY line is too long") if len(octets) >= _V1_LONGEST else None


def _line(line: bytes, rest: bytes) -> ProxyResult | BadProxyHeader:
    """Read the line of version 1, given without its CRLF."""
    if not line.isascii() or b"\r" in line or b"\n" in line:
        return BadProxyHeader("the PROXY line has octets that do not belong there")
    match line.decode("ascii").split(" "):
        case ["PROXY", "UNKNOWN", *_]:
            return ProxyResult(None, rest)
        case ["PROXY", "TCP4" | "TCP6" as family, source, target, source_port, target_port]:
            client, port = _address(family, source), _port(source_port)
            if client is None or _address(family, target) is None:
                return BadProxyHeader(f"the PROXY line has a bad {family} address")
            if port is None or _port(target_port) is None:
                return BadProxyHeader("the PROXY line has a bad port")
            return ProxyResult((client, port), rest)
        case _:
            return BadProxyHeader("the PROXY line is not of the form PROXY TCP4|TCP6 source target port port")


def _address(family: str, text: str) -> str | None:
    """Make a textual address canonical; None when it is none of that family."""
    try:
        if family == "TCP4":
            return str(IPv4Address(text))
        return None if "%" in text else address.canonical(str(IPv6Address(text)))
    except ValueError:
        return None


def _port(text: str) -> int | None:
    return int(text) if _PORT.fullmatch(text) and int(text) <= _HIGHEST_PORT else None


def _binary(octets: bytes) -> ProxyResult | BadProxyHeader | None:
    """Read version 2: signature, version and command, family and transport, length, addresses, further fields."""
    if len(octets) < _V2_FIXED:
        return None
    named = octets[12] == _PROXY
    family = octets[13] if named else 0
    length = int.from_bytes(octets[14:16], "big")
    fault = _fault(octets[12], family, length)
    if fault:
        return BadProxyHeader(fault)
    if len(octets) < _V2_FIXED + length:
        return None
    block, rest = octets[_V2_FIXED : _V2_FIXED + length], octets[_V2_FIXED + length :]
    source = None
    if family == _TCP4:
        source = str(IPv4Address(block[:4])), int.from_bytes(block[8:10], "big")
    elif family == _TCP6:
        source = address.canonical(str(IPv6Address(block[:16]))), int.from_bytes(block[32:34], "big")
    return ProxyResult(source, rest)


def _fault(command: int, family: int, length: int) -> str | None:
    """Say what is wrong with the fixed part of version 2, which is known before its block has come."""
    if command not in (_LOCAL, _PROXY):
        return "the PROXY header has a version or command that is not known"
    if length > _V2_LONGEST_BLOCK:
        return "the PROXY header is too long"
    if family not in _ADDRESS_OCTETS:
        return "the PROXY header has an address family that does not exist"
    return "the PROXY header is shorter than its addresses" if length < _ADDRESS_OCTETS[family] else None
