"""The types of extracted fields: what a text or a JSON value becomes, and the column that it has in a table.

Decides which texts are a number, a moment, a URL, true or false. Must not know where a value was found, nor guess at
what a country writes: "1,299" is no number. Invariant: what is converted can be written as JSON and fits its column;
what cannot be raises Unfit, with a sentence that names the value, cut and escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal, assert_never

import orjson

from crawler.stamps import stamp
from crawler.urls import BadURL, printable

if TYPE_CHECKING:
    import pyarrow as pa

FieldType = Literal["text", "int", "float", "bool", "url", "time", "json"]

MAX_TEXT = 1024 * 1024  # characters of a text, bytes of a JSON value

_SURROGATES = re.compile("[\ud800-\udfff]")
_INT = re.compile(r"[+-]?[0-9]{1,19}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\Z")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_EXACT = 2**53  # beyond it a float may stand for another whole number
_LONGEST = 100  # characters of a number or a moment


class Unfit(ValueError):
    """The value is none of its type; the text is a sentence."""


def convert(kind: FieldType, value: Any, join: Callable[[str], str]) -> Any:
    """A text, or a value of JSON that is not null, as this type. `join` makes an href absolute; it may raise BadURL.

    A moment becomes RFC 3339 in UTC with milliseconds, as all in a record are. Raises Unfit.
    """
    match kind:
        case "text":
            return _text(value)
        case "int":
            return _int(value)
        case "float":
            return _float(value)
        case "bool":
            return _bool(value)
        case "url":
            return _url(value, join)
        case "time":
            return _time(value)
        case "json":
            return _json(value)
        case _:
            assert_never(kind)


def column_type(kind: FieldType, many: bool) -> pa.DataType:
    """The column of a field in Parquet; JSON of any shape is a text there."""
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "time": pa.timestamp("ms", "UTC")}
    found = types.get(kind, pa.string())
    return pa.list_(found) if many else found


def shown(value: Any) -> str:
    """A value as a sentence may name it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"'{printable(value, 60)}'" if isinstance(value, str) else printable(str(value), 60)


def _text(value: Any) -> str:
    if isinstance(value, str):
        if not value.isascii() and _SURROGATES.search(value):
            raise Unfit(f"{shown(value)} has lone surrogates, which JSON cannot carry")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise Unfit(f"{shown(value)} is no text")


def _int(value: Any) -> int:
    if isinstance(value, str) and _INT.match(text := value.strip()[:_LONGEST]):
        value = int(text)
    elif isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    if type(value) is not int:
        raise Unfit(f"{shown(value)} is no whole number")
    if not -(2**63) <= value < 2**63:
        raise Unfit(f"{shown(value)} has more than 64 bits")
    return value


def _float(value: Any) -> float:
    if isinstance(value, str) and len(value) <= _LONGEST and _FLOAT.match(text := value.strip()):
        value = float(text)
    if type(value) not in (int, float):
        raise Unfit(f"{shown(value)} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not abs(number) < float("inf"):
        raise Unfit(f"{shown(value)} is too large for a number, or none")
    return number


def _bool(value: Any) -> bool:
    found = value if isinstance(value, bool) else _BOOLS.get(str(value).strip().lower()) if _is_short(value) else None
    if found is None:
        raise Unfit(f"{shown(value)} is neither true nor false")
    return found


def _is_short(value: Any) -> bool:
    return type(value) in (str, int) and (type(value) is int or len(value) <= _LONGEST)


def _url(value: Any, join: Callable[[str], str]) -> str:
    if not isinstance(value, str):
        raise Unfit(f"{shown(value)} is no URL")
    try:
        return join(value.strip())
    except BadURL as error:
        raise Unfit(f"the URL {error}") from None


def _time(value: Any) -> str:
    """ISO 8601, or as in HTTP and mail (RFC 9110 5.6.7, RFC 5322 3.3), or seconds since 1970; without a zone in UTC."""
    try:
        moment = _moment(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        raise Unfit(f"{shown(value)} is no moment") from None
    if moment.year < 1000:  # such a year has not four digits everywhere
        raise Unfit(f"{shown(value)} is too long ago")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    second = since.days * 86400 + since.seconds  # total_seconds() rounds, far from 1970
    return f"{stamp(second)[:-4]}{moment.microsecond // 1000:03d}Z"


def _moment(value: Any) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    text = value.strip() if isinstance(value, str) and len(value) <= _LONGEST else ""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)


def _json(value: Any) -> Any:
    """A text is read as JSON: what is JSON already does not come here."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except ValueError as error:
        raise Unfit(f"is not JSON: {printable(str(error), 100)}") from None
