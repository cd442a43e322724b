"""Text of others wherever a run shows it: no terminal sequence, no forged line, no change of direction, no formula."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from unicodedata import bidirectional, category

import orjson
import pytest

from crawler.errors import ExitCode
from crawler.logs import logging_to
from crawler.progress import BarProgress, json_line, plain_line
from crawler.report import final_lines, summarize
from crawler.tally import Tally
from tests.fakes import SNAPSHOT

log = logging.getLogger("crawler")

ATTACKS = [
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m\x90q\x9c",
    "\u202egnp.exe\u202c",
    "\u2066\u2067\u2068\u2069\u061c\u200f",
    "a\r\n2026-01-01T00:00:00.000Z ERROR forged",
    "=cmd|' /C calc'!A0\n=1+1",
    "\ud800\x00\u2028\U000e0041",
]
STEERING = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


def harmful(text: str) -> list[str]:
    """Characters that a terminal or a reader of lines would act upon."""
    return [
        letter
        for letter in text
        if category(letter) in ("Cc", "Cs", "Zl", "Zp") or bidirectional(letter) in STEERING or letter in "\u061c\u200f"
    ]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("as_json", [False, True])
def test_in_a_log_it_is_inert(tmp_path: Path, attack: str, as_json: bool) -> None:
    """In messages, fields and tracebacks, in the file and on the terminal, as text and as JSON: one line each."""
    shown: list[str] = []
    with logging_to(tmp_path, shown.append, as_json=as_json, quiet=False):
        log.warning("failed %s", attack, extra={"url": attack, "reason": attack, "request_id": attack})
        log.warning(attack)
    lines = (tmp_path / "run.log").read_text().split("\n")[:-1]
    assert len(lines) == len(shown) == 2
    for line in [*lines, *shown]:
        assert harmful(line) == []
        assert not line.startswith(("=", "ERROR")) or line == shown[1]
        if as_json:
            assert harmful("".join(map(str, orjson.loads(line).values()))) == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_in_progress_and_last_words_it_is_inert(attack: str) -> None:
    """In lines, in JSON as it is read, on the bar, and in what a person reads at the end."""
    snapshot = SNAPSHOT._replace(job=attack, longest=(attack, 99.0), eta_host=attack)
    terminal = io.StringIO()
    bar = BarProgress(terminal)
    bar.update(snapshot)
    bar.close()
    summary = summarize(Tally(), SNAPSHOT._replace(state="finished"), 0.0, ExitCode.FAILED)
    told = [plain_line(snapshot), json_line(snapshot), *final_lines(summary, Path("/x") / attack)]
    assert [harmful(line) for line in told] == [[]] * len(told)
    assert harmful(orjson.loads(json_line(snapshot))["longest"]["url"]) == []
    assert harmful(terminal.getvalue().replace("\n", "")) == []
