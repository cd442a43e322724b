"""What stands in the record of a request that came to its end.

Decides which of its fields an outcome fills. Must not know why it is an end, the job, or where records are written.
Invariant: `attempts` counts what was sent; a request that was never sent has no timing.
"""

from __future__ import annotations

from typing import NamedTuple

from crawler.capture import METHOD
from crawler.errors import Reason
from crawler.model import Elapsed, Fetched, Record, Request, Timing
from crawler.stamps import stamp
from crawler.urls import as_websocket


class Fault(NamedTuple):
    """Why an attempt was no success."""

    reason: Reason
    error: str
    status: int | None


def fetched_record(run: str, outcome: Fetched) -> Record:
    """The record of a success, without its headers."""
    headers = outcome.headers
    record = record_of(run, outcome.request, "fetched", None, outcome.timing, outcome.request_id)
    record.status = outcome.status
    if outcome.request.method != METHOD:
        record.bytes, record.sha256 = outcome.body.size, outcome.body.sha256
        record.length_checked = outcome.length_checked
    record.content_type = headers.get("Content-Type")
    record.charset = outcome.charset
    record.etag = headers.get("ETag")
    record.last_modified = headers.get("Last-Modified")
    if outcome.warning is not None:
        record.warning = "; ".join(filter(None, [record.warning, outcome.warning]))
    return record


def record_of(
    run: str,
    request: Request,
    outcome: str,
    fault: Fault | None,
    timing: Timing | None = None,
    request_id: str | None = None,
) -> Record:
    """The record of any end; `outcome` is fetched, failed or skipped. Without a `timing` nothing was sent."""
    record = Record(
        id=request.id,
        run=run,
        url=request.seed,
        final_url=request.url,
        method=request.method,
        outcome=outcome,
        reason=fault.reason.slug(fault.status) if fault else None,
        status=fault.status if fault else None,
        attempts=request.attempt if timing else request.attempt - 1,
        started_at=stamp(timing.started_at) if timing else None,
        elapsed_ms=Elapsed(timing.dns, timing.connect, timing.ttfb, timing.total) if timing else None,
        bytes=None,
        frames=None,
        sha256=None,
        content_type=None,
        charset=None,
        headers=None,
        etag=None,
        last_modified=None,
        depth=request.depth,
        page=request.page.number if request.page else None,
        referrer=request.referrer,
        length_checked=None,
        request_id=request_id,
        input=request.input,
        place=str(request.place) if request.place else None,
        warning=request.warning,
        error=fault.error if fault else None,
        body=None,
    )
    if request.method == METHOD:
        _of_capture(record, request)
    return record


def _of_capture(record: Record, request: Request) -> None:
    """A WebSocket is named by its own scheme, and has what came of it whether it ended well or not."""
    record.url, record.final_url = as_websocket(request.seed), as_websocket(request.url)
    if request.captured is not None:
        record.bytes, record.frames = request.captured.bytes, request.captured.frames
