"""Moments as they stand in the outputs.

Decides their spelling, RFC 3339 in UTC, with milliseconds or to the second. Must not know what they are moments of.
Invariant: texts of later moments are later in the alphabet.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=8)
def _second(wall: int) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def stamp(wall: float) -> str:
    """A wall-clock second since the epoch; the date is made once a second, not once a record."""
    milliseconds = int(wall * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def stamp_to_second(wall: float) -> str:
    """The same where nobody asks for more."""
    return _second(int(wall)) + "Z"
