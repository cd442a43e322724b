"""Spans of statuses as people write them."""

from __future__ import annotations

import pytest

from crawler.statuses import span_of


@pytest.mark.parametrize(
    ("text", "span"),
    [
        *[("503", (503, 503)), ("5xx", (500, 599)), ("500-599", (500, 599)), ("404-404", (404, 404))],
        *[
            (text, None)
            for text in ("", "50", "5000", "5XX", "xx", "5x", "599-500", "500-", "-500", "5xx-6xx", "٥٠٠", "500\n")
        ],
    ],
)
def test_a_span_has_a_first_and_a_last(text: str, span: tuple[int, int] | None) -> None:
    """A number, a class, or two numbers in order; anything else is none."""
    assert span_of(text) == span
