"""The rows of the hosts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from crawler import hostrows as module
from crawler.gathering import gather
from crawler.hostrows import host_rows
from tests.exportruns import record
from tests.test_gathering import RECORDS


@given(records=RECORDS)
def test_the_rows_add_up(records: list[dict[str, Any]]) -> None:
    """Every end stands in one row, and every byte."""
    found = host_rows(gather(records), None)
    assert sum(row.done for row in found) == len(records)
    assert sum(row.bytes for row in found) == sum(one["bytes"] or 0 for one in records)


def test_hosts_beyond_the_table_stand_in_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with the most ends come first; the row of the others has no name, and their waits and latencies."""
    monkeypatch.setattr(module, "HOSTS", 2)
    urls = [f"http://{name}.example/" for name in "abbcccdeee"]
    waits = {"a.example": 1.0, "b.example": 2.0, "c.example": 4.0, "d.example": 8.0}
    found = host_rows(gather(record(n, b"x", url=url, elapsed_ms={"total": 10.0}) for n, url in enumerate(urls)), waits)
    assert [(row.name, row.done, row.blocked) for row in found] == [
        ("c.example", 3, 4.0), ("e.example", 3, None), ("", 4, 11.0),
    ]  # fmt: skip
    assert found[-1].median == pytest.approx(10, rel=0.05)


def test_the_rate_of_a_host_is_that_of_its_own_time() -> None:
    """Requests a second between its first and its last; a moment has no rate."""

    def at(second: int, host: str) -> dict[str, Any]:
        return record(second, b"x", url=f"http://{host}/", started_at=f"2026-01-01T00:00:{second:02}.000Z")

    found = host_rows(gather([at(0, "a"), at(5, "a"), at(10, "a"), at(3, "b"), at(3, "b")]), None)
    assert {row.name: row.rate for row in found} == {"a": 0.2, "b": None}


def test_hosts_that_were_never_counted_alone_are_in_the_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond what a pass over the records keeps apart."""
    monkeypatch.setattr("crawler.gathering._HOSTS", 1)
    found = host_rows(gather(record(n, b"12", url=f"http://{n}.example/") for n in range(3)), None)
    assert [(row.name, row.done, row.bytes) for row in found] == [("0.example", 1, 2), ("", 2, 4)]
