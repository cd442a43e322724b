"""Keeps the token of one OAuth 2 section: one renewal at a time, over all tasks and over all processes of a cache file.

Does: ask the token endpoint, back off from it, keep the cache. Must not know HTTP, nor what a token is used for. Never
waits for a moment: within a back-off callers get the last fault at once. Invariant: where there is a cache, a refresh
token is sent by the holder of its lock alone, after it read the cache, and holds it until the new one is written.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from crawler.auth.oauth2 import NO_PAUSE, OAuth2, Pause, wait_after
from crawler.errors import Reason
from crawler.grants import TokenAnswer, TokenFault, TokenRequest, TokenTrouble
from crawler.tokencache import CacheFile, FileLock, Seen

LOCK_WAIT = 30.0  # seconds; a renewal of a process that is alive takes less

Ask = Callable[[TokenRequest], Awaitable[TokenAnswer]]


class TokenKeeper:
    """Renews the token of `scheme`. `ask` ends in bounded time, and raises TokenTrouble where it got no whole answer.

    `cache`: a file that several sections and processes may share, None: no file. When another process holds its lock
    for `lock_wait` seconds, client credentials go on without the cache; a refresh token is not sent, since the other
    may be using it up. `clock` tells wall seconds.
    """

    def __init__(
        self,
        scheme: OAuth2,
        ask: Ask,
        cache: Path | None,
        clock: Callable[[], float] = time.time,
        *,
        lock_wait: float = LOCK_WAIT,
    ) -> None:
        self._scheme = scheme
        self._ask = ask
        self._file = None if cache is None else CacheFile(cache)
        self._clock = clock
        self._lock_wait = lock_wait
        self._task: asyncio.Task[TokenFault | None] | None = None
        self._fault: TokenFault | None = None  # the last one, while it stands
        self._pause = NO_PAUSE  # how long it stands
        self._failures = 0  # in a row
        self._seen: Seen = None  # the cache as the last renewal found it

    def __repr__(self) -> str:
        return f"<TokenKeeper {self._scheme} failures={self._failures}{' renewing' if self._task else ''}>"

    async def renew(self) -> TokenFault | None:
        """Have a token that is not stale: None, or why there is none, and for how many seconds that stands.

        Callers share one renewal, which goes on when any of them is cancelled. AUTH_REJECTED stands for the run, and
        every fault until another process changes the cache. Raises only what `ask` raises beside TokenTrouble.
        """
        now = self._clock()
        if not self._scheme.stale(now):
            return None
        if self._task is None:
            if (fault := self._standing(now)) is not None and self._seen == self._look():
                return fault
            self._task = asyncio.create_task(self._renewal())
            self._task.add_done_callback(self._done)
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        """Let a renewal under way end: a refresh token that was sent may be used up, and the answer holds the next."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _renewal(self) -> TokenFault | None:
        if self._file is None:
            fault = self._noted(await self._asked())
        else:
            lock, busy = None, False
            try:
                lock = await self._file.lock(self._lock_wait)
            except TimeoutError:
                busy = True
            fault = await self._shared(self._file, lock, busy)
        return fault if self._scheme.stale(self._clock()) else None

    async def _shared(self, file: CacheFile, lock: FileLock | None, busy: bool) -> TokenFault | None:
        """A renewal by what the cache says, under its lock if there is one, which is given back."""
        try:
            self._seen, known = await asyncio.to_thread(file.read)
            taken = self._scheme.from_cache(known)
            now = self._clock()
            if not self._scheme.stale(now):
                return self._noted(None)
            fault = self._standing(now)
            if fault is not None and not (taken and fault.reason is Reason.AUTH_REJECTED):
                return fault
            if busy and self._scheme.settings.grant == "refresh_token":
                return self._noted(self._scheme.locked_out(str(file.path)))
            fault = await self._asked()
            if fault is None and lock is not None:
                # In a thread that is waited for also when we are not: a rotated refresh token must not be lost.
                loop, text, mine, lock = asyncio.get_running_loop(), self._scheme.to_cache(known), lock, None
                await asyncio.shield(loop.run_in_executor(None, file.write, mine, text))
            return self._noted(fault)
        finally:
            if lock is not None:
                lock.release()

    async def _asked(self) -> TokenFault | None:
        try:
            answer = await self._ask(self._scheme.renewal())
        except TokenTrouble as trouble:
            return self._scheme.unanswered(str(trouble))
        return self._scheme.renewed(answer, self._clock())

    def _noted(self, fault: TokenFault | None) -> TokenFault | None:
        """The end of a renewal: from when on may there be another."""
        self._fault, self._pause = fault, NO_PAUSE
        self._failures = 0 if fault is None else self._failures + 1
        if fault is None:
            return None
        if fault.reason is Reason.AUTH_REJECTED:
            self._pause = Pause(-math.inf, math.inf)
        else:
            now = self._clock()
            self._pause = Pause(now, now + max(wait_after(self._failures), fault.retry_in or 0.0))
        self._scheme.postpone(self._pause)
        return self._standing(self._pause.since)

    def _standing(self, now: float) -> TokenFault | None:
        """The last fault, if it still stands, with the seconds for which it does."""
        if self._fault is None or not self._pause.holds(now):
            return None
        left = self._pause.until - now
        return self._fault if math.isinf(left) else self._fault._replace(retry_in=left)

    def _look(self) -> Seen:
        return None if self._file is None else self._file.look()

    def _done(self, task: asyncio.Task[TokenFault | None]) -> None:
        self._task = None
