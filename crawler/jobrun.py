"""[run] and [metrics]: what a start does after an earlier one, when it ends, when it counts as failed, whom it tells.

Decides what may be said there. Must not know clocks, processes or the checkpoint. Invariant: whatever is said can be
kept: a share is between 0 and 100 percent, a time of the day exists, bounds do not cross.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from crawler.reasonglobs import reason_glob
from crawler.secretrefs import check_reference, is_reference
from crawler.units import Duration

TOTAL = "total"  # of max_failed: all failures, whatever their reason
_OF_THE_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\Z", re.ASCII)
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\Z", re.ASCII)
_HTTP = re.compile(r"https?://[^\s\x00-\x20/?#][^\s\x00-\x20]*\Z", re.ASCII | re.IGNORECASE)
Again = Literal["refresh", "all", "new", "adaptive"]


class Share(float):
    """Percent of all, from 0 to 100."""

    def __str__(self) -> str:
        return f"{self:g}%"


def _time_of_day(value: object) -> object:
    found = _OF_THE_DAY.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no time of the day; write it like '06:00' (local time)")
    return f"{int(found[1]):02d}:{found[2]}"


def _allowed(value: object) -> int | Share:
    """How many may fail: a count, or a share of all."""
    if isinstance(value, Share):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = _SHARE.match(value.strip()) if isinstance(value, str) else None
    if found is None or float(found[1]) > 100:
        raise ValueError(f"{value!r} is no number of failures; write a count like 10, or a share like '2%'")
    return Share(found[1])


def _allowances(value: object) -> object:
    """By reason, as the job says them. Raises ValueError for what can be no reason of a failure."""
    said = value if isinstance(value, dict) else {TOTAL: value}
    if not said:
        raise ValueError("says nothing; write a count like 10, or a share like '2%'")
    for key in said:
        if key != TOTAL:
            reason_glob(str(key))
    return said


def _command(value: object) -> object:
    """A command that names a program. Raises ValueError."""
    if value is None or not all(isinstance(word, str) for word in (value if isinstance(value, list) else [value])):
        return value
    words = [str(word) for word in value] if isinstance(value, list) else [str(value)]
    if not words or not words[0].strip():
        raise ValueError("names no program")
    if any("\0" in word for word in words):
        raise ValueError("no command can have a NUL in it")
    return value


def _heartbeat(value: object) -> object:
    """A URL or a reference to one. Raises ValueError, with nothing in it of what was given: it is a secret."""
    if not isinstance(value, str):
        return value
    if is_reference(value):
        return check_reference(value)
    if not _HTTP.match(value):
        raise ValueError("is no URL of http or https, and no reference to one; write it like 'env:HEARTBEAT_URL'")
    return value


def _shown(value: int | Share) -> int | str:
    return str(value) if isinstance(value, Share) else value


TimeOfDay = Annotated[str, BeforeValidator(_time_of_day), WithJsonSchema({"type": "string", "examples": ["06:00"]})]
Allowed = Annotated[
    Any,
    BeforeValidator(_allowed),
    PlainSerializer(_shown),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "examples": ["2%"]}]}),
]
Command = Annotated[str | list[str], BeforeValidator(_command)]
Heartbeat = Annotated[str, BeforeValidator(_heartbeat)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checks(_Section):
    """How often `again = "adaptive"` looks at a URL: at least and at most so many seconds apart."""

    least: Duration = Field(3600.0, ge=1.0)
    most: Duration = 30 * 86400.0

    @model_validator(mode="after")
    def _bounds(self) -> Checks:
        if self.least > self.most:
            raise ValueError("least is longer than most")
        return self


class Run(_Section):
    """[run]. Durations in seconds. `max_failed` by reason (or a glob of reasons) and `total`; what no key speaks of may
    not fail. `until` is local time; `wait` bounds `if_running = "wait"`, None: as long as it takes. `keep_runs` is None
    for all.
    """

    again: Again = "refresh"
    honor_expires: bool = False
    checks: Checks = Checks()
    keep_runs: int | None = Field(None, ge=1, le=100_000)
    if_running: Literal["skip", "wait", "fail"] = "skip"
    wait: Duration | None = None
    max_time: Duration | None = None
    until: TimeOfDay | None = None
    jitter: Duration = 0.0
    max_failed: Annotated[dict[str, Allowed], BeforeValidator(_allowances)] = {TOTAL: 0}
    on_success: Command | None = None
    on_failure: Command | None = None
    heartbeat: Heartbeat | None = None
    report: bool = False


class Metrics(_Section):
    """[metrics]: `textfile` is written for node-exporter's textfile collector when a run begins and ends."""

    textfile: str | None = None
