"""One file's TOML, YAML or JSON as a plain tree: tables with text keys, lists, text, finite numbers, booleans, null.

Does: read the file and parse it within bounds of size, depth, values and so of time, whatever is in it. Must not know
which keys a job has. Invariant: every fault, whichever parser finds it, leaves as one JobError with the file and,
where the format tells, the line; no tree refers to itself, and none shares a part with another place in it.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, time
from difflib import get_close_matches
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from crawler.errors import JobError
from crawler.places import TOML_TEXT, Lines, Malformed, dotted, find, toml_lines
from crawler.urls import printable

MAX_DEPTH = 50
_TOO_DEEP = f"is nested more than {MAX_DEPTH} deep"
_TOO_LONG = "a number in it has more digits than any number here needs"
_MAX_BYTES = 5 * 1024 * 1024
_MAX_INTEGER = 2**63
_SURROGATE = re.compile("[\ud800-\udfff]")
# tomllib takes quadratic time for keys of many parts; outside of strings and comments nothing else has so many dots.
_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}")


class Tree(NamedTuple):
    """What a file says, and on which line each key stands (as far as that can be told)."""

    data: dict[str, Any]
    lines: Lines


def read(path: Path) -> Tree:
    """The tree of a job file, its format told by its suffix (TOML unless .yaml, .yml, .json). Raises JobError."""
    text = _text(path)
    lines: Lines = {}
    try:
        if path.suffix in (".yaml", ".yml"):
            from crawler.jobyaml import parse_yaml

            data, lines = parse_yaml(text, MAX_DEPTH)
        elif path.suffix == ".json":
            data = _json(text)
        else:
            data = parse_toml(text)
            lines = toml_lines(text)
        if not isinstance(data, dict):
            raise Malformed("is not a table of sections")
        return Tree(plain(data, lines), lines)
    except ValueError as error:
        line = error.line if isinstance(error, Malformed) else None
        raise JobError(f"{path}{f':{line}' if line else ''}: {printable(str(error), 500)}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """As tomllib, in bounded time. Raises ValueError with a sentence."""
    if _LONG_KEY.search(TOML_TEXT.sub("s", text)):
        raise Malformed(_TOO_DEEP)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise Malformed(_TOO_DEEP) from None
    except ValueError:  # int() refuses more than 4300 digits
        raise Malformed(_TOO_LONG) from None


def plain(data: Mapping[Any, Any], lines: Lines) -> dict[str, Any]:
    """A copy in which nothing is but text keys, tables, lists, text, numbers, booleans and null; dates become text.

    Raises Malformed for what cannot be that.
    """
    return _plain_table(data, (), lines)


def _plain_table(table: Mapping[Any, Any], path: tuple[str, ...], lines: Lines) -> dict[str, Any]:
    copied: dict[str, Any] = {}
    for key, value in table.items():
        name = str(key) if isinstance(key, (int, float)) and not isinstance(key, bool) else key
        if not isinstance(name, str) or _SURROGATE.search(name):
            raise _unfit((*path, str(name)), "this key is not text; put it into quotes", lines)
        copied[name] = _plain(value, (*path, name), lines)
    return copied


def _plain(value: Any, path: tuple[str, ...], lines: Lines) -> Any:
    if len(path) > MAX_DEPTH:
        raise Malformed(_TOO_DEEP)
    match value:
        case None | bool():
            return value
        case str():
            if _SURROGATE.search(value):
                raise _unfit(
                    path, "has characters that no text has (lone surrogates, or bytes that are not UTF-8)", lines
                )
            return value
        case int():
            if not -_MAX_INTEGER <= value < _MAX_INTEGER:
                raise _unfit(path, "is a larger number than 64 bits hold", lines)
            return value
        case float():
            if not isfinite(value):
                raise _unfit(path, f"{value} is not a number that can be used", lines)
            return value
        case dict():
            return _plain_table(value, path, lines)
        case list():
            return [_plain(item, (*path, str(place)), lines) for place, item in enumerate(value)]
        case date() | time():  # unquoted in TOML and YAML; people mean the text
            return value.isoformat()
    raise _unfit(path, "is not text, a number, true or false, a list or a table", lines)


def _unfit(path: tuple[str, ...], said: str, lines: Lines) -> Malformed:
    return Malformed(f"{dotted(path)}: {said}", find(lines, path))


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_table, parse_constant=_no_number)
    except (Malformed, json.JSONDecodeError):
        raise
    except RecursionError:
        raise Malformed(_TOO_DEEP) from None
    except ValueError:
        raise Malformed(_TOO_LONG) from None


def _table(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"the key '{key}' stands twice in one table")
        found[key] = value
    return found


def _no_number(text: str) -> float:
    raise Malformed(f"{text} is not a number that can be used")


def unreadable(path: Path) -> str | None:
    """Why a path is no file to read, as the end of a sentence with the nearest name that is one; None if it may be."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"does not exist{_near(path)}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:  # NUL, or characters that no file system takes
        return "cannot be the name of a file"
    return "is a folder, not a file" if stat.S_ISDIR(mode) else None


def _near(path: Path) -> str:
    try:
        names = [entry.name for entry in islice(path.parent.iterdir(), 10_000)]
    except (OSError, ValueError):
        return ""
    near = get_close_matches(path.name, names, 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _text(path: Path) -> str:
    if why := unreadable(path):
        raise JobError(f"{path}: {why}")
    try:
        # A pipe or device may never say anything; without O_NONBLOCK even opening one waits.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise JobError(f"{path}: is a pipe or device, not a file; write the job into a file")
            read = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}") from None
    if len(read) > _MAX_BYTES:
        raise JobError(f"{path}: is larger than 5 MiB, which no job file is; lists of URLs belong into input.files")
    try:
        return read.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: is not UTF-8 (byte {error.start})") from None
