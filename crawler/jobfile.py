"""Job files: TOML, YAML or JSON in, one valid Job out, or every error at once with its file and line.

Does: read files, merge `extends` and `--set`, word the errors. Must not know what keys mean. Invariant: a problem is
one sentence with the place and, for a wrong name, the nearest right one.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ValidationError

from crawler.errors import JobError
from crawler.job import Job
from crawler.places import Lines, find, toml_lines, yaml_lines

_MAX_BYTES = 5 * 1024 * 1024
_MAX_ALIASES = 1000
_MAX_DEPTH = 50


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
    layers = [_Layer("flags", data, {}), *([_sets(sets)] if sets else [])]
    return LoadedJob(_validated(layers, base), base)


def schema() -> dict[str, Any]:
    """JSON Schema of a job file, for editors."""
    found = Job.model_json_schema(by_alias=True)
    found["properties"]["extends"] = {"type": "string", "description": "a job file that this one is merged over"}
    return found


# reading


def _chain(path: Path, below: tuple[Path, ...]) -> list[_Layer]:
    """The file and those it extends, the lowest first."""
    real = path.absolute()
    if real in below:
        raise JobError(f"{path}: extends itself: {' -> '.join(str(item.name) for item in (*below, real))}")
    data, lines = _read(path)
    extends = data.pop("extends", None)
    layer = _Layer(str(path), data, lines)
    if extends is None:
        return [layer]
    if not isinstance(extends, str):
        raise JobError(f"{_line(layer, ('extends',))}: extends is not the name of a file")
    if not (path.parent / extends).is_file():
        raise JobError(
            f"{_line(layer, ('extends',))}: extends: '{extends}' does not exist{_near_file(path.parent, extends)}"
        )
    return [*_chain(path.parent / extends, (*below, real)), layer]


def _read(path: Path) -> tuple[dict[str, Any], Lines]:
    text = _text(path)
    try:
        if path.suffix in (".yaml", ".yml"):
            data, lines = _yaml(path, text)
        elif path.suffix == ".json":
            data, lines = orjson.loads(text), {}
        else:
            data, lines = tomllib.loads(text), toml_lines(text)
    except (tomllib.TOMLDecodeError, orjson.JSONDecodeError, RecursionError) as error:
        raise JobError(f"{path}: {error or 'is nested too deeply'}") from None
    if not isinstance(data, dict):
        raise JobError(f"{path}: is not a table of sections")
    if _depth(data) > _MAX_DEPTH:
        raise JobError(f"{path}: is nested more than {_MAX_DEPTH} deep")
    return data, lines


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise JobError(f"{path}: is larger than 5 MiB, which no job file is; lists of URLs belong into input.files")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise JobError(f"{path}: does not exist{_near_file(path.parent, path.name)}") from None
    except IsADirectoryError:
        raise JobError(f"{path}: is a folder, not a job file") from None
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: is not UTF-8 (byte {error.start})") from None


def _yaml(path: Path, text: str) -> tuple[Any, Lines]:
    import yaml

    try:
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text))
        if aliases > _MAX_ALIASES:
            raise JobError(f"{path}: has {aliases} aliases; at most {_MAX_ALIASES} are taken")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and _grown(node, {}) > 1_000_000:
            raise JobError(f"{path}: its aliases unfold to more than a million values")
        return yaml.safe_load(text) or {}, yaml_lines(node)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise JobError(f"{path}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise JobError(f"{path}: {error}") from None


def _grown(node: Any, known: dict[int, int]) -> int:
    """How many values a YAML node stands for once its aliases are unfolded."""
    if id(node) not in known:
        known[id(node)] = 1
        parts: Iterable[Any] = ()
        if node.id == "sequence":
            parts = node.value
        elif node.id == "mapping":
            parts = (item for pair in node.value for item in pair)
        known[id(node)] = 1 + sum(_grown(part, known) for part in parts)
    return known[id(node)]


def _sets(sets: Sequence[str]) -> _Layer:
    data: dict[str, Any] = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise JobError(f"--set {text!r}: write it like 'limits.rate=5/s'")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            parsed = value
        *sections, name = key.strip().split(".")
        table = data
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise JobError(f"--set {text!r}: '{section}' is set to a value by another --set")
        table[name] = parsed
    return _Layer("--set", data, {})


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
    problems = [_at(layers, path, said) for path, said in _bare_numbers(merged)]
    if base is not None:
        problems += [_at(layers, ("input", "files"), said) for said in _missing(merged, base)]
    job = None
    try:
        job = Job.model_validate(merged)
    except ValidationError as error:
        problems += [_at(layers, *_worded(fault)) for fault in error.errors(include_url=False)]
    if problems or job is None:
        raise JobError(*(problem.text for problem in sorted(set(problems))))
    return job


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Tables merge, everything else replaces."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _merge(below[key], value)
        else:
            below[key] = orjson.loads(orjson.dumps(value, default=str)) if isinstance(value, (dict, list)) else value


def _bare_numbers(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Numbers where a text with a unit is due: the models take them from code, but in a file nobody sees the unit."""
    for path, field in _fields(Job):
        value: Any = data
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        examples = [meta.json_schema.get("examples") for meta in field.metadata if hasattr(meta, "json_schema")]
        if examples and examples[0] and isinstance(value, (int, float)):
            yield path, f"{value} has no unit; write it like '{examples[0][0]}'"


