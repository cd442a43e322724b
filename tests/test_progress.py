"""What a run shows while it works: lines, JSON, the bar of a terminal, the file in the run's folder."""

from __future__ import annotations

import errno
import io
import re
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from crawler.progress import (
    BarProgress,
    Cadence,
    LineProgress,
    Progress,
    ProgressFile,
    QuietProgress,
    choose,
    duration,
    json_line,
    plain_line,
    size,
)
from crawler.tally import Snapshot
from tests.fakes import SNAPSHOT
from tests.jsonschema import against

SCHEMA = orjson.loads((Path(__file__).parent.parent / "docs" / "progress.schema.json").read_bytes())
NASTY = "https://x.example/\x1b[2J\r\n\u202e\u2066\x9b31m\ud800"
CALM = SNAPSHOT
BUSY = CALM._replace(
    state="draining", hosts_waiting=3, next_at=0.8, importing=True, eta=None, longest=("https://slow.example/x", 12.0)
)
HUGE = BUSY._replace(
    job="a-job-with-a-very-long-name-indeed",
    known=10**9,
    fetched=5 * 10**8,
    failed=10**7,
    retries=10**8,
    bytes=10**15,
    longest=("https://slow.example/" + "長い" * 200, 1e5),
)


class Tty(io.StringIO):
    """A terminal that can go away."""

    gone = False

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.gone:
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Tty:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return Tty()


def visible(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def keys(line: str) -> list[str]:
    return re.findall(r"(\w+)=", line)


def test_a_plain_line_says_all_in_one_order() -> None:
    """The line greps well: counts, speed, key=value pairs."""
    assert plain_line(CALM).split(" ", 1)[1] == (
        "job=quickstart done=310/512 share=60% rate=42.1/s byte_rate=1.2MiB/s "
        "fetched=300 failed=10 skipped=0 retries=4 in_flight=32 waiting=170 hosts=12 eta=5.0s"
    )


def test_the_host_that_sets_the_end_is_named() -> None:
    """A line and the bar say whose own pace the estimate is; without an estimate nobody is named."""
    slow = CALM._replace(eta_host="slow.example")
    assert "eta=5.0s eta_host=slow.example" in plain_line(slow)
    assert "eta_host" not in plain_line(slow._replace(eta=None))


def test_a_plain_line_says_what_is_waited_for() -> None:
    """Hosts that may not be asked yet, the next moment, an unknown end, the state and the slowest request are named."""
    assert plain_line(BUSY).endswith(
        "hosts=12 eta=? hosts_waiting=3 next=0.8s state=draining slowest=12s url=https://slow.example/x"
    )
    assert " done=310/512+ " in plain_line(BUSY)


def test_the_keys_stand_in_one_order_whatever_happens() -> None:
    """What is there at times comes after what is always there, and all but the time is key=value."""
    everything = BUSY._replace(uploaded=5, eta=1.0, eta_host="h", job="a job")
    assert all(re.fullmatch(r"\w+=\S+", word) for word in plain_line(everything).split(" ")[1:])
    assert keys(plain_line(BUSY))[: len(keys(plain_line(CALM)))] == keys(plain_line(CALM))


def test_a_json_line_has_every_key_at_all_times() -> None:
    """A reader finds the same keys in a calm and in a busy moment, numbers rounded to thousandths."""
    calm, busy = orjson.loads(json_line(CALM)), orjson.loads(json_line(BUSY))
    assert list(calm) == list(busy) == ["event", *Snapshot._fields]
    assert (calm["event"], calm["rate"], calm["longest"]) == ("progress", 42.123, None)
    assert busy["longest"] == {"url": "https://slow.example/x", "age": 12.0}


def test_every_line_is_as_the_schema_says() -> None:
    """The schema in docs/ names every key, and lines of a calm, a busy and a paused moment keep to it."""
    assert list(SCHEMA["properties"]) == ["event", *Snapshot._fields]
    assert SCHEMA["required"] == list(SCHEMA["properties"])
    for snapshot in (CALM, BUSY, HUGE, CALM._replace(state="paused", eta_host="h", next_at=1.0)):
        assert against(SCHEMA, orjson.loads(json_line(snapshot))) == []
    assert against(SCHEMA, {**orjson.loads(json_line(CALM)), "more": 1}) == ["more"]
    assert against(SCHEMA, {**orjson.loads(json_line(CALM)), "failed": "3", "state": "?"}) == ["state", "failed"]


def test_a_pause_is_shown(tty: Tty) -> None:
    """Lines, JSON and the bar say that a run is paused."""
    paused = CALM._replace(state="paused")
    bar = BarProgress(tty)
    bar.update(paused)
    bar.close()
    assert plain_line(paused).endswith(" state=paused")
    assert orjson.loads(json_line(paused))["state"] == "paused"
    assert "paused, 32 in flight may end" in visible(tty.getvalue())


def test_no_control_character_reaches_a_stream(tty: Tty) -> None:
    """A URL with escapes, newlines, direction marks or lone surrogates is shown inert."""
    snapshot = BUSY._replace(state="running", longest=(NASTY, 12.0), job="j\x1b[2J")
    bar = BarProgress(tty)
    bar.update(snapshot)
    bar.close()
    lines = visible(tty.getvalue()).replace("\r", "").replace("\n", "")
    for text in (plain_line(snapshot), json_line(snapshot), lines):
        assert re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text) is None
        assert "x.example" in text


