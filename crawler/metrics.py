"""How jobs stand, as Prometheus reads it: the text format 0.0.4 for a textfile collector, and OpenMetrics 1.0.

Decides names, units and the two forms. Must not know files, sockets or where the numbers are from. Invariant: each
family is told once, with all of its samples together; whatever stands in a label is escaped; what is not known has no
sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

STATES = ("running", "finished", "stopped", "killed", "never")


class Standing(NamedTuple):
    """How one job stands. Times in wall seconds, sizes in bytes; counts are of its last run."""

    job: str
    run: str
    state: str  # one of STATES
    started: float
    ended: float | None
    exit_code: int | None
    fetched: int
    failed: int
    skipped: int
    bytes: int
    retries: int
    waiting: int
    in_flight: int
    rate: float  # ends per second
    reasons: Mapping[str, int]
    last_success: float | None  # when the last run that ended with 0 did so


Samples = Iterator[tuple[Mapping[str, str], float | None]]


class _Family(NamedTuple):
    """One metric; `name` is without the `_total` of a counter."""

    name: str
    kind: str  # gauge | counter
    unit: str
    help: str
    samples: Callable[[Standing], Samples]


def _one(value: Callable[[Standing], float | None]) -> Callable[[Standing], Samples]:
    return lambda standing: iter([({}, value(standing))])


def _states(standing: Standing) -> Samples:
    yield from (({"state": state}, float(state == standing.state)) for state in STATES)


def _outcomes(standing: Standing) -> Samples:
    for outcome in ("fetched", "failed", "skipped"):
        yield {"outcome": outcome}, getattr(standing, outcome)


def _reasons(standing: Standing) -> Samples:
    yield from (({"reason": reason}, count) for reason, count in sorted(standing.reasons.items()))


def _info(standing: Standing) -> Samples:
    if standing.run:
        yield {"run": standing.run}, 1


_FAMILIES = (
    _Family("crawler_run_state", "gauge", "", "1 for the state that the last run is in.", _states),
    _Family("crawler_run_info", "gauge", "", "Which run the other numbers are of.", _info),
    _Family(
        "crawler_run_start_timestamp_seconds",
        "gauge",
        "seconds",
        "When the last run began.",
        _one(lambda standing: standing.started or None),
    ),
    _Family(
        "crawler_run_end_timestamp_seconds",
        "gauge",
        "seconds",
        "When the last start ended; absent while it is at work.",
        _one(lambda standing: standing.ended),
    ),
    _Family(
        "crawler_last_success_timestamp_seconds",
        "gauge",
        "seconds",
        "When the last run that ended with exit code 0 did so.",
        _one(lambda standing: standing.last_success),
    ),
    _Family(
        "crawler_exit_code",
        "gauge",
        "",
        "Exit code of the last start; absent while it is at work.",
        _one(lambda standing: standing.exit_code),
    ),
    _Family("crawler_inputs", "counter", "", "Inputs of the run that came to their end, by outcome.", _outcomes),
    _Family("crawler_unfetched", "counter", "", "Inputs that ended as failed or skipped, by reason.", _reasons),
    _Family(
        "crawler_body_bytes",
        "counter",
        "bytes",
        "Bytes of bodies, after decoding.",
        _one(lambda standing: standing.bytes),
    ),
    _Family("crawler_retries", "counter", "", "Attempts made again.", _one(lambda standing: standing.retries)),
    _Family("crawler_waiting_inputs", "gauge", "", "Inputs that wait.", _one(lambda standing: standing.waiting)),
    _Family(
        "crawler_in_flight_requests", "gauge", "", "Requests under way.", _one(lambda standing: standing.in_flight)
    ),
    _Family(
        "crawler_inputs_per_second",
        "gauge",
        "",
        "Inputs that came to their end in a second, lately.",
        _one(lambda standing: standing.rate),
    ),
)


def textfile(jobs: Sequence[Standing]) -> str:
    """Text format 0.0.4, in which the name of a counter is that of its samples."""
    return "".join(_lines(jobs, lambda family: family.name + _suffix(family), openmetrics=False))


def openmetrics(jobs: Sequence[Standing]) -> str:
    """OpenMetrics 1.0, as application/openmetrics-text."""
    return "".join(_lines(jobs, lambda family: family.name, openmetrics=True)) + "# EOF\n"


def _lines(jobs: Sequence[Standing], name: Callable[[_Family], str], *, openmetrics: bool) -> Iterator[str]:
    for family in _FAMILIES:
        samples = [_sample(family, job, labels, value) for job in jobs for labels, value in _known(family, job)]
        if not samples:
            continue
        said = name(family)
        yield f"# HELP {said} {family.help}\n# TYPE {said} {family.kind}\n"
        if openmetrics and family.unit:
            yield f"# UNIT {said} {family.unit}\n"
        yield from samples


def _known(family: _Family, job: Standing) -> Iterator[tuple[Mapping[str, str], float]]:
    return ((labels, value) for labels, value in family.samples(job) if value is not None)


def _suffix(family: _Family) -> str:
    return "_total" if family.kind == "counter" else ""


def _sample(family: _Family, job: Standing, labels: Mapping[str, str], value: float) -> str:
    said = ",".join(f'{key}="{_escaped(text)}"' for key, text in {"job": job.job, **labels}.items())
    return f"{family.name}{_suffix(family)}{{{said}}} {_number(value)}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
