"""Is a file of WARC records whole: every byte of it belongs to a record without a fault.

Does: read it once, at constant memory. Must not know the checkpoint or what was fetched. Invariant: a file that is
cut anywhere but between two captures has a fault, and so has one in which any byte that is read was changed; what
is cut between two captures, or stands behind the last, only the length that was committed can tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from crawler.errors import StorageError
from crawler.members import Piece, Torn, unpacked
from crawler.warcread import Reading

_PIECE = 1024 * 1024


class Fault(NamedTuple):
    """What is wrong with the record whose gzip member begins at `offset`: a sentence that lacks its subject."""

    offset: int
    error: str


class Found(NamedTuple):
    """A record without a fault: where its member is, the fields of its head (names in lower case), its HTTP head."""

    offset: int
    length: int
    fields: Mapping[str, str]
    http: bytes


def check(path: Path, length: int | None = None, *, closed: bool = True) -> Iterator[Fault]:
    """All that is wrong with the file, which should have `length` bytes, as far as that is known; one that is not
    `closed` may have more, which nobody vouches for.

    Nothing is read behind a member that is torn: where the next begins cannot be known. Raises StorageError where the
    file cannot be read.
    """
    order, faults = _Order(), 0
    for found in records(path, length):
        if isinstance(found, Fault):
            faults += 1
            yield found
        elif (error := order.fault(found.fields)) is not None:
            yield Fault(found.offset, error)
    size = os.stat(path).st_size
    if not faults and not order.complete:
        yield Fault(size if length is None else min(size, length), "ends within a capture")
    if length is not None and (size < length or (closed and size > length)):
        yield Fault(min(size, length), f"has {size} bytes, and {length} are committed")


def records(path: Path, length: int | None = None) -> Iterator[Found | Fault]:
    """The records of the file's first `length` bytes, None for all of it, and a Fault for each that has one.

    Raises StorageError where the file cannot be read.
    """
    reading = Reading()
    for event in unpacked(_pieces(path, length)):
        if isinstance(event, Piece):
            reading.feed(event.data)
        elif isinstance(event, Torn):
            yield Fault(event.offset, event.error)
        else:
            faults = reading.end()
            yield from (Fault(event.offset, error) for error in faults)
            if not faults:
                yield Found(event.offset, event.length, reading.fields, reading.http)
            reading = Reading()


def _pieces(path: Path, length: int | None) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            left = os.fstat(file.fileno()).st_size if length is None else length
            while left > 0 and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                yield piece
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


class _Order:
    """A file begins with a warcinfo; a capture is answers, each with its request behind it, and one metadata."""

    def __init__(self) -> None:
        self._answer: str | None = None  # the id of the answer whose request must come
        self.complete = True

    def fault(self, fields: Mapping[str, str]) -> str | None:
        """What is wrong with this record behind those before it."""
        kind, of = fields["warc-type"], fields.get("warc-concurrent-to")
        awaited, self._answer = self._answer, None
        self.complete = kind in ("warcinfo", "metadata")
        if awaited is not None:
            return None if kind == "request" and of == awaited else f"is not the request of {awaited}"
        if kind in ("response", "revisit"):
            self._answer = fields["warc-record-id"]
        return None if kind != "request" else "is a request without an answer"
