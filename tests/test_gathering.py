"""One pass over the records: counts that add up, examples that are bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import gathering as module
from crawler.gathering import EXAMPLES, TOP, gather, host_of
from tests.exportruns import record

RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "url": st.sampled_from(["http://a.example/1", "https://b.example:81/2", "http://[::1]/", "no URL", ""]),
            "outcome": st.sampled_from(["fetched", "failed", "skipped"]),
            "status": st.none() | st.integers(100, 599),
            "reason": st.none() | st.sampled_from(["stall", "status-404", "robots"]),
            "bytes": st.none() | st.integers(0, 10**6),
            "elapsed_ms": st.none() | st.fixed_dictionaries({"ttfb": st.none(), "total": st.floats(0, 1e5)}),
            "started_at": st.none() | st.just("2026-01-01T00:00:00.000Z"),
        }
    ),
    max_size=100,
)


@given(records=RECORDS)
def test_all_adds_up(records: list[dict[str, Any]]) -> None:
    """Hosts, reasons and outcomes count each record once; the slowest and the largest are those."""
    found = gather(records)
    assert found.fetched + found.failed + found.skipped == len(records)
    assert sum(host.done for host in found.hosts.values()) == len(records)
    assert sum(host.bytes for host in found.hosts.values()) == found.bytes == sum(one["bytes"] or 0 for one in records)
    assert sum(one.count for one in found.reasons.values()) == sum(one["reason"] is not None for one in records)
    assert all(len(one.examples) == min(one.count, EXAMPLES) for one in found.reasons.values())
    times = sorted((one["elapsed_ms"]["total"] for one in records if one["elapsed_ms"]), reverse=True)
    assert [one.milliseconds for one in found.slowest] == times[:TOP]
    sizes = sorted((one["bytes"] for one in records if one["bytes"]), reverse=True)
    assert [one.bytes for one in found.largest] == sizes[:TOP]


def test_records_of_an_earlier_version_lack_keys() -> None:
    """A key that is not there counts as null."""
    found = gather([{}, {"outcome": "fetched"}, {"outcome": "failed", "reason": "stall"}])
    assert (found.fetched, found.failed, found.skipped) == (1, 1, 1)
    assert found.reasons["stall"].examples[0].url == ""


def test_hosts_are_bounded_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the bound are counted together; a known one goes on alone, by any of its ports."""
    monkeypatch.setattr(module, "_HOSTS", 2)
    urls = [
        "http://a.example/",
        "http://b.example/",
        "http://c.example/",
        "https://a.example:8443/",
        "http://d.example/",
    ]
    found = gather(record(n, b"12", url=url) for n, url in enumerate(urls))
    assert {name: host.done for name, host in found.hosts.items()} == {"a.example": 2, "b.example": 1}
    assert (found.others.done, found.others.bytes) == (2, 4)


def test_reasons_and_texts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that makes up statuses or sends endless errors fills no memory; every failure counts."""
    monkeypatch.setattr(module, "_REASONS", 3)
    found = gather(
        record(n, outcome="failed", reason=f"status-{n}", error="x" * 10**5, url="http://h/" + "y" * 10**5)
        for n in range(9)
    )
    assert sum(one.count for one in found.reasons.values()) == 9
    assert len(found.reasons) == 4
    assert max(len(one.error or "") + len(one.url) for row in found.reasons.values() for one in row.examples) < 3000


def test_seconds_are_dropped_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run has a progress.jsonl."""
    monkeypatch.setattr(module, "_SECONDS", 5)
    assert gather(record(n, b"x") for n in range(5)).seconds is not None
    assert gather(record(n, b"x") for n in range(7)).seconds is None


def test_changes_are_counted_and_exemplified() -> None:
    """Only the four known words count; of each the first are kept."""
    changes = ["new"] * 60 + ["gone", None, "<b>", "unchanged"]
    found = gather(record(n, b"x", change=change) for n, change in enumerate(changes))
    assert found.changes == {"new": 60, "gone": 1, "unchanged": 1}
    assert {name: len(urls) for name, urls in found.changed.items()} == {"new": 50, "gone": 1, "unchanged": 1}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a.example/x", "a.example"),
        ("https://a.example:8443/x", "a.example"),
        ("http://[2001:db8::1]:80/", "[2001:db8::1]"),
        ("http://[2001:db8::1]/", "[2001:db8::1]"),
        ("wss://u:p@a.example?x#y", "a.example"),
        ("not a URL", ""),
        ("", ""),
        ("java script://x/", ""),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    """Without port and credentials; what is no URL has none."""
    assert host_of(url) == host


def test_the_first_examples_of_a_reason_are_kept() -> None:
    """Five, however many there are."""
    found = gather(record(n, outcome="failed", reason="stall", status=None) for n in range(9))
    assert [one.url for one in found.reasons["stall"].examples] == [f"http://a.example/{n}" for n in range(5)]
