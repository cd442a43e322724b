"""One group commit: bodies, then records, then the transaction that vouches for both; nothing is shown before it.

Does: the order of the crash protocol, and recovery by it. Must not know what the sinks write, the frontier, the wire
or the clock. Invariant: whatever the instant of a kill, either a whole group is in every output or none of it is, once
recovery has run. Everything here blocks and runs in the one storage thread.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from crawler.checkpoint import Checkpoint, Group, Progress, Retry, Settled, SourceMark
from crawler.durable import EMPTY, Mark
from crawler.entry import Entry
from crawler.errors import StorageError
from crawler.history import Place, row_of, sayable
from crawler.jobupload import Kind, kind_of
from crawler.known import Sighting
from crawler.masking import NOTHING, Mask
from crawler.model import Body, Captured, Record, Visit
from crawler.parcels import Counts, Delivered, Thing, Undeliverable
from crawler.rows import NewRow
from crawler.sinks.frames import Frames
from crawler.sinks.jsonl import Beside, JsonlRecords, line, with_change, with_fields, with_places

if TYPE_CHECKING:
    from crawler.sinks.parquet import ParquetParts

# Records; archives have digests within, and `verify` needs one for each file.
_ARCHIVE, _INDEX, _INDEX_OF_ALL = ".warc.gz", ".cdxj", "warc/index.cdxj"
_SENT = "sent"  # the state that keeps what `finish` gave to be uploaded, by digest: it may be called again
_SEALED = (".jsonl", ".zst", ".csv", ".parquet")


class Sink(Protocol):
    """What every output has beside what it takes."""

    @property
    def dropped(self) -> int:
        """Bytes that no commit vouched for, removed when it was opened."""

    def marks(self) -> list[tuple[str, Mark]]:
        """What the next commit vouches for, by file."""

    def state(self) -> str | None:
        """What it must know to go on, if anything."""

    def finish(self) -> None:
        """The run is over; `marks` and `state` are committed after this. Repeatable."""

    def close(self) -> None:
        """Close its files."""


class BodySink(Sink, Protocol):
    """Takes bodies, and tells each entry where it put them."""

    def store(self, group: int, entries: Sequence[Entry]) -> None:
        """Durable when this returns, if a commit is to be."""


class RecordSink(Sink, Protocol):
    """Takes records as lines of JSON."""

    def append(self, lines: Sequence[bytes]) -> None:
        """Durable when this returns, if a commit is to be."""


class Sinks(NamedTuple):
    """The outputs of one run by name. The `journal` holds the records of which `csv` and `parquet` are made, too; it is
    `passing` where nobody asked for it: it goes when the run is over.
    """

    journal: JsonlRecords
    frames: Frames
    items: Frames
    bodies: dict[str, BodySink]  # in the order in which they are written
    beside: Beside  # what of them the records tell
    csv: RecordSink | None = None
    parquet: ParquetParts | None = None
    passing: bool = False
    removed: int = 0  # files that nobody vouched for

    def named(self) -> dict[str, Sink]:
        """All of them; the journal comes before what is made of it."""
        found: dict[str, Sink] = {**self.bodies, "journal": self.journal, "frames": self.frames, "items": self.items}
        if self.csv is not None:
            found["csv"] = self.csv
        if self.parquet is not None:
            found["parquet"] = self.parquet
        return found


class Ending:
    """A request's end on its way to disk: its record as a line, and its entry for the sinks of bodies."""

    __slots__ = ("entry", "line", "settled", "sighting")

    def __init__(
        self,
        settled: Settled,
        record: Record,
        body: Body | None,
        filename: str | None,
        visits: Sequence[Visit] = (),
        fields: tuple[Mapping[str, Any] | None] | None = None,
        sighting: Sighting | None = None,
    ) -> None:
        """`fields`: what was extracted, in a job that extracts."""
        self.settled = settled
        self.sighting = sighting
        text = with_change(line(record), sighting.change if sighting is not None else None)
        self.line = text if fields is None else with_fields(text, *fields)
        kept = body is not None and (body.data is not None or body.part is not None)
        self.entry = Entry(record, body if kept else None, filename, visits)


