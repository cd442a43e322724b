"""The printed table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Line(NamedTuple):
    """One figure: what, how much, what is asked."""

    what: str
    measured: str
    asked: str


def show(lines: Iterable[Line]) -> None:
    """Print figures as they come."""
    for line in lines:
        print(f"{line.what:<52} {line.measured:<38} {line.asked}", flush=True)
