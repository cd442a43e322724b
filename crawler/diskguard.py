"""How much room the file system of a job has, asked again and again; what is written there is let in, or turned away.

Does: ask the kernel, say when the disk is full and when it no longer is, turn "no space left" into NoRoom; keep some
space in reserve for the checkpoint. Must not know what is done about a full disk, requests or the wire. Invariant:
looking never raises, and what cannot be told is never too little; the reserve is given up before the checkpoint fails.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path

from crawler.errors import Reason, StorageError
from crawler.room import Growing, Headroom, Room, Space, Turned
from crawler.wirefaults import TransportError

log = logging.getLogger("crawler")

NO_HEADROOM = Headroom(0, 0.0)
_EVERY = 0.25  # seconds between two looks
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SMALL = 256 * 1024  # bodies up to this size stay in memory until their commit, and the headroom is for these too
_RESERVE = 8 * 1024**2  # the WAL of some groups
_SHARE = 32  # of a small file system only such a part
_BLOCK = 512  # bytes, whatever the file system's own (stat(2), st_blocks)
_PLENTY = Space(1 << 62, 1 << 62)  # of a file system that does not say


class NoRoom(OSError):
    """A body found no room on the disk; its request is to be made again once there is some. No fault of its server."""


def space_of(folder: Path) -> Space:
    """What the file system says of itself, by the nearest folder above that exists; plenty where it does not."""
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        said = os.statvfs(nearest)
    except OSError:
        return _PLENTY
    return Space(said.f_bavail * said.f_frsize, said.f_blocks * said.f_frsize, said.f_favail, said.f_files)


def require_room(folder: Path, headroom: Headroom) -> None:
    """Raise StorageError where a run could not begin for want of room; touches nothing."""
    room = Room(headroom, 0.0)
    room.see(space_of(folder))
    if room.judge(0.0):
        raise StorageError(f"{folder}: {room.why}; nothing was begun")


class DiskGuard:
    """Watches over the file system of `folder` (None: nothing is written, nothing is ever full).

    It is `hopeless` once it was full, and nothing was written, for `patience` seconds. Each body is written `copies`
    times. `ask` stands in for the kernel.
    """

    def __init__(
        self,
        folder: Path | None,
        headroom: Headroom = NO_HEADROOM,
        patience: float = 30.0,
        copies: int = 1,
        ask: Callable[[Path], Space] = space_of,
    ) -> None:
        self._folder = folder
        self._ask = ask
        self._room = Room(headroom, patience)
        self._copies = copies
        self._looked_at = -inf
        self._told = False
        self._room.see(self._space())

    def __repr__(self) -> str:
        return f"<DiskGuard {self._folder} {self._room!r}>"

    @property
    def full(self) -> bool:
        """Is nothing new to be begun."""
        return self._room.full

    @property
    def hopeless(self) -> bool:
        """Was it full for so long that the run is to end."""
        return self._room.hopeless

    @property
    def why(self) -> str:
        """How full it is, in words."""
        return f"{self._folder}: {self._room.why}"

    def look(self, now: float) -> bool:
        """Look, unless it was looked at just now; True when `full` changed since."""
        if self._folder is None or now - self._looked_at < _EVERY:
            return False
        self._looked_at = now
        self._room.see(self._space())
        changed = self._room.judge(now) or self.full != self._told
        if self.full != self._told:
            log.warning("%s: %s", self.why, "nothing new is begun" if self.full else "going on")
        self._told = self.full
        return changed

    @contextmanager
    def writing(self, length: int | None) -> Iterator[Writing]:
        """While a body of so many bytes (None: who knows) is written and, if that fails, its file is removed.

        Raises NoRoom, also in place of the OSError of a disk that is full; TransportError where it can never fit.
        """
        if self._folder is None:
            yield Writing(self._room, Growing(), self._space)
            return
        if length is None or length <= _SMALL:
            body = self._room.begin(None)
        else:
            self._room.see(self._space())
            body = self._room.begin(length * self._copies)
        if body is Turned.FOR_EVER:
            raise TransportError(Reason.TOO_LARGE, f"Content-Length is {length} bytes, more than the disk could hold")
        if body is Turned.NOW:
            raise NoRoom(errno.ENOSPC, f"no room for a body of {length} bytes")
        whole = False
        try:
            yield Writing(self._room, body, self._space)
            whole = True
        except NoRoom:
            raise
        except OSError as error:
            if error.errno not in _FULL:
                if error.filename is None:
                    error.filename = str(self._folder)  # a write names no file
                raise
            self._room.struck(body, quota=error.errno == errno.EDQUOT)
            raise NoRoom(error.errno, f"no room for a body: {error.strerror}") from error
        finally:
            self._room.end(body, whole=whole)

    def _space(self) -> Space:
        return self._ask(self._folder) if self._folder is not None else _PLENTY


class Writing:
    """A body that is being written."""

    def __init__(self, room: Room, body: Growing, space: Callable[[], Space]) -> None:
        self._room = room
        self._body = body
        self._space = space

    def more(self, given: int) -> None:
        """To be called before each piece is handed over, with all bytes so far; the piece before the last one has been
        written by then. Raises NoRoom where it must not grow.
        """
        self._room.see(self._space())  # a few us a MiB; in a quarter of a second a fast network fills the headroom
        if not self._room.grow(self._body, given):
            raise NoRoom(errno.ENOSPC, f"the disk is full; a body of {given} bytes so far is given up")


class Reserve:
    """Space kept for the checkpoint: a file that is given up when the disk is full to its last byte."""

    def __init__(self, folder: Path, headroom: Headroom = NO_HEADROOM) -> None:
        self._path = folder / "reserve"
        self._headroom = headroom

    def __repr__(self) -> str:
        return f"<Reserve {self._path}>"

    def keep(self) -> bool:
        """Make the file where it is missing and there is room for it; False where there is none. Never raises."""
        try:
            kept = self._made(space_of(self._path.parent))
        except OSError:  # some file systems tell only when a file is closed
            kept = False
        if not kept:
            self.release()
        return kept

    def _made(self, space: Space) -> bool:
        """Raises OSError."""
        size = min(_RESERVE, space.total // _SHARE)
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            missing = size - os.fstat(fd).st_blocks * _BLOCK
            kept = missing <= 0 or space.free - missing >= self._headroom.of(space)
            if kept and missing > 0:
                os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
        return kept

    def release(self) -> None:
        """Give the space up. Never raises."""
        with suppress(OSError):
            os.unlink(self._path)
