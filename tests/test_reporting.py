"""`crawler report`: from a run's folder to its page."""

from __future__ import annotations

import os
import re
from pathlib import Path

import orjson
import pytest
from selectolax.lexbor import LexborHTMLParser

from crawler.errors import JobError, StorageError
from crawler.folders import JobFolder
from crawler.reporting import report_of, write_report
from crawler.schema import open_db
from tests.exportruns import RUN, JobRuns, record
from tests.reportruns import BEFORE, full_run
from tests.test_diff import ran


def text_of(path: Path) -> str:
    return re.sub(r"\s+", " ", LexborHTMLParser(path.read_text()).body.text())  # type: ignore[union-attr]


def test_all_that_is_known_of_a_run_stands_in_its_page(tmp_path: Path) -> None:
    """Facts of state.db and summary.json, the curve of progress.jsonl, what the records say; nothing beside it."""
    folder = full_run(tmp_path)
    before = sorted(path for path in folder.path.rglob("*") if "state.db" not in path.name)
    path = write_report(folder.path, RUN)
    assert path == folder.run(RUN) / "report.html"
    after = sorted(found for found in folder.path.rglob("*") if "state.db" not in found.name)
    assert after == sorted([*before, path])
    text = text_of(path)
    for said in (
        "Finished (exit code 1):",
        f"Run {RUN}",
        f"Against run {BEFORE}",
        "12 of those that are gone were not met any more",
        "173 of them again",
        "6m40s",
        "calendar/{n}/{n}",
        "700.0 MiB arrived",
        "request.contact is not set",
        'rate_per_host = "20/s"',
        "2026-01-02 03:00:00 UTC",
    ):
        assert said in text, said
    assert "1m08s" in LexborHTMLParser(path.read_text()).css_first("table.hosts").text()


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    """Without its process it was killed; what an earlier stop had summed up is not told of it."""
    runs = JobRuns(tmp_path)
    place = runs.begin(state="running")
    runs.jsonl([record(1, b"x")], surplus=b'{"id":2')
    (place / "summary.json").write_text('{"inputs": 77, "seconds": 99.0, "warnings": ["old"]}')
    assert report_of(runs.folder, RUN).facts.state == "killed"
    with open_db(runs.folder.state) as db:
        db.execute("INSERT INTO hosts (name, waiting) VALUES ('a.example', 2)")
    db.close()
    runs.folder.lock(0.0)
    try:
        found = report_of(runs.folder, RUN)
    finally:
        runs.folder.unlock()
    assert (found.facts.state, found.done, found.facts.inputs, list(found.facts.warnings)) == ("running", 1, 3, [])
    assert "going on" in (found.facts.note or "")


@pytest.mark.parametrize(
    "summary",
    ["", "{", "[]", '{"hosts": [], "links": 7, "traps": [1, {}], "uploads": "x", "warnings": {}, "inputs": "9"}'],
)
def test_a_run_of_another_version_has_a_page(summary: str, tmp_path: Path) -> None:
    """No tally, no progress, a summary that says less or something else, records with fewer keys."""
    runs = JobRuns(tmp_path)
    place = runs.begin()
    runs.jsonl([{"id": 1, "url": "http://a.example/", "outcome": "fetched"}])
    if summary:
        (place / "summary.json").write_text(summary)
    assert "Finished well: 1 of 1 input fetched" in text_of(write_report(runs.folder.path, RUN))


def test_hosts_of_a_summary_tell_how_long_they_were_blocked(tmp_path: Path) -> None:
    """Where state.db has no counts any more."""
    runs = JobRuns(tmp_path)
    place = runs.begin()
    runs.jsonl([record(1, b"x")])
    (place / "summary.json").write_bytes(orjson.dumps({"hosts": {"a.example": {"fetched": 1, "blocked_s": 7.5}}}))
    assert report_of(runs.folder, RUN).hosts[0].blocked == 7.5


def test_a_page_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails in the middle leaves the page of before, and no other."""
    folder = full_run(tmp_path, 50)
    path = write_report(folder.path, RUN)
    whole = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"report\.html: cannot be written: No space left"):
        write_report(folder.path, RUN)
    assert path.read_bytes() == whole


def test_a_run_that_is_not_there_has_no_page(tmp_path: Path) -> None:
    """Said in a sentence."""
    with pytest.raises(JobError, match="never run"):
        write_report(tmp_path / "j", RUN)
    with pytest.raises(JobError, match="no run"):
        report_of(full_run(tmp_path, 20), "20300101T000000Z-ffffff")


def test_the_command_prints_the_path_or_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """stdout is for programs: a path, or one object; -o writes elsewhere; a run is named as for diff."""
    monkeypatch.chdir(tmp_path)
    full_run(tmp_path / "output", 50)
    Path("j.toml").write_text('name = "j"\n[input]\nurls = ["http://a.example/"]\n')
    assert ran(capsys, "report", "j.toml") == (0, f"output/j/runs/{RUN}/report.html\n", "")
    code, out, _ = ran(capsys, "report", "j.toml", "--json")
    told = orjson.loads(out)
    assert code == 0
    assert told["fetched"] + told["failed"] + told["skipped"] == 50
    assert told["facts"]["run"] == RUN
    assert told["outcome"].startswith("Finished")
    assert ran(capsys, "report", "j.toml", "--run", "previous", "-o", "old.html") == (0, "old.html\n", "")
    assert f"Run {BEFORE}" in text_of(Path("old.html"))
    code, out, err = ran(capsys, "report", "j.toml", "--run", "2025123")
    assert (code, err) == (0, "")
    assert BEFORE in out
    assert ran(capsys, "report", "j.toml", "-o", "absent/x.html")[0] == 4


def test_a_folder_of_a_job_is_all_that_is_needed(tmp_path: Path) -> None:
    """The end of a run writes its report by the folder and the run's id."""
    folder = full_run(tmp_path, 20)
    assert write_report(JobFolder(tmp_path, "j").path, RUN).parent == folder.run(RUN)
