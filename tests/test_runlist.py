"""Runs and their names."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from crawler.checkpoint import Checkpoint
from crawler.errors import JobError
from crawler.folders import JobFolder
from crawler.runlist import last_of, named, runs_of
from crawler.runrows import RunRow
from tests.exportruns import JobRuns

IDS = ("20260101T000000Z-aaaaaa", "20260101T000000Z-bbbbbb", "20260202T000000Z-cccccc")
RUNS = [RunRow(name, 0.0, 1.0, "finished", 0, 1.0, None, "{}") for name in IDS]


def test_runs_come_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    """Whatever their ids say: a clock may have been set back."""
    runs = JobRuns(tmp_path)
    for name in reversed(IDS):
        runs.begin(name)
    assert [run.id for run in runs_of(runs.folder)] == list(reversed(IDS))


def test_to_look_makes_nothing(tmp_path: Path) -> None:
    """No file of SQLite's beside the database, also where the path has what a URI means otherwise."""
    root = tmp_path / "50%41?x=#y"
    root.mkdir()
    JobRuns(root).begin(IDS[0])
    folder = JobFolder(root, "j")
    assert [run.id for run in runs_of(folder)] == [IDS[0]]
    last = last_of(folder)
    assert last is not None
    assert sorted(path.name for path in folder.path.glob("state.db*")) == ["state.db"]


def test_a_job_that_never_ran_has_none(tmp_path: Path) -> None:
    """Said in a sentence, and nothing is made."""
    with pytest.raises(JobError, match="j: never run"):
        runs_of(JobFolder(tmp_path, "j"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "n"), [("latest", 2), ("previous", 1), (IDS[0], 0), ("20260101T000000Z-b", 1), ("202602", 2)]
)
def test_a_run_is_named_by_its_id_its_beginning_or_a_word(asked: str, n: int) -> None:
    """Any of these finds it."""
    assert named(asked, RUNS) is RUNS[n]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("20260101", "is the beginning of 2 runs: 20260101T000000Z-bbbbbb, 20260101T000000Z-aaaaaa"),
        ("20260202T000000Z-cccccd", "did you mean 20260202T000000Z-cccccc"),
        ("lastest", "did you mean latest"),
        ("zzz", "the last are 20260202T000000Z-cccccc, "),
        ("", "the last are"),
        ("x" * 10**6, "there is no run 'xxx"),
    ],
)
def test_a_name_that_fits_none_or_several_is_answered_with_the_nearest(asked: str, sentence: str) -> None:
    """So that the next try is right."""
    with pytest.raises(JobError) as caught:
        named(asked, RUNS)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_only_run_has_no_previous() -> None:
    """Said with its name."""
    with pytest.raises(JobError, match=f"no previous run: {IDS[0]} is the only one"):
        named("previous", RUNS[:1])


def test_the_last_run_is_the_one_begun_last_whatever_the_clock_said(tmp_path: Path) -> None:
    """So is the last success; a run whose process is gone was killed, its place is kept."""
    assert last_of(JobFolder(tmp_path, "j")) is None
    folder = JobFolder(tmp_path, "j")
    folder.lock(0.0)
    with closing(Checkpoint(folder.state)) as checkpoint:
        for name, ended in (("r1", 500.0), ("r2", 300.0)):
            checkpoint.begin_run(name, ended - 10, "{}")
            checkpoint.end_run(name, ended, "finished", 0)
        checkpoint.begin_run("r3", 100.0, "{}")
    at_work = last_of(folder)
    folder.unlock()
    gone = last_of(folder)
    assert at_work is not None
    assert gone is not None
    assert (at_work.row.id, at_work.state, at_work.at_work, at_work.success) == ("r3", "running", True, 300.0)
    assert (gone.state, gone.at_work, gone.waiting) == ("killed", False, 0)
