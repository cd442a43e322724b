"""Which requests were seen: 64-bit fingerprints, and a set of them at about 16 bytes each.

Decides whether two requests ask for the same thing. Must not know hosts, files or SQLite. Invariant: a fingerprint
added is found for ever; 0 is no fingerprint. By the birthday bound two of 10^7 requests collide once in 370,000 lists.

A Python set costs 100 bytes a key and a unique SQLite index 15 to 35 us an insert at this size; open addressing over
an array of machine words costs neither. Segments by the high bits keep the pause of a growth to some milliseconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from crawler.model import Content, FileBody, Messages, Multipart

_SEGMENTS = 512
_SHIFT = 64 - 9
_FIRST = 32
_MASK64 = (1 << 64) - 1


def fingerprint(method: str, href: str, body: Content | None) -> int:
    """Signed 64-bit fingerprint of what a request asks for; never 0. A file counts by its path, not by its content."""
    if body is None:
        said = f"{method} {href}".encode("utf-8", "surrogatepass")
    else:
        said = b"".join((method.encode(), b" ", href.encode("utf-8", "surrogatepass"), *_described(body)))
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "little", signed=True) or 1


def _described(body: Content) -> tuple[bytes, bytes]:
    """The kind of a body, by a byte that no URL has, and what tells it from others of its kind."""
    match body:
        case bytes():
            return b"\0", body
        case FileBody(path):
            return b"\1", path.encode("utf-8", "surrogatepass")
        case Multipart(fields):
            return b"\2", repr([tuple(field) for field in fields]).encode()
        case Messages(parts):
            return b"\3", repr(parts).encode()


class Fingerprints:
    """A set of fingerprints: linear probing, at most two thirds full."""

    __slots__ = ("_counts", "_size", "_tables")

    def __init__(self, prints: Iterable[int] = ()) -> None:
        self._tables = [array("q", bytes(8 * _FIRST)) for _ in range(_SEGMENTS)]
        self._counts = [0] * _SEGMENTS
        self._size = 0
        self.update(prints)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"<Fingerprints {self._size} in {self.nbytes} bytes>"

    def __contains__(self, print_: int) -> bool:
        table = self._tables[(print_ & _MASK64) >> _SHIFT]
        mask = len(table) - 1
        slot = print_ & mask
        while (found := table[slot]) != 0:
            if found == print_:
                return True
            slot = (slot + 1) & mask
        return False

    def add(self, print_: int) -> bool:
        """Add one; True when it is new."""
        segment = (print_ & _MASK64) >> _SHIFT
        table = self._tables[segment]
        mask = len(table) - 1
        slot = print_ & mask
        while (found := table[slot]) != 0:
            if found == print_:
                return False
            slot = (slot + 1) & mask
        table[slot] = print_
        self._size += 1
        self._counts[segment] += 1
        if self._counts[segment] * 3 > len(table) * 2:
            self._grow(segment)
        return True

    def update(self, prints: Iterable[int]) -> None:
        """Add many."""
        for print_ in prints:
            self.add(print_)

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""
        return sum(8 * len(table) for table in self._tables)

    def _grow(self, segment: int) -> None:
        old = self._tables[segment]
        table = array("q", bytes(16 * len(old)))
        mask = len(table) - 1
        for print_ in old:
            if print_:
                slot = print_ & mask
                while table[slot]:
                    slot = (slot + 1) & mask
                table[slot] = print_
        self._tables[segment] = table
