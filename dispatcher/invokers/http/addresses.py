"""Which addresses a target may be at, decided where a connection is made, so that no name or spelling leads around it."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

__all__ = ["AddressForbidden", "is_public", "public_socket"]

#: Nets that hold an IPv4 address: an address in them is as public as that one is.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
#: Local-use NAT64 (RFC 8215), and the site-local addresses of old.
_LOCAL = (ipaddress.IPv6Network("64:ff9b:1::/48"), ipaddress.IPv6Network("fec0::/10"))


class AddressForbidden(OSError):
    """Raised when a target's name leads to an address that is not public."""


def is_public(address: str) -> bool:
    """Whether an address, as a resolver wrote it, is one of the public Internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and (ip in _NAT64 or ip in _COMPATIBLE):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if any(ip in net for net in _LOCAL):
            return False
    # The properties overlap by the version of Python: each is asked.
    return ip.is_global and not (
        ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    )


def public_socket(found: tuple[Any, ...]) -> socket.socket:
    """Make the socket for one resolved address; the connection goes to this very address, not to a second look-up.

    Args:
        found: an entry of ``socket.getaddrinfo``.

    Raises:
        AddressForbidden: it is not public.
    """
    family, kind, protocol, _, address = found
    if not is_public(address[0]):
        raise AddressForbidden(f"{address[0]} is not a public address, and forbid_private is set")
    return socket.socket(family, kind, protocol)
