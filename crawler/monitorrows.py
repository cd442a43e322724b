"""Records as rows of a page.

Decides what of a record a row holds, and which files it names. Must not know files, signatures or who asks. Invariant:
a row is bounded whatever its record holds; only what the record names as its body becomes a `Named`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from crawler.monitorviews import cut, whole

_TEXT = 8192  # characters of a record
_SHOWN = ("outcome", "reason", "change", "content_type", "started_at", "error", "warning", "method")


class Named(NamedTuple):
    """A file below the run's folder that a record names; of an archive `length` bytes from `offset`."""

    path: str
    offset: int | None = None
    length: int | None = None

    @property
    def text(self) -> str:
        """One spelling for each, to be signed."""
        return f"{self.path}\n{self.offset}\n{self.length}"


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A record in a list; `record` is its JSON as text, cut. `body` leads to what is kept of it."""

    id: int | None
    url: str
    final_url: str | None
    status: int | None
    bytes: int | None
    attempts: int | None
    total_ms: float | None
    outcome: str | None
    reason: str | None
    change: str | None
    content_type: str | None
    started_at: str | None
    error: str | None
    warning: str | None
    method: str | None
    record: str
    body: str | None = None


def row_of(record: Mapping[str, Any], body: str | None = None) -> RecordRow:
    """A row; what is of another type than it should be is not shown."""
    elapsed, url = record.get("elapsed_ms"), _text(record.get("url")) or ""
    final = _text(record.get("final_url"))
    total = elapsed.get("total") if isinstance(elapsed, Mapping) else None
    told = {key: _text(record.get(key)) for key in _SHOWN}
    text = orjson.dumps(record, option=orjson.OPT_INDENT_2).decode()
    return RecordRow(
        id=whole(record.get("id")),
        url=url,
        final_url=final if final != url else None,
        status=whole(record.get("status")),
        bytes=whole(record.get("bytes")),
        attempts=whole(record.get("attempts")),
        total_ms=float(total) if isinstance(total, int | float) else None,
        record=text if len(text) <= _TEXT else text[:_TEXT] + "…",
        body=body,
        **told,
    )


def failure_rows(records: Iterable[Mapping[str, Any]]) -> list[RecordRow]:
    """Rows of failures, which lead to no body."""
    return [row_of(record) for record in records]


def named(record: Mapping[str, Any]) -> Named | None:
    """The file in which the body of a record is; None where none is kept, or none in a file."""
    body = record.get("body")
    if isinstance(body, str) and body:
        return Named(body)
    for key in ("warc", "tar"):
        place = record.get(key)
        if not isinstance(place, Mapping):
            continue
        file, offset, length = place.get("file"), whole(place.get("offset")), whole(place.get("length"))
        if isinstance(file, str) and offset is not None and length is not None and offset >= 0 and length >= 0:
            return Named(file, offset, length)
    return None


def _text(value: Any) -> str | None:
    return cut(value) if isinstance(value, str) else None
