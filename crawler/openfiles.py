"""How many requests may be under way with the files that this process may have open; sockets are files as well.

Decides: how many workers and idle connections fit under the limit, and how many once a file could not be opened. Must
not know rlimits, sockets or tasks: what is open, and how many may be, is given. Invariant: never fewer than one; a
shrunk crew does not grow again in this run, and is told of once.
"""

from __future__ import annotations

from typing import NamedTuple

# A connection, the file that its body goes to, and the file that is sent or a second address that is tried.
_EACH = 3
# Beside what is open at the start: files and folders that are made durable, the next part of an output, who looks on.
_BESIDE = 8
_ALONE = 40  # times in a row that not even one request found a file


class Fitted(NamedTuple):
    """What fits: requests under way at once, and connections that are kept while nobody uses them.

    `warning` is a sentence where fewer fit than were wanted.
    """

    at_once: int
    idle: int
    warning: str | None = None


def needed(workers: int, in_use: int) -> int:
    """How many open files so many workers need, where so many are open before they begin."""
    return in_use + _BESIDE + _EACH * workers


def fitted(workers: int, limit: int, in_use: int) -> Fitted:
    """What fits under `limit` open files (RLIMIT_NOFILE), where so many are open before the workers begin."""
    wanted = needed(workers, in_use)
    if wanted <= limit:
        return Fitted(workers, limit - wanted)
    at_once = max(1, (limit - needed(0, in_use)) // _EACH)
    return Fitted(at_once, 0, f"{_want(workers, wanted)}; the limit is {limit} (ulimit -n): at most {at_once} at once")


class Crew:
    """How many of `workers` may be at work."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._alone = 0
        self.allowed = workers
        self.hopeless = False  # not even one finds a file to open

    def __repr__(self) -> str:
        return f"<Crew {self.allowed} of {self._workers}>"

    @property
    def missing(self) -> int:
        """How many of them stay idle."""
        return self._workers - self.allowed

    def struck(self, under_way: int, in_use: int) -> str | None:
        """A file could not be opened while so many requests were under way; a sentence to be told, the first time."""
        first = self.allowed == self._workers
        self._alone = self._alone + 1 if under_way <= 1 else 0
        self.hopeless = self._alone >= _ALONE
        self.allowed = max(1, min(self.allowed, under_way - max(1, under_way // 4)))
        if not first or self.allowed == self._workers:
            return None
        said = _want(self._workers, needed(self._workers, in_use))
        return f"{said}, and no more can be opened (ulimit -n): at most {self.allowed} at once"

    def fine(self) -> None:
        """A request found the files it needed."""
        self._alone = 0


def _want(workers: int, wanted: int) -> str:
    return f"limits.workers is {workers}, which needs {wanted} open files"
