"""Whether a page asks that its links be left alone: X-Robots-Tag and `<meta name=robots>`.

Decides by the header or the tag alone. Must not parse pages or know what is followed. Invariant: what cannot be read
asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_AGENT = re.compile(r"\s*([a-z_*][a-z0-9_*-]*)\s*:(?!//)(.*)\Z", re.DOTALL)
_WITH_VALUE = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def nofollow(headers: Mapping[str, str], token: str) -> bool:
    """Whether an X-Robots-Tag asks everyone, or `token` by name, not to follow the links of the page."""
    values = [value for name, value in headers.items() if name.lower() == "x-robots-tag"]  # a multidict has several
    return any(_tag_nofollow(value.lower(), token.lower()) for value in values)


def meta_nofollow(name: str, content: str, token: str) -> bool:
    """The same of one `<meta name=robots content=...>`, or one that is named after `token`."""
    return name.strip().lower() in ("robots", token.lower()) and _asks(content.lower().replace(",", " "))


def _tag_nofollow(value: str, token: str) -> bool:
    """A name with a colon holds for what follows it, until the next; a date may hold commas and colons itself."""
    ours = True
    for piece in value.split(","):
        named = _AGENT.match(piece)
        if named and named[1] in _WITH_VALUE:
            continue
        if named:
            ours = named[1] in ("robots", "*", token)
        if ours and _asks(named[2] if named else piece):
            return True
    return False


def _asks(words: str) -> bool:
    return not {"nofollow", "none"}.isdisjoint(words.replace(";", " ").split())
