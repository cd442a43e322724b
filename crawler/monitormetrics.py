"""A job as the monitor sees it, for the metrics.

Decides how one becomes the other. Must not know HTTP or the text of metrics. Invariant: a job that was never run has no
standing.
"""

from __future__ import annotations

from crawler.metrics import STATES, Standing
from crawler.monitorviews import JobView

_AT_WORK = ("running", "draining", "paused")


def standing(view: JobView) -> Standing:
    """The numbers of its last run."""
    return Standing(
        job=view.job,
        run=view.run or "",
        state="running" if view.state in _AT_WORK else view.state if view.state in STATES else "stopped",
        started=view.started or 0.0,
        ended=view.ended,
        exit_code=view.exit_code,
        fetched=view.fetched,
        failed=view.failed,
        skipped=view.skipped,
        bytes=view.bytes,
        retries=view.retries,
        waiting=view.waiting,
        in_flight=view.in_flight,
        rate=view.rate if view.state in _AT_WORK else 0.0,
        reasons=view.reasons,
        last_success=view.last_success,
    )
