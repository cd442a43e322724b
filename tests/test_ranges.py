"""Which bytes are there, which are asked for, and what of an answer may be added to them."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.partial import Partial, Span, Version
from crawler.ranges import (
    SEGMENTED,
    ContentRange,
    Head,
    Lane,
    Lanes,
    all_there,
    content_range,
    continued,
    front,
    in_segments,
    joined,
    missing,
    range_headers,
    version_of,
    whole_headers,
)

MIB = 1024 * 1024
DATED = {"Last-Modified": "Sat, 21 Nov 2026 13:54:00 GMT", "Date": "Sat, 21 Nov 2026 13:54:01 GMT"}


def head(
    status: int = 206,
    ranges: tuple[str, ...] = ("bytes 10-99/100",),
    length: int | None = 90,
    coding: str | None = None,
    **headers: str,
) -> Head:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(status, CIMultiDict(named), ranges, length, coding)


# -- Content-Range -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("bytes 0-0/1", ContentRange(Span(0, 1), 1)),
        ("bytes 10-99/100", ContentRange(Span(10, 100), 100)),
        ("BYTES  10-99/100 ", ContentRange(Span(10, 100), 100)),
        ("bytes 10-99/*", ContentRange(Span(10, 100), None)),
        ("bytes */100", ContentRange(None, 100)),
        ("bytes */*", None),
        ("bytes 10-9/100", None),
        ("bytes 10-100/100", None),
        ("bytes 10-/100", None),
        ("bytes -5/100", None),
        ("bytes=10-99/100", None),
        ("items 10-99/100", None),
        ("bytes 1٠-99/100", None),
        ("bytes 10-99/100, bytes 0-1/100", None),
        ("bytes 0-9999999999999999999999/100", None),
        ("", None),
    ],
)
def test_a_content_range_is_read(text: str, meaning: ContentRange | None) -> None:
    """By the grammar of RFC 9110 14.4; what contradicts itself is none."""
    assert content_range(text) == meaning


@given(st.text(max_size=40))
def test_any_text_may_stand_there(text: str) -> None:
    """Nothing raises, and what is read makes sense."""
    found = content_range(text)
    if found is not None and found.span is not None:
        assert 0 <= found.span.start < found.span.stop <= (found.total or found.span.stop)


# -- what can be gone on with ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"ETag": '"v1"'}, '"v1"'),
        ({"ETag": '"v1"', **DATED}, '"v1"'),
        ({"ETag": 'W/"v1"', **DATED}, DATED["Last-Modified"]),
        (DATED, DATED["Last-Modified"]),
        ({"ETag": 'W/"v1"'}, None),
        ({"ETag": "v1"}, None),
        ({"ETag": '"a" "b"'}, None),
        ({}, None),
        ({"Last-Modified": DATED["Last-Modified"]}, None),
        ({**DATED, "Date": DATED["Last-Modified"]}, None),
        ({**DATED, "Last-Modified": "yesterday"}, None),
        ({**DATED, "Last-Modified": "Sat, 99 Nov 2026 13:54:00 GMT"}, None),
        ({"ETag": '"v1"', "Accept-Ranges": "none"}, None),
    ],
)
def test_only_a_strong_validator_names_a_version(headers: dict[str, str], validator: str | None) -> None:
    """A strong ETag, else a Last-Modified at least a second older than the answer (RFC 9110 8.8.2.2)."""
    version = version_of(Head(200, CIMultiDict(headers), (), 100, None))
    assert (version.validator if version else None) == validator


def test_only_a_whole_answer_names_a_version() -> None:
    """What another status says is not the body's."""
    assert version_of(head(206, ETag='"v1"')) is None
    assert version_of(head(203, ETag='"v1"')) is None


def test_the_rest_is_asked_for_on_condition() -> None:
    """If-Range names the version; another coding would be another representation, so none is asked for, or the same."""
    plain = Version('"v1"', None, 100)
    assert range_headers(plain, None, 10) == {
        "Range": "bytes=10-",
        "If-Range": '"v1"',
        "Accept-Encoding": "identity",
    }
    assert range_headers(plain, Span(10, 20), 10)["Range"] == "bytes=10-19"
    assert "Accept-Encoding" not in range_headers(plain._replace(coding="gzip"), None, 10)


def test_large_bodies_may_come_in_segments() -> None:
    """Where the server says that it gives ranges, and the body is as it is."""
    version = Version('"v1"', None, SEGMENTED)
    assert in_segments(version, CIMultiDict({"accept-ranges": "Bytes"}))
    assert not in_segments(version, CIMultiDict())
    assert not in_segments(version._replace(total=SEGMENTED - 1), CIMultiDict({"Accept-Ranges": "bytes"}))
    assert not in_segments(version._replace(total=None), CIMultiDict({"Accept-Ranges": "bytes"}))
    assert not in_segments(version._replace(coding="br"), CIMultiDict({"Accept-Ranges": "bytes"}))


