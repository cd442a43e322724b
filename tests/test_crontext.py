"""A crontab's text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.crontext import LONGEST, Start, line, with_block, without_block

KEY = "/srv/j.toml"
CRONTABS = st.lists(
    st.sampled_from(["# mine", "0 1 * * * x", "", "MAILTO=a", "# crawler: /srv/other.toml begin", "\udcff", "  "])
).map(lambda lines: "".join(f"{text}\n" for text in lines))


def test_the_command_is_that_which_was_meant(tmp_path: Path) -> None:
    """Spaces, quotes and dollars reach the program as they are, and a percent sign is escaped for cron."""
    folder = tmp_path / "it's 100% $HOME"
    folder.mkdir()
    said = line("0 1 * * *", Start(str(folder), {"A": "b c"}, ["sh", "-c", 'printf %s "$A|$PWD|$1"', "x", "a 'b' %d"]))
    assert said.startswith("0 1 * * * cd ")
    command = said.removeprefix("0 1 * * * ")
    assert "%" not in command.replace(r"\%", "")
    done = subprocess.run(["/bin/sh", "-c", command.replace(r"\%", "%")], capture_output=True, text=True, check=True)
    assert done.stdout == f"b c|{folder}|a 'b' %d"


def test_a_log_takes_both_streams(tmp_path: Path) -> None:
    """What is said is appended."""
    start = Start(str(tmp_path), {}, ["sh", "-c", "echo out; echo err >&2"], str(tmp_path / "a log"))
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", line("@daily", start).removeprefix("@daily ")], check=True)
    assert (tmp_path / "a log").read_text() == "out\nerr\n" * 2


@pytest.mark.parametrize("path", ["/a\nb", "/a\\b", "/" + "a" * LONGEST])
def test_what_no_crontab_can_hold_is_refused(path: str) -> None:
    """Line breaks, backslashes, commands that are too long."""
    with pytest.raises(ValueError, match=r"crontab|cron takes"):
        line("@daily", Start("/srv", {}, ["crawler", "run", path]))


@given(CRONTABS, CRONTABS)
def test_all_but_our_block_stays_as_it_was(before: str, after: str) -> None:
    """Put in, replaced where it stands, taken out: others' lines stay byte for byte; twice is once."""
    mine = with_block(before, KEY, "0 1 * * * a")
    assert mine == before + f"# crawler: {KEY} begin\n0 1 * * * a\n# crawler: {KEY} end\n"
    both = with_block(mine + after, "/srv/k.toml", "x")
    changed = with_block(both, KEY, "0 2 * * * b")
    assert changed == both.replace("0 1 * * * a", "0 2 * * * b")
    assert with_block(changed, KEY, "0 2 * * * b") == changed
    assert without_block(without_block(changed, "/srv/k.toml"), KEY) == before + after
    assert without_block(before + after, KEY) == before + after


def test_a_crontab_without_a_last_line_end_gets_one() -> None:
    """Else our mark would be part of somebody's command."""
    assert with_block("0 1 * * * x", KEY, "y").startswith("0 1 * * * x\n# crawler: ")


@pytest.mark.parametrize("kept", [[0], [2], [0, 0, 2], [2, 0]])
def test_a_mark_without_its_other_half_is_not_guessed_at(kept: list[int]) -> None:
    """Somebody edited there: nothing is changed."""
    lines = with_block("", KEY, "y").splitlines(keepends=True)
    broken = "".join(lines[number] for number in kept)
    for change in (lambda: with_block(broken, KEY, "z"), lambda: without_block(broken, KEY)):
        with pytest.raises(ValueError, match="do not stand there once each"):
            change()
