"""`crawler export` as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from crawler.errors import JobError
from crawler.exportcommand import export
from tests.exportruns import RUN, JobRuns, lines_of, record

RECORDS = [record(n) for n in range(1234)]


@pytest.fixture
def job(tmp_path: Path) -> str:
    runs = JobRuns(tmp_path / "out")
    runs.begin(state="stopped")
    runs.jsonl(RECORDS)
    path = tmp_path / "j.toml"
    path.write_text(f'name = "j"\n[input]\nfiles = ["not-read.txt"]\n[output]\ndir = "{tmp_path}/out"\n')
    return str(path)


def test_it_says_what_was_written_and_what_is_not_there(job: str, tmp_path: Path) -> None:
    """Records, size and path on stdout; that the run is not over on stderr."""
    target = tmp_path / "all.jsonl"
    result = CliRunner().invoke(export, [job, "--to", "jsonl", "-o", str(target)])
    assert result.exit_code == 0
    assert result.stdout.startswith("wrote 1,234 records, ")
    assert result.stdout.endswith(f": {target}\n")
    assert result.stderr == f"crawler: run {RUN} is not finished: these are the records committed so far\n"
    assert target.read_bytes() == b"".join(lines_of(RECORDS))


def test_flags_reach_what_does_the_work(job: str, tmp_path: Path) -> None:
    """A run by its id, compressed, in its own folder; --set moves the folder of the job."""
    result = CliRunner().invoke(export, [job, "--to", "csv", "--zstd", "--run", RUN])
    path = tmp_path / "out" / "j" / "runs" / RUN / "export" / "records.csv.zst"
    assert result.stdout.endswith(f": {path}\n")
    assert path.exists()
    moved = CliRunner().invoke(export, [job, "--to", "csv", "--set", f"output.dir={tmp_path}/else"])
    assert isinstance(moved.exception, JobError)
    assert "never run" in str(moved.exception)


def test_a_form_must_be_named(job: str) -> None:
    """One of four, else exit 2."""
    assert CliRunner().invoke(export, [job]).exit_code == 2
    assert CliRunner().invoke(export, [job, "--to", "xml"]).exit_code == 2
