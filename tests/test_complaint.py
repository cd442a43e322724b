"""What a quiet run says when it failed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from crawler.complaint import SCREEN, complaint
from crawler.errors import ExitCode
from crawler.report import Summary, summarize
from crawler.tally import Snapshot, Tally
from tests.exportruns import RUN, JobRuns
from tests.test_runrecords import FORMS


def summary(code: ExitCode = ExitCode.FAILED, state: str = "finished", **more: object) -> Summary:
    """Of a run in which 40 of 100 failed, for two reasons, at six hosts."""
    tally = Tally()
    tally.fetched, tally.failed, tally.skipped = 60, 40, 3
    tally.reasons = {"status-404": 30, "host-dead": 10, "robots": 3}
    tally.hosts = {f"h{number}.example": [0, number, 0, 0, 0] for number in range(7)}
    known = dict.fromkeys(Snapshot._fields, 0) | {"job": "docs", "run": "r1", "state": state, "elapsed": 75.0}
    found = summarize(tally, Snapshot(**known), 0.0, code)  # type: ignore[arg-type]
    return replace(found, **{"failed_because": ["40 failed, run.max_failed allows 2"], **more})  # type: ignore[arg-type]


def record(reason: str, url: str, error: str, outcome: str = "failed") -> bytes:
    return orjson.dumps({"reason": reason, "url": url, "error": error, "outcome": outcome}) + b"\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.log").touch()
    (tmp_path / "records.jsonl").write_bytes(
        record("status-404", "http://a.example/1", "the server answered 404")
        + record("robots", "http://a.example/r", "disallowed", "skipped")
        + record("host-dead", "http://b.example/2", "gone")
        + b"\xff torn"
    )
    return tmp_path


def test_it_says_what_failed_why_where_and_what_to_do(folder: Path) -> None:
    """Counts, each reason with an example, the hosts with most, the log, the next command."""
    lines = complaint(summary(), folder, "/srv/docs.toml")
    text = "\n".join(lines)
    assert lines[0] == "crawler: docs ended, but too many failed (exit 1, failed)"
    assert "40 failed, run.max_failed allows 2" in text
    assert "60 fetched, 40 failed, 3 skipped" in text
    assert lines[lines.index("  30 status-404") + 1] == "    http://a.example/1: the server answered 404"
    assert lines[lines.index("  10 host-dead") + 1] == "    http://b.example/2: gone"
    assert "robots" not in text  # no failure
    assert "hosts that failed most: h6.example 6, h5.example 5, h4.example 4, h3.example 3, …" in text
    assert f"run.log: {folder}/run.log" in lines
    assert lines[-1] == "  crawler retry --reason status-404 /srv/docs.toml"


def test_an_unfinished_run_is_gone_on_with(folder: Path) -> None:
    """Where there was no room nothing is made again: the rest is still to be made."""
    full = summary(ExitCode.NO_ROOM, "stopped", warnings=["/out has 1 MiB left"], failed_because=[])
    lines = complaint(full, folder, "j.toml")
    assert lines[0] == "crawler: docs was stopped: there is no room (exit 4, no_room)"
    assert "  /out has 1 MiB left" in lines
    assert lines[-1] == "  crawler run j.toml"
    assert complaint(full, folder, None)[-1].startswith("records.jsonl: ")


def test_it_is_one_screen_whatever_failed(tmp_path: Path) -> None:
    """With many reasons, many lines of why, and hostile text: no more lines, nothing that a terminal obeys."""
    reasons = {f"status-{number}": 900 - number for number in range(400, 600)}
    evil = "http://a.example/\x1b[2J" + "x" * 5000
    lines = [record(reason, evil, "line\nbreak" * 500) for reason in reasons]
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines))
    many = replace(summary(), reasons=reasons, failed_because=["too many"] * 50, warnings=["x" * 5000] * 50)
    shown = complaint(many, tmp_path, "j.toml")
    assert len(shown) <= SCREEN
    assert shown[-1].startswith("  crawler retry")
    assert all(line.isprintable() and len(line) <= 4000 for line in shown)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "jsonl"])
def test_examples_come_from_any_form_of_records(form: str, tmp_path: Path) -> None:
    """And the file is named."""
    runs = JobRuns(tmp_path)
    place = runs.begin(RUN)
    FORMS[form](runs)
    lines = complaint(summary(run=RUN), place, None)
    assert lines[lines.index("  30 status-404") + 1] == '    http://a.example/2: a, b\\n"c"'
    name = {"zstd": "records.jsonl.zst", "parquet": "records", "csv": "records.csv"}[form]
    assert lines[-1] == f"{name}: {place / name}"


def test_records_that_cannot_be_read_give_no_examples(tmp_path: Path) -> None:
    """The rest is told all the same."""
    (tmp_path / "records.csv").write_bytes(b"id\nx\n")
    lines = complaint(summary(), tmp_path, None)
    assert lines[lines.index("  30 status-404") + 1] == "  10 host-dead"


def test_without_records_there_are_no_examples(tmp_path: Path) -> None:
    """As where a run ended before it had any."""
    lines = complaint(summary(), tmp_path, "j.toml")
    assert "  30 status-404" in lines
    assert not any("http" in line or "records" in line for line in lines)
