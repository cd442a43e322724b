"""The output folder as the monitor may see it: its jobs, and files within them.

Does: list, and open for reading, a step at a time. Must not know what the files hold, nor write. Invariant: whatever a
name says, nothing outside of the output folder is opened: each step is one name relative to the folder before it, no
symlink is followed (`latest` is never needed), and only regular files are opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

JOBS = 1000  # listed at most
_LONGEST = 255  # bytes of a name
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Sign(NamedTuple):
    """By which a file is known to be as it was."""

    inode: int
    size: int
    changed: int  # nanoseconds


NONE = Sign(0, 0, 0)


class Tree:
    """Jobs, each a folder with a state.db, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"<Tree {self.root}>"

    def jobs(self) -> list[str]:
        """The names of the jobs that were ever run, sorted; none where the folder cannot be read."""
        found = []
        with suppress(OSError), os.scandir(self.root) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and self.is_job(entry.name):
                    found.append(entry.name)
        return sorted(found)[:JOBS]

    def is_job(self, name: str) -> bool:
        """Is there such a job."""
        return _is_name(name) and self.sign(name, "state.db") != NONE

    def sign(self, *steps: str) -> Sign:
        """The sign of a regular file; NONE where there is none."""
        with suppress(OSError, ValueError), self._within(steps[:-1]) as folder:
            said = os.stat(_checked(steps[-1]), dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(said.st_mode):
                return Sign(said.st_ino, said.st_size, said.st_mtime_ns)
        return NONE

    def is_folder(self, *steps: str) -> bool:
        """Is there such a folder."""
        with suppress(OSError, ValueError), self._within(steps):
            return True
        return False

    @contextmanager
    def open(self, *steps: str) -> Iterator[int]:
        """The descriptor of a regular file. Raises FileNotFoundError for whatever is none, or cannot be read."""
        fd = self.opened(*steps)
        try:
            yield fd
        finally:
            os.close(fd)

    def opened(self, *steps: str) -> int:
        """The same, for whoever closes it."""
        try:
            with self._within(steps[:-1]) as folder:
                fd = os.open(_checked(steps[-1]), _FILE, dir_fd=folder)
        except (OSError, ValueError) as error:
            raise FileNotFoundError("there is no such file") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError("there is no such file")
        return fd

    @contextmanager
    def _within(self, steps: Sequence[str]) -> Iterator[int]:
        """The folder at these steps. Raises OSError, ValueError."""
        folder = os.open(self.root, _FOLDER)
        try:
            for step in steps:
                inner = os.open(_checked(step), _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _is_name(name: str) -> bool:
    """Can a job be called so. SQLite is given its path as a URI, where these signs would lead elsewhere."""
    with suppress(ValueError):
        return not name.startswith(".") and not set("%?#") & set(name) and bool(_checked(name).encode())
    return False


def _checked(step: str) -> str:
    if step in ("", ".", "..") or "/" in step or "\0" in step or len(step.encode()) > _LONGEST:
        raise ValueError("no name")
    return step
