"""Logging of a run: run.log and the terminal, safe text, few lines of a kind, and no harm from a full disk."""

from __future__ import annotations

import gc
import logging
import re
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.logs import Limiter, logging_to, mask_with, masked, reopen
from crawler.masking import Mask

log = logging.getLogger("crawler")
NASTY = "https://x.example/\x1b[2J\r\n2026-01-01T00:00:00Z ERROR forged\u202e\u2066\u061c\x9b31m\ud800"


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def failed(number: int, reason: str = "status-404") -> None:
    log.warning("failed %s: gone", number, extra={"reason": reason, "request_id": f"id-{number}"})


def test_at_most_so_many_of_a_kind_and_the_rest_is_told_once() -> None:
    """Five lines of each kind pass; after the span the number of the others is given, and it begins anew."""
    limiter = Limiter(5, 60.0)
    assert [limiter.allow("a", 10.0 + n) for n in range(8)] == [True] * 5 + [False] * 3
    assert limiter.allow("b", 30.0)
    assert limiter.over(69.9) == []
    assert limiter.over(70.0) == [("a", 3)]
    assert limiter.over(95.0) == []
    assert limiter.allow("a", 95.0)


@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from("abc")), max_size=80))
def test_every_line_is_shown_or_counted(lines: list[tuple[float, str]]) -> None:
    """Lines shown and lines told of add up to all, for any timing."""
    limiter, now = Limiter(2, 60.0), 0.0
    shown = told = 0
    for wait, kind in lines:
        now += wait
        told += sum(hidden for _, hidden in limiter.over(now))
        shown += limiter.allow(kind, now)
    told += sum(hidden for _, hidden in limiter.over(float("inf")))
    assert shown + told == len(lines)


def test_the_file_gets_all_and_the_terminal_a_few(tmp_path: Path) -> None:
    """Twelve failures of one reason: twelve lines in run.log, five on the terminal and the number of the others."""
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=False, quiet=False, clock=Clock()):
        for number in range(12):
            failed(number)
        failed(99, "stall")
    assert len((tmp_path / "run.log").read_text().splitlines()) == 13
    assert shown[:6] == [*(f"failed {number}: gone" for number in range(5)), "failed 99: gone"]
    assert shown[6:] == ["(7 more 'status-404' warnings, see run.log)"]


def test_what_was_hidden_is_told_with_the_next_line_after_the_minute(tmp_path: Path) -> None:
    """Nobody waits for the end of the run to learn how many there were."""
    shown: list[str] = []
    clock = Clock()
    with logging_to(tmp_path, shown.append, as_json=False, quiet=False, clock=clock):
        for number in range(6):
            failed(number)
        clock.now += 60.0
        failed(7)
        assert shown[5:] == ["(1 more 'status-404' warning, see run.log)", "failed 7: gone"]


def test_a_line_of_text(tmp_path: Path) -> None:
    """Time in UTC, level, message, then reason and request id; a value with a space is quoted."""
    with logging_to(tmp_path, lambda _: None, as_json=False, quiet=False):
        failed(1)
        log.info("plain", extra={"url": "a b"})
    first, second = (tmp_path / "run.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(stamp + " WARNING failed 1: gone reason=status-404 request_id=id-1", first)
    assert re.fullmatch(stamp + ' INFO plain url="a b"', second)


def test_lines_of_json_everywhere(tmp_path: Path) -> None:
    """In JSON each line parses, in the file and on the terminal, the count of hidden ones as well."""
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=True, quiet=False):
        for number in range(7):
            failed(number)
    lines = [orjson.loads(line) for line in (tmp_path / "run.log").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == [f"id-{number}" for number in range(7)]
    assert {line["event"] for line in lines} == {"log"}
    last = orjson.loads(shown[-1])
    assert (len(shown), last["level"], last["message"]) == (
        6,
        "warning",
        "(2 more 'status-404' warnings, see run.log)",
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_text_of_others_cannot_forge_lines_or_reach_the_terminal(tmp_path: Path, as_json: bool) -> None:
    """Newlines, escapes, direction marks and surrogates in a URL, a reason or an exception are shown inert."""
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=as_json, quiet=False):
        log.warning("failed %s", NASTY, extra={"reason": NASTY, "url": NASTY})
        try:
            raise ValueError(NASTY)
        except ValueError as error:
            log.error("internal error", exc_info=error)
    text = (tmp_path / "run.log").read_text()
    for part in (text, *shown):
        assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", part) is None
    assert "ValueError" in text
    starts = [line for line in text.splitlines() if not line.startswith("    ")]
    assert len(starts) == 2


def test_quiet_shows_errors_alone(tmp_path: Path) -> None:
    """Warnings go to run.log only."""
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=False, quiet=True):
        failed(1)
        log.error("wrong")
    assert shown == ["wrong"]
    assert len((tmp_path / "run.log").read_text().splitlines()) == 2


