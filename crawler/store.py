"""The content store of a job: each body once, under its sha256, over all runs; other names are hard links to it.

Does: say whether a content is there, and take it in. Must not know runs, records or layouts. Invariant: what `holds`
affirms was read by this process, or written by it: a file that somebody edited through one of its names is given up,
and never linked again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from crawler.durable import make_folder

_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
_REMEMBERED = 100_000  # contents known to be whole; at 150 bytes each
# Digits of a digest that name its folder: of ten million contents 39,000 each, which hashed folders (ext4, XFS, NTFS)
# bear well. With four there are as many folders as files in most jobs, and a folder costs more than a file.
_DIGITS = 2


class ContentStore:
    """The folder `store` of a job, made with the first content. One writer: who holds the job's lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._whole: set[str] = set()
        self._folders: set[str] = set()

    def __repr__(self) -> str:
        return f"<ContentStore {self.folder}>"

    def path(self, sha256: str) -> str:
        """Where this content has its place."""
        return f"{self.folder}/{self.name(sha256)}"

    def name(self, sha256: str) -> str:
        """Its path below `folder`."""
        return f"{sha256[:_DIGITS]}/{sha256}"

    def holds(self, sha256: str, size: int) -> bool:
        """Is this content of so many bytes there. What is not what its name promises is removed: its other names stay.

        Raises OSError.
        """
        if sha256 in self._whole:
            return True
        path = self.path(sha256)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return False
        if status.st_size == size and not os.path.islink(path) and _digest(path) == sha256:
            self._remember(sha256)
            return True
        os.unlink(path)
        return False

    def take(self, part: str, sha256: str, touched: set[str]) -> None:
        """Move a file with this content in; `touched` learns the folders whose names changed. Raises OSError."""
        os.rename(part, self._place(sha256, touched))
        self._remember(sha256)

    def write(self, data: bytes, sha256: str, touched: set[str]) -> None:
        """Make a file of this content, which is not held; `touched` as for `take`. Raises OSError."""
        fd = os.open(self._place(sha256, touched), _NEW, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
        finally:
            os.close(fd)
        self._remember(sha256)

    def _place(self, sha256: str, touched: set[str]) -> str:
        """The path of a content that is to come, in a folder that is there."""
        path = self.path(sha256)
        parent = os.path.dirname(path)
        if parent not in self._folders:
            make_folder(Path(self.folder))
            if not os.path.isdir(parent):
                os.mkdir(parent)
                touched.add(self.folder)
            self._folders.add(parent)
        touched.add(parent)
        return path

    def _remember(self, sha256: str) -> None:
        if len(self._whole) >= _REMEMBERED:
            self._whole.clear()
        self._whole.add(sha256)


def _digest(path: str) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
