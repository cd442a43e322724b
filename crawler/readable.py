"""What a page says to people, and which images it shows, read off its bytes without a tree.

Decides what of HTML is text: all but tags, comments, scripts and styles. Must not know what the text is for. Invariant:
linear in time, whatever the bytes are; a page and its copy give the same.
"""

from __future__ import annotations

import re

# Each alternative ends at the end of the page at the latest, so none is tried twice at one place.
_UNREAD = re.compile(
    rb"<(?:script|style)\b[^>]*+(?:>.*?(?:</(?:script|style)\b[^>]*+|\Z)|\Z)>?|<!--.*?(?:-->|\Z)|<[^>]*+>?",
    re.IGNORECASE | re.DOTALL,
)
_IMAGE = re.compile(rb"<img\b[^<>]*?\ssrc\s{0,9}+=\s{0,9}+[\"']?([^\s\"'<>]*+)", re.IGNORECASE)
_LONGEST = 1024 * 1024  # bytes that are looked at
_IMAGES = 1000


def readable(page: bytes) -> str:
    """The text of a page in an encoding that ASCII is part of; what is not UTF-8 is U+FFFD."""
    return _UNREAD.sub(b" ", page[:_LONGEST]).decode("utf-8", "replace")


def images(page: bytes) -> list[str]:
    """The addresses of its images, as they are written, in their order."""
    found = []
    for match in _IMAGE.finditer(page, 0, _LONGEST):
        found.append(match[1].decode("utf-8", "replace"))
        if len(found) == _IMAGES:
            break
    return found