def _fields(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of the job with its field, sections unfolded."""
    for name, field in model.model_fields.items():
        path = (*above, field.alias or name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, path)
        else:
            yield path, _with_inner_metadata(field)


def _with_inner_metadata(field: Any) -> Any:
    """`Rate | None` keeps the marks of Rate one level down."""
    for inner in typing.get_args(field.annotation):
        if hasattr(inner, "__metadata__"):
            return _Marks(list(inner.__metadata__))
    return field


class _Marks(NamedTuple):
    metadata: list[Any]


def _worded(fault: Any) -> tuple[tuple[str, ...], str]:
    path = tuple(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _keys_of(path[:-1])
        near = get_close_matches(path[-1], known, 1, 0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        return path, f"unknown key; {hint}"
    said = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        said = "is missing"
    given = fault.get("input")
    if fault["type"] not in ("value_error", "missing") and isinstance(given, (str, int, float)):
        said = f"{given!r}: {said[0].lower()}{said[1:]}"
    return path, said


def _keys_of(path: tuple[str, ...]) -> list[str]:
    model: Any = Job
    for part in path:
        field = next((field for name, field in model.model_fields.items() if part in (name, field.alias)), None)
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _at(layers: Sequence[_Layer], path: tuple[str, ...], said: str) -> _Problem:
    """The sentence with the place: the topmost layer that has the key, with its line."""
    place = 0
    for number, layer in enumerate(layers):
        value: Any = layer.data
        for part in path[:2]:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            place = number
    layer = layers[place]
    key = ".".join(path)
    return _Problem(
        place, find(layer.lines, path) or 0, f"{_line(layer, path)}: {key}: {said}" if key else f"{layer.name}: {said}"
    )


def _line(layer: _Layer, path: tuple[str, ...]) -> str:
    line = find(layer.lines, path)
    return f"{layer.name}:{line}" if line else layer.name


def _missing(data: Mapping[str, Any], base: Path) -> Iterator[str]:
    """What is wrong with the names of the input files."""
    given = data.get("input")
    files = given.get("files") if isinstance(given, dict) else None
    for file in files if isinstance(files, list) else ():
        if not isinstance(file, str) or file == "-" or file.startswith("-."):
            continue
        if not (base / file).exists():
            yield f"'{file}' does not exist{_near_file((base / file).parent, Path(file).name)}"
        elif (base / file).is_dir():
            yield f"'{file}' is a folder, not a file"


def _near_file(folder: Path, name: str) -> str:
    try:
        near = get_close_matches(name, [entry.name for entry in folder.iterdir()], 1)
    except OSError:
        return ""
    return f"; did you mean '{near[0]}'?" if near else ""


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level and deepest <= _MAX_DEPTH:
        deepest += 1
        level = [
            item
            for part in level
            if isinstance(part, (dict, list))
            for item in (part.values() if isinstance(part, dict) else part)
        ]
    return deepest
