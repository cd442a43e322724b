"""Where the jar of a run begins, and how it is kept."""

from __future__ import annotations

import stat
from pathlib import Path
from time import time as wall_clock
from typing import Any

import pytest

from crawler.cookiefiles import load_jar
from crawler.errors import JobError, StorageError
from crawler.folders import JobFolder
from crawler.jars import NAME, JobJar
from crawler.jobfile import LoadedJob, build
from crawler.means import given

URL = "http://a.test/"


def job(folder: Path, **cookies: Any) -> LoadedJob:
    return build({"name": "t", "input": {"urls": [URL]}, "cookies": {"jar": True, **cookies}}, folder)


def jar(folder: Path, run: str = "run-1", *, resumed: bool = False, **cookies: Any) -> JobJar:
    of_job, said = JobFolder(folder / "out", "t"), job(folder, **cookies)
    brought = given(said).cookies
    return JobJar(said.job, folder, of_job, of_job.make_run(run), brought, resumed=resumed)


def put(one: JobJar, *lines: str) -> None:
    one.jar.accept(URL, lines, wall_clock())


def sent(one: JobJar) -> str | None:
    return one.jar.header(URL, wall_clock())


def test_it_is_written_beside_a_commit_only_when_it_changed(tmp_path: Path) -> None:
    """First as it began, then after each change; what is written is the jar as it stood when it was asked for."""
    one = jar(tmp_path)
    write = one.beside()
    assert write is not None
    write()
    assert one.beside() is None
    put(one, "a=1")
    write = one.beside()
    assert write is not None
    put(one, "b=2")
    write()
    path = tmp_path / "out/t/runs/run-1" / NAME
    path = path if path.exists() else next((tmp_path / "out").rglob(NAME))
    assert [cookie.name for cookie in load_jar(path).cookies] == ["a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert one.beside() is not None


def test_a_resumed_run_has_the_cookies_of_its_last_commit(tmp_path: Path) -> None:
    """Those of the session too, and none that came later or that the job's file would bring again."""
    (tmp_path / "in.txt").write_text("# Netscape HTTP Cookie File\na.test\tFALSE\t/\tFALSE\t0\tloaded\t1\n")
    one = jar(tmp_path, load="in.txt")
    put(one, "a=1", "loaded=; Max-Age=0")
    write = one.beside()
    assert write is not None
    write()
    put(one, "late=1")
    again = jar(tmp_path, resumed=True, load="in.txt")
    assert sent(again) == "a=1"
    assert again.beside() is None


def test_a_run_that_was_killed_before_its_first_commit_begins_as_a_new_one(tmp_path: Path) -> None:
    """There is nothing to go on with."""
    (tmp_path / "in.txt").write_text("# Netscape HTTP Cookie File\na.test\tFALSE\t/\tFALSE\t0\tloaded\t1\n")
    assert sent(jar(tmp_path, resumed=True, load="in.txt")) == "loaded=1"


@pytest.mark.parametrize(("persist", "kept"), [(True, "lasting=1"), (False, None)])
def test_what_lasts_goes_to_the_next_run_where_the_job_says_so(tmp_path: Path, persist: bool, kept: str | None) -> None:
    """Cookies of the session end with it."""
    one = jar(tmp_path, persist=persist)
    put(one, "lasting=1; Max-Age=1000", "session=1")
    one.close()
    assert sent(jar(tmp_path, "run-2", persist=persist)) == kept


def test_the_file_stands_over_what_was_kept(tmp_path: Path) -> None:
    """Both are there; of the same name the job's own file wins."""
    one = jar(tmp_path, persist=True)
    put(one, "a=old; Max-Age=1000", "b=old; Max-Age=1000")
    one.close()
    (tmp_path / "in.txt").write_text("# Netscape HTTP Cookie File\na.test\tFALSE\t/\tFALSE\t0\ta\tnew\n")
    assert sent(jar(tmp_path, "run-2", persist=True, load="in.txt")) == "a=new; b=old"


def test_it_is_saved_where_the_job_wants_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As cookies.txt by its name; what such a file cannot hold is told without its value."""
    one = jar(tmp_path, save="cookies.txt")
    put(one, "a=1; Max-Age=1000")
    one.close()
    assert "\ta\t1" in (tmp_path / "cookies.txt").read_text()
    assert stat.S_IMODE((tmp_path / "cookies.txt").stat().st_mode) == 0o600


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """As trouble with storage, by its path."""
    (tmp_path / "file").write_text("")
    one = jar(tmp_path, save="file/cookies.txt")
    with pytest.raises(StorageError, match=r"cookies\.txt: could not be written"):
        one.close()


def test_the_folder_of_an_export_is_made(tmp_path: Path) -> None:
    """At the end of a long run it is too late to ask for it."""
    jar(tmp_path, save="new/folder/cookies.txt").close()
    assert (tmp_path / "new/folder/cookies.txt").exists()


def test_a_damaged_jar_of_ours_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning, no fault; the job's own file must be readable."""
    one = jar(tmp_path, persist=True)
    one.close()
    (tmp_path / "out/t" / NAME).write_text("{")
    assert sent(jar(tmp_path, "run-2", persist=True)) is None
    assert "left out" in caplog.text
    (tmp_path / "in.txt").write_text("{")
    with pytest.raises(JobError, match=r"cookies\.load"):
        jar(tmp_path, "run-3", load="in.txt")
