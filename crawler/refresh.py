"""Where a refresh leads: the header of that name, and `<meta http-equiv=refresh>`.

Decides by the HTML standard, 4.2.5.3 (shared declarative refresh steps). Must not know pages or URLs. Invariant: what
cannot be read leads nowhere, and each character is looked at a bounded number of times.
"""

from __future__ import annotations

import re

_SHAPE = re.compile(
    r"[ \t\n\r\f]*+ (?:[0-9]++[0-9.]*+|\.[0-9.]*+) (?: [ \t\n\r\f]*+[;,] | [ \t\n\r\f] ) [ \t\n\r\f]*+"
    r"(?: url [ \t\n\r\f]*+ = [ \t\n\r\f]*+ )?+ (?: '([^']*+) | \"([^\"]*+) | (.*+) )",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def target(content: str) -> str | None:
    """Where "5; url='x'" leads, as written; None where it only loads the page again."""
    found = _SHAPE.match(content)
    return (found[1] or found[2] or found[3] or "").strip() or None if found else None
