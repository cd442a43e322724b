"""The fields of one page: each found, made one of its type, and what is wrong with it in a sentence.

Decides what a page's fields are, by what [extract] says. Must not know how values are found, how functions are
imported, nor where fields are written. Invariant: whatever a page holds, or a function of the user's raises,
`Extraction.fields` returns; a field that is of this page has a value or null, one that is not (another URL, another
format) is left out; each value can be written as JSON and is bounded, and who reads a record is told of what was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from crawler.cssquery import MAX_VALUES
from crawler.fieldtypes import MAX_TEXT, Unfit, convert, shown
from crawler.finding import Finder, Function, OfAnother, Raised, finder
from crawler.jobextract import Extract, FieldSaid
from crawler.page import Page
from crawler.units import render_size

LARGEST = 16 * 1024 * 1024  # bytes of a page whose fields are looked for
_MAX_TOLD = 10


class Problem(NamedTuple):
    """Why a page is a failure: a field that must be there is `missing`, else a function raised.

    `error` is a sentence; `trace` is what to log of an exception, its lines escaped.
    """

    missing: bool
    error: str
    trace: str | None = None


class Extracted(NamedTuple):
    """The fields of a page in the order of the job, sentences for its record, and the first problem there was."""

    fields: dict[str, Any]
    warnings: tuple[str, ...] = ()
    problem: Problem | None = None


class _Value(NamedTuple):
    """What a field has, how much of MAX_TEXT that is, and a sentence where something is wrong with it."""

    value: Any
    size: int = 0
    warning: str | None = None


class _Field(NamedTuple):
    """One field, compiled; `textual`: what is found is always a text, even where JSON is wanted."""

    name: str
    said: FieldSaid
    find: Finder
    url: re.Pattern[str] | None
    many: bool
    textual: bool


class Extraction:
    """What [extract] says, compiled once."""

    def __init__(self, said: Extract, functions: Mapping[str, Function] | None = None) -> None:
        """`functions` are those that fields name, by field (see `Extract.functions`)."""
        loaded = functions or {}
        self._fields = [_field(name, field, loaded.get(name)) for name, field in said.fields.items()]

    def __repr__(self) -> str:
        return f"<Extraction fields={len(self._fields)}>"

    def fields(self, page: Page) -> Extracted:
        """The fields of a page. Raises nothing."""
        if self._fields and len(page.body) > LARGEST:
            said = f"its fields were not looked for, since it is larger than {render_size(LARGEST)} (extract-limit)"
            return Extracted({}, (f"the page has {len(page.body):,} bytes; {said}",))
        found: dict[str, Any] = {}
        warnings: list[str] = []
        problem: Problem | None = None
        for field in self._fields:
            if field.url is not None and field.url.search(page.final_url) is None:
                continue
            try:
                value, _, warning = _value(field, page)
            except OfAnother:
                continue
            except Raised as error:
                value, warning = None, None
                problem = problem or Problem(False, f"{field.name}: {error}", error.trace)
            if warning is not None:
                warnings.append(f"{field.name}: {warning}")
            if field.said.required and (value is None or value == []):
                problem = problem or _missing(field.name, warning)
            found[field.name] = value
        return Extracted(found, _told(warnings), problem)


def _field(name: str, said: FieldSaid, function: Function | None) -> _Field:
    textual = said.css is not None or (said.regex is not None and not said.names_groups)
    url = re.compile(said.url) if said.url is not None else None
    return _Field(name, said, finder(said, function), url, said.gives_list, textual)


def _missing(name: str, warning: str | None) -> Problem:
    why = f": {warning}" if warning else ""
    return Problem(True, f"the page has no {name}, which is required (extract.{name}){why}")


def _told(warnings: list[str]) -> tuple[str, ...]:
    more = len(warnings) - _MAX_TOLD
    return (*warnings[:_MAX_TOLD], f"and {more} more fields") if more > 0 else tuple(warnings)


def _value(field: _Field, page: Page) -> _Value:
    """What the field has on this page. Raises OfAnother, Raised."""
    try:
        values = field.find(page)
        found = _all(field, page, values) if field.many else _one(field, page, next(values, None))
    except Unfit as error:
        return _Value([] if field.many else None, 0, str(error))
    nothing = found.warning is None and (found.value is None or found.value == [])
    return _Value(field.said.default) if nothing and field.said.default is not None else found


def _all(field: _Field, page: Page, values: Iterator[Any]) -> _Value:
    """A list, as far as it may go; what is no value of its type is left out."""
    found: list[Any] = []
    room, faults, fault = MAX_TEXT, 0, None
    for value in values:
        if len(found) == MAX_VALUES:
            return _Value(found, 0, f"there are more than {MAX_VALUES:,}; the others are left out (extract-limit)")
        try:
            item = _one(field, page, value)
        except Unfit as error:
            item = _Value(None, 0, str(error))
        if item.size > room:
            return _Value(found, 0, f"there is more than {render_size(MAX_TEXT)}; the rest is left out (extract-limit)")
        room -= item.size
        if item.warning is not None:
            faults, fault = faults + 1, fault or item.warning
        if item.value is not None:
            found.append(item.value)
    more = f", and {faults - 1:,} more like it" if faults > 1 else ""
    return _Value(found, 0, f"{fault}{more}" if fault is not None else None)


def _one(field: _Field, page: Page, value: Any) -> _Value:
    """One value as its type. Raises Unfit."""
    kind = field.said.kind
    if value is None or (field.textual and kind != "text" and not value.strip()):
        return _Value(None)
    if kind == "json":
        return _json(convert(kind, value, page.join) if field.textual else value)
    if isinstance(value, list) and not field.many:
        raise Unfit("is a list; say list = true, or take one of it")
    converted = convert(kind, value, page.join)
    if not isinstance(converted, str):
        return _Value(converted, 8)
    if len(converted) <= MAX_TEXT:
        return _Value(converted, len(converted))
    said = f"has {len(converted):,} characters, of which {MAX_TEXT:,} are kept (extract-limit)"
    return _Value(converted[:MAX_TEXT], MAX_TEXT, said)


def _json(value: Any) -> _Value:
    """A value that can be written as JSON, as it is read again. Raises Unfit."""
    try:
        data = orjson.dumps(value)
    except (TypeError, RecursionError) as error:  # a JSONEncodeError is a TypeError
        raise Unfit(f"{shown(value)} cannot be written as JSON: {error}") from None
    if len(data) > MAX_TEXT:
        raise Unfit(f"has {len(data):,} bytes as JSON; more than {render_size(MAX_TEXT)} are left out (extract-limit)")
    return _Value(orjson.loads(data), len(data))