class Batch:
    """What happened since the last commit. `weight` counts the bytes of bodies and frames held in memory, or (`inline`)
    read into it when they are written; `paces` and `robots` hold texts by host and by origin, `captures` the last
    progress by request, `partials` what came of a body by its URL: None where it is of no more use; `shipped` is what
    came of uploads. Of a crawl: `places` and `claims` as in a Group, and `notes` for a restart, by their name.
    """

    __slots__ = (
        "_inline",
        "captures",
        "claims",
        "endings",
        "frames",
        "items",
        "notes",
        "paces",
        "partials",
        "places",
        "retries",
        "robots",
        "shipped",
        "weight",
    )

    def __init__(self, *, inline: bool = False) -> None:
        self._inline = inline
        self.endings: list[Ending] = []
        self.frames: list[bytes] = []
        self.items: list[bytes] = []
        self.captures: dict[int, Captured] = {}
        self.retries: list[Retry] = []
        self.paces: dict[str, str] = {}
        self.robots: dict[str, str] = {}
        self.partials: dict[str, str | None] = {}
        self.shipped: list[Delivered | Undeliverable] = []
        self.places: list[str] = []
        self.claims: list[int] = []
        self.notes: dict[str, str] = {}
        self.weight = 0

    def __len__(self) -> int:
        known = len(self.endings) + len(self.retries) + len(self.captures) + len(self.partials) + len(self.shipped)
        return known + len(self.places) + len(self.notes)

    def end(self, ending: Ending) -> None:
        """Add an end."""
        self.endings.append(ending)
        entry = ending.entry
        if entry.visits:  # the last is that of the body
            self.weight += sum(self._held(visit.body) + len(visit.content or b"") for visit in entry.visits)
        elif entry.body is not None:
            self.weight += self._held(entry.body)

    def capture(self, id: int, lines: list[bytes], progress: Captured) -> None:
        """Add lines of frames, and how far with them the capture of a request came."""
        self.frames += lines
        self.captures[id] = progress
        self.weight += sum(map(len, lines))

    def _held(self, body: Body) -> int:
        return body.size if body.data is not None or (self._inline and body.part is not None) else 0


class Recovered(NamedTuple):
    """What a start found to repair after a kill."""

    record_bytes: int  # of records and archives that no commit vouched for
    files: int  # parts and bodies that no commit named


class Listener(Protocol):
    """Who is told of records as soon as they are durable. More than it can bear it does not refuse: it is `behind`."""

    @property
    def behind(self) -> bool:
        """Is there more than it wants to keep."""

    def hear(self, lines: Sequence[bytes]) -> None:
        """The lines of one group, as they stand in the file; called in whatever thread writes them."""

    async def caught_up(self) -> None:
        """Wait while it is behind."""


