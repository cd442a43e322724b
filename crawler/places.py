"""Which line of a job file a key stands in, for TOML (tomllib tells none) and YAML.

Does: map dotted key paths to lines. Must not know which keys are valid. Invariant: strings, comments and brackets that
span lines never pass for keys; a path that is not found is answered with its nearest ancestor's line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from crawler.urls import printable

Key = tuple[str, ...]
Lines = dict[Key, int]

_BARE = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")
_DOTTED = r"""(?P<path>(?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:\s*\.\s*(?:[\w-]+|"[^"\n]*"|'[^'\n]*'))*)"""
_HEADER = re.compile(rf"\s*\[{{1,2}}\s*{_DOTTED}\s*\]{{1,2}}")
_KEY = re.compile(rf"\s*{_DOTTED}\s*=")
_PART = re.compile(r"""[\w-]+|"([^"\n]*)"|'([^'\n]*)'""")
# A string (also one that does not end) or a comment; each quantifier keeps what it has, so the time is linear.
_STRING = (
    r'"""(?:\\[\s\S]|[^\\"]|"(?!""))*+"{0,5}|\'\'\'(?:[^\']|\'(?!\'\'))*+\'{0,5}|"(?:\\.|[^"\\\n])*+"?|\'[^\'\n]*+\'?'
)
TOML_TEXT = re.compile(rf"{_STRING}|#[^\n]*+")
_TOKEN = re.compile(rf"{TOML_TEXT.pattern}|[\[\]{{}}]|\n|[^\"'#\[\]{{}}\n]++")


class Malformed(ValueError):
    """What is wrong with a text, and on which line (from 1) if that is known."""

    def __init__(self, said: str, line: int | None = None) -> None:
        super().__init__(said)
        self.line = line


def dotted(path: Key) -> str:
    """A key as it is written: hosts."*.example.org".per_host."""
    return ".".join(part if _BARE.match(part) else f'"{printable(part, 80)}"' for part in path)


def find(lines: Lines, path: Key) -> int | None:
    """The line of a key, or of the nearest one above it that has a line."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


def toml_lines(text: str) -> Lines:
    """Lines of all tables and of all keys that begin a line."""
    found: Lines = {}
    table: Key = ()
    for number, line in _statements(text):
        if match := _HEADER.match(line) if line.lstrip().startswith("[") else None:
            table = _parts(match["path"])
            found.setdefault(table, number)
        elif match := _KEY.match(line):
            found.setdefault((*table, *_parts(match["path"])), number)
    return found


def yaml_lines(node: Any, above: Key = ()) -> Lines:
    """Lines of all keys of a composed YAML document (the marks of PyYAML's nodes)."""
    found: Lines = {}
    if node is not None and node.id == "mapping":
        for key, value in node.value:
            path = (*above, str(key.value))
            found[path] = key.start_mark.line + 1
            found.update(yaml_lines(value, path))
    return found


def _parts(path: str) -> Key:
    return tuple(match[1] or match[2] or match[0] for match in _PART.finditer(path))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Lines at which a statement begins: those not inside a string or bracket that an earlier line opened."""
    depth, number, begins = 0, 1, True
    source = text.split("\n")
    position = 0
    while match := _TOKEN.match(text, position):
        if begins:
            yield number, source[number - 1]
            begins = False
        token, position = match[0], match.end()
        if token.startswith(('"""', "'''")):
            number += token.count("\n")
        elif token == "\n":
            number += 1
            begins = depth == 0
        elif token in "[{":
            depth += 1
        elif token in "]}":
            depth = max(0, depth - 1)
