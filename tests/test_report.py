"""How a run went: the summary for programs and the last lines for people."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import orjson
import pytest

from crawler.errors import ExitCode, StorageError
from crawler.model import Elapsed
from crawler.report import NO_HOST, Summary, final_lines, summarize, write_summary
from crawler.tally import OTHER_HOSTS, Tally
from tests.fakes import SNAPSHOT, record_of

LAST = SNAPSHOT._replace(
    job="t",
    run="run-1",
    state="finished",
    at=1_700_000_010.0,
    elapsed=4.0,
    known=3,
    waiting=0,
    in_flight=0,
    fetched=2,
    failed=1,
    retries=1,
    bytes=2048,
    rate=0.0,
    byte_rate=0.0,
    eta=None,
    hosts=2,
)


def tally_of(ends: list[tuple[str, bytes | None]]) -> Tally:
    tally = Tally()
    for number, (host, body) in enumerate(ends):
        record = record_of(number, body)
        record.elapsed_ms = Elapsed(None, None, 40.0, 100.0)
        record.started_at = "2023-11-14T22:13:21.000Z"
        tally.add(record, host)
    return tally


def summary_of(ends: list[tuple[str, bytes | None]], code: ExitCode = ExitCode.FAILED, **last: object) -> Summary:
    return summarize(tally_of(ends), LAST._replace(**last), 1_700_000_000.0, code)  # type: ignore[arg-type]


ENDS: list[tuple[str, bytes | None]] = [("a.example", b"x" * 1024), ("b.example", b"y" * 1024), ("b.example", None)]


def test_a_summary_says_how_it_went() -> None:
    """Counts, times in UTC, exit code and its name, rate over the time at work, percentiles."""
    summary = summary_of(ENDS)
    assert summary.outcomes == {"fetched": 2, "failed": 1, "skipped": 0}
    assert (summary.reasons, summary.statuses) == ({"status-404": 1}, {"200": 2, "404": 1})
    assert (summary.started, summary.ended) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:30.000Z")
    assert (summary.first_request, summary.last_request) == ("2023-11-14T22:13:21.000Z", "2023-11-14T22:13:21.000Z")
    assert (summary.exit_code, summary.exit, summary.rate, summary.bytes) == (1, "failed", 0.75, 2048)
    assert summary.latency_ms["p50"] == pytest.approx(100, rel=0.05)
    assert summary.ttfb_ms["max"] == 40.0


def test_hosts_add_up_to_the_outcomes() -> None:
    """A hundred hosts are named, the most visited first, and all others together make up the rest."""
    ends: list[tuple[str, bytes | None]] = [(f"{n:03}.example", b"12") for n in range(130)]
    ends += [("120.example", None), ("", None), (OTHER_HOSTS, b"12")]
    summary = summary_of(ends)
    assert next(iter(summary.hosts)) == "120.example"
    assert list(summary.hosts)[-1] == OTHER_HOSTS
    assert len(summary.hosts) == 101
    rows = summary.hosts.values()
    assert sum(row["fetched"] for row in rows) == summary.outcomes["fetched"] == 131
    assert sum(row["other"] for row in rows) == summary.outcomes["failed"] == 2
    assert sum(row["bytes"] for row in rows) == summary.bytes == 262


def test_inputs_without_a_host_are_named_so() -> None:
    """An input that is no URL has no host, and says so rather than showing an empty name."""
    [(name, row)] = summary_of([("", None)]).hosts.items()
    assert (name, row["fetched"], row["other"], row["bytes"]) == (NO_HOST, 0, 1, 0)


def test_a_host_tells_failed_from_skipped_and_how_long_it_was_left_alone() -> None:
    """`other` stays the sum of both, for programs that know no more; the waits are in seconds."""
    tally = tally_of(ENDS)
    tally.wait("b.example", 2.25)
    hosts = summarize(tally, LAST, 0.0, ExitCode.OK).hosts
    told = {"fetched": 1, "other": 1, "bytes": 1024, "failed": 1, "skipped": 0, "blocked_s": 2.25}
    assert hosts["b.example"] == told
    assert hosts["a.example"]["blocked_s"] == 0


def test_changes_stand_in_the_summary() -> None:
    """What the lines of the records say of a change is counted there, and what was not seen any more is gone."""
    tally = tally_of(ENDS)
    tally.changes, tally.forgotten = {"unchanged": 2, "gone": 1}, 4
    assert summarize(tally, LAST, 0.0, ExitCode.OK).changes == {"new": 0, "changed": 0, "unchanged": 2, "gone": 5}


def test_reasons_come_by_their_number() -> None:
    """The most frequent reason is the first, equal ones stand by name."""
    tally = tally_of(ENDS)
    tally.reasons = {"stall": 1, "removed": 1, "status-500": 7}
    assert list(summarize(tally, LAST, 0.0, ExitCode.OK).reasons) == ["status-500", "removed", "stall"]


def test_the_file_is_whole_and_its_keys_are_those_of_the_summary(tmp_path: Path) -> None:
    """What is written reads back, keys in their order, over an older file, with nothing left beside it."""
    (tmp_path / "summary.json").write_text("old")
    summary = summary_of(ENDS)
    write_summary(tmp_path, summary)
    data = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert list(data) == [field.name for field in fields(Summary)]
    assert Summary(**data) == summary
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_summary_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    """No room or no right to write names the file, as every trouble with storage does."""
    with pytest.raises(StorageError, match=r"absent/summary\.json: cannot be written: .*No such file"):
        write_summary(tmp_path / "absent", summary_of(ENDS))


def test_the_last_words_of_a_run() -> None:
    """Counts, bytes, time and rate; why inputs failed; latency; where the results are."""
    lines = final_lines(summary_of(ENDS), Path("out/t/runs/run-1"))
    assert lines[0] == "t: 2 fetched, 1 failed; 2.0 KiB in 4.0s (0.8/s)"
    assert lines[1] == "  why: status-404 1"
    assert lines[2].startswith("  latency: median ")
    assert lines[3:] == ["  results: out/t/runs/run-1"]


def test_the_last_words_of_a_stopped_run_say_how_to_go_on() -> None:
    """The number left is exact, unless the lists were not read to their end."""
    stopped = final_lines(summary_of(ENDS, ExitCode.STOPPED, state="stopped", known=4), Path("r"))
    assert stopped[-1] == "  stopped before the end: 1 input to go; run it again to go on"
    early = final_lines(summary_of(ENDS, ExitCode.STOPPED, state="stopped", known=2003, importing=True), Path("r"))
    assert "at least 2,000 inputs to go" in early[-1]


def test_the_last_words_of_an_empty_run() -> None:
    """Without a single end there is no rate, reason or latency to show, and nothing odd in their place."""
    lines = final_lines(summary_of([], ExitCode.OK, known=0, elapsed=0.0), Path("r"))
    assert lines == ["t: 0 fetched, 0 failed; 0 B in 0.0s", "  results: r"]


def test_many_reasons_are_cut_to_a_line_that_adds_up() -> None:
    """Eight reasons are named, the others counted together."""
    tally = tally_of(ENDS)
    tally.reasons = {f"status-{500 + n}": 20 - n for n in range(10)}
    why = final_lines(summarize(tally, LAST, 0.0, ExitCode.FAILED), Path("r"))[1]
    assert why.startswith("  why: status-500 20, status-501 19, ")
    assert why.endswith("status-507 13, 2 other reasons 23")


def test_warnings_stand_in_the_summary_and_are_said() -> None:
    """A run without verified certificates says so at its end, loudly."""
    summary = summarize(tally_of([]), LAST, 0.0, ExitCode.OK, ("connection.verify = false: anybody reads",))
    assert "  warning: connection.verify = false: anybody reads" in final_lines(summary, Path("r"))
    assert asdict(summary)["warnings"] == ["connection.verify = false: anybody reads"]
