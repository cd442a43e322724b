"""Bytes per second, for the whole job and for each host.

Does: wait until so many bytes may pass. Must not know what they are. Invariant: at most a tenth of a second's worth
passes in one go, and those who wait take turns.
"""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from crawler.model import Request
from crawler.urls import netloc


class Bandwidth:
    """The caps of one run: `job` for all together, `of` for a host, with its port (None: any)."""

    def __init__(self, job: float | None, of: Callable[[str], float | None]) -> None:
        self._job = _Cap(job) if job is not None else None
        self._of = of
        self._hosts: dict[tuple[str, float], _Cap] = {}

    def change(self, job: float | None) -> None:
        """Another cap of the whole job; a piece that waits already waits at the old one."""
        self._job = _Cap(job) if job is not None else None

    async def spend(self, request: Request, size: int) -> None:
        """Wait until the answer to a request may have brought so many bytes more."""
        rate = self._of(netloc(request.url))
        if rate is not None:
            cap = self._hosts.get((request.host, rate))
            if cap is None:
                cap = self._hosts[request.host, rate] = _Cap(rate)
            await cap.spend(size)
        if self._job is not None:
            await self._job.spend(size)


class _Cap:
    """Bytes per second. The limiter lets who wants least go first, so that a large answer could wait for ever: only
    the one at the head of the line asks it.
    """

    __slots__ = ("_limiter", "_line")

    def __init__(self, rate: float) -> None:
        burst = max(1.0, rate / 10)
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._line = Lock()

    async def spend(self, size: int) -> None:
        left = float(size)
        while left > 0:
            part = min(left, self._limiter.max_rate)
            async with self._line:
                await self._limiter.acquire(part)
            left -= part
