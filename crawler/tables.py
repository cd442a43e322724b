"""Rows of tables (CSV, TSV, JSONL): which columns we understand, and what is wrong with a cell.

Decides how one table row becomes a Row or BadRow. Must not know files. Invariant: never raises for what stands in a
cell; columns that are not ours are carried as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from crawler.model import BadRow, Place, Row

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OURS = ("method", "headers", "params", "json", "body", "filename", "sha256")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class BadCell(ValueError):
    """A cell that cannot be used; the text is a sentence."""


def row_of(place: Place, cells: Mapping[str, Any], column: str) -> Row | BadRow:
    """A Row of one table row; values are texts (CSV) or native (JSONL)."""
    url = cells.get(column)
    try:
        if not isinstance(url, str) or not url:
            raise BadCell(f"the column '{column}' has no URL")
        if cells.get("json") not in (None, "") and cells.get("body") not in (None, ""):
            raise BadCell("has both json and body; one request has one body")
        return Row(
            place,
            url.strip(),
            method=_method(cells.get("method")),
            headers=_headers(cells.get("headers")),
            params=_params(cells.get("params")),
            json=_json(cells.get("json")),
            body=_text("body", cells.get("body")),
            filename=_text("filename", cells.get("filename")),
            sha256=_sha256(cells.get("sha256")),
            input={name: cell for name, cell in cells.items() if name != column and name not in OURS} or None,
        )
    except BadCell as error:
        return BadRow(place, url if isinstance(url, str) else "", str(error))


def check_header(name: str, value: str) -> None:
    """Raise BadCell for a header that HTTP cannot carry (RFC 9110 5.1, 5.5)."""
    if not _TOKEN.match(name):
        raise BadCell(f"header name {name[:60]!r} has characters that HTTP does not allow")
    if _BAD_VALUE.search(value):
        raise BadCell(f"the value of header {name} has control characters")


def _method(cell: Any) -> str | None:
    if cell in (None, ""):
        return None
    if isinstance(cell, str) and cell.strip().upper() in METHODS:
        return cell.strip().upper()
    raise BadCell(f"method {str(cell)[:40]!r} is not one of {', '.join(METHODS)}")


def _headers(cell: Any) -> Mapping[str, str] | None:
    if cell in (None, ""):
        return None
    value = _load("headers", cell) if isinstance(cell, str) else cell
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BadCell("headers is not a JSON object of texts")
    for name, text in value.items():
        check_header(name, text)
    return value


def _params(cell: Any) -> Mapping[str, Any] | None:
    if cell in (None, ""):
        return None
    if isinstance(cell, str) and not cell.lstrip().startswith("{"):
        return parse_qs(cell, keep_blank_values=True)
    value = _load("params", cell) if isinstance(cell, str) else cell
    if not isinstance(value, dict):
        raise BadCell("params is neither a JSON object nor a query string")
    return value


def _json(cell: Any) -> Any:
    if cell in (None, ""):
        return None
    return _load("json", cell) if isinstance(cell, str) else cell


def _load(column: str, cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError as error:
        raise BadCell(f"{column} is not JSON: {error}") from None


def _text(column: str, cell: Any) -> str | None:
    if cell in (None, ""):
        return None
    if not isinstance(cell, str):
        raise BadCell(f"{column} is not a text")
    return cell


def _sha256(cell: Any) -> str | None:
    if cell in (None, ""):
        return None
    if isinstance(cell, str) and _SHA256.match(cell):
        return cell.lower()
    raise BadCell("sha256 is not 64 hexadecimal digits")
