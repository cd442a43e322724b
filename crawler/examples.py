"""One record of a run as an example of what happened: a failure, the slowest, the largest.

Decides what is kept of it. Must not know how it is shown. Invariant: an example is of bounded size, whatever the record
holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LONGEST = 1_000  # characters that are kept of a text


class Example(NamedTuple):
    """One record, as far as a report shows it. Times in milliseconds, sizes in bytes."""

    url: str
    status: int | None
    attempts: int
    milliseconds: float | None
    bytes: int | None
    error: str | None
    request_id: str | None


def example_of(record: Mapping[str, Any]) -> Example:
    """What is kept of a record; its texts are cut, since they may be as long as the web likes."""
    elapsed = record.get("elapsed_ms") or {}
    error, request_id = record.get("error"), record.get("request_id")
    return Example(
        (record.get("url") or "")[:LONGEST],
        record.get("status"),
        record.get("attempts") or 0,
        elapsed.get("total"),
        record.get("bytes"),
        error[:LONGEST] if error else None,
        request_id[:LONGEST] if request_id else None,
    )