def test_warnings_of_the_libraries_take_the_same_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What asyncio or aiohttp complain of goes to run.log and is made safe, not to stderr as it is."""
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=False, quiet=False):
        logging.getLogger("aiohttp.client").warning("odd \x1b[2J")
        logging.getLogger("asyncio").info("detail")
    assert shown == ["odd \\x1b[2J"]
    assert (tmp_path / "run.log").read_text().count("\n") == 1
    assert capsys.readouterr().err == ""


def test_loggers_are_as_they_were(tmp_path: Path) -> None:
    """After the run the loggers of whoever called have their level, handlers and propagation again."""
    loggers = [logging.getLogger(name) for name in ("crawler", "asyncio", "aiohttp")]
    before = [(one.level, one.propagate, list(one.handlers), one.isEnabledFor(logging.INFO)) for one in loggers]

    def run() -> None:
        with logging_to(tmp_path, lambda _: None, as_json=False, quiet=False):
            assert log.isEnabledFor(logging.INFO)
            raise KeyError

    with pytest.raises(KeyError):
        run()
    after = [(one.level, one.propagate, list(one.handlers), one.isEnabledFor(logging.INFO)) for one in loggers]
    assert after == before


def test_a_full_disk_never_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No line, and not the close, raises or prints a traceback when there is no room; the terminal goes on."""
    (tmp_path / "run.log").symlink_to("/dev/full")
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=False, quiet=False):
        for number in range(3):
            failed(number)
    assert len(shown) == 3
    assert capsys.readouterr() == ("", "")


def test_a_log_that_cannot_be_opened_is_told_and_done_without(tmp_path: Path) -> None:
    """The run goes on without run.log, and the terminal says so without naming it as a place to look."""
    shown: list[str] = []
    with logging_to(tmp_path / "absent", shown.append, as_json=False, quiet=False):
        for number in range(6):
            failed(number)
    assert "cannot be written, so this run has no log" in shown[0]
    assert shown[-1] == "(1 more 'status-404' warning)"


