"""T3: reads a trace of a run's system calls and holds it against the order of a group commit.

At each commit of state.db (a sync of its log) every byte written to an output was synced before, every new name was
synced with its folder, every body that a committed record names is there; and nobody was told of a record before the
commit that vouches for it. That power loss on this machine's file system would not show a fault is no excuse.
"""

from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from tests.chaos.jobs import NAME, Build, Work

CALLS = (
    "openat,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,"
    "linkat,mkdir,mkdirat,unlink,unlinkat,ftruncate,copy_file_range,sendfile,fallocate,symlink,symlinkat"
)
WRAP = ("strace", "-f", "-y", "-qq", "-s", "300", "-e", "signal=none", "-e", f"trace={CALLS}", "-o")
# Nobody vouches for what is in these: bodies on their way, logs, space in reserve, what SQLite looks after.
_UNVOUCHED = re.compile(
    r"/(parts(/[^/]*)?|run\.log|progress\.jsonl|lock|\.latest|latest|reserve|state\.db(-wal|-shm|-journal))\Z"
)
_WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile", "fallocate"}
_LINE = re.compile(r"(\d+) +(.*)", re.S)
_WHOLE = re.compile(r"(\w+)\((.*)\) += +(-?\d+)", re.S)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.S)
_FD = re.compile(r"(?:\d+|AT_FDCWD)<(.*?)>(?=[,)]|\Z)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_AT = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')


class Call(NamedTuple):
    """A call of the trace: between the moments `began` and `ended` it took effect. `path` is that of its descriptor."""

    name: str
    args: str
    result: int
    began: int
    ended: int

    @property
    def path(self) -> str:
        """The file behind the descriptor that is its first argument."""
        found = _FD.match(self.args)
        return found[1] if found else ""

    @property
    def names(self) -> list[str]:
        """Its arguments that are paths, made absolute where they are told relative to a folder."""
        return [os.path.join(folder, name) for folder, name in _AT.findall(self.args)]


def parse(lines: Iterable[str]) -> Iterator[Call]:
    """The calls of a trace that succeeded, in the order in which they came back."""
    open_calls: dict[str, tuple[int, str]] = {}
    for moment, line in enumerate(lines):
        split = _LINE.match(line.rstrip("\n"))
        if split is None:
            continue
        thread, text = split.groups()
        began = moment
        if text.endswith("<unfinished ...>"):
            open_calls[thread] = (moment, text.removesuffix("<unfinished ...>").rstrip())
            continue
        if (resumed := _RESUMED.match(text)) is not None:
            began, start = open_calls.pop(thread)
            text = start + resumed[2]
        whole = _WHOLE.match(text)
        if whole is not None and int(whole[3]) >= 0:
            yield Call(whole[1], whole[2], int(whole[3]), began, moment)


class Told(NamedTuple):
    """What the finished records.jsonl says: its path, where each line ends, the URL and the body's path of each."""

    path: str
    ends: list[int]
    urls: list[str]
    bodies: list[str | None]


class _File:
    """A file, whatever its names; `written` is when that happened last, None where all of it is synced."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.written: int | None = None


class Checker:
    """The disk as the trace tells of it. `root` is the folder of all outputs; `sizes` has the files that were there."""

    def __init__(self, root: str, acknowledged: str, told: Told, sizes: Mapping[str, int] | None = None) -> None:
        self._root = root
        self._log = f"{root}/{NAME}/state.db-wal"
        self._acknowledged = acknowledged
        self._told = told
        self._line_of = {url: number for number, url in enumerate(told.urls)}
        self._files = {path: _File(size) for path, size in (sizes or {}).items()}  # folders too
        self._names: dict[str, int] = {}  # new name -> when it came to be
        self._pending: tuple[list[str], int] | None = None  # faults and lines when the log was written last
        self._vouched = 0  # lines that may be told of
        self.faults: list[str] = []
        self.commits = 0
        self.acks = 0

    def take(self, call: Call) -> None:
        """The next call."""
        match call.name:
            case name if name in _WRITES:
                self._write(call)
            case "fsync" | "fdatasync":
                self._sync(call)
            case "syncfs" | "sync":
                self._clean(self._files.values(), list(self._names), call.began)
            case "rename" | "renameat" | "renameat2":
                self._rename(call, *call.names)
            case "link" | "linkat":
                self._link(call, *call.names)
            case "mkdir" | "mkdirat" | "symlink" | "symlinkat":
                self._new(call, call.names[-1], _File())
            case "unlink" | "unlinkat":
                self._gone(call.names[0])
            case "ftruncate":
                self._changed(call, call.path, int(call.args.rsplit(", ", 1)[1]))
            case _ if "O_CREAT" in call.args or call.name == "creat":
                path = call.names[0]
                if path not in self._files:
                    self._new(call, path, _File())
                elif "O_TRUNC" in call.args:
                    self._changed(call, path, 0)

    def _write(self, call: Call) -> None:
        path = call.path
        if path == self._acknowledged:
            self._acknowledge(call)
        elif path == self._log:
            self._pending = (list(self._wrong()), self._written())
        elif path in self._files:
            self._changed(call, path, self._files[path].size + call.result)

    def _changed(self, call: Call, path: str, size: int) -> None:
        file = self._files.setdefault(path, _File())
        file.size, file.written = size, call.ended

    def _sync(self, call: Call) -> None:
        path = call.path
        inside = [name for name in self._names if os.path.dirname(name) == path]
        self._clean([self._files[path]] if path in self._files else [], inside, call.began)
        if path == self._log and self._pending is not None:
            wrong, lines = self._pending
            self.commits += 1
            self.faults += [f"commit {self.commits}: {fault}" for fault in wrong]
            self._vouched = max(self._vouched, lines)
            self._pending = None

    def _clean(self, files: Iterable[_File], names: Iterable[str], began: int) -> None:
        """A sync covers what was done before it began."""
        for file in files:
            if file.written is not None and file.written < began:
                file.written = None
        for name in names:
            if self._names[name] < began:
                del self._names[name]

    def _rename(self, call: Call, old: str, new: str) -> None:
        if new.endswith("/summary.json"):
            if self._vouched < len(self._told.urls):
                self.faults.append(f"summary.json tells of {len(self._told.urls)} ends, {self._vouched} are committed")
            if old in self._files and self._files[old].written is not None:
                self.faults.append("summary.json gets its name before its bytes are synced")
        self._link(call, old, new)
        self._gone(old)

    def _link(self, call: Call, old: str, new: str) -> None:
        self._new(call, new, self._files.get(old, _File()))

    def _new(self, call: Call, path: str, file: _File) -> None:
        self._files[path] = file
        if f"{path}/".startswith(self._root + "/") or self._root.startswith(path + "/"):
            self._names[path] = call.ended

    def _gone(self, path: str) -> None:
        self._files.pop(path, None)
        self._names.pop(path, None)

    def _written(self) -> int:
        """Whole lines in records.jsonl."""
        file = self._files.get(self._told.path)
        return bisect_right(self._told.ends, file.size) if file is not None else 0

    def _wrong(self) -> Iterator[str]:
        """What a commit at this moment would vouch for in vain."""
        dirty = [path for path, file in self._files.items() if file.written is not None and self._counts(path)]
        yield from (f"{os.path.relpath(path, self._root)} is not synced" for path in dirty)
        lines = self._written()
        if not lines:
            return  # it vouches for no output yet
        names = [path for path in self._names if self._counts(path)]
        yield from (f"the name {os.path.relpath(path, self._root)} is not synced" for path in names)
        folder = os.path.dirname(self._told.path)
        for body in self._told.bodies[self._vouched : lines]:
            if body is not None and f"{folder}/{body}" not in self._files:
                yield f"{body} is not there"

    def _counts(self, path: str) -> bool:
        inside = path.startswith(self._root) or self._root.startswith(path + "/")
        return inside and not _UNVOUCHED.search(path)

    def _acknowledge(self, call: Call) -> None:
        text = _TEXT.search(call.args)
        url = text[1].removesuffix("\\n") if text is not None else ""
        self.acks += 1
        if self._line_of.get(url, self._vouched) >= self._vouched:
            self.faults.append(f"{url} is given out before its commit")


def told_of(run_folder: Path) -> Told:
    """Read a finished records.jsonl."""
    lines = (run_folder / "records.jsonl").read_bytes().splitlines(keepends=True)
    records = [json.loads(line) for line in lines]
    path = str((run_folder / "records.jsonl").absolute())
    ends = list(accumulate(map(len, lines)))
    return Told(path, ends, [record["url"] for record in records], [record["body"] for record in records])


def check(build: Build, work: Work) -> Checker:
    """Run a driven job under strace and judge the order of what it did; what is there already counts as durable."""
    root = work.folder / "out"
    sizes = {str(path): path.lstat().st_size for path in (*work.folder.rglob("*"), *work.folder.parents)}
    trace = work.folder / "trace"
    code = build.start(work.command, work.folder, (*WRAP, str(trace))).wait(120)
    if code != 1:
        raise AssertionError(f"exit {code}: {(work.folder / 'said').read_text(errors='replace')[-500:]}")
    checker = Checker(str(root), str(work.acknowledged), told_of((work.job_folder / "latest").resolve()), sizes)
    with trace.open(errors="replace") as lines:
        for call in parse(lines):
            checker.take(call)
    trace.unlink()
    return checker
