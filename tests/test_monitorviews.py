"""What is told of jobs, runs and hosts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from crawler.monitorviews import RunSeen, host_views, job_view, run_view, with_snapshot, with_state
from crawler.tally import Tally
from tests.monitored import RUN, _counted, failed, record


@pytest.fixture
def row() -> RunSeen:
    tally = Tally()
    for line, host in ((record(1), "a"), (failed(2), "b"), (record(3), "b")):
        tally.add(_counted(line), host)
    return RunSeen(RUN, 1000.0, None, "running", None, 4.0, tally)


def test_a_job_is_its_run(row: RunSeen) -> None:
    """Counts, what is left, and the mean rate."""
    view = job_view("j", row, 7, None)
    assert (view.known, view.waiting, view.fetched, view.failed, view.rate) == (10, 7, 2, 1, 0.75)
    assert view.reasons == {"status-404": 1}
    assert orjson.loads(orjson.dumps(view))["run"] == RUN


def test_a_run_in_a_list(row: RunSeen) -> None:
    """With what is known of its folder."""
    view = run_view(row, report=True, there=False)
    assert (view.run, view.failed, view.report, view.there) == (RUN, 1, True, False)


def test_a_moment_fills_in_what_it_knows(row: RunSeen) -> None:
    """And no more: what has another type is not taken."""
    said = {
        "run": RUN,
        "known": 50,
        "rate": 3.5,
        "eta": None,
        "in_flight": "many",
        "fetched": True,
        "state": "draining",
    }
    view = with_snapshot(job_view("j", row, 7, None), said, live=True)
    assert (view.known, view.rate, view.eta, view.in_flight, view.fetched) == (50, 3.5, None, 0, 2)
    assert (view.state, view.live) == ("draining", True)


def test_a_moment_of_another_run_is_none(row: RunSeen) -> None:
    """It was left by an earlier process."""
    view = job_view("j", row, 7, None)
    assert with_snapshot(view, {"run": "another", "known": 50}, live=True) is view


def test_noted_numbers_are_not_live(row: RunSeen) -> None:
    """The state is that of the checkpoint."""
    view = with_snapshot(job_view("j", row, 7, None), {"run": RUN, "known": 50, "state": "finished"}, live=False)
    assert (view.live, view.state, view.known) == (False, "running", 50)


def test_a_process_tells_what_it_waits_for(row: RunSeen) -> None:
    """And which requests are the oldest; a paused run is told as that."""
    answer: dict[str, Any] = {
        "ok": True,
        "snapshot": {"run": RUN, "paused": True, "state": "running"},
        "waits": "for b: 429",
        "oldest": [{"url": "http://a/", "age": 3, "phase": "body"}, "nonsense"],
    }
    view = with_state(job_view("j", row, 7, None), answer)
    assert (view.state, view.waits, view.oldest[0].age) == ("paused", "for b: 429", 3.0)
    assert len(view.oldest) == 1
    assert with_state(view, {"snapshot": [], "oldest": 5, "waits": 7}).oldest == ()


def test_hosts_join_what_was_and_what_is(row: RunSeen) -> None:
    """Those at work first, then those with the most ends."""
    answer = {"hosts": [{"host": "c", "waiting": 5, "why": "429"}, {"host": "a", "in_flight": 2, "rate": 1.5}, 3]}
    found = {view.host: view for view in host_views(row.tally, answer)}
    assert list(found) == ["a", "c", "b"] or list(found)[-1] == "b"
    assert (found["a"].fetched, found["a"].in_flight, found["a"].rate) == (1, 2, 1.5)
    assert (found["b"].failed, found["b"].waiting) == (1, None)
    assert (found["c"].waiting, found["c"].why) == (5, "429")


def test_many_hosts_are_bounded() -> None:
    """A crawl of a thousand hosts makes no page of a thousand rows."""
    tally = Tally()
    for n in range(900):
        tally.add(_counted(record(n)), f"h{n}")
    assert len(host_views(tally, {})) == 200
