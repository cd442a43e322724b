"""Body files: each body of a group under its name, all or none of them after a crash.

Does: choose a free name, write small bodies, move large ones there, make both durable. Must not know requests,
SQLite or HTTP. Invariant: a final name is never overwritten; names made by a group that was not committed stand in
the `pending` list and are removed by recovery.

The list is what makes names that the server chose safe to repeat: without it a file left by a killed group would
look like a collision when its URL is fetched again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import orjson

from crawler.durable import sync_file, sync_folder, sync_many
from crawler.errors import StorageError
from crawler.model import Body, Record
from crawler.names import name, with_suffix

PARTS = "parts"
BODIES = "bodies"
_PENDING = "pending"
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW


class Stored(NamedTuple):
    """One body to store for one record; `filename` is the row's own wish."""

    record: Record
    body: Body
    filename: str | None


class _Kind(Enum):
    """What a name chosen in this group will be."""

    FILE = "file"
    FOLDER = "folder"


class BodyFiles:
    """The `bodies` folder of one run, in one layout (hash, mirror or a template)."""

    def __init__(self, run_folder: Path, layout: str) -> None:
        self._run = str(run_folder)
        self._root = os.path.join(self._run, BODIES)
        self._parts = os.path.join(self._run, PARTS)
        self._pending = os.path.join(self._run, _PENDING)
        self._layout = layout
        self._folders: set[str] = set()  # known to be real folders, not links
        os.makedirs(self._root, exist_ok=True)
        os.makedirs(self._parts, exist_ok=True)
        sync_folder(self._run)
        # Where case does not count, names made in one group must differ in more than case: none of them exists yet.
        self._key: Callable[[str], str] = str.casefold if _case_is_nothing(self._root) else str

    def store(self, group: int, items: Sequence[Stored]) -> None:
        """Give each record its body's path and put the bytes there, durably. Raises OSError, StorageError.

        `group` is the number that the checkpoint will commit these names under.
        """
        moves = self._plan(items)
        if not moves:
            return
        self._announce(group, [target for target, _, _ in moves])
        touched = {self._root}
        for target, number, body in moves:
            self._put(target, number, body, touched)
        large = [os.path.join(self._run, target) for target, _, _ in moves]
        sync_many(self._root, large, touched)

    def recover(self, committed_group: int) -> int:
        """Remove what no committed group names: pending files and all parts. Returns how many files went."""
        removed = 0
        for part in os.scandir(self._parts):
            os.unlink(part.path)
            removed += 1
        try:
            with open(self._pending, "rb") as file:
                pending = orjson.loads(file.read())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return removed  # a list cut short was never acted upon
        if pending["group"] > committed_group:
            for target in pending["names"]:
                path = os.path.join(self._run, target)
                if os.path.lexists(path):
                    os.unlink(path)
                    removed += 1
        os.unlink(self._pending)
        return removed

    def _announce(self, group: int, names: list[str]) -> None:
        """Make the list of names to come durable, and its own name when it is new."""
        new = not os.path.lexists(self._pending)
        fd = os.open(self._pending, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW, 0o644)
        try:
            _write_all(fd, orjson.dumps({"group": group, "names": names}))
            os.fdatasync(fd)
        finally:
            os.close(fd)
        if new:
            sync_folder(self._run)

    def _plan(self, items: Sequence[Stored]) -> list[tuple[str, int, Body]]:
        """Choose a name for each body; content that is there already, under a content-addressed name, needs no move."""
        moves = []
        taken: dict[str, _Kind] = {}
        shared = self._layout == "hash"
        for record, body, filename in items:
            if body.data is None and body.part is None:  # counted only, as the body of a HEAD is
                continue
            target, there = self._free_name(record, filename, taken, shared and not filename)
            record.body = target
            if there:
                if body.part is not None:
                    os.unlink(body.part)
                continue
            self._claim(target, taken)
            moves.append((target, record.id, body))
        return moves

    def _claim(self, target: str, taken: dict[str, _Kind]) -> None:
        """Note a name as taken, and those above it as folders, before either exists."""
        taken[self._key(target)] = _Kind.FILE
        while (target := os.path.dirname(target)) != BODIES:
            taken[self._key(target)] = _Kind.FOLDER

    def _free_name(
        self, record: Record, filename: str | None, taken: dict[str, _Kind], shared: bool
    ) -> tuple[str, bool]:
        """A name and whether it holds this very content already (only content-addressed names may)."""
        assert record.sha256 is not None
        wanted = name(
            self._layout,
            href=record.final_url,
            sha256=record.sha256,
            content_type=record.content_type,
            id=record.id,
            filename=filename,
        )
        target = f"{BODIES}/{wanted}"
        if shared:
            return target, self._key(target) in taken or _holds(os.path.join(self._run, target), record)
        # A file where a folder is needed: the name moves to the top, where only its suffix can clash.
        base = wanted if self._can_hold(target, taken) else wanted.rpartition("/")[2]
        for attempt in range(100):
            if self._is_free(target, taken) and self._can_hold(target, taken):
                return target, False
            digest = blake2b(f"{record.url} {record.id} {attempt}".encode(errors="replace"), digest_size=4).hexdigest()
            target = f"{BODIES}/{with_suffix(base, digest)}"
        raise StorageError(f"{self._run}/{target}: no free name after 100 tries")

    def _is_free(self, target: str, taken: dict[str, _Kind]) -> bool:
        return self._key(target) not in taken and not os.path.lexists(os.path.join(self._run, target))

    def _can_hold(self, target: str, taken: dict[str, _Kind]) -> bool:
        """Is every folder above `target` a folder, or absent and not about to be a file."""
        while (target := os.path.dirname(target)) != BODIES:
            path = os.path.join(self._run, target)
            if path in self._folders:
                return True
            if taken.get(self._key(target)) is _Kind.FILE or (os.path.lexists(path) and not _is_folder(path)):
                return False
        return True

    def _put(self, target: str, number: int, body: Body, touched: set[str]) -> None:
        path = os.path.join(self._run, target)
        parent = os.path.dirname(path)
        if parent not in self._folders:
            self._make_folder(parent, touched)
        touched.add(parent)
        part = body.part
        if part is None:
            assert body.data is not None
            part = os.path.join(self._parts, f"{number}.part")
            fd = os.open(part, _NEW, 0o644)
            try:
                _write_all(fd, body.data)
            finally:
                os.close(fd)
        else:
            sync_file(part)
        os.rename(part, path)

    def _make_folder(self, folder: str, touched: set[str]) -> None:
        """Make a folder and those above it, none of them a link that leads out of the run."""
        if folder in self._folders or len(folder) <= len(self._root):
            return
        parent = os.path.dirname(folder)
        self._make_folder(parent, touched)
        try:
            os.mkdir(folder)
            touched.add(parent)
        except FileExistsError:
            if not _is_folder(folder):
                raise StorageError(f"{folder}: is not a folder, and what stands there is not ours to replace") from None
        self._folders.add(folder)

    def finish(self) -> None:
        """The run is over: the empty helper folder goes."""
        if os.path.exists(self._pending):
            os.unlink(self._pending)
        os.rmdir(self._parts)
        sync_folder(self._run)


def _case_is_nothing(path: str) -> bool:
    folder, leaf = os.path.split(path)
    return os.path.lexists(os.path.join(folder, leaf.upper()))


def _is_folder(path: str) -> bool:
    """A real one, not a link that may lead out of the run."""
    return os.path.isdir(path) and not os.path.islink(path)


def _holds(path: str, record: Record) -> bool:
    """Does a content-addressed file stand there, of the right size and not a link."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if not os.path.isfile(path) or os.path.islink(path) or status.st_size != record.bytes:
        raise StorageError(f"{path}: is not the body its name promises ({status.st_size} bytes, not {record.bytes})")
    return True


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
