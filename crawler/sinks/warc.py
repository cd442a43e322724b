"""warc/<job>-<run>-00000.warc.gz, …: every request and answer as WARC 1.1 records, one gzip member each, with CDXJ.

Does: append captures, begin files anew when they are large enough, index what is committed. Must not know the wire or
the checkpoint. Invariant: the records of one capture stand together in one file, behind its warcinfo, and the
committed length stands behind a capture; an index names no record that was not committed, and every file has its
index by the time the run is over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from crawler import cdxj, warctext
from crawler.durable import Mark
from crawler.entry import Entry, Spot, Sync
from crawler.errors import StorageError
from crawler.model import Visit
from crawler.series import Series
from crawler.warccheck import Fault, records
from crawler.warcindex import Lines, merge
from crawler.warcread import index_row, row_of
from crawler.warcrecords import About, Capture, Refers, WarcRecord, warcinfo
from crawler.warctext import Hiding
from crawler.warcwriter import RecordWriter, digest_of

FOLDER = "warc"
INDEX = f"{FOLDER}/index.cdxj"

_SUFFIX = ".warc.gz"
_REMEMBERED = 32_768  # payloads that a revisit may refer to: some 15 MB
_WORTH = 1024  # bytes of the smallest of them: below, the answer itself is hardly longer than a revisit


class _Ended(NamedTuple):
    """A file that is closed, and whose index is written once that is committed."""

    name: str
    lines: Lines
    before: int  # bytes at its start whose records are not among the lines


class WarcFiles:
    """The WARC files of one run. Blocks, in the one storage thread."""

    def __init__(
        self,
        run_folder: Path,
        job: str,
        run: str,
        marks: Mapping[str, Mark],
        size: int,
        sync: Sync,
        hide: Callable[[str], str],
        keep_secrets: bool = False,
        *,
        robots: str | None = None,
        earlier: Callable[[str], Refers | None] = lambda url: None,
    ) -> None:
        """`size` in bytes is when a file is full; `robots` says how robots.txt is obeyed, for the warcinfo.

        `keep_secrets` spares credentials and cookies in headers; whatever it says, `hide` is asked for every text but
        the bodies of answers. `earlier` knows the record of the payload that a 304 for a URL stands for. Raises
        StorageError, OSError.
        """
        stem = f"{FOLDER}/{job}-{run}-"
        self._run_folder = run_folder
        self._folder = run_folder / FOLDER
        self._about = About(job, run, robots)
        self._key = f"{job}/{run}"
        self._size = size
        self._sync = sync
        self._hiding = Hiding(hide, keep_secrets)
        self._earlier = earlier
        self._series = Series(run_folder, f"{stem}{{:05}}{_SUFFIX}", marks, size, sync)
        self._writer = RecordWriter(self._series)
        self._closed = {name for name, mark in marks.items() if name.startswith(stem) and mark.closed}
        self._ended: list[_Ended] = []
        self._before = self._series.length
        self._lines = Lines(self._folder)
        self._seen: dict[bytes, Refers] = {}
        self._remove_stale(stem)

    def __repr__(self) -> str:
        return f"<WarcFiles {self._series!r}>"

    @property
    def dropped(self) -> int:
        """Bytes that no commit vouched for, removed at the start."""
        return self._series.dropped

    def store(self, group: int, entries: Sequence[Entry]) -> None:
        """Append what was visited and say where the last answer of each entry is. Raises OSError, StorageError."""
        self._index_ended()  # a group is stored when the one before it is committed
        for entry in entries:
            if entry.visits:
                self._add(entry)
        self._writer.flush()
        self._series.sync()

    def marks(self) -> list[tuple[str, Mark]]:
        """What the next commit vouches for."""
        return self._series.marks()

    def state(self) -> str | None:
        """Nothing beside the marks."""
        return None

    def finish(self) -> None:
        """The run is over: the last file ends, every file has its index, and the run one of them all.

        Raises OSError, StorageError.
        """
        if self._series.open:
            self._end()
        self._index_ended()
        paths = []
        for name in sorted(self._closed):
            path = self._index(name)
            paths.append(path)
            if not path.exists():  # a kill came before it
                self._write_index(_Ended(name, Lines(self._folder), os.stat(self._run_folder / name).st_size))
        if paths:
            merge(paths, self._run_folder / INDEX, self._sync)

    def close(self) -> None:
        """Close the present file for now."""
        self._series.close()
        for lines in (self._lines, *(ended.lines for ended in self._ended)):
            lines.close()

    def _add(self, entry: Entry) -> None:
        if self._series.open and self._writer.position >= self._size:
            self._end()
        if not self._series.open:
            self._series.begin()
        if self._writer.position == 0:
            name = os.path.basename(self._series.name)
            self._put(warcinfo(self._about, name, entry.visits[0].at, self._hiding))
        via = entry.record.referrer
        for n, visit in enumerate(entry.visits):
            capture = Capture(self._key, entry.record.id, n, visit, self._hiding)
            entry.warc = self._put(self._answer(capture, visit), squeezed=warctext.squeezed(visit))
            self._put(capture.request())
            if n + 1 < len(entry.visits):
                via = visit.url
        self._put(capture.metadata(entry.record, via))

    def _answer(self, capture: Capture, visit: Visit) -> WarcRecord:
        """The response, or a revisit where its payload stands somewhere already."""
        if visit.status == 304 and (before := self._earlier(visit.url)) is not None:
            return capture.revisit(warctext.NOT_MODIFIED, before)
        body = visit.body
        if body.size < _WORTH or visit.truncated is not None or (body.data is None and body.part is None):
            return capture.response()
        payload = bytes.fromhex(body.sha256)
        if (same := self._seen.get(payload)) is not None:
            return capture.revisit(warctext.SAME_PAYLOAD, same)
        if len(self._seen) >= _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[payload] = capture.itself
        return capture.response()

    def _put(self, record: WarcRecord, *, squeezed: bool = False) -> Spot:
        head = record.head(digest_of(record.block, record.body))
        name, (offset, length) = self._series.name, self._writer.put(head, record.block, record.body, squeezed=squeezed)
        row = index_row(record.kind, record.url, record.date, record.payload, record.block)
        if row is not None:
            self._lines.add(cdxj.line(row, offset, length, os.path.basename(name)))
        return Spot(name, offset, length)

    # -- files and their indexes --------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Close the present file; its index waits until that is committed."""
        self._writer.flush()
        self._ended.append(_Ended(self._series.name, self._lines, self._before))
        self._closed.add(self._series.name)
        self._series.end()
        self._lines, self._before = Lines(self._folder), 0

    def _index_ended(self) -> None:
        for ended in self._ended:
            self._write_index(ended)
        self._ended.clear()

    def _write_index(self, ended: _Ended) -> None:
        """Write the index of a file; what this process did not write itself is read for it."""
        path, file = self._run_folder / ended.name, os.path.basename(ended.name)
        for found in records(path, ended.before):
            if isinstance(found, Fault):
                raise StorageError(f"{path}: the record at {found.offset} {found.error}")
            if (row := row_of(found.fields, found.http)) is not None:
                ended.lines.add(cdxj.line(row, found.offset, found.length, file))
        ended.lines.write(self._index(ended.name), self._sync)

    def _index(self, name: str) -> Path:
        return self._run_folder / (name.removesuffix(_SUFFIX) + ".cdxj")

    def _remove_stale(self, stem: str) -> None:
        """Remove indexes of files that did not end, and those that were not put in place."""
        right = {self._index(name).name for name in self._closed}
        for file in os.scandir(self._folder):
            ours = file.name.startswith(os.path.basename(stem)) and file.name.endswith((".cdxj", ".cdxj.tmp"))
            if (ours and file.name not in right) or file.name == os.path.basename(INDEX) + ".tmp":
                os.unlink(file.path)
