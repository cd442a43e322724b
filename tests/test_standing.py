"""How a job stands, and the file that Prometheus reads of it."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path

from crawler.checkpoint import Checkpoint
from crawler.folders import JobFolder
from crawler.metrics import textfile
from crawler.standing import refresh_textfile, standing_of, write_textfile


def made(output: Path, *ends: tuple[str, int]) -> JobFolder:
    """A job with runs that ended so, at seconds 100, 200 and so on."""
    folder = JobFolder(output, "j")
    folder.lock(0.0)
    with closing(Checkpoint(folder.state)) as checkpoint:
        for number, (state, code) in enumerate(ends, 1):
            checkpoint.begin_run(f"r{number}", 100.0 * number - 10, "{}")
            checkpoint.end_run(f"r{number}", 100.0 * number, state, code)
    folder.unlock()
    return folder


def test_the_last_success_survives_runs_that_fail(tmp_path: Path) -> None:
    """Of several the last one."""
    standing = standing_of(made(tmp_path, *[("finished", 0)] * 2, ("finished", 1), ("stopped", 3)))
    assert (standing.run, standing.state, standing.exit_code) == ("r4", "stopped", 3)
    assert standing.last_success == 200.0


def test_a_job_that_was_never_run_stands_so(tmp_path: Path) -> None:
    """And nothing is created by looking."""
    folder = JobFolder(tmp_path, "j")
    assert standing_of(folder).state == "never"
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_at_work_as_long_as_its_lock_is_held(tmp_path: Path) -> None:
    """Then it was killed."""
    folder = made(tmp_path)
    with closing(Checkpoint(folder.state)) as checkpoint:
        checkpoint.begin_run("r1", 5.0, "{}")
    assert standing_of(folder).state == "killed"
    folder.lock(0.0)
    assert (standing_of(folder).state, standing_of(folder).exit_code) == ("running", None)
    folder.unlock()


def test_the_file_is_replaced_whole_and_readable_for_others(tmp_path: Path) -> None:
    """Whatever the umask; into a folder under the name of the job; nothing else is left there."""
    standing = standing_of(JobFolder(tmp_path / "out", "j"))
    (tmp_path / "prom").mkdir()
    before = os.umask(0o077)
    try:
        assert write_textfile(f"{tmp_path}/prom/", standing) is None
        assert write_textfile(f"{tmp_path}/prom/x.prom", standing) is None
    finally:
        os.umask(before)
    assert sorted(path.name for path in (tmp_path / "prom").iterdir()) == ["crawler_j.prom", "x.prom"]
    for path in (tmp_path / "prom").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        assert path.read_text() == textfile([standing])


def test_no_trouble_with_the_file_is_more_than_a_sentence(tmp_path: Path) -> None:
    """A folder that is not there, a path that is a folder; no temporary file stays behind."""
    standing = standing_of(JobFolder(tmp_path / "out", "j"))
    assert write_textfile(f"{tmp_path}/none/", standing) == (
        f"{tmp_path}/none/crawler_j.prom: cannot be written: No such file or directory"
    )
    (tmp_path / "folder.prom").mkdir()
    assert "Is a directory" in (write_textfile(f"{tmp_path}/folder.prom", standing) or "")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.prom"]


def test_the_exit_code_of_a_start_stands_there_whatever_the_checkpoint_says(tmp_path: Path) -> None:
    """As after a fault at the opening, or where the checkpoint cannot be read."""
    folder = made(tmp_path, ("finished", 0))
    path = tmp_path / "j.prom"
    assert refresh_textfile(str(path), folder, 2, 500.0) is None
    assert 'crawler_exit_code{job="j"} 2\n' in path.read_text()
    assert 'crawler_last_success_timestamp_seconds{job="j"} 100\n' in path.read_text()
    folder.state.write_bytes(b"no database at all, and longer than its header is" * 10)
    assert refresh_textfile(str(path), folder, 4, 600.0) is None
    assert 'crawler_exit_code{job="j"} 4\n' in path.read_text()
