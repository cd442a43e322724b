"""Records as rows of Parquet: one schema for every run, and the way from record lines to columns and back.

Decides the type of each column, and what becomes of a value that has another. Must not know files, the journal or the
checkpoint. Invariant: no record fails and nothing of it is lost: what fits no column (a value of another type, a key
without a column) stands in `more`, as the JSON text of an object; an absent value and null are one. Lone surrogates
and bytes that are not UTF-8 become U+FFFD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields as fields_of
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from crawler.errors import JobError
from crawler.model import Record

if TYPE_CHECKING:
    import pyarrow as pa

MORE = "more"
_JSON = "input"  # of any shape, so a JSON text
_SURROGATES = re.compile("[\ud800-\udfff]")
_STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z")
_ROWS = 1000  # made at once,
_BYTES = 16 * 1024 * 1024  # or of so many bytes of lines: bodies may stand in them
_INTS = {"id", "status", "attempts", "bytes", "frames", "depth", "page"}
_ADDED = ("change", "warc", "tar", "content", "content_base64")  # keys that the sinks of bodies add to a line


def check_available(what: str = "output.records = parquet") -> None:
    """Raises JobError where pyarrow, which `what` needs, is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise JobError(f"{what} needs pyarrow: pip install 'crawler[parquet]'") from None


def schema(fields: Mapping[str, pa.DataType] | None = None, said: Mapping[str, str] | None = None) -> pa.Schema:
    """The columns of a record, the same for every run; `fields` are extracted fields, columns of a struct of that name.

    `said` is put into the metadata of the file.
    """
    import pyarrow as pa

    names = [field.name for field in fields_of(Record)]
    columns = [(name, _type_of(name)) for name in (*names, *_ADDED) if name not in ("fields", MORE)]
    if fields:
        columns.append(("fields", pa.struct(list(fields.items()))))
    columns.append((MORE, pa.string()))
    return pa.schema(columns, metadata=dict(said) if said else None)


def _type_of(name: str) -> pa.DataType:
    import pyarrow as pa

    if name in _INTS:
        return pa.int64()
    match name:
        case "started_at":
            return pa.timestamp("ms", "UTC")
        case "elapsed_ms":
            return pa.struct([(phase, pa.float64()) for phase in ("dns", "connect", "ttfb", "total")])
        case "headers":
            return pa.map_(pa.string(), pa.string())
        case "length_checked":
            return pa.bool_()
        case "warc" | "tar":
            return pa.struct([("file", pa.string()), ("offset", pa.int64()), ("length", pa.int64())])
        case _:
            return pa.string()


