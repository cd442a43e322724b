"""Job files: one file, or a chain of them, in; one valid Job out, or every error at once with its file and line.

Does: merge `extends` and `--set`, find the place of each fault. Must not know formats (`jobformats`) or what keys mean
(`job`, `jobfaults`). Invariant: a problem is one sentence of bounded length, with the place and the key; the key is
blamed on the file that says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from crawler.errors import JobError
from crawler.job import Job
from crawler.jobfaults import existing, judged
from crawler.jobformats import MAX_DEPTH, parse_toml, plain, read, unreadable
from crawler.places import Key, Lines, dotted, find
from crawler.urls import printable

_MAX_TOLD = 100
_MAX_CHAIN = 20
_LONGEST = 300  # characters of a sentence


class LoadedJob(NamedTuple):
    """A valid job, and the folder that its input files are relative to."""

    job: Job
    base: Path


class _Layer(NamedTuple):
    """One file of an `extends` chain, or the --set options."""

    name: str
    data: dict[str, Any]
    lines: Lines


def load(path: Path, sets: Sequence[str] = (), *, inputs: bool = True) -> LoadedJob:
    """Read, merge and validate. Raises JobError with every problem found; `inputs` asks for the input files as well."""
    layers = _chain(path, ())
    if sets:
        layers.append(_sets(sets))
    return LoadedJob(_validated(layers, path.parent if inputs else None), path.parent)


def build(data: dict[str, Any], base: Path, sets: Sequence[str] = ()) -> LoadedJob:
    """A job from flags instead of a file. Raises JobError."""
    try:
        layers = [_Layer("flags", plain(data, {}), {}), *([_sets(sets)] if sets else [])]
    except ValueError as error:
        raise JobError(f"{printable(str(error), _LONGEST)}") from None
    return LoadedJob(_validated(layers, base), base)


def schema() -> dict[str, Any]:
    """JSON Schema of a job file, for editors."""
    found = Job.model_json_schema(by_alias=True)
    found["properties"]["extends"] = {"type": "string", "description": "a job file that this one is merged over"}
    return found


# reading


def _chain(path: Path, above: tuple[Path, ...]) -> list[_Layer]:
    """The file and those it extends, the lowest first; `above` are those that extend it."""
    data, lines = read(path)
    layer = _Layer(str(path), data, lines)
    if "extends" not in data:
        return [layer]
    extends, place = data.pop("extends"), _line(layer, ("extends",))
    if not isinstance(extends, str):
        raise JobError(f"{place}: extends is not the name of a file")
    base, chain = path.parent / extends, (*above, path)
    if why := unreadable(base):
        raise JobError(f"{place}: extends: '{printable(extends)}' {why}")
    if base.resolve() in [item.resolve() for item in chain] or len(chain) > _MAX_CHAIN:
        said = "extends itself" if len(chain) <= _MAX_CHAIN else f"more than {_MAX_CHAIN} files extend each other"
        raise JobError(f"{place}: {said}: {' -> '.join(item.name for item in (*chain, base))}")
    return [*_chain(base, chain), layer]


def _sets(sets: Sequence[str]) -> _Layer:
    data: dict[str, Any] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise JobError(f"--set {_shown(text)}: write it like 'limits.rate=5/s'")
        *sections, name = _parts(key)
        table = data
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise JobError(f"--set {_shown(text)}: '{printable(section)}' is set to a value by another --set")
        try:
            table.update(plain({name: _value(value)}, {}))
        except ValueError as error:
            raise JobError(f"--set {_shown(text)}: {printable(str(error), _LONGEST)}") from None
    return _Layer("--set", data, {})


def _parts(key: str) -> list[str]:
    """The parts of a dotted key; one with dots of its own stands in quotes, as in TOML."""
    try:
        table = parse_toml(f"{key.strip()} = 0") if "\n" not in key else {}
    except ValueError:
        table = {}
    parts: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        [(part, table)] = table.items()
        parts.append(part)
    parts = parts or key.strip().split(".")
    if len(parts) > MAX_DEPTH:
        raise JobError(f"--set {_shown(key)}: is nested more than {MAX_DEPTH} deep")
    return parts


def _value(text: str) -> Any:
    """What is no TOML value is text: shells eat quotes."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def _shown(text: str) -> str:
    return f"'{printable(text, 80)}'"


# validating


class _Problem(NamedTuple):
    """One thing that is wrong, and where: sorts by file and line."""

    layer: int
    line: int
    text: str


def _validated(layers: Sequence[_Layer], base: Path | None) -> Job:
    """The job that the layers make; files are looked for in `base`, unless it is None."""
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer.data)
    job, found = judged(merged, _MAX_TOLD)
    if base is not None:
        found += ((("input", "files"), said) for said in islice(_missing(merged, base), _MAX_TOLD))
    if found or job is None:
        problems = sorted({_at(layers, path, said) for path, said in found})
        more = [f"and {len(problems) - _MAX_TOLD} more"] if len(problems) > _MAX_TOLD else []
        raise JobError(*(problem.text for problem in problems[:_MAX_TOLD]), *more)
    return job


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Tables merge, everything else replaces."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = deepcopy(value)


def _at(layers: Sequence[_Layer], path: Key, said: str) -> _Problem:
    """The sentence with the place: the topmost of the layers that have most of the key, with its line."""
    depths = [len(existing(path, layer.data)) for layer in layers]
    place = max(range(len(layers)), key=lambda number: (depths[number], number if depths[number] else -number))
    layer = layers[place]
    text = f"{_line(layer, path)}: {dotted(path)}: {said}" if path else f"{layer.name}: {said}"
    return _Problem(place, find(layer.lines, path) or 0, text)


def _line(layer: _Layer, path: Key) -> str:
    line = find(layer.lines, path)
    return f"{layer.name}:{line}" if line else layer.name


def _missing(data: Mapping[str, Any], base: Path) -> Iterator[str]:
    """What is wrong with the names of the input files."""
    given = data.get("input")
    files = given.get("files") if isinstance(given, dict) else None
    for file in files if isinstance(files, list) else ():
        if not isinstance(file, str) or file == "-" or file.startswith("-."):
            continue
        if why := unreadable(base / file):
            yield f"'{printable(file)}' {why}"
