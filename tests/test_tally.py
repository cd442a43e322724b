"""What is counted about a run: ends, latencies, recent speed, and the way through the checkpoint."""

from __future__ import annotations

import orjson
import pytest

from crawler import tally as module
from crawler.model import Elapsed, Record
from crawler.tally import OTHER_HOSTS, Speed, Tally
from tests.fakes import SNAPSHOT, record_of


def timed(id: int, total: float, ttfb: float | None, started: str) -> Record:
    record = record_of(id, b"x")
    record.elapsed_ms = Elapsed(None, None, ttfb, total)
    record.started_at = started
    return record


def skipped(id: int) -> Record:
    record = record_of(id, None)
    record.outcome, record.reason, record.status, record.attempts = "skipped", "removed", None, 0
    return record


def full() -> Tally:
    tally = Tally()
    tally.add(timed(1, 20.0, 5.0, "2026-01-01T00:00:02.000Z"), "a.example")
    tally.add(timed(2, 40.0, None, "2026-01-01T00:00:01.000Z"), "b.example")
    tally.add(record_of(3, None), "b.example")
    tally.add(skipped(4), "")
    tally.retries += 2
    return tally


def values(tally: Tally) -> dict[str, object]:
    plain = {name: getattr(tally, name) for name in Tally.__slots__ if name not in ("latency", "ttfb")}
    histograms = {name: getattr(tally, name) for name in ("latency", "ttfb")}
    return plain | {name: (one.maximum, one.buckets) for name, one in histograms.items()}


def test_each_end_is_counted_under_all_its_heads() -> None:
    """Outcome, reason, status, host, bytes and attempts of each record are counted once."""
    tally = full()
    assert (tally.fetched, tally.failed, tally.skipped, tally.done) == (2, 1, 1, 4)
    assert tally.reasons == {"status-404": 1, "removed": 1}
    assert tally.statuses == {"200": 2, "404": 1}
    assert tally.hosts == {"a.example": [1, 0, 0, 1, 0], "b.example": [1, 1, 0, 1, 0], "": [0, 0, 1, 0, 0]}
    assert (tally.bytes, tally.attempts) == (2, 3)


def test_the_span_is_that_of_the_requests_however_they_end() -> None:
    """Records come in the order of their ends, the first and last start are found all the same."""
    tally = full()
    assert tally.first_started == "2026-01-01T00:00:01.000Z"
    assert tally.last_started == "2026-01-01T00:00:02.000Z"


def test_a_phase_that_did_not_happen_is_not_counted() -> None:
    """A request without a first byte has a total, but no time to first byte."""
    tally = full()
    assert sum(tally.latency.buckets.values()) == 2
    assert sum(tally.ttfb.buckets.values()) == 1


def test_a_tally_comes_back_from_the_checkpoint_as_it_was() -> None:
    """What is counted after a resume goes on from what was counted before."""
    tally = full()
    back = Tally.from_json(tally.to_json())
    assert values(back) == values(tally)
    for one in (back, tally):
        one.add(timed(5, 21.0, 5.1, "2026-01-01T00:00:03.000Z"), "a.example")
    assert values(back) == values(tally)
    assert back.hosts["a.example"] == [2, 0, 0, 2, 0]


def test_a_tally_of_an_earlier_version_is_read() -> None:
    """A run begun before something was counted is resumed; the new count begins at nothing."""
    data = orjson.loads(full().to_json())
    for name in ("ttfb", "first_started", "last_started"):
        del data[name]
    back = Tally.from_json(orjson.dumps(data))
    assert back.done == 4
    assert back.first_started is None
    assert back.ttfb.percentile(50) is None


