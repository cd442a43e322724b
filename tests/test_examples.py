"""What is kept of a record as an example."""

from __future__ import annotations

from crawler.examples import LONGEST, Example, example_of
from tests.exportruns import record


def test_an_example_says_what_became_of_a_request() -> None:
    """As the record does."""
    said = record(4, b"abc", attempts=3, error="e", request_id="r")
    assert example_of(said) == Example("http://a.example/4", 200, 3, 1.0, 3, "e", "r")


def test_texts_are_cut_and_what_is_missing_is_none() -> None:
    """A record of an earlier version has fewer keys, one of a hostile server endless texts."""
    assert example_of({}) == Example("", None, 0, None, None, None, None)
    long = example_of(record(1, url="u" * 10**5, error="e" * 10**5, request_id="r" * 10**5))
    assert {len(text or "") for text in (long.url, long.error, long.request_id)} == {LONGEST}
