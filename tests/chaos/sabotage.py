"""T6: copies of the package with one promise broken in each, to see that the other tests here would tell.

A patch that no longer applies fails: then the code has moved, and the snippet here must follow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from textwrap import indent
from typing import NamedTuple

from tests.chaos import kills, order
from tests.chaos.jobs import Build, Sinks, write_job
from tests.chaos.site import Site


class Patch(NamedTuple):
    """Text of a file of the package, which stands there once, and what takes its place."""

    file: str
    old: str
    new: str


class Sabotage(NamedTuple):
    """A promise that is broken; `killed` where kills show it, `ordered` where the order of the calls does."""

    name: str
    patches: Sequence[Patch]
    ordered: bool = True
    killed: bool = False


class Caught(NamedTuple):
    """What was found: by the order checker, and by kills (how many it took; 0 where none were tried)."""

    order: str | None
    kill: str | None
    kills: int

    def __str__(self) -> str:
        by_kills = f"{self.kills} kills: {self.kill or 'nothing'}" if self.kills else "not asked"
        return f"T3: {self.order or 'nothing'} | T1: {by_kills}"


_PUT = """        for move in moves:
            self._put(move, touched)
        if self._sync is Sync.COMMIT:
"""
_WRITTEN = """            self._sinks.frames.append("""
_COMMITTED = """            self._drop_parts(batch.endings)
"""
_LATE = """            for move in getattr(self._sinks.bodies.get("files"), "_late", ()):
                self._sinks.bodies["files"]._put(move, set())
"""
_HEAR = """        if self.listener is not None and lines:
            self.listener.hear(lines)
"""
_INSERT = """        self._rows.insert(rows, self._host_ids(row.home for row in rows))
"""
_LEASE = """        self._settle([Settled(row.home, row.id, 3) for row in rows])
"""
_SHARED = """            if there:
                _remove(body.part)
"""

_NAMES = """        names = [move.target for move in moves]
"""
_SYNC_FOLDER = """    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
"""
_BODIES = "sinks/bodies.py"
_TARGETS = "[os.path.join(self._run, move.target) for move in moves]"
_CUT = "            os.ftruncate(fd, mark.length)\n"

SABOTAGES = (
    Sabotage("no fsync of bodies", [Patch(_BODIES, f"sync_many(self._root, {_TARGETS}", "sync_many(self._root, []")]),
    Sabotage("no sync of segments", [Patch("durable.py", "        os.fdatasync(self._fd)", "        pass")]),
    Sabotage("WAL with NORMAL", [Patch("schema.py", 'COMMIT: "FULL"', 'COMMIT: "NORMAL"')]),
    Sabotage(
        "no fsync of folders",
        [
            Patch("durable.py", _SYNC_FOLDER, _SYNC_FOLDER.replace("os.fsync(fd)", "pass")),
            Patch("durable.py", "len(files) >= 8 and sync_filesystem(folder)", "False"),
        ],
    ),
    Sabotage(
        "commit before rename",
        [
            Patch(_BODIES, _PUT, "        self._late = moves\n        if False:\n"),
            Patch("commit.py", _COMMITTED, _COMMITTED + _LATE),
        ],
        killed=True,
    ),
    Sabotage(
        "word before commit",
        [
            Patch("commit.py", _HEAR, ""),
            Patch("commit.py", _WRITTEN, indent(_HEAR, "    ") + _WRITTEN),
        ],
    ),
    Sabotage("no truncation", [Patch("durable.py", _CUT, "")], ordered=False, killed=True),
    Sabotage(
        "truncates too much",
        [Patch("durable.py", _CUT, _CUT.replace("mark.length", "max(0, mark.length - 700)"))],
        ordered=False,
        killed=True,
    ),
    Sabotage(
        "leased is not given back", [Patch("checkpoint.py", _INSERT, _INSERT + _LEASE)], ordered=False, killed=True
    ),
    Sabotage(
        "recovery removes shared content",
        [
            Patch(_BODIES, _SHARED, _SHARED + "                self._alike.append(target)\n"),
            Patch(_BODIES, "        self.dropped = 0\n", "        self.dropped = 0\n        self._alike = []\n"),
            Patch(_BODIES, _NAMES, _NAMES.replace("moves]", "moves] + self._alike")),
        ],
        ordered=False,
        killed=True,
    ),
)


def patched(package: Path, sabotage: Sabotage) -> dict[str, str]:
    """The files of a package that a sabotage changes, by name. Raises AssertionError where a patch does not apply."""
    texts: dict[str, str] = {}
    for patch in sabotage.patches:
        text = texts.get(patch.file) or (package / patch.file).read_text()
        times = text.count(patch.old)
        assert times == 1, f"{sabotage.name}: stands {times} times in {patch.file}: {patch.old}"
        texts[patch.file] = text.replace(patch.old, patch.new)
    return texts


def sabotaged(build: Build, folder: Path, sabotage: Sabotage) -> Build:
    """A copy of a build with the patches. Raises AssertionError where one does not apply."""
    copy = Build.copy(folder, build.folder / "crawler")
    for file, text in patched(folder / "crawler", sabotage).items():
        (folder / "crawler" / file).write_text(text)
    return copy


# Many pages of the same content, and enough that a run has some commits.
SINKS = Sinks(("jsonl", "csv"), ("files", "tar"), layout="hash")
KINDS = {"s": 200, "d": 120, "r": 5, "m": 5, "l": 3, "h": 1}


def hunt(build: Build, site: Site, sabotage: Sabotage, seed: int, most: int = 25) -> Caught:
    """Try the sabotaged build by the means that are to catch it."""
    folder = build.folder
    found, killed, tried = None, None, 0
    if sabotage.ordered:
        pages = site.pages(f"{folder.name}-order", KINDS)
        work = write_job(folder / "order", pages, SINKS, Random(seed), driven=True)
        found = next(iter(order.check(build, work).faults), None)
    if sabotage.killed:
        field = kills.Range(build, site, folder, [SINKS], KINDS, {}, {})
        for verdict in kills.shoot(kills.points(most, seed, "commit"), field):
            tried += 1
            if verdict.faults:
                killed = verdict.faults[0]
                break
    return Caught(found, killed, tried)