def test_percent_is_never_above_what_is_done() -> None:
    """One input short of the end is 99 %, an unknown total is 0 %, and more ends than inputs are 100 %."""
    assert "=99% " in plain_line(CALM._replace(fetched=999, failed=0, known=1000))
    assert "=0% " in plain_line(CALM._replace(fetched=0, failed=0, known=0))
    assert "=100% " in plain_line(CALM._replace(fetched=300, failed=0, known=200))


@given(ticks=st.lists(st.floats(0.0, 30.0), max_size=60), every=st.floats(0.5, 20.0))
def test_lines_keep_their_distance(ticks: list[float], every: float) -> None:
    """No two lines are closer than the span, and none is put off beyond the first look after it."""
    cadence, now, last = Cadence(every), 0.0, 0.0
    assert not cadence.due(now)
    for tick in ticks:
        now += tick
        due = cadence.due(now)
        assert due == (now >= last + every)
        last = now if due else last


def test_lines_come_by_the_time_at_work() -> None:
    """A wall clock that is put back or forward neither holds lines up nor brings them early."""
    stream = io.StringIO()
    lines = LineProgress(stream, as_json=False)
    for elapsed, at in ((0.2, 9000.0), (5.0, 99999.0), (10.3, 10.0), (12.0, 99999.0), (20.4, 11.0)):
        lines.update(CALM._replace(elapsed=elapsed, at=at))
    assert len(stream.getvalue().splitlines()) == 2


def test_the_last_moment_is_shown_where_it_is_given() -> None:
    """A run that is shorter than the span still leaves one line."""
    stream = io.StringIO()
    lines = LineProgress(stream, as_json=True)
    lines.update(CALM)
    lines.close(CALM._replace(state="finished"))
    assert [orjson.loads(line)["state"] for line in stream.getvalue().splitlines()] == ["finished"]


def test_quiet_shows_messages_alone() -> None:
    """Cron mails what goes wrong, not how it goes."""
    stream = io.StringIO()
    quiet = QuietProgress(stream, as_json=False)
    for elapsed in (0.0, 11.0, 22.0):
        quiet.update(CALM._replace(elapsed=elapsed))
    quiet.message("wrong")
    quiet.close(CALM)
    assert stream.getvalue() == "wrong\n"


