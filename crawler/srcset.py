"""The URLs of a `srcset`.

Decides by the HTML standard, 4.8.4.3.10 (parse a srcset attribute): a comma ends a URL only at its end, descriptors may
hold commas in parentheses. Must not know pages. Invariant: each character is looked at a bounded number of times;
descriptors are passed over, not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_URL = re.compile(r"[ \t\n\r\f,]*+([^ \t\n\r\f]++)")
_DESCRIPTORS = re.compile(r"(?: [^,(]++ | \([^)]*+\)? )*+ ,?", re.VERBOSE)


def urls(srcset: str) -> Iterator[str]:
    """Each URL as written, in its order."""
    at = 0
    while found := _URL.match(srcset, at):
        at = found.end()
        url = found[1]
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            passed = _DESCRIPTORS.match(srcset, at)
            at = passed.end() if passed else len(srcset)
        if url:
            yield url