# -- what continues ----------------------------------------------------------------------------------------------------

V1 = Version('"v1"', None, 100)
DATE = Version(None, DATED["Last-Modified"], 100)
UNKNOWN = Version('"v1"', None, None)


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        (V1, head(ETag='"v1"')),
        (V1, head(ETag='"v1"', length=None)),
        (V1, head(ETag='"v1"', Last_Modified="whenever")),
        (V1, head(ETag='"v1"', ranges=("bytes 10-49/100",), length=40)),
        (UNKNOWN, head(ETag='"v1"')),
        (DATE, head()),
        (DATE, head(Last_Modified=DATED["Last-Modified"])),
        (V1._replace(coding="gzip"), head(ETag='"v1"', coding="gzip")),
    ],
)
def test_a_206_of_the_same_version_continues(version: Version, answer: Head) -> None:
    """With the very start, the same total and validator; it may bring less than was asked for."""
    found = continued(version, None, 10, answer)
    assert isinstance(found, ContentRange)
    assert found.span is not None
    assert (found.span.start, found.total) == (10, 100)


@pytest.mark.parametrize(
    ("version", "answer"),
    [
        (V1, head(ETag='"v2"')),
        (V1, head()),
        (V1, head(ETag='W/"v1"')),
        (V1, head(ETag='"v1"', ranges=())),
        (V1, head(ETag='"v1"', ranges=(), Content_Type="multipart/byteranges; boundary=x")),
        (V1, head(ETag='"v1"', ranges=("bytes 10-99/100", "bytes 10-99/100"))),
        (V1, head(ETag='"v1"', ranges=("bytes 9-99/100",), length=91)),
        (V1, head(ETag='"v1"', ranges=("bytes 11-99/100",), length=89)),
        (V1, head(ETag='"v1"', ranges=("bytes 0-99/100",), length=100)),
        (V1, head(ETag='"v1"', ranges=("bytes 10-99/101",))),
        (V1, head(ETag='"v1"', ranges=("bytes 10-99/*",))),
        (V1, head(ETag='"v1"', ranges=("bytes */100",))),
        (V1, head(ETag='"v1"', length=91)),
        (V1, head(ETag='"v1"', coding="gzip")),
        (V1._replace(coding="gzip"), head(ETag='"v1"')),
        (DATE, head(Last_Modified="Sat, 21 Nov 2026 13:54:02 GMT")),
        (DATE, head(ETag='"new"')),
    ],
)
def test_whatever_is_in_doubt_continues_nothing(version: Version, answer: Head) -> None:
    """Never bytes of two versions, and none at the wrong place; the reason is a text."""
    assert isinstance(continued(version, None, 10, answer), str)


def test_more_than_was_asked_for_is_not_taken() -> None:
    """What lies behind a span is somebody else's."""
    assert isinstance(continued(V1, Span(10, 50), 10, head(ETag='"v1"')), str)
    assert isinstance(continued(V1, Span(10, 100), 10, head(ETag='"v1"')), ContentRange)


@pytest.mark.parametrize(
    ("answer", "spans", "total", "whole"),
    [
        (head(416, ("bytes */50",)), (Span(0, 50),), None, True),
        (head(416, ("bytes */50",)), (Span(0, 50),), 50, True),
        (head(416, ("bytes */50",), ETag='"v1"'), (Span(0, 50),), None, True),
        (head(416, ("bytes */50",), ETag='"v2"'), (Span(0, 50),), None, False),
        (head(416, ("bytes */51",)), (Span(0, 50),), None, False),
        (head(416, ("bytes */50",)), (Span(0, 50),), 60, False),
        (head(416, ("bytes */50",)), (Span(1, 51),), None, False),
        (head(416, ("bytes */50",)), (Span(0, 20), Span(30, 60)), None, False),
        (head(416, ()), (Span(0, 50),), None, False),
        (head(416, ("bytes 0-1/50",)), (Span(0, 50),), None, False),
    ],
)
def test_a_416_may_say_that_all_is_there(
    answer: Head, spans: tuple[Span, ...], total: int | None, *, whole: bool
) -> None:
    """Only if its total is the size of what is there, without a gap."""
    partial = Partial("/p", "http://a.test/", Version('"v1"', None, total), spans)
    assert all_there(partial, answer) == whole


def test_the_head_of_the_whole_is_put_together() -> None:
    """Of the body the first answer tells, all else is of the last; what speaks of the part alone is left out."""
    first = CIMultiDict({"Content-Type": "text/css", "ETag": '"v1"', "Content-MD5": "whole", "Server": "old"})
    version = version_of(Head(200, first, (), 100, None))
    assert version is not None
    last = CIMultiDict(
        {"etag": '"v1"', "Content-Range": "bytes 10-99/100", "Content-MD5": "part", "Content-Length": "90", "Date": "d"}
    )
    assert dict(whole_headers(version, last)) == {
        "Content-Type": "text/css",
        "ETag": '"v1"',
        "Content-MD5": "whole",
        "Date": "d",
    }


