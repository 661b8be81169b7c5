"""What a connection may be made to: a host and a port, in the one spelling that grants name."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

OPERATION = "network.egress:"
# An operation has 200 characters, of which the port may need five.
HOST_LIMIT = 200 - len(OPERATION) - len(":65535")

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+):([1-9][0-9]{0,4})")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# What resolvers read as a number is an address to them, in whatever old spelling: 0x7f.1, 127.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class BadTarget(Exception):
    """No host and port that anything is connected to; the message says what is wrong with it."""


@dataclass(frozen=True)
class Target:
    """A name in lower case without a trailing dot, or an address in its shortest form."""

    host: str
    port: int
    address: Address | None = None

    @classmethod
    def of(cls, authority: str) -> "Target":
        """From ``HOST:PORT``, as in CONNECT and in an operation. Raises BadTarget."""
        match = _AUTHORITY.fullmatch(authority)
        if match is None or int(match[2]) > 65535:
            raise BadTarget(f"{authority[:80]!r} is not HOST:PORT with a port from 1 to 65535")
        host = match[1].lower()
        if host.startswith("["):
            return cls._of_address(ipaddress.IPv6Address, host[1:-1], int(match[2]))
        labels = host.removesuffix(".").split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return cls._of_address(ipaddress.IPv4Address, host, int(match[2]))
        name = ".".join(labels)
        if len(name) > HOST_LIMIT or not all(map(_LABEL.fullmatch, labels)):
            raise BadTarget(f"{host[:80]!r} is not a host's name; write others than ASCII as xn--…")
        return cls(name, int(match[2]))

    @classmethod
    def _of_address(cls, kind: type[Address], text: str, port: int) -> "Target":
        try:
            address = kind(text)
        except ValueError:
            raise BadTarget(f"{text[:80]!r} is not an address in its usual form") from None
        if address.is_unspecified or address.is_multicast or _carried(address) is not None:
            raise BadTarget(f"{address} is not the address of one host; name the host itself")
        return cls(str(address), port, address)

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.address is not None and ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def operation(self) -> str:
        """What a grant for it is called."""
        return f"{OPERATION}{self}"


def permitted(target: Target, found: Sequence[Address], private_names: Sequence[str]) -> list[str]:
    """Of the addresses a name resolves to, those that it may lead to.

    A grant that names an address allows that address. A name is under the control of whoever
    answers for it in the DNS, so it leads to public addresses alone; one of `private_names`, or
    below one, to private networks as well. No name leads to this host or its own link.
    """
    inside = any(f".{target.host}".endswith(f".{name}") for name in private_names)
    return [str(address) for address in found if _is_open(address, inside)]


def _is_open(address: Address, inside: bool) -> bool:
    carried = _carried(address)
    if carried is not None:
        return _is_open(carried, inside)
    if address.is_loopback or address.is_link_local or address.is_multicast:
        return False
    if address.is_unspecified or address.is_reserved:
        return False
    # Shared address space (100.64.0.0/10) is neither: it counts as private here.
    return address.is_global or inside


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