def test_without_a_folder_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no run folder still sees warnings."""
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    with logging_to(None, shown.append, as_json=False, quiet=False):
        failed(1)
    assert shown == ["failed 1: gone"]
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_that_fails_never_ends_the_run(tmp_path: Path) -> None:
    """A display that raises loses its line; run.log has it."""

    def broken(text: str) -> None:
        raise OSError(text)

    with logging_to(tmp_path, broken, as_json=False, quiet=False):
        for number in range(7):
            failed(number)
    assert len((tmp_path / "run.log").read_text().splitlines()) == 7


def test_a_line_with_wrong_arguments_is_written_all_the_same(tmp_path: Path) -> None:
    """A slip in a log call costs neither the line nor the run."""
    with logging_to(tmp_path, lambda _: None, as_json=False, quiet=False):
        log.warning(*("%d of %d", "x"))
    assert "%d of %d ('x',)" in (tmp_path / "run.log").read_text()


SECRET = 'hunter2/with "odd"&äcters+'
# Each of these shows it: raw, percent, JSON, Basic at three places, for URLs.
FORMS = [
    SECRET,
    quote(SECRET, safe=""),
    quote_plus(SECRET).replace("%2F", "%2f"),
    orjson.dumps(SECRET).decode(),
    *(b64encode(f"{user}:{SECRET}".encode()).decode() for user in ("a", "ab", "abc")),
    urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
]


class Unusual(Exception):
    """An exception that shows its secret wherever it can."""

    def __repr__(self) -> str:
        return f"<Unusual {SECRET}>"


def fail(form: str) -> None:
    """Raise with a secret in the text, in a local variable, in the cause and in a note."""
    local = form
    try:
        raise Unusual(f"first {local}")
    except Unusual as error:
        error.add_note(f"noted {local}")
        raise ValueError(f"second {local}") from error


def log_everywhere(form: str) -> None:
    """A form of the secret in every part of a line."""
    log.warning("message %s", form)
    log.warning("message " + form)
    log.warning("repr %r", {"header": form, "error": Unusual()})
    log.warning(*("%d wrong arguments", form))
    log.warning("extra", extra={"url": f"https://x.example/?t={form}", "reason": form, "request_id": form})
    try:
        fail(form)
    except ValueError as error:
        log.error("internal error", exc_info=error)
        log.exception("%s", error)
    for number in range(7):
        log.warning("many %d", number, extra={"reason": f"reason {form}"})  # told as a kind at the end
    logging.getLogger("asyncio").warning("of a library: %s", form)


@pytest.mark.parametrize("as_json", [False, True])
def test_no_line_shows_a_secret(tmp_path: Path, as_json: bool, capfd: pytest.CaptureFixture[str]) -> None:
    """In message, arguments, extra fields, exceptions, causes and notes; in the file and on the terminal."""
    mask = Mask([SECRET])
    mask_with(mask)
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=as_json, quiet=False):
        for form in FORMS:
            log_everywhere(form)
    written = (tmp_path / "run.log").read_text() + "".join(shown) + "".join(capfd.readouterr())
    assert written.count("***") > 10 * len(FORMS)
    assert "hunter2" not in written
    assert [form for form in FORMS if form in written] == []
    assert mask(written) is written
    assert written.count("second ***") >= len(FORMS)
    assert "noted ***" in written


def test_a_traceback_shows_no_locals(tmp_path: Path) -> None:
    """What stands in a variable alone is never written, though no mask knows it."""

    def divide(planted: str) -> float:
        return len(planted) / 0

    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=False, quiet=False):
        try:
            divide("".join(["plan", "ted-value"]))
        except ZeroDivisionError as error:
            log.error("internal error", exc_info=error)
    text = (tmp_path / "run.log").read_text() + "".join(shown)
    assert text.count("ZeroDivisionError") == 2
    assert "planted-value" not in text


def test_a_secret_is_masked_before_a_line_is_cut(tmp_path: Path) -> None:
    """The cut of a very long message leaves no head of a secret."""
    mask = Mask(["0123456789abcdef"])
    mask_with(mask)
    with logging_to(tmp_path, lambda _: None, as_json=False, quiet=False):
        log.warning("x" * 3990 + "0123456789abcdef")
    text = (tmp_path / "run.log").read_text()
    assert "0123" not in text
    assert "***" in text


def test_what_is_learned_later_is_masked_from_then_on(tmp_path: Path) -> None:
    """A token that comes while the run goes on."""
    mask = Mask(())
    mask_with(mask)
    with logging_to(tmp_path, lambda _: None, as_json=False, quiet=False):
        log.warning("token-of-later")
        mask.learn("token-of-later")
        log.warning("token-of-later")
    assert [line.split()[-1] for line in (tmp_path / "run.log").read_text().splitlines()] == ["token-of-later", "***"]


def test_two_jobs_at_once_hide_the_secrets_of_both() -> None:
    """A mask counts as long as its job holds it; the newest for ever, since lines may come after the job's end."""
    first, second = Mask(["first-secret"]), Mask(["second-secret"])
    mask_with(first)
    mask_with(second)
    mask_with(second)
    assert masked("first-secret second-secret") == "*** ***"
    del first, second
    gc.collect()
    assert masked("first-secret second-secret") == "first-secret ***"
    mask_with(Mask(()))


def test_the_log_goes_on_in_a_new_file_after_a_rotation(tmp_path: Path) -> None:
    """What was logged before is in the renamed file, what comes after in the new one; none is in both or lost."""
    with logging_to(tmp_path, lambda _: None, as_json=False, quiet=False):
        failed(1)
        (tmp_path / "run.log").rename(tmp_path / "run.log.1")
        failed(2)
        reopen()
        failed(3)
    lines = [(tmp_path / name).read_text().splitlines() for name in ("run.log.1", "run.log")]
    assert [[line.split("failed ")[1][0] for line in one] for one in lines] == [["1", "2"], ["3"]]


def test_a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file(tmp_path: Path) -> None:
    """That is told once, and nothing raises."""
    shown: list[str] = []
    folder = tmp_path / "run"
    folder.mkdir()
    with logging_to(folder, shown.append, as_json=False, quiet=False):
        folder.rename(tmp_path / "elsewhere")
        reopen()
        failed(1)
    assert len((tmp_path / "elsewhere" / "run.log").read_text().splitlines()) == 2
    assert "the log goes on in the old file" in shown[0]


def test_without_a_log_there_is_nothing_to_open_anew() -> None:
    """A hangup that comes before or after a run is harmless."""
    before = list(log.handlers)
    reopen()
    assert log.handlers == before


def test_a_url_stands_once_in_a_line_for_people_and_always_in_json(tmp_path: Path) -> None:
    """A message that names it needs no field for it; a reader of JSON finds it under its key."""
    for as_json in (False, True):
        with logging_to(tmp_path, lambda _: None, as_json=as_json, quiet=False):
            log.info("failed %s", "http://a/", extra={"url": "http://a/", "request_id": "r"})
    text, line = (tmp_path / "run.log").read_text().splitlines()
    assert text.endswith("INFO failed http://a/ request_id=r")
    assert orjson.loads(line)["url"] == "http://a/"
