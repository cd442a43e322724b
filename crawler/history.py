"""What an end says beside what was known of its URL: new, changed, unchanged or gone; and when it is to be asked again.

Decides by what is known and what came. Must not know the checkpoint, the clock or the wire: moments are arguments.
Invariant: `changed` means another sha256 than that of the last good answer, and a fault that says nothing of the
content (a timeout, a 503) is no change at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, NamedTuple

from crawler.known import CHANGES, GONE_STATUSES, Known, Sighting
from crawler.model import Record, Request

NEW, CHANGED, UNCHANGED, GONE = CHANGES
_LONGEST = 1000  # characters of an ETag; with more a server may refuse the request


class Place(NamedTuple):
    """Where run number `holder` keeps a body, relative to its folder; `archived`: in a WARC as well, or only there."""

    holder: int
    body: str | None
    archived: bool = False


def change_of(known: Known | None, record: Record) -> str | None:
    """What the record's `change` says."""
    if record.outcome == "fetched":
        if record.sha256 is None:  # a capture, say: there is nothing that could be the same
            return None
        if known is None:
            return NEW
        return UNCHANGED if known.sha256 == record.sha256 else CHANGED
    if known is not None and record.outcome == "failed" and record.status in GONE_STATUSES:
        return GONE
    return None


def changes_told(changes: Mapping[str, int], forgotten: int) -> dict[str, int]:
    """How many URLs are new, changed, unchanged and gone; of the latter also those that nothing led to any more."""
    found = {change: changes.get(change, 0) for change in CHANGES}
    return {**found, GONE: found[GONE] + forgotten}


def validators(known: Known, request: Request) -> dict[str, str] | None:
    """The headers by which a request asks for what changed alone (RFC 9110 13.1.2, 13.1.3); None where it must not.

    A row with headers of its own may ask for something else than the last time; a body that a row promises to be
    another is asked for whole.
    """
    if request.method != "GET" or request.body is not None or request.headers is not None or known.sha256 is None:
        return None
    if request.url != known.url or request.partial is not None:
        return None
    if request.sha256 is not None and request.sha256 != known.sha256:
        return None
    found = {}
    if known.etag and len(known.etag) <= _LONGEST:
        found["If-None-Match"] = known.etag
    if known.last_modified:
        found["If-Modified-Since"] = known.last_modified
    return found or None


def is_of(known: Known, etag: str | None) -> bool:
    """May a 304 with that ETag stand for what is known (RFC 9111 4.3.4): a strong one must be the same."""
    if etag is None or known.etag is None or etag.startswith("W/"):
        return True
    return etag == known.etag.removeprefix("W/")


def remembered(sighting: Sighting, record: Record, place: Place) -> Known:
    """What is known from now on. What an archive did not take again stays where it was first."""
    known = sighting.known
    asked = sighting.at
    if known is None:
        known = Known(record.final_url, place.holder, asked, asked, asked)
        checks = changes = 0
    else:
        checks, changes = known.checks + 1, known.changes + (sighting.change == CHANGED)
    stays = record.status == 304 and (place.body is None or place.archived)
    return Known(
        record.final_url,
        known.holder if stays else place.holder,
        known.first,
        asked,
        asked if record.status != 304 else known.taken,
        checks,
        changes,
        record.sha256,
        record.bytes,
        record.etag,
        record.last_modified,
        record.content_type,
        known.body if stays else place.body,
        sighting.fresh_until,
    )


def due(known: Known, least: float, most: float) -> float:
    """The wall second at which a URL is worth another look.

    Changes are taken to come as a Poisson process, whose rate is estimated from n looks of which X found a change by
    -log((n - X + 0.5) / (n + 0.5)) per look (Cho and Garcia-Molina, Estimating Frequency of Change, 2003, 4.2): a look
    sees one change where there may have been several. It is due when a change has come with probability one half, and
    never later than it has been known for: that nothing changed within an hour says little of a month.
    """
    seen = known.checked - known.first
    if known.checks == 0 or seen <= 0:
        return known.checked + least
    rate = -log((known.checks - known.changes + 0.5) / (known.checks + 0.5))  # per look
    wait = min(seen, log(2) / rate * (seen / known.checks)) if rate > 0 else seen
    return known.checked + min(max(wait, least), most)


def row_of(sighting: Sighting, record: Record, place: Place) -> list[Any] | None:
    """What the log of sightings says of an end: a fingerprint alone where nothing new is known of its URL, null beside
    it where it is gone; None where there is nothing to say.
    """
    if sighting.fetched and sighting.known is None:  # most, in a first run: as `remembered` has it, but not a word more
        at = sighting.at
        told = [record.sha256, record.bytes, record.etag, record.last_modified, record.content_type, place.body]
        first = [record.final_url, place.holder, at, at, at, 0, 0, *told, sighting.fresh_until]
        return [sighting.print_, first]
    if sighting.fetched:
        return [sighting.print_, list(remembered(sighting, record, place))]
    if sighting.known is None:
        return None
    return [sighting.print_, None] if sighting.change == GONE else [sighting.print_]


def sayable(row: list[Any]) -> list[Any]:
    """A row without the texts that JSON cannot carry, as headers are whose bytes are no UTF-8: such a validator could
    not be given back to its server as it was.
    """
    if len(row) == 1 or row[1] is None:
        return row
    return [row[0], [None if isinstance(said, str) and not _is_utf8(said) else said for said in row[1]]]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
