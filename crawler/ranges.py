"""Parts of a body: which bytes of it are there, which are to be asked for, and whether an answer continues them.

Decides by the words of RFC 9110 (8.8 validators, 13.1.5 If-Range, 14 ranges). Must not know files, the wire or retries.
Invariant: bytes are taken for a body only if the answer names the same strong validator, the same total and the very
range that was asked for (or its beginning); whatever is in doubt is no continuation. Never bytes of two versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from crawler.partial import Partial, Span, Version

# A part smaller than this is not worth an extra request's care.
WORTH_KEEPING = 1024 * 1024
# An attempt that brought at least so much more is no failed one.
GAINED = 64 * 1024
# Below this another connection costs (a round trip, slow start, the server's work) about what it saves.
SEGMENTED = 16 * 1024 * 1024
# What one further connection is asked for at least.
_BLOCK = 8 * 1024 * 1024

_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|(\*))/(?:(\d{1,18})|\*)\s*", re.ASCII | re.IGNORECASE)
_STRONG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110 8.8.3; a weak one begins with W/
# What of a whole answer's head speaks of the body: a 206 may leave it out (RFC 9110 15.3.7), or means the part by it.
_OF_BODY = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Location",
    "Content-MD5",
    "Content-Type",
    "Digest",
    "ETag",
    "Last-Modified",
    "Link",
    "Repr-Digest",
)
_OF_PART = frozenset({"content-digest", "content-length", "content-md5", "content-range", "transfer-encoding"})


class Head(NamedTuple):
    """Of an answer: `ranges` are all its Content-Range headers, `length` its Content-Length; names without case."""

    status: int
    headers: Mapping[str, str]
    ranges: Sequence[str]
    length: int | None
    coding: str | None


class ContentRange(NamedTuple):
    """`span` is None where the server could not satisfy the range, `total` None where it does not know."""

    span: Span | None
    total: int | None


def content_range(value: str) -> ContentRange | None:
    """A Content-Range header (RFC 9110 14.4); None for what is none, or makes no sense."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        return None
    first, last, unsatisfied, size = match.groups()
    total = int(size) if size is not None else None
    if unsatisfied:
        return ContentRange(None, total) if total is not None else None
    span = Span(int(first), int(last) + 1)
    if span.start >= span.stop or (total is not None and span.stop > total):
        return None
    return ContentRange(span, total)


def range_headers(version: Version, span: Span | None, start: int) -> dict[str, str]:
    """What asks for a span, or (None) for all from `start` on, if the version is still this one."""
    bytes_ = f"bytes={start}-" if span is None else f"bytes={span.start}-{span.stop - 1}"
    headers = {"Range": bytes_, "If-Range": version.validator}
    # A coding would be another representation. Of one that was coded the same has to be asked for as before.
    return headers if version.coding else {**headers, "Accept-Encoding": "identity"}


def version_of(head: Head) -> Version | None:
    """The version of a whole body that could be gone on with; None where nobody could tell it from another."""
    headers = head.headers
    if head.status != 200 or headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    etag = _strong(headers.get("ETag"))
    modified = headers.get("Last-Modified")
    if etag is None and not _dates_a_version(modified, headers.get("Date")):
        return None
    kept = tuple((name, headers[name]) for name in _OF_BODY if name in headers)
    return Version(etag, modified, head.length, head.coding, head.status, kept)


def in_segments(version: Version, headers: Mapping[str, str]) -> bool:
    """May further parts of a body be asked for while its beginning comes."""
    accepts = headers.get("Accept-Ranges", "").strip().lower() == "bytes"
    return accepts and version.coding is None and version.total is not None and version.total >= SEGMENTED


def continued(version: Version, asked: Span | None, start: int, head: Head) -> ContentRange | str:
    """The bytes that a 206 brings of this version, with its total, or why none of it can be used.

    `asked` is None for all from `start` on. It may bring less than was asked for (RFC 9110 14.2), not more.
    """
    if len(head.ranges) != 1:
        return f"{len(head.ranges)} Content-Range headers"
    brought = content_range(head.ranges[0])
    if brought is None or brought.span is None or brought.total is None:
        return "a Content-Range that cannot be read or names no total"
    span, total = brought.span, brought.total
    if span.start != start or (asked is not None and span.stop > asked.stop):
        return f"bytes {span.start}-{span.stop - 1}, where those from {start} were asked for"
    if version.total is not None and total != version.total:
        return f"a total of {total} bytes, which was {version.total}"
    if head.length is not None and head.length != span.stop - span.start:
        return f"a Content-Length of {head.length} for {span.stop - span.start} bytes"
    if head.coding != version.coding:
        return "another Content-Encoding"
    if why := _other_version(version, head.headers):
        return why
    return ContentRange(span, total)


def all_there(partial: Partial, head: Head) -> bool:
    """Whether a 416 says that the bytes that are there are all (RFC 9110 15.5.17)."""
    if len(head.ranges) != 1 or len(partial.spans) != 1 or partial.spans[0].start != 0:
        return False
    said = content_range(head.ranges[0])
    if said is None or said.span is not None or said.total != partial.size:
        return False
    if partial.version.total not in (None, said.total):
        return False
    etag = head.headers.get("ETag")
    return etag is None or etag == partial.version.etag


