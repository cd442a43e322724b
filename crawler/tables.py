"""Rows of tables (CSV, TSV, JSONL): where a row ends, which columns we understand, and what is wrong with a cell.

Decides how rows of a table become Rows and BadRows. Must not know files: lines of a CSV arrive as (number, bytes,
fault), where a fault says why the line cannot be used. Invariant: what stands in a table never raises; each row gives
one item, so that passing over n of them is the same as reading and dropping them; columns that are not ours are
carried as they are. At most one row of about LIMIT bytes is held.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any

import orjson

from crawler.bodytext import BODIES, BadContent, cookies_of, fields_of, loaded, pairs_of, path_of
from crawler.capture import messages_of
from crawler.model import BadRow, Place, Promised, Row
from crawler.promises import READERS as PROMISES
from crawler.urls import over_http

LIMIT = 1024 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
Line = tuple[int, bytes, str | None]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUL = "the row has a NUL character"


_NOTHING = Promised()


class BadCell(ValueError):
    """A cell that cannot be used; the text is a sentence."""


def csv_items(lines: Iterator[Line], name: str, column: str, separator: str, skip: int) -> Iterator[Row | BadRow]:
    """The items of a CSV or TSV after the first `skip`. A header that cannot be used is one BadRow and the end."""
    names, fault = read_header(lines, column, separator)
    if fault is not None:
        if not skip:
            yield BadRow(Place(name, 1), separator.join(names), fault)
        return
    for number, cells, fault in _records(lines, separator, skip):
        place = Place(name, number)
        if fault is None and len(cells) != len(names):
            fault = f"the row has {len(cells)} fields, the header {len(names)}"
        if fault is not None:
            yield BadRow(place, separator.join(cells), fault)
        else:
            yield row_of(place, dict(zip(names, cells, strict=True)), column)


def read_header(lines: Iterator[Line], column: str, separator: str) -> tuple[list[str], str | None]:
    """The column names, without the spaces around them, and what is wrong with them, after the name of the file."""
    _, cells, fault = next(_records(lines, separator, 0), (1, [], "is empty; a table begins with its column names"))
    names = [cell.strip() for cell in cells]
    if fault is not None:
        return names, fault
    if column not in names:
        lowered = {name.lower(): name for name in names}
        near = difflib.get_close_matches(column.lower(), lowered, 1)
        hint = f"did you mean {lowered[near[0]]!r}?" if near else f"its columns are {', '.join(map(repr, names))[:200]}"
        return names, f"has no column '{column}' (input.column); {hint}"
    twice = [name for name in (column, *_READERS) if names.count(name) > 1]
    return names, f"has more than one column '{twice[0]}'" if twice else None


def url_row(place: Place, url: str) -> Row | BadRow:
    """A row that is nothing but a URL."""
    fault = _url_fault(url)
    return Row(place, url) if fault is None else BadRow(place, url, fault)


def json_row(place: Place, line: bytes, column: str) -> Row | BadRow:
    """The row of a JSON line: an object, or a URL as a text."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return BadRow(place, line.decode("utf-8", "replace"), f"the line is not JSON: {error}")
    if isinstance(value, dict):
        return row_of(place, value, column, native=True)
    if isinstance(value, str):
        return url_row(place, value.strip())
    return BadRow(place, line.decode("utf-8", "replace"), "the line is neither a JSON object nor a text")


def row_of(place: Place, cells: dict[str, Any], column: str, *, native: bool = False) -> Row | BadRow:
    """A Row of one table row, whose `cells` are used up; values are texts (CSV) or `native` (JSONL)."""
    url = cells.pop(column, None)
    try:
        if not isinstance(url, str):
            raise BadCell(f"has no column '{column}'" if url is None else f"the column '{column}' is not a text")
        if (fault := _url_fault(url := url.strip())) is not None:
            raise BadCell(f"column '{column}': {fault}")
        send = None
        if "send" in cells and over_http(url) is not None:  # else it is a column like any other
            cell = cells.pop("send")
            send = None if cell in (None, "") else messages_of(cell)
        if _READERS.keys().isdisjoint(cells):
            return Row(place, url, send=send, input=cells or None)
        ours: dict[str, Any] = {"json": cells.pop("json", None)} if native else {}  # any JSON value, "" as well
        for name, read in _READERS.items():
            if name in cells:
                cell = cells.pop(name)
                if cell not in (None, ""):
                    ours[name] = read(cell)
        bodies = [name for name in BODIES if ours.get(name) is not None]
        if len(bodies) > 1:
            raise BadCell(f"has both {bodies[0]} and {bodies[1]}; one request has one body")
        promised = Promised(*(ours.pop(name, None) for name in Promised._fields))
        if promised != _NOTHING:
            ours["promised"] = promised
        return Row(place, url, **ours, send=send, input=cells or None)
    except (BadCell, BadContent) as error:
        return BadRow(place, url if isinstance(url, str) else "", str(error))


