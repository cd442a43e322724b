"""Which IP addresses a page must not lead us to, and how a job pins names to addresses.

Decides: is an address public, and if not, of what kind; is a table of pins well formed. Must not know sockets, lookups,
or who asked. Invariant: an address is judged by where its packets end, so one that carries IPv4 addresses (mapped,
NAT64, 6to4, Teredo) is judged by those; whatever cannot be read as an address is refused, never let through.

The list is written out after the IANA special-purpose registries (RFC 6890, as of 2024-10), since `is_global` of the
standard library lets 6to4, NAT64 and multicast pass and changes with the version of Python.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from crawler.urls import BadURL, hostname, parse, printable

# The first network that holds an address names it, so the narrower ones stand first.
_IPV4 = """
    169.254.169.254/32 metadata     100.100.100.200/32 metadata     168.63.129.16/32 metadata
    192.0.0.192/32 metadata         169.254.170.2/32 metadata       169.254.170.23/32 metadata
    0.0.0.0/32 unspecified          0.0.0.0/8 reserved              10.0.0.0/8 private
    100.64.0.0/10 shared            127.0.0.0/8 loopback            169.254.0.0/16 link-local
    172.16.0.0/12 private           192.0.0.0/24 reserved           192.0.2.0/24 documentation
    192.88.99.0/24 reserved         192.168.0.0/16 private          198.18.0.0/15 benchmarking
    198.51.100.0/24 documentation   203.0.113.0/24 documentation    224.0.0.0/4 multicast
    255.255.255.255/32 broadcast    240.0.0.0/4 reserved
"""
# Beyond what is carved out here, 2000::/3 is all that IANA has given to global unicast.
_IPV6 = """
    fd00:ec2::254/128 metadata      fd00:ec2::23/128 metadata       fd20:ce::254/128 metadata
    ::/128 unspecified              ::1/128 loopback                100::/64 discard-only
    fc00::/7 private                fe80::/10 link-local            fec0::/10 private
    ff00::/8 multicast              2001:2::/48 benchmarking        2001::/23 reserved
    2001:db8::/32 documentation     3fff::/20 documentation         2000::/3 -
    ::/0 reserved
