"""What one Set-Cookie line says, by RFC 6265bis 5.1.1 and 5.6.

Decides how a line is read: its name, value and attributes, its date, and what text is refused outright. Must not know
who sent it, nor what is in the jar. Invariant: no line raises; a name and value that pass `unsound` can stand in a
Cookie header and come back from any file of ours as they were.

"RFC 6265bis" is draft-ietf-httpbis-rfc6265bis-22, which browsers follow where RFC 6265 is looser.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

MAX_PAIR = 4096  # octets of name and value together
MAX_ATTRIBUTE = 1024  # octets of an attribute's value
MAX_AGE = 400 * 86400.0  # seconds
_MAX_LINE = 8 * 1024  # a longer one has room for nothing but attributes that are to be ignored
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")  # a lone surrogate was an octet that is not UTF-8
_BLANK = " \t"
_KNOWN = frozenset(("expires", "max-age", "domain", "path", "secure", "httponly"))


class SetCookie(NamedTuple):
    """`expires` is in wall seconds, None for the end of the session; `domain` and `path` are None where not said.

    `domain` is lower case without its leading dot, `path` "" where what was said is no path.
    """

    name: str
    value: str
    domain: str | None = None
    path: str | None = None
    expires: float | None = None
    secure: bool = False
    http_only: bool = False

    def __repr__(self) -> str:
        return f"<SetCookie {self.name!r}>"


def parse(line: str, now: float) -> SetCookie | None:
    """What a Set-Cookie line says, `now` in wall seconds; None where it is to be ignored."""
    if len(line) > _MAX_LINE or _UNSENDABLE.search(line):
        return None
    head, _, rest = line.partition(";")
    name, equals, value = head.partition("=")
    if not equals:
        name, value = "", head
    name, value = name.strip(_BLANK), value.strip(_BLANK)
    if unsound(name, value):
        return None
    said = _attributes(rest)
    return SetCookie(
        name,
        value,
        domain=said["domain"].removeprefix(".").lower() if "domain" in said else None,
        path=(said["path"] if said["path"].startswith("/") else "") if "path" in said else None,
        expires=_expiry(said, now),
        secure="secure" in said,
        http_only="httponly" in said,
    )


def unsound(name: str, value: str) -> str | None:
    """Why this name and value can be no cookie, in words that show neither; None where they can."""
    if not name and not value:
        return "has neither name nor value"
    if _UNSENDABLE.search(name) or _UNSENDABLE.search(value):
        return "has control characters, or is not UTF-8"
    if ";" in name or ";" in value or "=" in name or (not name and "=" in value):
        return "has a separator within its name or value"
    if name != name.strip(_BLANK) or value != value.strip(_BLANK):
        return "has blanks around its name or value"
    if octets(name) + octets(value) > MAX_PAIR:
        return f"has more than {MAX_PAIR} bytes of name and value"
    return None


def unsendable(text: str) -> bool:
    """Has it characters that may stand in no line of a message: controls other than the tab, lone surrogates."""
    return _UNSENDABLE.search(text) is not None


def octets(text: str) -> int:
    """Its length as UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _attributes(rest: str) -> dict[str, str]:
    """The last of each attribute that is understood (5.6.1 to 5.6.7); SameSite is not: we visit no site."""
    said: dict[str, str] = {}
    for piece in rest.split(";"):
        name, _, value = piece.partition("=")
        name, value = name.strip(_BLANK).lower(), value.strip(_BLANK)
        if name not in _KNOWN or octets(value) > MAX_ATTRIBUTE:
            continue
        if name == "expires" and cookie_date(value) is None:
            continue
        if name == "max-age" and not re.fullmatch(r"-?[0-9]+", value):
            continue
        said[name] = value
    return said


def _expiry(said: dict[str, str], now: float) -> float | None:
    """Max-Age counts before Expires (5.7 step 6); both are cut to 400 days."""
    if "max-age" in said:
        seconds = int(said["max-age"])
        return now + min(seconds, MAX_AGE) if seconds > 0 else 0.0
    date = cookie_date(said["expires"]) if "expires" in said else None
    return None if date is None else min(date, now + MAX_AGE)


_DELIMITERS = re.compile(r"[\t\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@lru_cache(maxsize=256)  # the dates that delete are always the same
def cookie_date(text: str) -> float | None:
    """The wall seconds of a cookie-date (5.1.1: any order, any delimiters, always UTC); None where it is none."""
    time = day = year = None
    month = 0
    for token in _DELIMITERS.split(text):
        if time is None and (found := _TIME.match(token)):
            time = found
        elif day is None and (found := _DAY.match(token)):
            day = found
        elif not month and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR.match(token)):
            year = found
    if time is None or day is None or not month or year is None:
        return None
    full = int(year[1])
    full += 1900 if 70 <= full <= 99 else 2000 if full <= 69 else 0
    if full < 1601:
        return None
    hour, minute, second = (int(part) for part in time.groups())
    try:
        return datetime(full, month, int(day[1]), hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:  # no such day, hour, minute or second
        return None