def whole_headers(version: Version, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The head of the whole body, by that of the answer that brought its last part (RFC 9111 3.4)."""
    left_out = _OF_PART | {name.lower() for name in _OF_BODY}
    return [*version.headers, *(pair for pair in headers.items() if pair[0].lower() not in left_out)]


def joined(spans: Iterable[Span], new: Span) -> tuple[Span, ...]:
    """The spans with another one."""
    found: list[Span] = []
    for span in sorted([*spans, new]):
        if found and span.start <= found[-1].stop:
            found[-1] = Span(found[-1].start, max(found[-1].stop, span.stop))
        elif span.start < span.stop:
            found.append(span)
    return tuple(found)


def missing(spans: Iterable[Span], total: int) -> list[Span]:
    """The gaps of a body of `total` bytes, in their order."""
    found, at = [], 0
    for span in (*spans, Span(total, total)):
        if at < span.start:
            found.append(Span(at, span.start))
        at = max(at, span.stop)
    return found


def front(spans: Sequence[Span]) -> int:
    """How many bytes are there from the beginning on."""
    return spans[0].stop if spans and spans[0].start == 0 else 0


class Lane:
    """What one connection brings: the bytes from `at` to `stop` are to come. Its answer goes as far as `reach`."""

    __slots__ = ("at", "reach", "stop")

    def __init__(self, at: int, stop: int, reach: int) -> None:
        self.at = at
        self.stop = stop
        self.reach = reach

    def __repr__(self) -> str:
        return f"<Lane {self.at}-{self.stop} of {self.reach}>"


class Lanes:
    """Who brings which bytes of a body of `total` bytes; each that is missing is a lane's, or `free`.

    Free bytes are given out from the front and in ever smaller blocks (guided self-scheduling, Polychronopoulos and
    Kuck, 1987), so that what can be hashed stays close behind what came, and all lanes end at about the same time.
    """

    def __init__(self, total: int, spans: Iterable[Span] = ()) -> None:
        self.total = total
        self._free = missing(spans, total)
        self._lanes: list[Lane] = []

    def __repr__(self) -> str:
        return f"<Lanes total={self.total} free={self._free} {self._lanes}>"

    @property
    def left(self) -> int:
        """Bytes that did not come yet."""
        return sum(span.stop - span.start for span in self._free) + sum(lane.stop - lane.at for lane in self._lanes)

    def begin(self, brought: Span) -> Lane:
        """A lane for an answer that is there: it takes what is free from its start on, as far as it reaches."""
        lane = Lane(brought.start, brought.start, brought.stop)
        self._lanes.append(lane)
        self.extend(lane)
        return lane

    def extend(self, lane: Lane) -> bool:
        """A lane at its stop goes on over what is free right behind it; False where there is nothing."""
        for index, span in enumerate(self._free):
            if span.start == lane.stop and lane.reach > lane.stop:
                lane.stop = min(span.stop, lane.reach)
                self._free[index : index + 1] = [Span(lane.stop, span.stop)] if lane.stop < span.stop else []
                return True
        return False

    def take(self, ways: int) -> Lane | None:
        """A lane for one more connection, of `ways` in all; None where nothing is left that is worth one."""
        share = max(_BLOCK, self.left // (2 * ways))
        if not self._free:
            widest = max(self._lanes, key=lambda lane: lane.stop - lane.at, default=None)
            if widest is None or widest.stop - widest.at < 2 * _BLOCK:
                return None
            keeps = min(share, (widest.stop - widest.at) // 2)
            self._free = [Span(widest.at + keeps, widest.stop)]
            widest.stop = widest.at + keeps
        span = self._free[0]
        stop = span.stop if span.stop - span.start < 2 * share else span.start + share
        self._free[0:1] = [Span(stop, span.stop)] if stop < span.stop else []
        lane = Lane(span.start, stop, stop)
        self._lanes.append(lane)
        return lane

    def end(self, lane: Lane) -> None:
        """A lane is over; what it did not bring is free again."""
        self._lanes.remove(lane)
        if lane.at < lane.stop:
            self._free = list(joined(self._free, Span(lane.at, lane.stop)))


def _strong(etag: str | None) -> str | None:
    return etag if etag is not None and _STRONG.fullmatch(etag) else None


def _dates_a_version(modified: str | None, date: str | None) -> bool:
    """Is Last-Modified a strong validator: two versions of one second would be told apart (RFC 9110 8.8.2.2)."""
    at, said = _date(modified), _date(date)
    return at is not None and said is not None and (said - at).total_seconds() >= 1


def _date(text: str | None) -> datetime | None:
    """An HTTP-date in the one form that is sent today (RFC 9110 5.6.7)."""
    if text is None or not text.endswith(" GMT"):
        return None
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _other_version(version: Version, headers: Mapping[str, str]) -> str | None:
    """Why a 206 is not of this version. A Last-Modified may be left out: then If-Range alone vouches (15.3.7)."""
    etag, modified = headers.get("ETag"), headers.get("Last-Modified")
    if version.etag is not None:
        return None if etag == version.etag else f"the ETag {etag or 'missing'}, which was {version.etag}"
    if etag is not None and etag != dict(version.headers).get("ETag"):  # a weak one that changed tells enough
        return f"the ETag {etag}, which was another"
    return None if modified in (None, version.modified) else f"Last-Modified {modified}, which was {version.modified}"