def batches_of(lines: Iterable[bytes], columns: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record lines as rows, so many at a time that memory stays bounded. Raises ValueError as `batch_of` does."""
    several: list[bytes] = []
    size = 0
    for line in lines:
        several.append(line)
        size += len(line)
        if len(several) >= _ROWS or size >= _BYTES:
            yield batch_of(several, columns)
            several, size = [], 0
    if several:
        yield batch_of(several, columns)


def batch_of(lines: Iterable[bytes], columns: pa.Schema) -> pa.RecordBatch:
    """Record lines as one batch of rows. Raises ValueError where a line is no JSON object."""
    import pyarrow as pa

    rows = [told(line) for line in lines]
    names = [name for name in columns.names if name != MORE]
    more: list[dict[str, Any] | None] = [None] * len(rows)
    known = set(names)
    for n, row in enumerate(rows):
        if not row.keys() <= known:
            more[n] = {key: value for key, value in row.items() if key not in known}
    arrays = [_array(name, columns.field(name).type, rows, more) for name in names]
    arrays.append(pa.array([None if rest is None else _text(rest) for rest in more], pa.string()))
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def records_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The records again, as they were before they were rows; what is null of the keys added by sinks is left out."""
    import pyarrow as pa

    maps = {field.name for field in batch.schema if pa.types.is_map(field.type)}
    for row in batch.to_pylist():
        rest = row.pop(MORE, None)
        for name in (*_ADDED, "fields"):
            if row.get(name) is None:
                row.pop(name, None)
        for name in maps:
            row[name] = dict(row[name]) if row[name] is not None else None
        if row[_JSON] is not None:
            row[_JSON] = orjson.loads(row[_JSON])
        record = {key: _plain(value) for key, value in row.items()}
        yield {**record, **orjson.loads(rest)} if rest is not None else record


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    return value


def told(line: bytes) -> dict[str, Any]:
    """What a record line says. Raises ValueError where it is no JSON object."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            row = _clean(json.loads(line.decode("utf-8", "replace")))
        except (json.JSONDecodeError, RecursionError):
            row = None
    if not isinstance(row, dict):
        raise ValueError("is no JSON object")
    return row


def _clean(value: Any) -> Any:
    """What Python's json lets through and JSON has no word for: lone surrogates, numbers that are none."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value


def _text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # an integer of more than 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _array(name: str, kind: pa.DataType, rows: Sequence[dict[str, Any]], more: list[dict[str, Any] | None]) -> pa.Array:
    """One column; what does not fit goes to `more`."""
    import pyarrow as pa

    values = [row.get(name) for row in rows]
    if name == _JSON:
        return pa.array([None if value is None else _text(value) for value in values], kind)
    if name == "fields":
        values = [_texts(value, kind) for value in values]
    types = set(map(type, values)) - {type(None)}  # costs a fifth of a look at each value
    if types and not (pa.types.is_string(kind) and types == {str}):
        fits = _fitting(kind)
        for n, value in enumerate(values):
            if not fits(value):
                more[n] = {**(more[n] or {}), name: value}
                values[n] = None
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    if name == "fields":
        moments = {name for name, said in _types_of(kind).items() if "timestamp" in said}
        values = [
            value and {key: _read(inner) if key in moments else inner for key, inner in value.items()}
            for value in values
        ]
    return pa.array(values, kind)


def _read(value: Any) -> Any:
    """A moment, or several, as arrow takes them where a cast does not reach."""
    if isinstance(value, list):
        return [_read(item) for item in value]
    return datetime.fromisoformat(value) if value is not None else None


def _texts(fields: Any, kind: pa.DataType) -> Any:
    """Extracted fields, with JSON as its text: of any shape it has no type of its own."""
    if type(fields) is not dict:
        return fields
    types = _types_of(kind)
    return {key: _as_text(value, types.get(key, "")) for key, value in fields.items()}


@cache
def _types_of(kind: pa.DataType) -> Mapping[str, str]:
    """The names and types of the fields of a struct."""
    return {field.name: str(field.type) for field in kind}


def _as_text(value: Any, kind: str) -> Any:
    if kind == "list<item: string>" and type(value) is list:
        return [_as_text(item, "string") for item in value]
    return value if kind != "string" or value is None or type(value) is str else _text(value)


@cache
def _fitting(kind: pa.DataType) -> Callable[[Any], bool]:
    """What tells whether a column of this type can hold a value as it is; a null it always can."""
    import pyarrow as pa

    is_ = pa.types
    if is_.is_string(kind):
        return lambda value: value is None or type(value) is str
    if is_.is_boolean(kind):
        return lambda value: value is None or type(value) is bool
    if is_.is_integer(kind):
        most = 2 ** (kind.bit_width - 1)
        return lambda value: value is None or (type(value) is int and -most <= value < most)
    if is_.is_float64(kind):
        return lambda value: (
            value is None or type(value) is float or (type(value) is int and -(2**53) <= value <= 2**53)
        )
    if is_.is_timestamp(kind):
        return lambda value: value is None or (type(value) is str and _is_stamp(value))
    if is_.is_list(kind):
        item = _fitting(kind.value_type)
        return lambda value: value is None or (type(value) is list and all(map(item, value)))
    if is_.is_map(kind):
        item = _fitting(kind.item_type)
        return lambda value: value is None or (type(value) is dict and all(map(item, value.values())))
    if is_.is_struct(kind):
        items = {field.name: _fitting(field.type) for field in kind}
        return lambda value: (
            value is None
            or (
                type(value) is dict
                and items.keys() >= value.keys()
                and all(items[key](inner) for key, inner in value.items())
            )
        )
    return lambda value: value is None


def _is_stamp(text: str) -> bool:
    try:
        return _STAMP.match(text) is not None and bool(datetime.fromisoformat(text))
    except ValueError:
        return False
