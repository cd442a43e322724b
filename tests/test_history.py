"""What an end says beside what was known of its URL."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.errors import Reason
from crawler.history import Place, change_of, due, is_of, remembered, row_of, sayable, validators
from crawler.known import Known, Sighting
from crawler.model import Promised, Record, Request
from crawler.records import Fault, record_of

URL = "http://a.example/x"
KNOWN = Known(URL, 3, 100.0, 200.0, 150.0, 4, 1, "aa", 7, '"v1"', "Mon, 21 Sep 2026 14:13:20 GMT", "text/html", "b/x")


def record(outcome: str = "fetched", status: int | None = 200, sha256: str | None = "aa") -> Record:
    fault = None if outcome == "fetched" else Fault(Reason.STATUS, "", status)
    made = record_of("r", Request(1, URL, "a.example"), outcome, fault)
    made.status, made.sha256 = status, sha256
    return made


@pytest.mark.parametrize(
    ("known", "made", "change"),
    [
        (None, record(), "new"),
        (KNOWN, record(), "unchanged"),
        (KNOWN, record(status=304), "unchanged"),
        (KNOWN, record(sha256="bb"), "changed"),
        (None, record(sha256=None), None),
        (KNOWN, record("failed", 404), "gone"),
        (KNOWN, record("failed", 410), "gone"),
        (None, record("failed", 404), None),
        (KNOWN, record("failed", 503), None),
        (KNOWN, record("failed", None), None),
        (KNOWN, record("skipped", None), None),
    ],
)
def test_change(known: Known | None, made: Record, change: str | None) -> None:
    """New, changed, unchanged, gone; a fault that says nothing of the content is no change."""
    assert change_of(known, made) == change


def test_validators_ask_for_what_changed() -> None:
    """Both validators go along, each as the server gave it (RFC 9110 13.1.2, 13.1.3)."""
    assert validators(KNOWN, Request(1, URL, "a.example")) == {
        "If-None-Match": '"v1"',
        "If-Modified-Since": "Mon, 21 Sep 2026 14:13:20 GMT",
    }


@pytest.mark.parametrize(
    "request_",
    [
        Request(1, URL, "a.example", method="HEAD"),
        Request(1, URL, "a.example", method="POST", body=b"x"),
        Request(1, URL, "a.example", headers={"Accept": "text/plain"}),
        Request(1, URL, "a.example", promised=Promised(sha256="bb")),
        Request(1, "http://a.example/elsewhere", "a.example"),
    ],
)
def test_no_validators_where_another_answer_may_be_wanted(request_: Request) -> None:
    """Other methods, rows with headers or a digest of their own, and other URLs are asked for whole."""
    assert validators(KNOWN, request_) is None


def test_without_validators_all_is_asked_for() -> None:
    """A server that gave none gets a plain request."""
    assert validators(KNOWN._replace(etag=None, last_modified=None), Request(1, URL, "a.example")) is None


@pytest.mark.parametrize(
    ("ours", "told", "same"),
    [('"a"', '"a"', True), ('"a"', '"b"', False), ('"a"', None, True), (None, '"b"', True), ('W/"a"', '"a"', True)],
)
def test_a_304_with_another_strong_etag_is_of_something_else(ours: str | None, told: str | None, same: bool) -> None:
    """RFC 9111 4.3.4: it does not update what is known."""
    assert is_of(KNOWN._replace(etag=ours), told) is same


def test_what_is_remembered_of_a_change() -> None:
    """The new answer stands for the URL, and the look counts as one that found a change."""
    made = record(sha256="bb")
    made.bytes, made.etag = 9, '"v2"'
    known = remembered(Sighting(1, KNOWN, 300.0, "changed", True), made, Place(5, "b/y"))
    assert (known.checks, known.changes, known.first, known.checked, known.taken) == (5, 2, 100.0, 300.0, 300.0)
    assert (known.holder, known.body, known.sha256, known.etag) == (5, "b/y", "bb", '"v2"')


@pytest.mark.parametrize(
    ("place", "holder", "body"),
    [(Place(5, "b/y"), 5, "b/y"), (Place(5, "b/y", archived=True), 3, "b/x"), (Place(5, None), 3, "b/x")],
)
def test_a_304_leads_to_where_the_body_is(place: Place, holder: int, body: str) -> None:
    """Linked into this run it is there; an archive that only refers to it leaves it where it was."""
    known = remembered(Sighting(1, KNOWN, 300.0, "unchanged", True), record(status=304), place)
    assert (known.holder, known.body, known.taken, known.checked) == (holder, body, 150.0, 300.0)


def test_rows_of_the_log() -> None:
    """A good answer is remembered, a 404 forgotten, a fault only noted; what was never known is not mentioned."""
    place = Place(5, None)
    made = row_of(Sighting(1, None, 3.0, "new", True), record(), place)
    assert made is not None
    assert made[0] == 1
    assert Known(*made[1]).sha256 == "aa"
    assert row_of(Sighting(1, KNOWN, 3.0, "gone", False), record("failed", 404), place) == [1, None]
    assert row_of(Sighting(1, KNOWN, 3.0, None, False), record("failed", 503), place) == [1]
    assert row_of(Sighting(1, None, 3.0, None, False), record("failed", 503), place) is None


def known(first: float, checked: float, checks: int, changes: int) -> Known:
    return KNOWN._replace(first=first, checked=checked, checks=checks, changes=changes)


def test_what_changes_often_is_due_sooner() -> None:
    """Of URLs looked at alike, each more change brings the next look nearer."""
    waits = [due(known(0.0, 1e6, 10, changes), 1.0, 1e9) for changes in range(11)]
    assert waits == sorted(waits, reverse=True)
    assert waits[1] > waits[5] > waits[10]


def test_after_the_first_look_it_is_due_soon() -> None:
    """Of a URL that was seen once nothing is known yet."""
    assert due(known(50.0, 50.0, 0, 0), 10.0, 1000.0) == 60.0


def test_half_of_the_looks_at_a_poisson_page_find_a_change() -> None:
    """A page that changes about every hour, by many looks an hour apart, is due in about ln 2 hours."""
    hour, looks = 3600.0, 1000
    changed = round(looks * (1 - 2.718281828**-1))  # as many looks see one, at one change an hour on average
    wait = due(known(0.0, looks * hour, looks, changed), 1.0, 1e9) - looks * hour
    assert wait == pytest.approx(0.6931 * hour, rel=0.02)


@example(0.0, 5e-324, 2, 1, 1.0, 1e4)  # too short a time to be divided
@given(
    st.floats(0, 1e9), st.floats(0, 1e8), st.integers(0, 10_000), st.integers(0, 10_000), st.floats(1, 1e4),
    st.floats(1e4, 1e7),
)  # fmt: skip
def test_due_within_bounds(first: float, seen: float, checks: int, changes: int, least: float, most: float) -> None:
    """Whatever was counted, the next look is between `least` and `most` after the last."""
    one = known(first, first + seen, checks, min(changes, checks))
    assert one.checked + least * 0.999 <= due(one, least, most) <= one.checked + most * 1.001


def test_known_travels_as_a_row() -> None:
    """What the log holds is read back as it was."""
    made: list[Any] | None = row_of(Sighting(1, KNOWN, 3.0, "unchanged", True), record(), Place(9, "p"))
    assert made is not None
    assert Known(*made[1]) == remembered(Sighting(1, KNOWN, 3.0, "unchanged", True), record(), Place(9, "p"))


def test_the_row_of_a_first_look_is_what_is_remembered() -> None:
    """It is made without a detour, and says the same."""
    sighting, place = Sighting(1, None, 3.5, "new", True, 9.0), Place(9, "p")
    made = record()
    made.bytes, made.etag, made.last_modified, made.content_type = 7, '"e"', "then", "text/html"
    assert row_of(sighting, made, place) == [1, list(remembered(sighting, made, place))]


def test_what_json_cannot_carry_is_left_out() -> None:
    """An ETag whose bytes are no UTF-8 is no validator that could be given back."""
    row = [1, list(KNOWN._replace(etag='"\udcff"', content_type="text/\udc80"))]
    said = sayable(row)
    assert Known(*said[1]) == KNOWN._replace(etag=None, content_type=None)
    assert orjson.loads(orjson.dumps(said)) == said
    assert sayable([1]) == [1]
    assert sayable([1, None]) == [1, None]
