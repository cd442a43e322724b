"""Spans of HTTP statuses as people write them: `503`, `5xx`, `500-599`.

Decides which numbers a text means. Must not know what they are wanted for, nor which of them can be. Invariant: the
first is never above the last.
"""

from __future__ import annotations

import re

_SPAN = re.compile(r"(?:([0-9])xx|([0-9]{3})(?:-([0-9]{3}))?)\Z")


def span_of(text: str) -> tuple[int, int] | None:
    """First and last status, both included; None where it is no such text."""
    match = _SPAN.match(text)
    if not match:
        return None
    first, last = (match[1] + "00", match[1] + "99") if match[1] else (match[2], match[3] or match[2])
    return (int(first), int(last)) if first <= last else None