def test_hosts_are_bounded_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts beyond the bound are counted together; those known before go on alone, after a resume too."""
    monkeypatch.setattr(module, "_HOSTS", 3)
    tally = Tally()
    for n in range(5):
        tally.add(record_of(n, b"12"), f"{n}.example")
    tally = Tally.from_json(tally.to_json())
    tally.add(record_of(9, b"12"), "0.example")
    tally.add(record_of(9, b"12"), "9.example")
    assert tally.hosts == {
        "0.example": [2, 0, 0, 4, 0],
        "1.example": [1, 0, 0, 2, 0],
        "2.example": [1, 0, 0, 2, 0],
        OTHER_HOSTS: [3, 0, 0, 6, 0],
    }


@pytest.mark.parametrize(("failed", "row"), [(2, [5, 2, 0, 70, 0]), (0, [5, 0, 2, 70, 0])])
def test_hosts_of_an_earlier_version_are_read(failed: int, row: list[int]) -> None:
    """What failed and what was skipped was one number: it failed, unless nothing in the whole run did."""
    data = orjson.loads(Tally().to_json()) | {"hosts": {"a.example": [5, 2, 70]}, "failed": failed}
    del data["changes"]
    back = Tally.from_json(orjson.dumps(data))
    back.wait("a.example", 1.5)
    assert back.hosts == {"a.example": [*row[:4], 1500]}
    assert back.changes == {}


def test_the_time_that_a_host_is_left_alone_adds_up() -> None:
    """Each wait counts under its host, also before the first end there; none is negative; all of it is kept."""
    tally = Tally()
    for seconds in (2.5, -1.0, 0.0, 0.25, float("inf")):
        tally.wait("a.example", seconds)
    tally.add(record_of(1, b"12"), "a.example")
    assert Tally.from_json(tally.to_json()).hosts == {"a.example": [1, 0, 0, 2, 2750]}


def test_changes_are_counted_where_they_are_known() -> None:
    """An end of which nobody knows whether it changed counts for nothing there."""
    tally = Tally()
    for number, change in enumerate(("new", None, "gone", "new")):
        tally.add(record_of(number, b""), "a.example", change)
    assert Tally.from_json(tally.to_json()).changes == {"new": 2, "gone": 1}


def test_what_is_made_again_counts_no_more() -> None:
    """As if its record had never been; but what was sent was sent."""
    tally, failed = full(), record_of(5, b"body")
    failed.outcome, failed.reason, failed.status = "failed", "status-503", 503
    before = orjson.loads(tally.to_json())
    for change in ("gone", None):
        tally.add(failed, "b.example", change)
        tally.take_back({**orjson.loads(orjson.dumps(failed)), "change": change}, "b.example")
    after = orjson.loads(tally.to_json())
    assert {key for key in after if after[key] != before[key]} <= {"attempts", "latency", "ttfb"}
    assert tally.attempts > full().attempts


def test_of_several_that_ended_alike_one_is_taken_back() -> None:
    """Under the host that it was counted under, also where that is one of many."""
    tally = Tally()
    for n in range(1, 1003):
        tally.add(record_of(n, None), f"h{n}")
    failed = orjson.loads(orjson.dumps(record_of(1, None)))
    [(reason, count)] = tally.reasons.items()
    tally.take_back(failed, "h1")
    tally.take_back(failed, "h1002")
    assert (tally.reasons[reason], tally.failed, tally.failed_seeds) == (count - 2, 1000, 1000)
    assert (tally.hosts["h1"][1], tally.hosts["h2"][1], tally.hosts[OTHER_HOSTS][1]) == (0, 1, 1)


def test_speed_is_that_of_the_last_ten_seconds() -> None:
    """A long fast beginning is forgotten after ten seconds of slow going."""
    speed = Speed()
    for second in range(20):
        speed.sample(100.0 + second, 1000 * second, 5000 * second)
    for second in range(20, 31):
        found = speed.sample(100.0 + second, 19_000 + 2 * (second - 19), 95_000)
    assert found == (2.0, 0.0)


def test_speed_begins_at_nothing_when_a_run_is_taken_up() -> None:
    """What an earlier process counted is no speed of this one."""
    speed = Speed()
    assert speed.sample(5.0, 100_000, 10**9) == (0.0, 0.0)
    assert speed.sample(7.0, 100_010, 10**9 + 400) == (5.0, 200.0)


def test_speed_of_two_looks_at_one_moment_is_no_error() -> None:
    """Two snapshots within the clock's resolution give no division by zero."""
    speed = Speed()
    speed.sample(5.0, 1, 1)
    assert speed.sample(5.0, 2, 2) == (0.0, 0.0)


def test_a_snapshot_adds_up_its_ends() -> None:
    """`done` is every end, whichever it was."""
    blank = SNAPSHOT._replace(fetched=3, failed=2, skipped=1)
    assert blank.done == 6
