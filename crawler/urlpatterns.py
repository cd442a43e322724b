"""What URLs of one kind have in common: their path with numbers and identifiers left out, the names in their query.

Decides by a canonical URL alone. Must not know why patterns are asked for. Invariant: a pattern is a bounded printable
text, and a URL that differs from another in numbers, long identifiers and values of parameters only has the same one.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from zlib import crc32

LONGEST = 100  # characters of a pattern; what is longer is cut, and ends with a checksum

# Percent-encoded letters stay; UUIDs, 16 and more hexadecimal digits, or 24 and more letters with a digit among them
# are identifiers. The rest are numbers.
_VARIABLE = re.compile(
    r"(?:%[0-9A-Fa-f]{2})+"
    r"|(?<![0-9A-Za-z])(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-f]{16,}|[0-9A-F]{16,}"
    r"|(?=[A-Za-z]*[0-9])[0-9A-Za-z]{24,})(?![0-9A-Za-z])"
    r"|[0-9]+"
)

_NUMBER = re.compile("[0-9]+")


class Shape(NamedTuple):
    """`pattern`: all of it; `family`: that of the path alone. `parts`: the parts that vary, each with what names it."""

    pattern: str
    family: str
    parts: tuple[str, ...]


def shape_of(href: str) -> Shape:
    """The shape of a canonical URL. Where neither path nor query vary, the last segment is taken to do so: "a/b/…"."""
    start = href.find("/", 8)
    path, mark, query = href[start:].partition("?")
    site = href[href.index("//") + 2 : start]
    values: list[str] = []

    def left_out(found: re.Match[str]) -> str:
        text = found[0]
        if text[0] == "%":
            return text
        values.append(f"{len(values)}={text}")
        return "#" if text.isdecimal() and len(text) < 16 else "*"

    family = site + _VARIABLE.sub(left_out, path)
    pairs = query.split("&") if mark else []
    if pairs:
        names = "&".join(sorted(pair.partition("=")[0] for pair in pairs))
        return Shape(_cut(f"{family}?{names}"), _cut(family), (*values, *pairs))
    pattern = family if values else f"{family[: family.rindex('/') + 1]}…"
    return Shape(_cut(pattern), _cut(family), tuple(values))


def most_parts(href: str) -> int:
    """How many parts of a canonical URL vary at most, but for identifiers without a digit: more than in its shape."""
    pairs = href.count("&") + 1 if "?" in href else 0
    return len(_NUMBER.findall(href, href.find("/", 8))) + pairs


def pattern_of(href: str) -> str:
    """The pattern of a canonical URL, as it is told to people: "a.example/t/#?page"."""
    return shape_of(href).pattern


def repeated(href: str, times: int) -> str | None:
    """What repeats in the path of a canonical URL: a segment that stands there more than `times` times, or two and more
    that come `times` times one after another; None where nothing does.
    """
    parts = href.partition("?")[0].split("/")[3:]
    if len(parts) - len(set(parts)) < times:  # both have at least as many that stood there before
        return None
    places: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        places.setdefault(part, []).append(place)
    for part, at in places.items():
        if len(at) > times:
            return _cut(part)
        size = at[1] - at[0] if len(at) == times else 0
        if size > 1 and parts[at[0] : at[-1]] == parts[at[1] : at[-1] + size]:
            return _cut("/".join(parts[at[0] : at[1]]))
    return None


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 9]}~{crc32(text.encode()):08x}"
