r"""The columns of records.csv, and what stands in its cells, so that no spreadsheet takes a cell for a formula.

Decides the text of cells, and what cells say when they are read back. Must not know files or quoting. Invariant: HEADER
and `cells` have the same length whatever a record holds, and no text cell begins with a sign that makes it a formula.

- A text that begins with `=`, `+`, `-`, `@` (their full-width twins too), a tab or a line end gets a `'` before it;
  what is a number in the JSON stays the bare number. What is absent is an empty cell.
- Control characters, a CR that no LF follows, and signs that turn the direction of writing are shown as JSON shows
  them (`\u001b`, `\u202e`); line ends and tabs stay. Nested values are JSON, and JSON they remain.
- `content` is exact: a body that cannot stand there as it is stands in `content_base64`, which nothing is put before.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import orjson

from crawler.model import Elapsed, Record

_NESTED = {
    "elapsed_ms": tuple(field.name for field in fields(Elapsed)),
    "warc": ("file", "offset", "length"),
    "tar": ("file", "offset", "length"),
}
_CONTENT = ("content", "content_base64")
_KEYS = (*(field.name for field in fields(Record)), "change", "fields", "warc", "tar")

HEADER: tuple[str, ...] = (
    *(f"{key}_{part}" if part else key for key in _KEYS for part in _NESTED.get(key, ("",))),
    *_CONTENT,
)

_SIGNS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20\t\r\n")
_UNSEEN = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)")

Cell = str | int | float | None


def cells(record: Mapping[str, Any]) -> list[Cell]:
    """One row for a record as its JSON line tells it; a key that is not there is an empty cell."""
    row: list[Cell] = []
    for key in _KEYS:
        value = record.get(key)
        parts = _NESTED.get(key)
        if parts is None:
            row.append(_cell(value))
        elif value is None:
            row += [None] * len(parts)
        else:
            row += [_cell(value[part]) for part in parts]
    row += _content(record)
    return row


def reader(names: Sequence[str]) -> Callable[[Sequence[str]], dict[str, Any]]:
    """What reads rows of these columns, also those of another version: an empty cell is None, signs that were put
    before a text go, what was shown of unseen signs stays. It raises ValueError for a number or JSON that is none, and
    for a row of another length.
    """
    plan = [(*_PARTS.get(name, (name, "")), _VALUES.get(name, _text)) for name in names]
    keys = [key for key, _, _ in plan]

    def record(row: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = dict.fromkeys(keys)
        for (key, part, value), cell in zip(plan, row, strict=True):
            if cell and part:
                if found[key] is None:
                    found[key] = dict.fromkeys(_NESTED[key])
                found[key][part] = value(cell)
            elif cell:
                found[key] = value(cell)
        return found

    return record


def inert(text: str) -> str:
    """A text that no spreadsheet calculates and no terminal obeys."""
    if not text.isprintable():  # far quicker than the pattern, and false for all that it finds
        text = _UNSEEN.sub(_shown, text)
    return f"'{text}" if text[:1] in _SIGNS else text


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return inert(value) if value else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    return inert(orjson.dumps(value).decode())


def _content(record: Mapping[str, Any]) -> tuple[Cell, Cell]:
    text, coded = record.get("content"), record.get("content_base64")
    if text is not None and inert(text) != text:
        return None, b64encode(text.encode()).decode()
    return text, coded


def _shown(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _text(cell: str) -> str:
    return cell[1:] if cell[0] == "'" and cell[1:2] in _SIGNS else cell


_PARTS = {f"{key}_{part}": (key, part) for key, parts in _NESTED.items() for part in parts}
# What makes a value of a cell that is no mere text.
_VALUES: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("id", "status", "attempts", "bytes", "frames", "depth", "page"), int),
    **dict.fromkeys(("warc_offset", "warc_length", "tar_offset", "tar_length"), int),
    **dict.fromkeys((name for name, (key, _) in _PARTS.items() if key == "elapsed_ms"), float),
    **dict.fromkeys(("headers", "input", "fields"), orjson.loads),
    **dict.fromkeys(_CONTENT, str),
    "length_checked": "true".__eq__,
}
