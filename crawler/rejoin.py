"""A finished run goes on with what failed in it: its outputs let go of these records, so that the new ones may join.

Does: write files without the records that go, beside those in use; commit that they take their place, and what waits
again; put them there. Must not decide which failures are made again. Invariant: whatever the instant of a kill, either
nothing of it was done, or the next start (`mend`) does what is left: the commit names the files that are to be moved,
and until it has moved all of them no output is opened. Under the job's lock, and while nobody writes the run.

    .rejoin/records.csv, durable  ->  commit: its mark, what waits, "replace": its name  ->  records.csv  ->  no list
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from crawler.checkpoint import Checkpoint, Failure, Rejoined
from crawler.durable import Mark, make_folder, sync_folder, tail_of
from crawler.errors import StorageError
from crawler.folders import JobFolder
from crawler.job import Job
from crawler.jobupload import kind_of
from crawler.parcels import Thing
from crawler.runrows import RunRow
from crawler.tally import Tally

if TYPE_CHECKING:
    from crawler.recordfiles import LeftOut

ASIDE = ".rejoin"  # in the run's folder: files that are to take the place of others

_PARQUET, _SENT = "parquet", "sent"  # states of sinks, see `commit`
# In the order in which one of them tells what the records were: by the whole, by typed columns, by text.
_PARTS = "records/part-"
_RECORDS = ("records.jsonl", "records.jsonl.zst", _PARTS, "records.csv")
_BESIDE = ("frames.jsonl", "items.jsonl")


def rejoin(checkpoint: Checkpoint, job: Job, folder: JobFolder, last: RunRow, again: Sequence[Failure]) -> Tally:
    """Let the finished run `last` go on with these failures; returns what is counted of it without them.

    Raises StorageError where its files are not those that were written, or the disk does not bear the copies.
    """
    run = folder.run(last.id)
    tally = Tally.from_json(last.tally) if last.tally else Tally()
    hosts = {failure.id: failure.host for failure in again}
    with _storage(run):
        _clear(run)
        try:
            copied = _Copied(run, checkpoint.marks(), hosts, tally)
            states = _states(checkpoint.sink_states(), copied)
            kinds = job.output.upload.what if job.output.upload is not None else ()
            closed = [Thing(name, mark.length) for name, mark in copied.marks.items() if mark.closed]
            things = [thing for thing in closed if kind_of(thing.name) in kinds]
            text = job.model_dump_json(by_alias=True)
            checkpoint.rejoin(last.id, text, hosts, Rejoined(copied.marks, states, tally.to_json(), things))
        except BaseException:
            checkpoint.roll_back()
            if not checkpoint.to_replace():
                _clear(run)  # its room may be what was lacking
            raise
        _put_in_place(checkpoint, run)
    return tally


def mend(checkpoint: Checkpoint, folder: JobFolder) -> None:
    """Finish, or undo, what a kill interrupted; to be called before outputs are opened. Raises StorageError."""
    last = checkpoint.last_run()
    if last is None:
        return
    run = folder.run(last.id)
    with _storage(run):
        if checkpoint.to_replace():
            _put_in_place(checkpoint, run)
        elif (run / ASIDE).exists():
            _clear(run)


def _put_in_place(checkpoint: Checkpoint, run: Path) -> None:
    names = checkpoint.to_replace()
    for name in names:
        with suppress(FileNotFoundError):  # it was moved before the kill; if not, who opens it will tell
            os.replace(run / ASIDE / name, run / name)
    for parent in {(run / name).parent for name in names}:
        sync_folder(parent)
    checkpoint.replaced()
    _clear(run)


def _clear(run: Path) -> None:
    shutil.rmtree(run / ASIDE, ignore_errors=True)


@contextmanager
def _storage(run: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{run}: its records cannot be made anew: {error}") from error


class _Copied:
    """The files that hold records to go, copied without them: their marks, and how many records went from each form.

    What the records say is taken back from the tally, once.
    """

    def __init__(self, run: Path, marks: Mapping[str, Mark], hosts: Mapping[int, str], tally: Tally) -> None:
        self._run = run
        self._hosts = hosts
        self.marks: dict[str, Mark] = {}
        self.removed: dict[str, int] = {}
        counting: Tally | None = tally
        for form in (*_RECORDS, *_BESIDE):
            names = sorted(name for name, mark in marks.items() if mark.length and _is_of(name, form))
            for name in names:
                self._copy(form, name, marks[name], counting)
            if names:
                counting = None
        told = {form: count for form, count in self.removed.items() if form in _RECORDS}
        if len(set(told.values())) > 1:
            said = ", ".join(f"{form} has {count:,}" for form, count in told.items())
            raise StorageError(f"{run}: its files do not hold the same records: of those that failed {said}")
        self._settle()

    def _copy(self, form: str, name: str, mark: Mark, tally: Tally | None) -> None:
        source, target = self._run / name, self._run / ASIDE / name
        _check(source, mark)
        make_folder(target.parent)
        before = self.removed.setdefault(form, 0)

        def left_out(record: Mapping[str, Any]) -> None:
            self.removed[form] += 1
            if tally is not None:
                tally.take_back(record, self._hosts[record["id"]])

        made = _made(source, mark.length, target, self._hosts, left_out)
        if made is not None and (self.removed[form] > before or source.suffix == ".csv"):  # or it has new columns now
            self.marks[name] = made

    def _settle(self) -> None:
        """Make the names of the copies durable."""
        for parent in {(self._run / ASIDE / name).parent for name in self.marks}:
            sync_folder(parent)
        if self.marks:
            sync_folder(self._run / ASIDE)
            sync_folder(self._run)


def _is_of(name: str, form: str) -> bool:
    return name.startswith(form) if form == _PARTS else name == form


def _made(source: Path, length: int, target: Path, ids: Mapping[int, str], left_out: LeftOut) -> Mark | None:
    from crawler.recordfiles import copy_csv, copy_lines, copy_part

    if source.suffix == ".parquet":
        return copy_part(source, target, ids, left_out)
    copy = copy_csv if source.suffix == ".csv" else copy_lines
    return copy(source, length, target, ids, left_out)


def _check(path: Path, mark: Mark) -> None:
    """What somebody edited is not to be copied as if it were ours."""
    size = path.stat().st_size
    whole = size == mark.length if mark.closed else size >= mark.length
    if not whole or tail_of(path, mark.length) != mark.tail:
        raise StorageError(f"{path}: is not what was written; what is fetched again cannot join it: crawler run")


def _states(states: Mapping[str, str], copied: _Copied) -> dict[str, str]:
    """What sinks must know to go on with the new files."""
    found = {}
    if _PARQUET in states:
        place = orjson.loads(states[_PARQUET])
        journals = [mark.length for name, mark in copied.marks.items() if name.startswith("records.jsonl")]
        if journals:  # the whole of it stood in parts, and does so again
            place["journal"] = journals[0]
        place["rows"] -= copied.removed.get(_PARTS, 0)
        found[_PARQUET] = orjson.dumps(place).decode()
    if _SENT in states:  # they go to the target of uploads once more
        sent = {name: digest for name, digest in orjson.loads(states[_SENT]).items() if name not in copied.marks}
        found[_SENT] = orjson.dumps(sent).decode()
    return found
