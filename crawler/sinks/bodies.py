"""Body files: each body of a group under its name, all or none of them after a crash.

Does: choose a free name, write small bodies, move large ones there, link those that the job has already, make all
durable. Must not know requests, SQLite or HTTP. Invariant: a final name is never overwritten; names made by a group
that was not committed stand in the `pending` list and are removed by recovery.

The list is what makes names that the server chose safe to repeat: without it a file left by a killed group would
look like a collision when its URL is fetched again.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import orjson

from crawler.durable import Mark, sync_file, sync_filesystem, sync_folder, sync_many
from crawler.entry import Entry, Sync
from crawler.errors import StorageError
from crawler.model import Body, Record
from crawler.names import name, with_suffix
from crawler.store import ContentStore

BODIES = "bodies"
_PENDING = "pending"
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW
# Too many links to one file (65,000 on ext4), a file system without any, one of its own.
_NO_LINK = {errno.EMLINK, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV}


class _Kind(Enum):
    """What a name chosen in this group will be."""

    FILE = "file"
    FOLDER = "folder"


class _Move(NamedTuple):
    """A body and the name it gets; `into_store`: its content is new to the store."""

    target: str
    id: int
    body: Body
    into_store: bool


class BodyFiles:
    """The `bodies` folder of one run, in one layout (hash, mirror or a template).

    `parts` is the job's folder of bodies on their way in. With a `store` every name is a link to the content
    there.
    """

    def __init__(
        self,
        run_folder: Path,
        layout: str,
        parts: Path,
        *,
        store: ContentStore | None = None,
        sync: Sync = Sync.COMMIT,
    ) -> None:
        self._run = str(run_folder)
        self._root = os.path.join(self._run, BODIES)
        self._parts = str(parts)
        self._pending = os.path.join(self._run, _PENDING)
        self._layout = layout
        self._store = store
        self._sync = sync
        self.dropped = 0
        self._folders: set[str] = set()  # known to be real folders, not links
        os.makedirs(self._root, exist_ok=True)
        sync_folder(self._run)
        # Where case does not count, names made in one group must differ in more than case: none of them exists yet.
        self._key: Callable[[str], str] = str.casefold if _case_is_nothing(self._root) else str

    def store(self, group: int, entries: Sequence[Entry]) -> None:
        """Put each body under a name of its own, durably, and tell its entry. Raises OSError, StorageError.

        `group` is the number that the checkpoint will commit these names under.
        """
        moves = self._plan(entries)
        if not moves:
            return
        self._announce(group, self._names(moves))
        touched = {self._root}
        for move in moves:
            self._put(move, touched)
        if self._sync is Sync.COMMIT:
            sync_many(self._root, [os.path.join(self._run, move.target) for move in moves], touched)

    def recover(self, committed_group: int) -> int:
        """Remove what no committed group names; returns how many files went."""
        removed = 0
        try:
            with open(self._pending, "rb") as file:
                pending = orjson.loads(file.read())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return removed  # a list cut short was never acted upon
        if pending["group"] > committed_group:
            paths = [os.path.join(self._run, target) for target in pending["names"]]
            gone = [path for path in paths if os.path.lexists(path)]
            for path in gone:
                os.unlink(path)
            for folder in {os.path.dirname(path) for path in gone}:
                sync_folder(folder)  # before the list goes: none of them may come back without it
            removed = len(gone)
        os.unlink(self._pending)
        return removed

    def marks(self) -> list[tuple[str, Mark]]:
        """Nothing: each file is vouched for by its record."""
        return []

    def state(self) -> str | None:
        """Nothing."""
        return None

    def finish(self) -> None:
        """The run is over: the list of names to come goes."""
        if os.path.exists(self._pending):
            os.unlink(self._pending)
            sync_folder(self._run)

    def close(self) -> None:
        """Nothing is open; what was to be made durable on closing is so now."""
        if self._sync is Sync.CLOSE:
            sync_filesystem(self._root)

    def _names(self, moves: Sequence[_Move]) -> list[str]:
        """What a group is about to make, as paths relative to the run's folder."""
        names = [move.target for move in moves]
        if self._store is not None:
            above = os.path.relpath(self._store.folder, self._run)
            names += [f"{above}/{self._store.name(move.body.sha256)}" for move in moves if move.into_store]
        return names

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

    def _plan(self, entries: Sequence[Entry]) -> list[_Move]:
        """Choose a name for each body; content that is there already, under a content-addressed name, needs no move."""
        moves = []
        taken: dict[str, _Kind] = {}
        coming: set[str] = set()  # contents that this group brings into the store
        shared = self._layout == "hash"
        for entry in entries:
            body = entry.body
            if body is None or (body.data is None and body.part is None):  # counted only, as the body of a HEAD is
                continue
            target, there = self._free_name(entry.record, entry.filename, taken, shared and not entry.filename)
            entry.file = target
            if there:
                _remove(body.part)
                continue
            self._claim(target, taken)
            entry.new = True
            store = self._store
            new = store is not None and body.sha256 not in coming and not store.holds(body.sha256, body.size)
            if new:
                coming.add(body.sha256)
            moves.append(_Move(target, entry.record.id, body, new))
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
            return target, self._key(target) in taken or _holds(f"{self._run}/{target}", record)
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

    def _put(self, move: _Move, touched: set[str]) -> None:
        path = f"{self._run}/{move.target}"
        parent = os.path.dirname(path)
        if parent not in self._folders:
            self._make_folder(parent, touched)
        touched.add(parent)
        body, store = move.body, self._store
        if store is None:
            os.rename(self._part(move), path)
            return
        if move.into_store and body.data is not None:  # nobody sees it there before it has its other name
            store.write(body.data, body.sha256, touched)
        elif move.into_store:
            store.take(self._part(move), body.sha256, touched)
        try:
            os.link(store.path(body.sha256), path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            if body.part is None or move.into_store:
                _copy(store.path(body.sha256), path)
            else:
                os.rename(self._part(move), path)
                return
        if not move.into_store:
            _remove(body.part)

    def _part(self, move: _Move) -> str:
        """The body as a file beside its place: a large one is there already."""
        body = move.body
        if body.part is not None:
            if self._sync is Sync.COMMIT:
                sync_file(body.part)
            return body.part
        assert body.data is not None
        part = os.path.join(self._parts, f"{move.id}.part")
        fd = os.open(part, _NEW, 0o644)
        try:
            _write_all(fd, body.data)
        finally:
            os.close(fd)
        return part

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


def _remove(part: str | None) -> None:
    if part is not None:
        os.unlink(part)


def _copy(source: str, path: str) -> None:
    """Where there are no more links to be had."""
    fd = os.open(path, _NEW, 0o644)
    with open(source, "rb") as file, open(fd, "wb") as copy:
        shutil.copyfileobj(file, copy, 1024 * 1024)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
