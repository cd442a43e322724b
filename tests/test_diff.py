"""`crawler diff`: which runs, which lines, where."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler.cli import main
from tests.exportruns import RUN, JobRuns, record

OLD, NEW = RUN, "20260202T000000Z-bbbbbb"
TURNED = "http://a.example/\u202egnp\x1b[2J\n"


def at(path: str, content: bytes | None, **more: Any) -> dict[str, Any]:
    return record(1, content, url=f"http://a.example/{path}", **more)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job with three runs: two finished ones and one that was stopped."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "j.toml"
    path.write_text('name = "j"\n[input]\nurls = ["http://a.example/"]\n')
    runs = JobRuns(tmp_path / "output")
    runs.begin(OLD)
    runs.jsonl([at("same", b"1"), at("edited", b"1"), at("left", b"1"), at("broken", b"1")])
    runs.begin(NEW)
    broken = at("broken", None, outcome="failed", status=503, reason="status-503")
    posted = at("posted", b"1", method="POST", change="new")
    runs.jsonl([at("same", b"1", change="unchanged"), at("edited", b"2", change="changed"), broken, posted])
    runs.begin("20260303T000000Z-cccccc", state="stopped")
    runs.jsonl([at("same", b"9")])
    return path


def ran(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_the_last_two_finished_runs_are_compared(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, sorted, and the counts beside; a run that was stopped is passed over."""
    code, out, err = ran(capsys, "diff", job)
    assert code == 0
    assert out == (
        "changed\thttp://a.example/edited\ngone\thttp://a.example/left\n"
        "new\thttp://a.example/posted\tPOST\nunknown\thttp://a.example/broken\n"
    )
    assert err == f"{OLD} -> {NEW}: 1 new, 1 changed, 1 unchanged, 1 gone, 1 unknown\n"


def test_json_lines_and_a_choice(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what was asked for, also what is unchanged; counts are of all."""
    _, out, err = ran(capsys, "diff", job, "--json", "--only", "new, unchanged")
    assert [orjson.loads(line) for line in out.splitlines()] == [
        {"change": "new", "url": "http://a.example/posted", "method": "POST"},
        {"change": "unchanged", "url": "http://a.example/same", "method": "GET"},
    ]
    assert "1 gone" in err


def test_runs_are_named_the_older_first(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the other order what was gone is new; `latest` is the one that was stopped, of which nothing is gone."""
    _, out, _ = ran(capsys, "diff", job, "202602", "202601", "--only", "new")
    assert out == "new\thttp://a.example/left\n"
    _, out, err = ran(capsys, "diff", job, "previous", "latest")
    assert "gone\t" not in out
    assert "unknown\thttp://a.example/edited" in out
    assert "20260303T000000Z-cccccc is not finished" in err


def test_one_run_is_compared_with_the_finished_one_before_it(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the very first has none: what its records say is all there is, which here is nothing."""
    assert ran(capsys, "diff", job, "latest")[2].splitlines()[-1].startswith(f"{NEW} -> 20260303T000000Z-cccccc:")
    code, _, err = ran(capsys, "diff", job, OLD)
    assert code == 2
    assert f"no run before {OLD}" in err


def test_where_the_run_before_was_pruned_the_records_tell(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its folder is gone: `change` in the lines of the newer one stands for it, and that is said."""
    shutil.rmtree(job.parent / "output" / "j" / "runs" / OLD)
    for arguments in ((), (OLD, NEW)):
        code, out, err = ran(capsys, "diff", job, *arguments)
        assert code == 0
        assert out.splitlines()[0] == "changed\thttp://a.example/edited"
        assert err.startswith(f"crawler: the run before {NEW} is not there any more")
        assert err.endswith(f"{NEW}: 1 new, 1 changed, 1 unchanged, 0 gone, 1 unknown\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["20260202T000000Z-bbbbbc"], f"did you mean {NEW}"),
        ([OLD, OLD], "are the same run"),
        ([OLD, NEW, NEW], "at most two runs"),
        (["--only", "newer"], "newer is none of new, changed"),
        (["--only", ","], "nothing is none of"),
    ],
)
def test_what_is_wrong_is_said(
    job: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    """Exit code 2, a sentence, and nothing on stdout."""
    code, out, err = ran(capsys, "diff", job, *arguments)
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_url_moves_no_terminal(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does it make a line of its own."""
    runs = JobRuns(job.parent / "elsewhere")
    for name in (OLD, NEW):
        runs.begin(name)
        runs.jsonl([record(1, name.encode(), url=TURNED, method="GE\nT")])
    _, out, _ = ran(capsys, "diff", job, "--set", "output.dir=elsewhere")
    assert out.count("\n") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", out)