@pytest.mark.parametrize("snapshot", [CALM, BUSY, HUGE])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_bar_never_wraps(tty: Tty, monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, width: int) -> None:
    """Whatever the numbers and the width, a line of the bar is at most as wide as the terminal, and at most three."""
    monkeypatch.setenv("COLUMNS", str(width))
    bar = BarProgress(tty)
    tty.truncate(tty.seek(0))
    bar.update(snapshot)
    lines = visible(tty.getvalue()).replace("\r", "").strip("\n").split("\n")
    assert len(lines) == (2 if snapshot is CALM else 3)
    assert max(cell_len(line) for line in lines) <= width
    bar.close()


def test_the_bar_says_what_matters_at_eighty_columns(tty: Tty) -> None:
    """Count, share, rate, bytes, failures and the slowest request are all there."""
    bar = BarProgress(tty)
    bar.update(BUSY._replace(state="running"))
    shown = visible(tty.getvalue())
    for text in ("310/512+", "60%", "42.1/s", "1.2 MiB/s", "10 failed", "3 of 12 hosts wait", "12s for https://slow"):
        assert text in shown
    bar.close()


def test_facts_of_the_bar_are_left_out_whole(tty: Tty, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a narrow terminal the lesser facts are missing, and none is cut to a wrong number."""
    monkeypatch.setenv("COLUMNS", "40")
    bar = BarProgress(tty)
    bar.update(HUGE)
    facts = [line.strip() for line in visible(tty.getvalue()).splitlines() if "42.1/s" in line]
    assert facts == ["42.1/s · 1.2 MiB/s · 10,000,000 failed"]
    bar.close()


def test_the_bar_grows_with_what_is_done(tty: Tty) -> None:
    """No part of the bar is filled at the start, all of it at the end."""
    bar = BarProgress(tty)
    bar.update(CALM._replace(fetched=0, failed=0))
    assert "━" not in tty.getvalue()
    tty.truncate(tty.seek(0))
    bar.update(CALM._replace(fetched=502, failed=10))
    assert "━" in tty.getvalue()
    assert "─" not in tty.getvalue()
    bar.close()


def test_the_terminal_is_given_back(tty: Tty) -> None:
    """The cursor that was hidden is shown again, stderr is what it was, and stdout was never touched."""
    before = sys.stdout, sys.stderr
    bar = BarProgress(tty)
    bar.update(CALM)
    assert sys.stdout is before[0]
    bar.close()
    assert tty.getvalue().rindex("\x1b[?25h") > tty.getvalue().rindex("\x1b[?25l")
    assert (sys.stdout, sys.stderr) == before


def test_a_message_above_the_bar_stands_as_it_is(tty: Tty) -> None:
    """Text of others is neither markup nor emoji, and a long line is not broken."""
    bar = BarProgress(tty)
    text = "failed :smile: [red]text[/red] https://x.example/" + "y" * 100
    bar.message(text)
    bar.close()
    assert text in tty.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_terminal_that_goes_away_does_not_end_the_run(tty: Tty, as_json: bool) -> None:
    """After a hang-up nothing is shown and nothing is raised."""
    shown: Progress
    for shown in (choose(tty, quiet=False, as_json=as_json), QuietProgress(tty, as_json=as_json)):
        tty.gone, before = True, tty.getvalue()
        shown.update(CALM)
        shown.message("text")
        shown.close(CALM)
        assert tty.getvalue() == before
        tty.gone = False


def test_a_closed_stderr_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Started with stderr closed there is no stream: nothing goes to stdout instead."""
    shown = choose(None, quiet=False, as_json=False)
    shown.message("text")
    shown.close(CALM)
    assert capsys.readouterr() == ("", "")


def test_the_display_fits_its_stream(tty: Tty, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on a terminal alone; not for JSON, pipes, quiet, or a terminal that can do nothing."""
    bar = choose(tty, quiet=False, as_json=False)
    assert isinstance(bar, BarProgress)
    bar.close()
    assert type(choose(tty, quiet=False, as_json=True)) is LineProgress
    assert type(choose(io.StringIO(), quiet=False, as_json=False)) is LineProgress
    assert type(choose(tty, quiet=True, as_json=False)) is QuietProgress
    monkeypatch.setenv("TERM", "dumb")
    assert type(choose(tty, quiet=False, as_json=False)) is LineProgress


def test_the_file_keeps_a_line_now_and_then_and_the_last(tmp_path: Path) -> None:
    """A line each second of the first minute, then each ten; the end is always there, and a resumed run appends."""
    for start in (0.0, 100.0):
        file = ProgressFile(tmp_path)
        for tick in range(4 * 85):
            file.update(CALM._replace(elapsed=start + tick / 4))
        file.close(CALM._replace(elapsed=start + 85.5))
    once = [*map(float, range(1, 61)), 70.0, 80.0, 85.5]
    assert elapsed_in(tmp_path / "progress.jsonl") == [*once, *(100.0 + at for at in once)]


def elapsed_in(path: Path) -> list[float]:
    return [orjson.loads(line)["elapsed"] for line in path.read_bytes().splitlines()]


def test_a_file_that_was_renamed_is_made_anew(tmp_path: Path) -> None:
    """After a rotation no line goes to the old file, also where a signal was never sent; a removed one comes back."""
    path, old = tmp_path / "progress.jsonl", tmp_path / "progress.jsonl.1"
    file = ProgressFile(tmp_path)
    for second in range(3):
        file.update(CALM._replace(elapsed=second))
    path.rename(old)
    file.update(CALM._replace(elapsed=3.0))
    assert (elapsed_in(old), elapsed_in(path)) == ([1.0, 2.0], [3.0])
    path.unlink()
    file.close(CALM._replace(elapsed=4.0))
    assert elapsed_in(path) == [4.0]


def test_a_torn_line_of_the_file_spoils_no_other(tmp_path: Path) -> None:
    """What a full disk cut short stays a line of its own."""
    (tmp_path / "progress.jsonl").write_text('{"event":"prog')
    ProgressFile(tmp_path).close(CALM)
    torn, whole = (tmp_path / "progress.jsonl").read_text().splitlines()
    assert torn == '{"event":"prog'
    assert orjson.loads(whole)["fetched"] == 300


def test_a_full_disk_costs_the_file_only(tmp_path: Path) -> None:
    """Neither a line nor the close raises when there is no room."""
    (tmp_path / "progress.jsonl").symlink_to("/dev/full")
    file = ProgressFile(tmp_path)
    file.update(CALM)
    file.update(CALM._replace(elapsed=30.0))
    file.close(CALM)
    assert [path.name for path in tmp_path.iterdir()] == ["progress.jsonl"]  # and nothing beside it


def test_a_folder_that_cannot_be_written_costs_the_file_only(tmp_path: Path) -> None:
    """A file that cannot be opened is done without."""
    file = ProgressFile(tmp_path / "absent")
    file.update(CALM)
    file.close(CALM)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1023.97, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes_for_people(number: float, text: str) -> None:
    """Each size is told in the unit that fits, never as 1024 of the lesser one."""
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *[(0.84, "0.8s"), (9.97, "10s"), (59.6, "1m00s"), (3599.7, "1h00m")],
        *[(86400, "24h00m"), (3 * 86400 + 7200, "3d02h")],
    ],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    """Each time is told with two units at most, never as 60 of the lesser one."""
    assert duration(seconds) == text


def test_uploads_are_shown_where_there_are_any() -> None:
    """A job that sends gigabytes must not look as if it stood still."""
    sending = SNAPSHOT._replace(uploaded=3 * 2**30)
    assert "uploaded=3.0GiB" in plain_line(sending)
    assert "uploaded" not in plain_line(SNAPSHOT)
    assert orjson.loads(json_line(sending))["uploaded"] == 3 * 2**30
