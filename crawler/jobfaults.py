"""What is wrong with the data of a job: each fault with its key, in words that help.

Decides the wording of pydantic's faults, the nearest right name of a wrong one, and that numbers in files have units.
Must not know files or lines. Invariant: data that no fault is found in are a Job; the key of a fault is one that the
data have, save that of a missing one.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from crawler.job import Job
from crawler.jobauth import KINDS
from crawler.places import Key
from crawler.urls import printable

_LONGEST = 300  # characters of a sentence that may hold what the file says

_KINDS = {
    "tuple_type": "is not a list",
    "model_type": "is not a table",
    "model_attributes_type": "is not a table",
    "dict_type": "is not a table",
    "list_type": "is not a list",
}


def judged(data: Mapping[str, Any], most: int) -> tuple[Job | None, list[tuple[Key, str]]]:
    """The job, or None, and what is wrong with it: about `most` faults of each kind."""
    found = list(islice(_bare_numbers(Job, data), most))
    try:
        return Job.model_validate(data), found
    except ValidationError as error:
        return None, [*found, *_told(error, data, most).items()]


def _bare_numbers(model: type[BaseModel], data: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, str]]:
    """Numbers where a text with a unit is due: the models take them from code, but in a file nobody sees the unit."""
    for name, field in model.model_fields.items():
        key = field.alias or name
        value, inner = data.get(key), _model_of(field)
        tables: list[tuple[Key, Any, type[BaseModel] | None]]
        if inner is None:
            examples = _examples(field)
            if examples and isinstance(value, (int, float)):
                yield (*above, key), f"{value} has no unit; write it like '{examples[0]}'"
            kinds = value if key == "auth" and isinstance(value, dict) else {}
            tables = [((part,), table, _kind_of(table)) for part, table in kinds.items()]
        elif not isinstance(value, dict):
            continue
        elif inner is field.annotation:
            tables = [((), value, inner)]
        else:
            tables = [((part,), table, inner) for part, table in value.items()]
        for part, table, kind in tables:
            if isinstance(table, dict) and kind is not None:
                yield from _bare_numbers(kind, table, (*above, key, *part))


def _kind_of(table: Any) -> type[BaseModel] | None:
    """The model of one [auth.NAME], by its type."""
    return KINDS.get(str(table.get("type"))) if isinstance(table, dict) else None


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a section, or of each table in it ([hosts])."""
    for kind in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _examples(field: FieldInfo) -> Sequence[str]:
    """How values with a unit are written; `Rate | None` keeps the marks of Rate one level down."""
    marks = [*field.metadata, *(mark for kind in typing.get_args(field.annotation) for mark in typing.get_args(kind))]
    for mark in marks:
        if isinstance(mark, WithJsonSchema) and mark.json_schema:
            return [str(example) for example in mark.json_schema.get("examples", ())]
    return []


def _told(error: ValidationError, data: Mapping[str, Any], most: int) -> dict[Key, str]:
    """Each fault with its key. Where several kinds of value are taken, pydantic tells a fault for each of them."""
    told: dict[Key, str] = {}
    ours = set[Key]()  # whose sentence is one of our own, which says most
    for fault in error.errors(include_url=False):
        key = tuple(map(str, fault["loc"]))
        if key[:1] == ("auth",):
            key = key[:2] + key[3:]  # the third is pydantic's name for the kind
        if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
            key = (*key, "type")
        elif fault["type"] not in ("missing", "extra_forbidden"):
            key = existing(key, data)  # behind it stand the names of pydantic's own types
        if key not in told or (fault["type"] == "value_error" and key not in ours):
            told[key] = _worded(key, fault, data)
        elif key not in ours:
            told[key] = "is not text, a number, true, false, or a list of these"
        if fault["type"] == "value_error":
            ours.add(key)
        if len(told) > most:
            break
    return told


def existing(key: Key, data: Any) -> Key:
    """As much of a key as the data have."""
    for depth, part in enumerate(key):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdecimal() and int(part) < len(data):
            data = data[int(part)]
        else:
            return key[:depth]
    return key


def _worded(key: Key, fault: ErrorDetails, data: Mapping[str, Any]) -> str:
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "union_tag_not_found":
        return f"is missing; one of {', '.join(KINDS)}"
    if fault["type"] == "union_tag_invalid":
        said = str(fault.get("ctx", {}).get("tag", ""))
        near = get_close_matches(said[:100], KINDS, 1, 0.5)
        return f"'{printable(said, 100)}' is none of {', '.join(KINDS)}" + (
            f"; did you mean '{near[0]}'?" if near else ""
        )
    if fault["type"] == "extra_forbidden":
        known = _keys_of(key[:-1], data)
        near = get_close_matches(key[-1][:100], known, 1, 0.5)
        return f"unknown key; did you mean '{near[0]}'?" if near else f"unknown key; known here: {', '.join(known)}"
    if fault["type"] in ("literal_error", "enum"):
        return _none_of(fault)
    said = _KINDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    given = fault.get("input")
    if fault["type"] != "value_error" and fault["type"] not in _KINDS and isinstance(given, (str, int, float)):
        said = f"{printable(repr(given), 100)}: {said[0].lower()}{said[1:]}"
    if len(said) > _LONGEST:  # what the file says stands in the middle, what to do about it at the end
        said = f"{said[: _LONGEST // 2]}…{said[-_LONGEST // 2 :]}"
    return printable(said, 2 * _LONGEST)


def _none_of(fault: ErrorDetails) -> str:
    known = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
    given = str(fault.get("input"))
    near = get_close_matches(given[:100], known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
    return f"'{printable(given, 100)}' is unknown; {hint}"


def _keys_of(path: Key, data: Mapping[str, Any]) -> list[str]:
    """The keys that are known in a table."""
    model: type[BaseModel] | None = Job
    if path[:1] == ("auth",) and len(path) == 2:
        model, path = _kind_of(data["auth"][path[1]]), ()
    parts = iter(path)
    for part in parts:
        fields = model.model_fields if model is not None else {}
        field = next((field for name, field in fields.items() if part in (name, field.alias)), None)
        model = _model_of(field) if field is not None else None
        if field is not None and model is not field.annotation:
            next(parts, None)  # the name of one of many tables
    return [field.alias or name for name, field in model.model_fields.items()] if model is not None else []
