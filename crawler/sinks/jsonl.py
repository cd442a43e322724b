"""records.jsonl: one line per finished input, in one append-only segment.

Does: turn Records into lines and append them. Must not know bodies, requests or the checkpoint. Invariant: the
committed length always stands at a line end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson

from crawler.durable import Mark, Segment, open_segment
from crawler.model import Record

NAME = "records.jsonl"
_SURROGATES = re.compile("[\ud800-\udfff]")


class JsonlRecords:
    """The records of one run."""

    def __init__(self, run_folder: Path, mark: Mark) -> None:
        self._segment: Segment
        self._segment, self.dropped = open_segment(run_folder / NAME, mark)

    def append(self, lines: Iterable[bytes]) -> None:
        """Write the lines of one group. Raises OSError."""
        group = b"".join(lines)
        if group:
            self._segment.append(group)

    def sync(self) -> None:
        """Make them durable. Raises OSError."""
        self._segment.sync()

    def mark(self) -> tuple[str, Mark]:
        """Name and committed state for the checkpoint."""
        return NAME, self._segment.mark()

    def close(self) -> None:
        """Close the segment."""
        self._segment.close()


_NO_BODY = b"null}\n"


def line(record: Record) -> bytes:
    """A record as its line; a second later, when the record is out of the cache, it takes six times as long."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Header bytes that are not UTF-8 arrive as lone surrogates, which JSON cannot carry.
        clean = _printable({field.name: getattr(record, field.name) for field in fields(record)})
        return orjson.dumps(clean, option=orjson.OPT_APPEND_NEWLINE)


def with_body(text: bytes, body: str) -> bytes:
    """The line of a record whose body got its name: `body` stands last and was null."""
    assert text.endswith(_NO_BODY)
    return text[: -len(_NO_BODY)] + orjson.dumps(body) + b"}\n"


def _printable(value: Any) -> Any:
    """The same value with U+FFFD where JSON has no word for it."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_printable(str(key)): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
