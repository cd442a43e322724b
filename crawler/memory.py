"""How much memory this process holds, and whether that is too much.

Does: read it from the kernel and say so when it passes the limit. Must not know what is done about it. Invariant:
never raises; what cannot be told is never too much; full above the limit, free again only below nine tenths of it.
"""

from __future__ import annotations

import logging
import os

log = logging.getLogger("crawler")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FREE = 0.9


def resident() -> int:
    """Resident bytes (VmRSS), 0 where /proc does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


class MemoryGuard:
    """Watches over `limit` bytes (None: any)."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.full = False

    def look(self) -> bool:
        """Look once; True when `full` changed."""
        if self._limit is None:
            return False
        now = resident()
        if self.full == (now > self._limit if not self.full else now >= _FREE * self._limit):
            return False
        self.full = not self.full
        then = f"limits.memory is {self._limit >> 20} MB: nothing new is begun" if self.full else "going on"
        log.warning("memory: %d MB held, %s", now >> 20, then)
        return True
