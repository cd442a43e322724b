"""How jobs stand, as Prometheus reads it."""

from __future__ import annotations

import re

from crawler.metrics import STATES, Standing, openmetrics, textfile

STANDING = Standing(
    *("docs", "r1", "finished", 1000.5, 1100.0, 1, 90, 8, 2, 12345, 3, 4, 5, 0.5),
    reasons={"status-404": 8, "robots": 2},
    last_success=900.25,
)
NEVER = Standing("new", "", "never", 0.0, None, None, 0, 0, 0, 0, 0, 0, 0, 0.0, {}, None)
Sample = tuple[str, tuple[tuple[str, str], ...]]


def parsed(text: str) -> tuple[dict[Sample, float], dict[str, str]]:
    """Samples, and the type of each family; asserts what both formats demand of lines and their order."""
    samples: dict[Sample, float] = {}
    kinds: dict[str, str] = {}
    helped = ""
    for text_line in text.removesuffix("# EOF\n").splitlines():
        if text_line.startswith("# HELP "):
            helped = text_line.split(" ")[2]
            assert helped not in kinds, "a family stands in one place"
        elif text_line.startswith("# TYPE "):
            _, _, name, kind = text_line.split(" ")
            assert name == helped
            kinds[name] = kind
        elif text_line.startswith("# UNIT "):
            _, _, name, unit = text_line.split(" ")
            assert name.endswith(f"_{unit}")
        else:
            match = re.fullmatch(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\} (\S+)', text_line)
            assert match is not None, text_line
            assert match[1].removesuffix("_total") == helped.removesuffix("_total")
            labels = tuple(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', match[2]))
            assert (match[1], labels) not in samples
            samples[match[1], labels] = float(match[3])
    return samples, kinds


def test_both_formats_hold_the_same_samples() -> None:
    """They differ in how a counter's family is called, in units, and in the end."""
    old, old_kinds = parsed(textfile([STANDING, NEVER]))
    new, new_kinds = parsed(openmetrics([STANDING, NEVER]))
    assert old == new
    assert {name.removesuffix("_total"): kind for name, kind in old_kinds.items()} == new_kinds
    assert all(name.endswith("_total") is (kind == "counter") for name, kind in old_kinds.items())
    assert openmetrics([]) == "# EOF\n"
    assert textfile([]) == ""


def test_the_numbers_are_those_of_the_standing() -> None:
    """Each under its name; times in seconds, sizes in bytes."""
    samples, _ = parsed(textfile([STANDING]))
    job = ("job", "docs")
    assert samples["crawler_inputs_total", (job, ("outcome", "failed"))] == 8
    assert samples["crawler_unfetched_total", (job, ("reason", "status-404"))] == 8
    assert samples["crawler_run_start_timestamp_seconds", (job,)] == 1000.5
    assert samples["crawler_run_end_timestamp_seconds", (job,)] == 1100
    assert samples["crawler_last_success_timestamp_seconds", (job,)] == 900.25
    assert samples["crawler_body_bytes_total", (job,)] == 12345
    assert samples["crawler_exit_code", (job,)] == 1
    states = {state: samples["crawler_run_state", (job, ("state", state))] for state in STATES}
    assert states == {**dict.fromkeys(STATES, 0), "finished": 1}


def test_what_is_not_known_has_no_sample() -> None:
    """A job that was never run has neither times nor exit code."""
    samples, _ = parsed(textfile([NEVER]))
    names = {name for name, _ in samples}
    assert names.isdisjoint(
        {"crawler_exit_code", "crawler_last_success_timestamp_seconds", "crawler_run_start_timestamp_seconds"}
    )
    assert "crawler_run_state" in names


def test_labels_are_escaped() -> None:
    """Whatever a job is called, it stays one line with one value."""
    text = textfile([NEVER._replace(job='a"} 1\n# \\')])
    samples, _ = parsed(text)
    assert {dict(labels)["job"] for _, labels in samples} == {r"a\"} 1\n# \\"}
