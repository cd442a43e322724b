"""From a row of the input to a Request: defaults of the job, canonical URL, parameters, body, fingerprint.

Decides what a row asks for, and which rows cannot be asked. Must not know where rows come from or go to.
Invariant: every row leads to one Request; one that cannot be sent carries `error` with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from crawler.fingerprints import fingerprint
from crawler.model import BadRow, Request, Row
from crawler.urls import BadURL, parse, printable, with_params

# JSON can be read deeper (1,024) than written (254), and a record puts the columns of its row some levels down.
_DEEPEST = 100


class Defaults(NamedTuple):
    """What of the job's [request] fills the gaps of a row."""

    method: str
    base_url: str | None
    params: Mapping[str, Any]
    body: bytes | None
    content_type: str | None


def request_of(row: Row | BadRow, number: int, defaults: Defaults) -> tuple[Request, int]:
    """The Request of a row and its fingerprint; `number` becomes its id."""
    if isinstance(row, BadRow):
        return _bad(row, number, row.text, row.error)
    if _deeper(row.json, _DEEPEST) or _deeper(row.input, _DEEPEST):
        return _bad(row._replace(input=None), number, row.url, f"the row is nested more than {_DEEPEST} levels deep")
    try:
        url = parse(row.url, base=defaults.base_url) if defaults.base_url else parse(row.url)
        if defaults.params or row.params:
            url = parse(with_params(url.href, {**defaults.params, **(row.params or {})}))
    except BadURL as error:
        return _bad(row, number, row.url, str(error))
    if row[2:] == _PLAIN and defaults.method == "GET" and defaults.body is None:  # most rows: a URL and nothing else
        return Request(number, url.href, url.host), fingerprint("GET", url.href, None)
    body, content_type = _body(row, defaults)
    headers = row.headers
    if content_type is not None and "content-type" not in {name.lower() for name in headers or ()}:
        headers = {"Content-Type": content_type, **(headers or {})}
    request = Request(
        number,
        url.href,
        url.host,
        method=row.method or defaults.method,
        headers=headers,
        body=body,
        filename=row.filename,
        sha256=row.sha256,
        input=row.input,
    )
    return request, fingerprint(request.method, url.href, body)


_PLAIN = Row(None, "")[2:]  # type: ignore[arg-type]


def _deeper(value: Any, levels: int) -> bool:
    """Does the value nest objects or lists more than so many levels deep?"""
    if not isinstance(value, (dict, list)):
        return False
    if levels == 0:
        return True
    return any(_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


def _body(row: Row, defaults: Defaults) -> tuple[bytes | None, str | None]:
    if row.json is not None:
        return orjson.dumps(row.json), "application/json"
    if row.body is not None:
        return row.body.encode(), None
    return defaults.body, defaults.content_type


def _bad(row: Row | BadRow, number: int, text: str, error: str) -> tuple[Request, int]:
    shown = printable(text)
    data = row.input if isinstance(row, Row) else None
    request = Request(number, shown, "", input=data, place=row.place, error=f"{row.place}: {error}")
    return request, fingerprint("BAD", f"{row.place}", None)
