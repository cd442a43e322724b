"""The Link header (RFC 8288, section 3): where it leads, and by which relation.

Decides which links a page names. Must not know URLs: targets are told as written, to be resolved by the reader.
Invariant: nothing that a server sends raises, and each character is looked at a bounded number of times; what follows
a fault in a line is left out, as appendix B.2 of the RFC has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MAX_LINE = 64 * 1024  # characters of one line that are looked at
MAX_LINKS = 1000  # of one line

_TARGET = re.compile(r"[ \t,]*<([^>]*)>[ \t]*")
_PARAMETER = re.compile(r";[ \t]*([^ \t=;,]*)[ \t]*(?:=[ \t]*(\"(?:[^\"\\]|\\.)*+\"?|[^;,]*))?[ \t]*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Link(NamedTuple):
    """`target` as written; `relations` in lower case; `anchored`: it is a link of another resource, or of a part."""

    target: str
    relations: frozenset[str]
    anchored: bool


def links(lines: Sequence[str]) -> Iterator[Link]:
    """All links of the values of Link headers, in their order."""
    for line in lines:
        yield from _links(line[:MAX_LINE])


def next_target(lines: Sequence[str]) -> str | None:
    """Where the first `rel=next` leads, as written; None where there is none."""
    return next((link.target for link in links(lines) if "next" in link.relations and not link.anchored), None)


def _links(line: str) -> Iterator[Link]:
    at = 0
    for _ in range(MAX_LINKS):
        head = _TARGET.match(line, at)
        if head is None:
            return
        said, at = _parameters(line, head.end())
        relations = frozenset(said.get("rel", "").lower().split())
        yield Link(head[1].strip(), relations, "anchor" in said)
        if line[at : at + 1] not in ("", ","):
            return


def _parameters(line: str, at: int) -> tuple[dict[str, str], int]:
    """The parameters from `at`, by lower-case names, and where they end. Of two of a name the first counts (3.3)."""
    said: dict[str, str] = {}
    while match := _PARAMETER.match(line, at):
        at = match.end()
        said.setdefault(match[1].lower(), _value(match[2] or ""))
    return said, at


def _value(text: str) -> str:
    if not text.startswith('"'):
        return text.rstrip(" \t")
    return _ESCAPED.sub(r"\1", text[1:-1] if len(text) > 1 and text.endswith('"') else text[1:])