def check_header(name: str, value: str) -> None:
    """Raise BadCell for a header that HTTP cannot carry (RFC 9110 5.1, 5.5)."""
    if not _TOKEN.match(name):
        raise BadCell(f"header name {name[:60]!r} has characters that HTTP does not allow")
    if _BAD_VALUE.search(value):
        raise BadCell(f"the value of header {name} has control characters")


def _url_fault(url: str) -> str | None:
    """Why a text cannot be a URL, where that shows without knowing URLs."""
    if url.isprintable():  # nearly always, and far faster than the search
        return None if url else "the URL is empty"
    found = _CONTROL.search(url)
    return f"the URL has a control character (character {found.start() + 1})" if found else None


def _records(lines: Iterator[Line], separator: str, skip: int) -> Iterator[tuple[int, list[str], str | None]]:
    """Each row as its first line's number, its cells and what is wrong with it. Blank lines are no rows."""
    csv.field_size_limit(LIMIT)
    for line in lines:
        number, data, fault = line
        bare = data.rstrip(b"\r\n")
        if fault is None and b'"' not in bare and b"\r" not in bare:  # no need to parse what has nothing quoted
            if not bare:
                continue
            if not skip:
                cells, fault = _split(bare, separator)
        else:
            cells, fault = _parsed(line, lines, separator)
        if skip:
            skip -= 1
        else:
            yield number, cells, fault


def _split(bare: bytes, separator: str) -> tuple[list[str], str | None]:
    try:
        return bare.decode().split(separator), _NUL if b"\0" in bare else None
    except UnicodeDecodeError as error:
        return [bare.decode("utf-8", "replace")], f"the row is not UTF-8 (byte {error.start + 1})"


def _parsed(first: Line, rest: Iterator[Line], separator: str) -> tuple[list[str], str | None]:
    """The cells of a row that begins with `first` and may go on in `rest`: no further line of it is taken."""
    faults: list[str] = []
    try:
        cells = next(csv.reader(_physical(first, rest, faults), delimiter=separator), [])
    except csv.Error as error:
        cells, faults = [], [*faults, f"the row is not CSV: {error}"]
    return cells or [first[1].decode("utf-8", "replace")], faults[0] if faults else None


def _physical(first: Line, rest: Iterator[Line], faults: list[str]) -> Iterator[str]:
    """The lines of one row as texts, as long as the reader asks for more; `faults` grows by what is wrong with them."""
    size = 0
    for number, data, fault in chain((first,), rest):
        size += len(data)
        if fault is not None or size > LIMIT:
            faults.append(fault or f"the row is longer than {LIMIT} bytes; is a quote left open?")
            return
        if b"\0" in data:
            faults.append(_NUL)
        try:
            yield data.decode()
        except UnicodeDecodeError as error:
            faults.append(f"the row is not UTF-8 (byte {error.start + 1} of line {number})")
            yield data.decode("utf-8", "replace")
    faults.append("a quote is left open")  # the reader wants another line, and there is none


def _method(cell: Any) -> str:
    if isinstance(cell, str) and cell.strip().upper() in METHODS:
        return cell.strip().upper()
    raise BadCell(f"method {str(cell)[:40]!r} is not one of {', '.join(METHODS)}")


def _headers(cell: Any) -> Mapping[str, str]:
    value = loaded("headers", cell)
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BadCell("headers is not a JSON object of texts")
    for name, text in value.items():
        check_header(name, text)
    return value


def _body(cell: Any) -> str:
    if isinstance(cell, str):
        return cell
    raise BadCell("body is not a text")


def _filename(cell: Any) -> str:
    if isinstance(cell, str) and not _CONTROL.search(cell):
        return cell
    raise BadCell("filename is not a text, or has control characters")


_READERS: dict[str, Callable[[Any], Any]] = {
    "method": _method,
    "headers": _headers,
    "params": partial(pairs_of, "params"),
    "json": partial(loaded, "json"),
    "form": partial(pairs_of, "form"),
    "multipart": fields_of,
    "body": _body,
    "body_file": path_of,
    "cookies": cookies_of,
    "filename": _filename,
    **PROMISES,
}
