"""Cookies as text, both ways: a JSON object of our own, and the cookies.txt that browsers, curl and wget exchange.

Decides what a file's text says about cookies and which of its lines are of no use. Must not know paths, files or the
jar. Invariant: whether a cookie is for one host alone is always said, never guessed (CVE-2026-54279); what is read
passes the same checks as what a server sends; no junk does more than raise ValueError, and no fault quotes the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import NamedTuple

import orjson

from crawler.cookierules import Cookie, fault
from crawler.urls import BadURL, parse

VERSION = 1
_MOST_FAULTS = 20  # that are told one by one
_HEADER = "# Netscape HTTP Cookie File\n\n"
_HTTP_ONLY = "#HttpOnly_"
_FLAGS = {"TRUE": True, "FALSE": False}


class Loaded(NamedTuple):
    """The cookies of a text, the oldest first; `faults` name what was left out by its line or number, and why."""

    cookies: list[Cookie]
    faults: list[str]


def load(data: bytes) -> Loaded:
    """Read either format. Raises ValueError, with a sentence that begins with a verb, for what is no jar at all."""
    return load_json(data) if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else load_netscape(data)


def dump_json(cookies: Iterable[Cookie]) -> bytes:
    """All of each cookie, session cookies among them (`expires` null)."""
    entries = [cookie._asdict() for cookie in cookies]
    return orjson.dumps({"version": VERSION, "cookies": entries}, option=orjson.OPT_APPEND_NEWLINE)


def load_json(data: bytes) -> Loaded:
    """What `dump_json` wrote; entries that are none are left out. Raises ValueError for what is no jar."""
    try:
        said = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        raise ValueError("is not the JSON of a cookie jar") from None
    if not isinstance(said, dict) or "version" not in said or not isinstance(said.get("cookies"), list):
        raise ValueError("is not the JSON of a cookie jar")
    if said["version"] != VERSION:
        raise ValueError(f"is a cookie jar of another version; version {VERSION} is read")
    found = _Found("cookie")
    for number, entry in enumerate(said["cookies"], 1):
        found.add(number, _entry(entry))
    return found.loaded()


def dump_netscape(cookies: Iterable[Cookie]) -> tuple[bytes, list[str]]:
    """A cookies.txt, and which cookies cannot stand in one (a tab is what separates its columns)."""
    lines, faults = [], []
    for cookie in cookies:
        if any("\t" in text for text in (cookie.name, cookie.value, cookie.path)):
            faults.append(f"a cookie of {cookie.domain} has a tab, and cannot stand in a cookies.txt")
            continue
        prefix = _HTTP_ONLY if cookie.http_only else ""
        domain = cookie.domain if cookie.host_only else "." + cookie.domain
        flags = ["FALSE" if cookie.host_only else "TRUE", cookie.path, "TRUE" if cookie.secure else "FALSE"]
        expires = "0" if cookie.expires is None else str(int(cookie.expires))
        lines.append("\t".join([prefix + domain, *flags, expires, cookie.name, cookie.value]) + "\n")
    return (_HEADER + "".join(lines)).encode(), faults


def load_netscape(data: bytes) -> Loaded:
    """A cookies.txt: seven columns a line. Raises ValueError where there are lines, but none of a cookie."""
    found = _Found("line")
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip() and (not line.startswith("#") or line.startswith(_HTTP_ONLY)):
            found.add(number, _line(line))
    if found.bad and not found.cookies:
        raise ValueError("is no cookies.txt: none of its lines is a cookie")
    return found.loaded()


class _Found:
    """What was read so far; only the first faults are kept, since a file may hold millions."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._faults: list[str] = []
        self.cookies: list[Cookie] = []
        self.bad = 0

    def add(self, number: int, read: Cookie | str) -> None:
        """A cookie that was read, or why there is none; checked here."""
        why = read if isinstance(read, str) else fault(read)
        if isinstance(read, Cookie) and why is None:
            self.cookies.append(read)
            return
        self.bad += 1
        if self.bad <= _MOST_FAULTS:
            self._faults.append(f"{self._noun} {number} {why}")

    def loaded(self) -> Loaded:
        more = self.bad - len(self._faults)
        return Loaded(self.cookies, [*self._faults, f"and {more} more {self._noun}s"] if more else self._faults)


def _entry(entry: object) -> Cookie | str:
    """One entry of our JSON."""
    match entry:
        case {
            "name": str(name),
            "value": str(value),
            "domain": str(said),
            "path": str(path),
            "host_only": bool(host_only),
            "expires": None | int() | float() as expires,
            "secure": bool(secure),
            "http_only": bool(http_only),
        } if not isinstance(expires, bool):
            domain = _domain(said)
            if domain is None:
                return "has a domain that is no host"
            return Cookie(name, value, domain, path, host_only, expires, secure, http_only)
    return "lacks a field, or has one of another type"


def _line(line: str) -> Cookie | str:
    """One line of a cookies.txt; its last column may be missing where the value is empty."""
    http_only = line.startswith(_HTTP_ONLY)
    columns = line.removeprefix(_HTTP_ONLY).split("\t")
    if len(columns) == 6:
        columns.append("")
    if len(columns) != 7:
        return "has not seven columns, parted by tabs"
    below, secure = _FLAGS.get(columns[1].upper()), _FLAGS.get(columns[3].upper())
    if below is None or secure is None:
        return "has neither TRUE nor FALSE in its second or fourth column"
    domain = _domain(columns[0].removeprefix("."))
    if domain is None:
        return "has a domain that is no host"
    try:
        seconds = float(columns[4] or "0")
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        return "has an expiry that is no number of seconds"
    return Cookie(columns[5], columns[6], domain, columns[2], not below, seconds or None, secure, http_only)


def _domain(text: str) -> str | None:
    """The canonical form of a host, None of what is no host alone."""
    try:
        url = parse(f"http://{text}/")
    except BadURL:
        return None
    return url.host if url.href == f"http://{url.host}/" else None
