"""What a report says: rows that add up, and how the run ended."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given

from crawler.curve import Stretch
from crawler.gathering import gather
from crawler.reportdata import Facts, Report, outcome, put_together, to_data
from tests.exportruns import record
from tests.test_gathering import RECORDS

FACTS = Facts("j", "r1", "finished", "2026-01-01T00:00:00Z")


def report(records: list[dict[str, Any]], facts: Facts = FACTS, progress: tuple[Stretch, ...] = ()) -> Report:
    return put_together(facts, gather(records), progress)


def ends(fetched: int, failed: int = 0, skipped: int = 0) -> list[dict[str, Any]]:
    bad = [record(n, outcome="failed", reason="stall", status=None) for n in range(failed)]
    left = [record(n, outcome="skipped", reason="robots", status=None) for n in range(skipped)]
    return [*(record(n, b"x") for n in range(fetched)), *bad, *left]


@given(records=RECORDS)
def test_the_rows_of_the_hosts_add_up(records: list[dict[str, Any]]) -> None:
    """Every end stands in one row, and all of it is JSON."""
    found = report(records)
    assert sum(row.done for row in found.hosts) == found.done == len(records)
    assert sum(row.bytes for row in found.hosts) == found.bytes
    assert orjson.loads(orjson.dumps(to_data(found)))["fetched"] == found.fetched


def test_progress_is_taken_where_it_tells_enough() -> None:
    """A run shorter than a minute has a line or two: then the moments of its records make the curve."""
    records = [record(n, b"x") for n in range(8)]
    lines = tuple(Stretch(n * 10.0, n * 10.0 + 10, 1, 0, 0) for n in range(8))
    assert len(report(records, progress=lines).stretches) == 8
    assert report(records, progress=lines).stretches[0].end == 10
    assert report(records, progress=lines[:2]).stretches[0].end == 1
    assert len(report([], progress=lines[:2]).stretches) == 2


@pytest.mark.parametrize(
    ("facts", "records", "sentence"),
    [
        ({}, ends(3), "Finished well: 3 of 3 inputs fetched, none failed."),
        ({}, ends(1, 0, 1), "Finished well: 1 of 2 inputs fetched, none failed, 1 left out on purpose."),
        ({"exit_code": 1}, ends(1, 2), "Finished (exit code 1): 2 of 3 inputs failed, all by stall."),
        ({"state": "stopped", "inputs": 9}, ends(4), "Stopped before the end: 4 inputs done; 5 inputs to go."),
        ({"state": "stopped", "inputs": 9, "importing": True}, ends(4), "at least 5 inputs to go"),
        ({"state": "killed"}, ends(4, 1), "its process is gone; 5 inputs done, 1 of them failed. The next start"),
        ({"state": "running", "inputs": 2}, ends(1), "Still running: 1 input done; 1 input to go."),
        ({"state": "abandoned"}, ends(1), "another run was begun instead: 1 input done."),
        ({"state": "of later"}, [], "0 inputs done."),
    ],
)
def test_how_a_run_ended_is_one_sentence(facts: dict[str, Any], records: list[dict[str, Any]], sentence: str) -> None:
    """With its numbers, and what to do where something is to be done."""
    assert sentence in outcome(report(records, FACTS._replace(**facts)))


def test_changes_count_what_was_not_met_any_more() -> None:
    """Those have no record; a run that says nothing of changes has none."""
    found = report([record(1, b"x", change="new")], FACTS._replace(forgotten=3))
    assert found.changes == {"new": 1, "changed": 0, "unchanged": 0, "gone": 3}
    assert report([record(1, b"x")]).changes == {}
