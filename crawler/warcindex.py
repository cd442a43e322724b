"""The CDXJ files beside WARC files: lines gathered, sorted at bounded memory, and put in place at once.

Does: sort, merge, replace. Must not know how a line comes about. Invariant: an index has its name only when it is
whole and, where that is asked for, durable; what was gathered for it and never written leaves nothing behind.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from crawler.durable import sync_folder
from crawler.entry import Sync

_HELD = 8 * 1024 * 1024  # bytes of lines in memory
_AT_ONCE = 64  # files that are merged in one go


class Lines:
    """Lines in any order, to be read sorted; beyond 8 MiB they wait in files without a name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines: list[bytes] = []
        self._size = 0
        self._sorted: list[IO[bytes]] = []

    def __repr__(self) -> str:
        return f"<Lines held={len(self._lines)} files={len(self._sorted)}>"

    def add(self, line: bytes) -> None:
        """One more. Raises OSError."""
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _HELD:
            self._sorted.append(_spilled(self._folder, sorted(self._lines)))
            self._lines, self._size = [], 0

    def write(self, path: Path, sync: Sync) -> None:
        """Put all of them, sorted, under `path`; then they are gone from here. Raises OSError."""
        put(path, heapq.merge(*self._sorted, sorted(self._lines)), sync)
        self.close()

    def close(self) -> None:
        """Forget all of them."""
        for file in self._sorted:
            file.close()
        self._sorted, self._lines, self._size = [], [], 0


def merge(paths: Sequence[Path], path: Path, sync: Sync) -> None:
    """One sorted file of several sorted ones, of which few are open at once. Raises OSError."""
    with ExitStack() as stack:
        merged: list[Iterable[bytes]] = []
        for first in range(0, len(paths), _AT_ONCE):
            some = paths[first : first + _AT_ONCE]
            if len(paths) <= _AT_ONCE:
                merged += [stack.enter_context(open(one, "rb")) for one in some]
            else:
                with ExitStack() as few:
                    lines = heapq.merge(*[few.enter_context(open(one, "rb")) for one in some])
                    merged.append(stack.enter_context(_spilled(path.parent, lines)))
        put(path, heapq.merge(*merged), sync)


def put(path: Path, lines: Iterable[bytes], sync: Sync) -> None:
    """Write a file under a name of its own, and give it its name at once. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with open(temporary, "xb") as file:
        file.writelines(lines)
        file.flush()
        if sync is not Sync.NEVER:
            os.fsync(file.fileno())
    os.replace(temporary, path)
    if sync is not Sync.NEVER:
        sync_folder(path.parent)


def _spilled(folder: Path, lines: Iterable[bytes]) -> IO[bytes]:
    file = TemporaryFile(dir=folder)  # noqa: SIM115 (its caller closes it)
    file.writelines(lines)
    file.seek(0)
    return file
