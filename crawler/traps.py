"""Endless sites: which new links lead to more of the same, and are left.

Decides by URLs' patterns and by what pages of each said. Must not know scope, queues or how pages are read. Invariant:
memory and `dumps()` are bounded; after `loads(dumps())` decisions are the same. Three rules (docs/crawl.md tells them):

- repeats: a folder stands more than `repeats` times in the path, or several come `repeats` times one after another.
- alike: after `alike` pages of one pattern in a row that said what another of their host had said (likeness.py), links
  of this pattern are left where they stand on such a page, until one of the pattern says something new.
- combinations: three or more parts of a URL vary, and more than `combinations` URLs of a path are asked for, more than
  all pairs of the values that were seen: two parameters cannot make so many, and a third that counts things brings as
  many values.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter, OrderedDict
from math import log
from typing import TypeVar
from zlib import crc32

import orjson

from crawler import jobcrawl
from crawler.scope import Why
from crawler.urlpatterns import Shape, most_parts, repeated, shape_of
from crawler.urls import hostname

_PATTERNS = 2000  # whose runs of barren pages are counted; the least recently used go
_FAMILIES = 500  # paths whose combinations are
_TOLD = 500  # patterns in the report
_PRINTS = 16_384  # pages whose likeness is known
_CELLS = 512  # of a bitmap by which values are counted (linear counting, Whang 1990)
_FULL = _CELLS * 15 // 16  # values set: too many to be counted, so no combinations of few
_VARIABLE = 3
_VERSION = 1

K = TypeVar("K")
V = TypeVar("V")


class _Family:
    """The URLs of one path: how many were asked for, and which values of their variable parts were seen."""

    __slots__ = ("cells", "urls")

    def __init__(self, urls: int = 0, cells: int = 0) -> None:
        self.urls = urls
        self.cells = cells

    def add(self, parts: tuple[str, ...]) -> None:
        self.urls += 1
        for part in parts:
            self.cells |= 1 << crc32(part.encode()) % _CELLS

    def squares(self, limit: int) -> bool:
        """Are there more than `limit` URLs, and more than two parameters could make of the values."""
        if self.urls < limit or (used := self.cells.bit_count()) > _FULL:
            return False
        return self.urls > (_CELLS * log(_CELLS / (_CELLS - used))) ** 2


class Traps:
    """The patterns of one run."""

    def __init__(self, said: jobcrawl.Traps) -> None:
        self._said = said
        self._runs: OrderedDict[str, int] = OrderedDict()  # barren pages in a row
        self._families: OrderedDict[str, _Family] = OrderedDict()
        self._prints: OrderedDict[int, None] = OrderedDict()
        self._told: OrderedDict[str, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Traps {len(self._runs)} patterns, {len(self._told)} stopped>"

    def why_not(self, href: str, barren: bool) -> Why | None:
        """Why a new URL is left; None where it is to be fetched. `barren` is what `seen_page` said of the page that it
        was found on. To be asked once for each URL in scope: those that are let through are counted.
        """
        if (folders := repeated(href, self._said.repeats)) is not None:
            return self._stop(f"{hostname(href)}/…/{folders}/…", Why.TRAP_REPEATS)
        if not barren and most_parts(href) < _VARIABLE:
            return None  # as most are, at a quarter of the cost
        shape = shape_of(href)
        if barren and self._runs.get(shape.pattern, 0) >= self._said.alike:
            self._runs.move_to_end(shape.pattern)
            return self._stop(shape.pattern, Why.TRAP_ALIKE)
        if len(shape.parts) >= _VARIABLE and self._combined(shape):
            return self._stop(f"{shape.family}?…" if "?" in href else shape.family, Why.TRAP_COMBINATIONS)
        return None

    def seen_page(self, href: str, likeness: int) -> bool:
        """A page was fetched that says what `likeness` tells. Is it barren, a page like one before?"""
        key = likeness ^ (crc32(hostname(href).encode()) << 32)
        barren = key in self._prints
        _touch(self._prints, key, None, _PRINTS)
        pattern = shape_of(href).pattern
        _touch(self._runs, pattern, self._runs.get(pattern, 0) + 1 if barren else 0, _PATTERNS)
        return barren

    def stopped(self) -> list[tuple[str, int]]:
        """Each pattern with how many URLs of it were left, the largest first."""
        return Counter(self._told).most_common()

    def dumps(self) -> str:
        """All that `loads` needs, as JSON of less than 1 MB."""
        prints = b"".join(key.to_bytes(8, "big") for key in self._prints)
        said = {
            "version": _VERSION,
            "runs": list(self._runs.items()),
            "families": [(name, known.urls, f"{known.cells:x}") for name, known in self._families.items()],
            "told": list(self._told.items()),
            "prints": b64encode(prints).decode(),
        }
        return orjson.dumps(said).decode()

    def loads(self, text: str) -> None:
        """Go on where another run stood. What another version wrote is left aside. Raises ValueError: no such text."""
        said = orjson.loads(text)
        if said["version"] != _VERSION:
            return
        self._runs = OrderedDict(said["runs"])
        self._families = OrderedDict((name, _Family(urls, int(cells, 16))) for name, urls, cells in said["families"])
        self._told = OrderedDict(said["told"])
        prints = b64decode(said["prints"])
        keys = (int.from_bytes(prints[at : at + 8], "big") for at in range(0, len(prints), 8))
        self._prints = OrderedDict.fromkeys(keys)

    def _combined(self, shape: Shape) -> bool:
        """Is it one more combination of few values; else it is counted, so that a path once stopped remains so."""
        family = self._families.get(shape.family) or _Family()
        _touch(self._families, shape.family, family, _FAMILIES)
        if family.squares(self._said.combinations):
            return True
        family.add(shape.parts)
        return False

    def _stop(self, pattern: str, why: Why) -> Why:
        _touch(self._told, pattern, self._told.get(pattern, 0) + 1, _TOLD)
        return why


def _touch(kept: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep a value as the most recently used one of at most so many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)