# -- bytes -------------------------------------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: Span(pair[0], sum(pair))))


@given(SPANS)
def test_spans_are_a_set_of_bytes(given_ones: list[Span]) -> None:
    """In whatever order they come, joined they name the same bytes, with gaps between; the rest is missing."""
    spans: tuple[Span, ...] = ()
    for span in given_ones:
        spans = joined(spans, span)
    there = {byte for span in given_ones for byte in range(*span)}
    assert {byte for span in spans for byte in range(*span)} == there
    assert all(span.start < span.stop for span in spans)
    assert all(one.stop < next_.start for one, next_ in pairwise(spans))
    assert {byte for gap in missing(spans, 90) for byte in range(*gap)} == set(range(90)) - there
    assert front(spans) == next(byte for byte in range(91) if byte not in there)


# -- lanes -------------------------------------------------------------------------------------------------------------


def bring(lanes: Lanes, lane: Lane, most: int, came: list[Span]) -> bool:
    """A lane's answer brings some bytes more; False when it is over."""
    if lane.at >= min(lane.stop, lane.reach) and not lanes.extend(lane):
        return False
    stop = min(lane.stop, lane.reach, lane.at + most)
    came.append(Span(lane.at, stop))
    lane.at = stop
    return True


@given(st.integers(1, 200 * MIB), st.integers(0, 2**32), st.integers(1, 16), st.floats(0, 0.4))
def test_any_interleaving_brings_each_byte_once(total: int, seed: int, ways: int, faults: float) -> None:
    """However connections come, go, fail, bring less than asked, and speed differs: no byte twice, none left out."""
    rng, came = Random(seed), list[Span]()
    lanes = Lanes(total)
    open_ones = [lanes.begin(Span(0, total))]
    for _ in range(3000):
        if not lanes.left:
            break
        if len(open_ones) < ways and (lane := lanes.take(ways)) is not None:
            if rng.random() < faults:
                lane.reach = rng.randint(lane.at, lane.stop)
            open_ones.append(lane)
        if not open_ones:  # all failed: what is free is asked for by the next attempt
            gap = missing(joined_all(came), total)[0]
            open_ones.append(lanes.begin(gap))
        lane = rng.choice(open_ones)
        if not bring(lanes, lane, rng.randint(1, 4 * MIB), came) or rng.random() < faults / 4:
            open_ones.remove(lane)
            lanes.end(lane)
    assert sum(span.stop - span.start for span in came) == total - lanes.left
    there = joined_all(came)
    assert sum(span.stop - span.start for span in there) == total - lanes.left
    assert lanes.left == 0 or total > 100 * MIB


def joined_all(spans: list[Span]) -> tuple[Span, ...]:
    found: tuple[Span, ...] = ()
    for span in spans:
        found = joined(found, span)
    return found


def test_what_is_left_is_given_out_from_the_front() -> None:
    """Others take what lies right behind the first one's share, in ever smaller blocks, so that hashing keeps up."""
    lanes = Lanes(1024 * MIB)
    first = lanes.begin(Span(0, 1024 * MIB))
    taken = [lane for _ in range(3) if (lane := lanes.take(4)) is not None]
    edges = [(lane.at, lane.stop) for lane in (first, *taken)]
    assert all(before[1] == after[0] for before, after in pairwise(edges))
    sizes = [stop - at for at, stop in edges]
    assert sizes == sorted(sizes, reverse=True)
    assert edges[-1][1] <= 512 * MIB
    assert sizes[-1] >= 64 * MIB


def test_a_lane_goes_on_where_nobody_else_does() -> None:
    """What another gave back is the first one's again, without a new request."""
    lanes = Lanes(100 * MIB)
    first = lanes.begin(Span(0, 100 * MIB))
    other = lanes.take(2)
    assert other is not None
    assert first.stop < 100 * MIB
    lanes.end(other)
    first.at = first.stop
    assert lanes.extend(first)
    assert (first.at, first.stop) == (other.at, 100 * MIB)
    first.at = first.stop
    assert not lanes.extend(first)
    assert lanes.left == 0


def test_a_little_is_not_shared() -> None:
    """The last few MiB are left to whoever brings them."""
    lanes = Lanes(100 * MIB, (Span(0, 90 * MIB),))
    lanes.begin(Span(90 * MIB, 100 * MIB))
    assert lanes.take(4) is None


def test_only_gaps_are_asked_for() -> None:
    """Of a body that came in part each byte that is there stays."""
    lanes = Lanes(100, (Span(10, 20), Span(50, 60)))
    first = lanes.begin(Span(0, 10))
    others = [lane for _ in range(3) if (lane := lanes.take(4)) is not None]
    assert [(lane.at, lane.stop) for lane in (first, *others)] == [(0, 10), (20, 50), (60, 100)]
    assert lanes.left == 80
