"""Patterns of hosts: their one spelling, and which of many matches a host most closely.

Decides what a pattern may be and what wins. Must not know what the patterns are for. Invariant: a pattern that was let
through can match some canonical host. Of those that match a host the most specific comes first: exact host with port,
exact host, glob with port, glob; among globs the one with more literal characters; then the one that was given first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Annotated, Generic, NamedTuple, TypeVar

from pydantic import AfterValidator

from crawler.urls import BadURL, parse, printable

_GLOB = re.compile(r"[a-z0-9._*?-]+\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_LONGEST = 300  # a host name has at most 253 characters (RFC 1035 2.3.4)

T = TypeVar("T")


class _Glob(NamedTuple, Generic[T]):
    port: str  # "" means any
    matches: re.Pattern[str]  # of the host without its port
    value: T


class Patterns(Generic[T]):
    """Values by canonical pattern."""

    def __init__(self, given: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, list[T]] = {}
        globs: list[tuple[bool, int, _Glob[T]]] = []
        for text, value in given:
            host, port = split_port(text)
            if "*" in host or "?" in host:
                literal = sum(letter not in "*?" for letter in host)
                globs.append((not port, -literal, _Glob(port, re.compile(translate(host)), value)))
            else:
                self._exact.setdefault(text, []).append(value)
        self._globs = [glob for *_, glob in sorted(globs, key=lambda row: row[:2])]

    def __repr__(self) -> str:
        return f"<Patterns exact={len(self._exact)} globs={len(self._globs)}>"

    def matching(self, netloc: str) -> tuple[T, ...]:
        """The values of all patterns that match a canonical "host" or "host:port", the most specific first."""
        host, port = split_port(netloc)
        exact = [*(self._exact.get(f"{host}:{port}", ()) if port else ()), *self._exact.get(host, ())]
        globs = [glob.value for glob in self._globs if glob.port in ("", port) and glob.matches.match(host)]
        return (*exact, *globs)


def split_port(netloc: str) -> tuple[str, str]:
    """Host and port ("" where there is none) of "host", "host:port", "[v6]:port", or a bare IPv6 address."""
    if netloc.count(":") > 1 and not netloc.startswith("["):
        return f"[{netloc}]", ""
    host, colon, port = netloc.rpartition(":")
    return (host, port) if colon and not netloc.endswith("]") else (netloc, "")


def canonical_pattern(text: str) -> str:
    """The one spelling of a pattern: lower case, IDNA, IPv6 in brackets. Raises ValueError with the nearest right one.

    A pattern is a host name in which `*` stands for any characters and `?` for one, with ":port" where only that port
    is meant.
    """
    if not text:
        raise ValueError("is empty; write a host: 'a.example' or '*.example.org'")
    if len(text) > _LONGEST:
        raise ValueError(f"is {len(text)} characters long; no host name is")
    if re.search(r"[\s/\\@#]|\A[A-Za-z][\w+.-]*:/", text):
        raise ValueError(f"is not a host{_nearest(text)}")
    host, port = split_port(text)
    if text.startswith("[") and text.endswith("]:"):
        raise ValueError(f"has an empty port; write '{text[:-1]}'")
    if host.startswith("[") and not text.startswith("["):
        raise ValueError(_address(host, f"'{printable(text)}' is not a host; an IPv6 address is written '[::1]'"))
    name = _literal(host) if host.startswith("[") or not re.search(r"[*?]", host) else _glob(host)
    return f"{name}:{_checked_port(name, port)}" if port or text.endswith(":") else name


def _nearest(text: str) -> str:
    """What was probably meant, as the end of a sentence."""
    bare = re.sub(r"\A[A-Za-z][\w+.-]*:/*", "", text.strip()) if "/" in text else text.strip()
    bare = re.split(r"[/\\#\s]", bare.lstrip("/"), maxsplit=1)[0].rpartition("@")[2]
    try:
        meant = canonical_pattern(re.sub(r":(80|443)?\Z", "", bare)) if bare and bare != text else ""
    except ValueError:
        meant = ""
    return f"; write the host only: '{meant}'" if meant else "; write the host only, such as 'a.example'"


def _literal(host: str) -> str:
    try:
        return parse(f"http://{host}/").host
    except BadURL:
        raise ValueError(
            f"'{printable(host)}' is not a host; write it like 'a.example', '*.example.org' or '[::1]'"
        ) from None


def _address(bracketed: str, otherwise: str) -> str:
    """Why an IPv6 address without brackets is refused."""
    try:
        return f"is an IPv6 address without brackets; write '{parse(f'http://{bracketed}/').host}'"
    except BadURL:
        return otherwise


def _glob(host: str) -> str:
    labels = []
    for label in host.split("."):
        if label.isascii():
            labels.append(label.lower())
        elif re.search(r"[*?]", label):
            raise ValueError(
                f"has a wildcard beside letters that IDNA encodes as a whole ('{printable(label)}'); use '*'"
            )
        else:
            labels.append(_literal(f"{label}.example").removesuffix(".example"))
    name = re.sub(r"\*+", "*", ".".join(labels))
    if not _GLOB.match(name):
        raise ValueError(f"'{printable(host)}' is not a host; only '*' and '?' are wildcards")
    return name


def _checked_port(name: str, port: str) -> int:
    if not _PORT.match(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"has no port from 1 to 65535 after the ':'; write '{name}' or '{name}:8080'")
    if int(port) in (80, 443):  # canonical URLs do not name them: the pattern would match nothing
        raise ValueError(f"names a default port, which means nothing here; write '{name}'")
    return int(port)


Pattern = Annotated[str, AfterValidator(canonical_pattern)]
