"""Whether and when a failed attempt is made again: the job's [retry] section is the policy itself.

Decides by the reason table, the job's statuses and attempts, the method and what the server asked for. Must not know
hosts or queues; `now` is monotonic, `rng` given. Invariant: a request is never due before the server's Retry-After
(bounded by retry_after_max), and one that may have had an effect is never sent twice unasked.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from crawler.errors import POLICY, Reason
from crawler.units import Duration

# RFC 9110 9.2.2. PUT and DELETE are idempotent too.
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
# The server surely never saw the request, or says by its status that it did nothing.
_NOT_SENT = frozenset(
    {
        Reason.DNS_FAILED,
        Reason.DNS_NOT_FOUND,
        Reason.CONNECT_REFUSED,
        Reason.CONNECT_FAILED,
        Reason.CONNECT_TIMEOUT,
        Reason.PROXY_REFUSED,
        Reason.AUTH_UNAVAILABLE,
    }
)
_REFUSED = frozenset({425, 429, 503})
_SECONDS = re.compile(r"\s*(\d{1,15})\s*(?:[,;].*)?\Z", re.ASCII | re.DOTALL)


class Again(NamedTuple):
    """Another attempt, not before this moment (monotonic seconds)."""

    not_before: float


class GiveUp(NamedTuple):
    """No further attempt."""


class Backoff(BaseModel):
    """Waits between attempts: initial * factor**n, at most `max`, with full jitter (AWS, 2015) or none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial: Duration = Field(0.5, ge=0)
    factor: float = Field(2.0, ge=1, le=100)
    max: Duration = Field(120.0, ge=0)
    jitter: Literal["full", "none"] = "full"

    def delay(self, attempt: int, rng: Random) -> float:
        """Seconds to wait after the `attempt`th failure (from 1)."""
        ceiling = self.ceiling(attempt)
        return rng.uniform(0.0, ceiling) if self.jitter == "full" else ceiling

    def ceiling(self, attempt: int) -> float:
        """The longest wait after the `attempt`th failure in a row; 0 after none."""
        if self.initial == 0 or attempt < 1:
            return 0.0
        # The exponent is bounded so that a large attempt cannot overflow a float.
        return float(min(self.max, self.initial * self.factor ** min(attempt - 1, 100)))


class RetryPolicy(BaseModel):
    """The [retry] section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(5, ge=1, le=1000)
    backoff: Backoff = Backoff()
    methods: tuple[Literal["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"], ...] = (
        "GET",
        "HEAD",
        "OPTIONS",
        "PUT",
        "DELETE",
    )
    statuses: tuple[int, ...] = (408, 425, 429, 500, 502, 503, 504)
    retry_after_max: Duration = Field(3600.0, ge=0)

    def decide(
        self, reason: Reason, status: int | None, attempt: int, method: str, now: float, rng: Random, wait: float | None
    ) -> Again | GiveUp:
        """After the `attempt`th failure: again or not. `wait`: the server's Retry-After in seconds, if it sent one."""
        if not self._allows(reason, status, attempt, method):
            return GiveUp()
        delay = self.backoff.delay(attempt, rng)
        if wait is not None:
            # The jitter comes on top: all clients were given the same moment.
            return Again(now + min(wait, self.retry_after_max) + min(delay, 1.0))
        return Again(now + delay)

    def _allows(self, reason: Reason, status: int | None, attempt: int, method: str) -> bool:
        if reason is Reason.STATUS:
            if status not in self.statuses:
                return False
            tries: int | None = None
        else:
            tries = POLICY[reason].tries
        if attempt >= (self.attempts if tries is None else min(tries, self.attempts)):
            return False
        if method == "WEBSOCKET":  # whether it is connected again, [websocket] reconnect says
            return True
        return method in self.methods or reason in _NOT_SENT or (reason is Reason.STATUS and status in _REFUSED)


def retry_after(value: str | None, date: str | None, wall_now: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 10.2.3), or None where it says nothing usable.

    A date counts from the response's own `date`, so that a wrong clock on either side does no harm; a past one is 0.
    Of several values the first counts. Never raises, never negative, never inf.
    """
    if not value:
        return None
    if match := _SECONDS.match(value):
        return float(match[1])
    until = http_date(value)
    if until is None:
        return None
    sent = http_date(date) if date else None
    return max(0.0, until - (sent if sent is not None else wall_now))


def http_date(text: str) -> float | None:
    """Wall seconds of an HTTP-date in any of its three forms (RFC 9110 5.6.7)."""
    text = text.strip()[:64]
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            moment = datetime.strptime(text, "%A, %d-%b-%y %H:%M:%S GMT")  # RFC 850
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        return None
