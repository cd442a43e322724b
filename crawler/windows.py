"""A file looked at here and there, through a window of some KiB: what walks over headers need.

Decides nothing but what is cut. Must not know any format, or files: `read` gives bytes as os.pread does. Invariant: no
more than one window is held, and nobody takes more than a bounded number of steps, whatever a file says.
"""

from __future__ import annotations

from collections.abc import Callable

Read = Callable[[int, int], bytes]

_HELD = 64 * 1024
_STEPS = 1_000_000  # a second of work; a hostile file has a header every three bytes


class Cut(Exception):
    """The file is not whole; the text says why, after "is a zip, and"."""


class Endless(Exception):
    """Too many parts to look at them all, so that nobody can say."""


class Window:
    """The bytes of a file of `size` bytes."""

    def __init__(self, read: Read, size: int) -> None:
        self.size = size
        self._read = read
        self._at = 0
        self._held = b""
        self._steps = _STEPS

    def __repr__(self) -> str:
        return f"<Window {self._at}+{len(self._held)} of {self.size}>"

    def read(self, at: int, length: int) -> bytes:
        """Up to so many bytes from an offset, fewer at the end."""
        if at < 0 or at >= self.size or length <= 0:
            return b""
        length = min(length, self.size - at)  # the file may go on behind it
        start = at - self._at
        if start < 0 or start + length > len(self._held):
            if length > _HELD:
                return self._read(at, length)
            self._at, self._held, start = at, self._read(at, _HELD), 0
        return self._held[start : start + length]

    def need(self, at: int, length: int, why: str) -> bytes:
        """So many bytes from an offset, as one step. Raises Cut, with `why`, where they are not there, and Endless."""
        self.step()
        found = self.read(at, length)
        if len(found) < length:
            raise Cut(why)
        return found

    def past(self, at: int, why: str) -> int:
        """The offset itself. Raises Cut, with `why`, where it lies behind the end."""
        if at > self.size:
            raise Cut(why)
        return at

    def step(self) -> None:
        """One step of a walk. Raises Endless where there were too many."""
        self._steps -= 1
        if self._steps < 0:
            raise Endless
