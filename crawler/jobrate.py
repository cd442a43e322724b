"""The rate of the whole job: a token bucket that is paid from before each request.

Does: make whoever pays wait for the next token. Must not know requests or hosts. Invariant: no more than `rate` times
the seconds and one burst go; a stop is heard at once, however slow the rate.
"""

from __future__ import annotations

import asyncio

from aiolimiter import AsyncLimiter

from crawler.bound import at_once


class JobRate:
    """`rate` in requests per second; None lets all go at once."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._limiter = _limiter(rate)
        self._paying: asyncio.Future[None] | None = None
        self._stopped = False

    @property
    def free(self) -> bool:
        """Is nothing to be paid."""
        return self._limiter is None

    @property
    def paying(self) -> bool:
        """Does somebody wait for a token."""
        return self._paying is not None and not self._paying.done()

    def change(self, rate: float | None) -> None:
        """Another rate from now on. Whoever pays at the old one pays anew."""
        self.rate = rate
        self._limiter = _limiter(rate)
        if self._paying is not None:
            self._paying.cancel()

    def stop(self) -> None:
        """Nobody waits any longer."""
        self._stopped = True
        if self._paying is not None:
            self._paying.cancel()

    async def pay(self) -> bool:
        """Wait until one more may go; False when stopped or changed meanwhile."""
        if self._limiter is None:
            return True
        paying = self._paying = asyncio.ensure_future(self._limiter.acquire())
        try:
            # Not the task itself: a cancellation would go on to it, and the limiter's wait_for loses one that comes
            # together with its token (Python 3.11).
            await asyncio.wait([paying])
        finally:
            paying.cancel()
        if self._stopped or paying.cancelled():
            return False
        paying.result()
        return True


def _limiter(rate: float | None) -> AsyncLimiter | None:
    return AsyncLimiter(at_once(rate), at_once(rate) / rate) if rate else None
