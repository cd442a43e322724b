"""Which reasons of failures a text names: a slug, `status` for any status, or a glob of `*` and `?`.

Decides by the table of reasons alone. Must not know a job, a run or counts. Invariant: a text that can match no failure
is refused, with the nearest that can; reasons that inputs are skipped for are no failures.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

from crawler.errors import Reason

# What ends as skipped: nothing is wrong with it.
SKIPPING = frozenset({"robots", "past-end", "out-of-scope", "known", "removed", "not-due"})
_SLUGS = [reason.slug() for reason in Reason if reason is not Reason.STATUS and reason.value not in SKIPPING]
STATUSES = [Reason.STATUS.slug(status) for status in range(100, 1000)]


def glob(text: str) -> re.Pattern[str]:
    """`*` and `?` alone: brackets stand in the hosts of IPv6 addresses."""
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def reason_glob(text: str) -> re.Pattern[str]:
    """The slugs that a text means, to be matched in full. Raises ValueError where there is none."""
    said = "status-*" if text == Reason.STATUS.value else text
    found = glob(said)
    if any(found.fullmatch(slug) for slug in (*_SLUGS, *STATUSES)):
        return found
    if text in SKIPPING:
        raise ValueError(f"'{text}' is a reason to skip an input, which is no failure")
    shown = text if len(text) <= 60 else f"{text[:60]}…"
    near = get_close_matches(text[:100], _SLUGS, 1) or get_close_matches(text[:100], ["status-404", "status-5*"], 1)
    raise ValueError(f"'{shown}' is no reason to fail" + (f"; did you mean '{near[0]}'?" if near else ""))