class Outputs:
    """All that a run writes: records, bodies, checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        run: str,
        folder: Path,
        sinks: Sinks,
        mask: Mask = NOTHING,
        listener: Listener | None = None,
        uploaded: Collection[Kind] = (),
    ) -> None:
        """`mask` takes secrets out of records; `uploaded` are the kinds of files that go to a target. What an earlier
        process left in the middle is repaired here.
        """
        self._mask = mask
        self.listener = listener
        self._uploaded = uploaded
        self.checkpoint = checkpoint
        self.folder = folder
        self._run = run
        self._group = checkpoint.group
        self._sinks = sinks
        self._broken = False
        self.recovered = Recovered(sum(sink.dropped for sink in sinks.named().values()), sinks.removed)

    def add_rows(self, rows: list[NewRow], sources: list[SourceMark]) -> None:
        """Remember new requests; they become durable with the next `write`. Raises StorageError."""
        with self._or_nothing():
            self.checkpoint.insert(rows, sources)

    def write(self, batch: Batch, tally: bytes, elapsed: float) -> int:
        """Commit one group: when this returns it is durable. Returns how many files are to be uploaded for it.

        Raises StorageError; then nothing of it counts.
        """
        with self._or_nothing():
            if self._sinks.parquet is not None:  # of what is committed already
                self._sinks.parquet.compact(self._journal())
            lines = self._stored(batch.endings)
            self._sinks.frames.append([self._mask.of_json(frame) for frame in batch.frames])
            self._sinks.items.append([self._mask.of_json(item) for item in batch.items])
            things = self._commit(batch, tally, elapsed)
            self._drop_parts(batch.endings)
        if self.listener is not None and lines:
            self.listener.hear(lines)
        return things

    def finish(self, tally: bytes, elapsed: float) -> int:
        """The run is over: trailers, indexes and last parts are written and committed. Returns what `write` returns.

        Raises StorageError.
        """
        sinks = self._sinks
        with self._or_nothing():
            for sink in sinks.named().values():
                sink.finish()
            if sinks.parquet is not None:
                sinks.parquet.compact(self._journal(), last=True)
            return self._commit(Batch(), tally, elapsed) + self._seal(tally, elapsed)

    def batch(self) -> Batch:
        """A new group."""
        return Batch(inline=self._sinks.beside.inline is not None)

    def forget_unseen(self) -> int:
        """The run is over and saw all there is: what is known of other URLs goes; how many those were."""
        with self._or_nothing():
            self.checkpoint.fold()
            return self.checkpoint.forget_unseen(self._run)

    def fold(self) -> None:
        """The run is over: what it saw of URLs is known from now on. Raises StorageError."""
        with self._or_nothing():
            self.checkpoint.fold()

    def uploads(self) -> Counts:
        """How far the uploads are, by what is committed. Raises sqlite3.Error."""
        return self.checkpoint.shipped(self._run)

    def close(self) -> None:
        """Close every file. Raises StorageError."""
        for sink in self._sinks.named().values():
            try:
                sink.close()
            except OSError as error:  # some file systems tell only now
                raise StorageError(f"{self.folder}: could not be closed: {error}; run it again to be sure") from error

    def _stored(self, endings: Sequence[Ending]) -> list[bytes]:
        """Write bodies and records; returns the lines of the latter as they are in the file."""
        sinks = self._sinks
        entries = [end.entry for end in endings if end.entry.body is not None or end.entry.visits]
        for sink in sinks.bodies.values():
            sink.store(self._group + 1, entries)
        lines = [end.line for end in endings]
        if self._mask.knows:  # before the places: a path is to be found, and a body in its line is to have its digest
            lines = [self._mask.of_json(line) for line in lines]
        lines = [with_places(line, end.entry, sinks.beside) for line, end in zip(lines, endings, strict=True)]
        if lines:
            sinks.journal.append(lines)
            if sinks.csv is not None:
                sinks.csv.append(lines)
            if sinks.parquet is not None:
                sinks.parquet.append(lines)
        return lines

    def _commit(self, batch: Batch, tally: bytes, elapsed: float) -> int:
        """Let the checkpoint vouch for all that was written."""
        sinks = self._sinks.named()
        robots = [(origin, self._mask.of_json(text.encode()).decode()) for origin, text in batch.robots.items()]
        notes = batch.notes.items()
        group = Group(
            self._group + 1,
            [end.settled for end in batch.endings],
            batch.retries,
            list(batch.paces.items()),
            robots,
            [mark for sink in sinks.values() for mark in sink.marks()],
            tally,
            elapsed,
            [Progress(id, captured) for id, captured in batch.captures.items()],
            [*((name, state) for name, sink in sinks.items() if (state := sink.state()) is not None), *notes],
            list(batch.partials.items()),
            places=batch.places,
            claims=batch.claims,
            sightings=self._sightings(batch.endings),
        )
        files = [
            Thing(end.entry.file, end.entry.body.size, end.entry.body.sha256)
            for end in batch.endings
            if end.entry.new and end.entry.file is not None and end.entry.body is not None
        ]
        closed = [Thing(name, mark.length) for name, mark in group.segments if mark.closed]
        things = self._things([*files, *closed])
        self.checkpoint.commit(self._run, group._replace(things=things, shipped=batch.shipped))
        self._group += 1
        return len(things)

    def _sightings(self, endings: Sequence[Ending]) -> bytes:
        """What the ends say of their URLs, now that it is known where their bodies are."""
        holder, archived, found = self.checkpoint.number(self._run), "warc" in self._sinks.bodies, []
        for end in endings:
            if end.sighting is not None:
                row = row_of(end.sighting, end.entry.record, Place(holder, end.entry.file, archived))
                if row is not None:
                    found.append(row)
        if not found:
            return b""
        try:
            text = orjson.dumps(found)
        except orjson.JSONEncodeError:  # headers that are not UTF-8
            text = orjson.dumps([sayable(row) for row in found])
        return self._mask.of_json(text) if self._mask.knows else text

    def _things(self, found: Sequence[Thing]) -> list[Thing]:
        """Those that go to a target."""
        return [thing for thing in found if kind_of(thing.name) in self._uploaded] if self._uploaded else []

    def _journal(self) -> Mark:
        """How far the records are committed."""
        (_, mark), *_ = self._sinks.journal.marks()
        return mark

    def _seal(self, tally: bytes, elapsed: float) -> int:
        """Note the digests of all records; a journal that nobody asked for goes, and its mark first."""
        (journal, _), *_ = self._sinks.journal.marks()
        passing, states = self._sinks.passing, []
        if passing and self._sinks.parquet is not None:
            states.append(("parquet", self._sinks.parquet.forgetting()))
        names = [name for name in self.checkpoint.marks() if name.endswith(_SEALED)]
        digests = {name: _sha256(self.folder / name) for name in names if not (passing and name == journal)}
        states.append(("digests", orjson.dumps(digests).decode()))
        forgotten = [(journal, EMPTY)] if passing else []
        whole = [name for name in names if name in digests and not name.endswith(".parquet")]
        things, others = self._sealed([*whole, *self._indexes()], digests)
        if things:
            states.append((_SENT, orjson.dumps(others | {thing.name: thing.sha256 for thing in things}).decode()))
        anew = [thing.name for thing in things if thing.name in others]
        group = Group(self._group + 1, [], [], [], [], forgotten, tally, elapsed, (), states, things=things)
        self.checkpoint.commit(self._run, group._replace(withdrawn=anew))
        self._group += 1
        if passing:
            self._sinks.journal.remove()  # what is committed from now on says nothing of it
        return len(things)

    def _indexes(self) -> list[str]:
        """Those of archives; each is written only when its archive is committed, and the last of them at the end."""
        archives = [name for name, mark in self.checkpoint.marks().items() if mark.closed and name.endswith(_ARCHIVE)]
        names = [*(name.removesuffix(_ARCHIVE) + _INDEX for name in archives), _INDEX_OF_ALL]
        return [name for name in names if (self.folder / name).is_file()]

    def _sealed(self, names: Sequence[str], digests: Mapping[str, str]) -> tuple[list[Thing], dict[str, str]]:
        """Whole files that no `finish` gave to be uploaded as they are now; and the digests of those that one gave."""
        given: dict[str, str] = orjson.loads(self.checkpoint.sink_states().get(_SENT, "{}"))
        things = []
        for name in (thing.name for thing in self._things([Thing(name, 0) for name in names])):
            path = self.folder / name
            digest = digests.get(name) or _sha256(path)
            if given.get(name) != digest:
                things.append(Thing(name, path.stat().st_size, digest))
        return things, given

    def _drop_parts(self, endings: Sequence[Ending]) -> None:
        """Large bodies that no file was made of: they stand in an archive now."""
        if "files" not in self._sinks.bodies:
            for end in endings:
                if end.entry.body is not None and end.entry.body.part is not None:
                    os.unlink(end.entry.body.part)

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        """After a fault nothing more is taken: rows that come later would be committed over a gap, and bytes that
        were written in vain stand at the end of the records until recovery drops them."""
        if self._broken:
            raise StorageError(f"{self.folder}: could not be written before, so nothing more is taken")
        try:
            yield
        except BaseException as error:
            self._broken = True
            self.checkpoint.roll_back()
            if isinstance(error, OSError | sqlite3.Error):
                said = "what was reported is safe, the next run goes on"
                raise StorageError(f"{self.folder}: could not be written: {error}; {said}") from error
            raise


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
