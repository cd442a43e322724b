"""How long an answer is fresh by its own word, against RFC 9111."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.freshness import fresh_until

NOW = 1_790_000_000.0
DATE = "Mon, 21 Sep 2026 14:13:20 GMT"  # NOW
LATER = "Mon, 21 Sep 2026 14:23:20 GMT"  # and ten minutes


def of(**headers: str) -> float | None:
    """Seconds for which an answer with these headers is fresh."""
    until = fresh_until(CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), NOW)
    return None if until is None else until - NOW


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Cache_Control": "max-age=60"}, 60),
        ({"cache_control": 'public, MAX-AGE="60"'}, 60),
        ({"Cache_Control": "max-age=60, max-age=5"}, 60),
        ({"Cache_Control": "max-age=60", "Age": "50"}, 10),
        ({"Cache_Control": "max-age=60", "Age": "60"}, None),
        ({"Cache_Control": "s-maxage=60"}, None),
        ({"Cache_Control": "max-age=60, no-cache"}, None),
        ({"Cache_Control": "max-age=60, no-store"}, None),
        ({"Cache_Control": "max-age=60", "Vary": "*"}, None),
        ({"Cache_Control": "max-age=60", "Vary": "Accept"}, 60),
        ({"Cache_Control": "max-age=-1"}, None),
        ({"Cache_Control": "max-age=1e9"}, None),
        ({"Cache_Control": "max-age"}, None),
        ({"Cache_Control": 'max-age=60, broken="'}, None),
        ({"Cache_Control": "max-age=99999999999"}, 366 * 86400),
        ({"Expires": LATER, "Date": DATE}, 600),
        ({"Expires": LATER}, 600),
        ({"Expires": "0", "Date": DATE}, None),
        ({"Expires": DATE, "Date": DATE}, None),
        ({"Expires": LATER, "Cache_Control": "max-age=5"}, 5),
        ({"Expires": LATER, "Date": LATER}, None),
    ],
)
def test_what_headers_say(headers: dict[str, str], seconds: float | None) -> None:
    """Lifetime less age; whatever forbids it, or cannot be read, is not fresh."""
    assert of(**headers) == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=200), st.text(max_size=40), st.text(max_size=40))
def test_no_header_is_too_odd(control: str, expires: str, age: str) -> None:
    """Whatever stands there: no exception, and never longer than a year."""
    until = fresh_until({"Cache-Control": control, "Expires": expires, "Age": age}, NOW)
    assert until is None or NOW < until <= NOW + 366 * 86400
