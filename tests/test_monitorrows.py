"""Records as rows."""

from __future__ import annotations

import pytest

from crawler.monitorrows import Named, failure_rows, named, row_of
from tests.monitored import failed, record


def test_a_row_is_bounded() -> None:
    """Whatever stands in the record."""
    row = row_of(record(1, url="http://a/" + "x" * 50_000, error="e" * 50_000, input={"n": "y" * 100_000}))
    assert len(row.url) < 3000
    assert len(row.error or "") < 3000
    assert len(row.record) < 10_000


def test_where_a_redirect_led_is_shown() -> None:
    """Only where it led somewhere else."""
    assert row_of(record(1)).final_url is None
    assert row_of(record(1, final_url="http://b.example/")).final_url == "http://b.example/"


def test_what_has_another_type_is_not_shown() -> None:
    """A record is a file's text, and may be anything."""
    row = row_of({"id": "x", "url": 5, "status": True, "elapsed_ms": [], "reason": {"a": 1}})
    assert (row.id, row.url, row.status, row.total_ms, row.reason) == (None, "", None, None, None)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({}, None),
        ({"body": "bodies/a"}, Named("bodies/a")),
        ({"warc": {"file": "warc/a", "offset": 5, "length": 7}}, Named("warc/a", 5, 7)),
        ({"tar": {"file": "tar/a", "offset": 0, "length": 7}}, Named("tar/a", 0, 7)),
        ({"warc": {"file": "a", "offset": -5, "length": 7}}, None),
        ({"warc": {"file": "a", "offset": 1}}, None),
        ({"warc": "a"}, None),
        ({"body": ""}, None),
        ({"body": 5}, None),
    ],
)
def test_a_body_is_where_the_record_says(more: dict[str, object], place: Named | None) -> None:
    """In a file, or in a piece of an archive; else nowhere."""
    assert named(record(1, **more)) == place


def test_each_place_has_its_own_text() -> None:
    """A signature of one opens no other."""
    texts = {Named("a").text, Named("a", 1, 2).text, Named("a", 12).text, Named("a\n1", None, 2).text}
    assert len(texts) == 4


def test_failures_lead_to_no_body() -> None:
    """They say why."""
    [row] = failure_rows([failed(3, body="x")])
    assert (row.body, row.reason, row.status) == (None, "status-404", 404)
