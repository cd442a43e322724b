"""Did more fail than the job allows: by count or share, in total and by reason.

Decides from counts alone. Must not know a run, records or where its sentences are shown. Invariant: where nothing was
said no failure is allowed; reasons that no key names are held to that too, unless `total` speaks of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from crawler.jobrun import TOTAL, Share
from crawler.reasonglobs import SKIPPING, reason_glob

_SHOWN = 5  # reasons in a sentence


class Counts(NamedTuple):
    """Ends of a run. `reasons`: how many by slug, also of what was skipped."""

    fetched: int
    failed: int
    reasons: Mapping[str, int]


def exceeded(counts: Counts, allowances: Mapping[str, int | Share]) -> list[str]:
    """A sentence for each allowance that was exceeded; none: all is as the job wants it.

    A share is of all that was fetched or failed. Raises ValueError for a key that is no reason.
    """
    if not counts.failed:
        return []
    reasons = {slug: count for slug, count in counts.reasons.items() if slug not in SKIPPING}
    found, unnamed = [], dict(reasons)
    for key, allowed in allowances.items():
        if key == TOTAL:
            continue
        matching = {slug: count for slug, count in reasons.items() if reason_glob(key).fullmatch(slug)}
        for slug in matching:
            unnamed.pop(slug, None)
        number = sum(matching.values())
        if _over(number, allowed, counts):
            found.append(f"{_failed(number, counts, allowed)} with {key}, run.max_failed allows {_shown(allowed)}")
    if TOTAL in allowances:
        allowed = allowances[TOTAL]
        if _over(counts.failed, allowed, counts):
            found.insert(0, f"{_failed(counts.failed, counts, allowed)}, run.max_failed allows {_shown(allowed)}")
    elif unnamed:
        number = sum(unnamed.values())
        found.append(f"{number:,} failed for reasons that run.max_failed does not name: {_most(unnamed)}")
    return found


def _over(number: int, allowed: int | Share, counts: Counts) -> bool:
    if isinstance(allowed, Share):
        return number * 100 > allowed * (counts.fetched + counts.failed)
    return number > allowed


def _failed(number: int, counts: Counts, allowed: int | Share) -> str:
    if not isinstance(allowed, Share):
        return f"{number:,} failed"
    percent = 100 * number / (counts.fetched + counts.failed)
    # As few digits as tell it from what is allowed.
    shown = next((text for digits in range(1, 7) if float(text := f"{percent:.{digits}f}") > allowed), f"{percent:g}")
    return f"{number:,} failed ({shown}% of {counts.fetched + counts.failed:,})"


def _shown(allowed: int | Share) -> str:
    return str(allowed) if isinstance(allowed, Share) else f"{allowed:,}"


def _most(reasons: Mapping[str, int]) -> str:
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{slug} {count:,}" for slug, count in ordered[:_SHOWN]]
    return ", ".join([*told, *(["…"] if len(ordered) > _SHOWN else [])])
