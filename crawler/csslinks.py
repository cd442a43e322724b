"""What a style sheet leads to: `url(...)` and `@import`.

Decides by the tokens of CSS (Syntax level 3, 4.3): comments and strings hold no links, escapes are resolved. Must not
know pages or URLs. Invariant: nothing raises, and each character is looked at a bounded number of times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from crawler.charsets import LOOKED_AT, charset_of, decode
from crawler.hreftext import MAX_HREF, Gathered
from crawler.links import Kind, Leads

LARGEST = 8 * 1024**2  # bytes of a style sheet that are looked at

_STRING = r"""(?: "(?:[^"\\\n]++|\\.)*+(?:"|(?=\n)|\Z) | '(?:[^'\\\n]++|\\.)*+(?:'|(?=\n)|\Z) )"""
_COMMENT = r"/\* (?: [^*]++ | \*(?!/) )*+ (?:\*/|\Z)"
_FUNCTION = r"(?: url | (?:-webkit-)?image-set )\("
# What is passed over, and then what names a link, if anything does. A url( ) that is bad ends at its ")" all the same.
_TOKEN = re.compile(
    rf"""(?: [^\w/@"'\\-]++ | (?!{_FUNCTION})[\w-]++ | {_COMMENT} | / | {_STRING} | ["'] | \\. | \\ | @(?!import\b) )*+
    (?: @import (?: \s++ | {_COMMENT} )*+ (?P<imported>{_STRING})?+
        | url\( \s*+ (?: (?P<quoted>{_STRING}) | (?P<bare>(?:[^"'()\\\s]++|\\.)*+)\s*+(?:\)|\Z)
            | (?!["']) (?:[^)\\]++|\\.)*+ )
        | (?:-webkit-)?image-set\( \s*+ (?P<image>{_STRING})?+
        | {_FUNCTION} )?+""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[ \t\n\r\f])?|(\r\n|[\n\r\f])|(.))", re.DOTALL)


def css_urls(text: str) -> Iterator[str]:
    """Each URL in the text of a style sheet or a `style` attribute, escapes resolved, in its order."""
    for found in _TOKEN.finditer(text):
        string = found["imported"] or found["quoted"] or found["image"]
        written = string[1:].removesuffix(string[0]) if string else found["bare"]
        if written and len(written) <= 6 * MAX_HREF and not written[:5].lower().startswith("data:"):
            yield _ESCAPE.sub(_character, written) if "\\" in written else written


def css_leads(data: bytes, charset: str | None) -> Leads:
    """What a style sheet needs; `charset` as `charset_of` tells it."""
    told = charset or charset_of("text/css", data[:LOOKED_AT])
    gathered = Gathered()
    for url in css_urls(decode(data[:LARGEST], told)):
        gathered.add(url, Kind.REQUISITE)
        if gathered.full:
            break
    cut = f"was read for links up to {LARGEST:,} bytes" if len(data) > LARGEST else None
    return Leads(gathered.links, warning=gathered.warning or cut)


def _character(found: re.Match[str]) -> str:
    if not found[1]:
        return found[3] or ""
    number = int(found[1], 16)
    return "\ufffd" if not 0 < number < 0x110000 or 0xD800 <= number < 0xE000 else chr(number)
