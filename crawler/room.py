"""Is there room on the disk: a headroom with hysteresis, and the bytes that bodies on their way were promised.

Decides: may something new begin, may a body of a known length be read, must one that grows stop, was waited in vain.
Must not know statvfs, files or tasks: what the file system says is given, `now` is monotonic seconds. Invariant: what
was promised is never given to another; full below the headroom, free again only some way above it, and above it by as
much as what was turned away needs.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

# Free again a quarter above the headroom, or so many bytes if that is less: what a run writes between two looks, lest
# it stop and go with each of them; a quarter of 100 GB (1% of a large disk) would be absurd.
_SLACK = 64 * 1024**2
# File names kept free at least: some groups of records commit a thousand bodies at once.
_NAMES = 256
_STRIKES = 3  # in a row, and what the file system says of itself is believed no longer


class Space(NamedTuple):
    """A file system as its user finds it: bytes `free` for him and in all, and the same of file names (inodes).

    `names` is 0 where they are not counted.
    """

    free: int
    total: int
    free_names: int = 0
    names: int = 0


class Headroom(NamedTuple):
    """What is to stay free: so many bytes or so many percent, whichever is more; both 0: nothing is."""

    bytes: int
    percent: float

    def of(self, space: Space) -> int:
        """In bytes."""
        return max(self.bytes, int(space.total * self.percent / 100))

    def names_of(self, space: Space) -> int:
        """In file names; no more than an eighth of all."""
        if not space.names or not (self.bytes or self.percent):
            return 0
        return min(space.names // 8, max(_NAMES, int(space.names * self.percent / 100)))


class Turned(Enum):
    """Why a body is turned away."""

    NOW = "now"  # the disk is too full at present
    FOR_EVER = "for ever"  # it would not fit, were the disk empty


class Growing:
    """A body on its way to disk, in bytes: `promised` is 0 where nobody knows its length, `given` is what was handed
    over so far, `written` what is surely on disk of it: a file is written while the next piece comes.
    """

    __slots__ = ("_before", "given", "promised", "written")

    def __init__(self, promised: int = 0) -> None:
        self.promised = promised
        self.given = 0
        self._before = 0
        self.written = 0

    def __repr__(self) -> str:
        return f"<Growing {self.given} of {self.promised}>"

    def give(self, given: int) -> None:
        """So much of it is handed over now; the piece before the last one has been written."""
        self.written, self._before, self.given = self._before, self.given, given

    @property
    def size(self) -> int:
        """What it needs at least."""
        return max(self.given, self.promised)


class Room:
    """The room of one run. It gives up after `patience` seconds in which it was full and nothing grew."""

    def __init__(self, headroom: Headroom, patience: float) -> None:
        self._headroom = headroom
        self._patience = patience
        self._space: Space | None = None
        self._growing: set[Growing] = set()
        self._needed = 0  # bytes that the largest body needs of those that were turned away
        self._strikes = 0  # how often the kernel found no room where the file system said there is, in a row
        self._quota = False
        self._idle_since: float | None = None  # full, and nothing grows
        self.full = False
        self.hopeless = False  # was full for too long

    def __repr__(self) -> str:
        return f"<Room full={self.full} available={self.available} growing={len(self._growing)} needed={self._needed}>"

    @property
    def available(self) -> int:
        """Bytes free that nobody was promised, those of the headroom among them."""
        if self._space is None:
            return 0
        return self._space.free - sum(max(0, body.promised - body.written) for body in self._growing)

    @property
    def headroom(self) -> int:
        """Bytes that are to stay free."""
        return self._headroom.of(self._space) if self._space is not None else 0

    @property
    def enough(self) -> int:
        """Bytes that must be available for a full disk to count as free again."""
        headroom = self.headroom
        return headroom + min(headroom // 4, _SLACK) + self._needed

    @property
    def why(self) -> str:
        """How full it is, in words."""
        if self._short_of_names():
            return "few file names (inodes) are left"
        if self.available >= self.enough:
            return f"{_size(self.available)} free, but it takes no more (a quota?)"
        return f"{_size(max(0, self.available))} free, {_size(self.enough)} are wanted (output.min_free)"

    def see(self, space: Space) -> None:
        """What the file system says now."""
        self._space = space

    def judge(self, now: float) -> bool:
        """By what was seen last: fill up or be free again; True when `full` changed."""
        before = self.full
        if not self.full:
            self.full = self.available < self.headroom or self._short_of_names()
        elif not self._blind and self.available >= self.enough and not self._short_of_names(slack=True):
            self.full = False
            self._needed = 0
        if not self.full or self._growing:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        self.hopeless = self._idle_since is not None and now - self._idle_since >= self._patience
        return self.full != before

    def begin(self, length: int | None) -> Growing | Turned:
        """A body of `length` bytes on disk (None: who knows) is about to be read: a promise, or why there is none.

        One that is turned away makes the disk full until there is room for it.
        """
        assert self._space is not None
        if length is not None and length > self._space.total - self.headroom:
            return Turned.FOR_EVER
        if length is not None and self.available - length < self.headroom:
            self._turn_away(length)
            return Turned.NOW
        body = Growing(length or 0)
        self._growing.add(body)
        return body

    def grow(self, body: Growing, given: int) -> bool:
        """So much of it is handed over now; False where it must stop, and is turned away.

        In the lower half of the headroom only what was promised goes on, in the last eighth nothing: it is for the
        checkpoint and the records of what is done.
        """
        assert self._space is not None
        body.give(given)
        headroom, free = self.headroom, self._space.free
        if free >= headroom // 2 or (given <= body.promised and free >= headroom // 8):
            return True
        self._turn_away(body.size)
        return False

    def struck(self, body: Growing, *, quota: bool) -> None:
        """The kernel found no room for it, whatever it was promised; its file is gone. `quota`: one that is not seen
        in what the file system says of itself.
        """
        if not self.full:
            self._strikes += 1
        self._quota = self._quota or quota
        self._turn_away(body.size)

    def end(self, body: Growing, *, whole: bool) -> None:
        """It is all there, or given up."""
        self._growing.discard(body)
        if whole:
            self._strikes = 0

    @property
    def _blind(self) -> bool:
        """What the file system says cannot be believed: a full disk stays full."""
        return self._quota or self._strikes >= _STRIKES

    def _turn_away(self, length: int) -> None:
        self.full = True
        self._needed = max(self._needed, length)

    def _short_of_names(self, *, slack: bool = False) -> bool:
        if self._space is None:
            return False
        least = self._headroom.names_of(self._space)
        return self._space.free_names < (least + least // 4 if slack else least)


def _size(count: int) -> str:
    return f"{count / 1024**2:,.0f} MiB" if count >= 10 * 1024**2 else f"{count / 1024:,.0f} KiB"
