"""A place where one task waits until it is told, or until a moment.

Does: what asyncio.Event and a timer do together, without a task for the timeout. Must not know who waits. Invariant:
a `set` that comes while nobody waits is not lost.
"""

from __future__ import annotations

import asyncio
from math import inf


class Wake:
    """For one waiting task."""

    def __init__(self) -> None:
        self._told = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Let the waiting task go on; remembered when none waits."""
        self._told = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, until: float = inf) -> None:
        """Wait to be told, at most until `until` on the loop's clock."""
        if not self._told:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_at(until, self.set) if until < inf else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        self._told = False