"""


def _table(text: str) -> list[tuple[int, int, str | None]]:
    words = text.split()
    rows = []
    for cidr, kind in zip(words[::2], words[1::2], strict=True):
        network = ip_network(cidr)
        named = {"-": None, "shared": "shared (100.64/10)"}.get(kind, kind)
        rows.append((int(network[0]), int(network[-1]), named))
    return rows


_V4 = _table(_IPV4)
_V6 = _table(_IPV6)
_LOW32 = 0xFFFFFFFF


@lru_cache(maxsize=8192)
def guarded(address: str) -> str | None:
    """None for a public address, else its kind in a word or two: loopback, private, metadata...

    Takes numeric text, IPv6 with or without brackets and zone (RFC 4007). What is no such text is "not an address":
    names, and the forms of IPv4 that only some parsers read (0x7f.1, 127.1, 010.0.0.1).
    """
    try:
        ip = ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        return "not an address"
    if isinstance(ip, IPv4Address):
        return _kind(_V4, int(ip))
    return _guarded_v6(int(ip))


@lru_cache(maxsize=4096)
def loopback(host: str) -> bool:
    """Does a canonical host, IPv6 in brackets, say by itself that it is this machine (RFC 6761 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def in_the_open(href: str) -> bool:
    """Does a request for a canonical URL go to another machine by plain http."""
    return href.startswith("http://") and not loopback(hostname(href))


def _kind(table: list[tuple[int, int, str | None]], number: int) -> str | None:
    return next((kind for first, last, kind in table if first <= number <= last), None)


def _guarded_v6(number: int) -> str | None:
    carried = list(_carried(number))
    for v4 in carried:
        if kind := _kind(_V4, v4):
            return kind
    if carried:
        return None
    kind = _kind(_V6, number)
    if kind == "reserved" and number >> 32 == 0:  # IPv4-compatible (RFC 4291 2.5.5.1): deprecated, public to nobody
        return _kind(_V4, number) or kind
    return kind


def _carried(number: int) -> Iterator[int]:
    """The IPv4 addresses at which packets to this IPv6 address may end."""
    top = number >> 96
    if number >> 32 in (0xFFFF, 0x0064_FF9B << 64):  # IPv4-mapped; NAT64's well-known prefix (RFC 6052)
        yield number & _LOW32
    elif number >> 80 == 0x0064_FF9B_0001:  # NAT64, local use (RFC 8215)
        yield from _local_nat64(number)
    elif top >> 16 == 0x2002:  # 6to4 (RFC 3056)
        yield number >> 80 & _LOW32
    elif top == 0x2001_0000:  # Teredo (RFC 4380): server, and client with its bits turned over
        yield number >> 64 & _LOW32
        yield ~number & _LOW32


def _local_nat64(number: int) -> Iterator[int]:
    """The network chose a prefix of 48, 56, 64 or 96 bits (RFC 6052 2.2); nobody tells us which, so all are read.

    A reading within 0.0.0.0/8 is the mark of another prefix length, unless there is no reading but such.
    """
    low, high = number & (1 << 56) - 1, number >> 64  # around the octet of zeros at bit 64
    joined = high << 56 | low
    readings = [joined >> shift & _LOW32 for shift in (40, 32, 24, 0)]
    yield from [reading for reading in readings if reading >> 24] or readings[-1:]


class Pin(NamedTuple):
    """Where a pinned name leads: a numeric address, and a port or None for the one asked for."""

    host: str
    port: int | None


_PORT = re.compile(r"[0-9]{1,5}\Z")


def parse_pins(resolve: Mapping[str, str]) -> dict[str, Pin]:
    """Pins by "host" or "host:port", hosts canonical and without a final dot. Raises ValueError with a sentence.

    A key is a host name with or without a port; a value an IP address with or without one: 10.0.0.1, 10.0.0.1:8080,
    ::1, [::1], [::1]:8080.
    """
    pins: dict[str, Pin] = {}
    for key, value in resolve.items():
        name = _pinned_name(key)
        if name in pins:
            raise ValueError(f"{_shown(key)} is pinned twice")
        pins[name] = _pin(key, value)
    return pins


def _pinned_name(key: str) -> str:
    name, colon, port = key.partition(":")
    try:
        literal = IPv6Address(key.removeprefix("[").partition("]")[0])
    except ValueError:
        literal = None
    if literal is not None:
        raise ValueError(f"{_shown(key)} is an IP address: only names can be pinned")
    if not name or re.search(r"[\s/?#@\\\[\]%]", name):
        raise ValueError(f"{_shown(key)} is not a host name, nor host:port")
    try:
        host = parse(f"http://{name}/").host.rstrip(".")
    except BadURL:
        raise ValueError(f"{_shown(key)} is not a host name, nor host:port") from None
    if guarded(host) != "not an address":
        raise ValueError(f"{_shown(key)} is an IP address: only names can be pinned")
    return f"{host}:{_port(key, port)}" if colon else host


def _pin(key: str, value: str) -> Pin:
    text, port = value, None
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", value)
    if bracketed:
        text, port = bracketed[1], bracketed[2]
    elif value.count(":") == 1:
        text, _, port = value.partition(":")
    try:
        ip = ip_address(text)
    except ValueError:
        ip = None
    if ip is None or (bracketed and ip.version == 4):
        raise ValueError(f"{_shown(key)} leads to {_shown(value)}, which is not an IP address, nor address:port")
    return Pin(str(ip), None if port is None else _port(value, port))


def _port(where: str, text: str) -> int:
    if not _PORT.match(text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{_shown(where)} has a port that is not a number from 1 to 65535")
    return int(text)


def _shown(text: str) -> str:
    return f'"{printable(text, 80)}"'
