"""Judges an output folder from outside: never by our own code, always against what the site knows of its pages.

`judge` looks at a run that came to its end, `judge_killed` at what a killed one left: there only what the checkpoint
vouches for counts, and all of that must be right. Both give faults as sentences; no fault is a proof.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from backports import zstd

from tests.chaos import tables, tars, warcs
from tests.chaos.jobs import Sinks
from tests.chaos.site import Page

Record = dict[str, Any]
_JOB_FILES = {"state.db", "lock", "latest", "runs", "store", "parts", "reserve"}
_KEYS = {"url", "final_url", "outcome", "status", "sha256", "bytes", "body"}
_SQLITE = {"state.db-wal", "state.db-shm"}  # are there while it is open, and after a kill


class Saved(NamedTuple):
    """What the checkpoint says of its last run: its id and state, how many ended, the committed length of each file."""

    run: str
    state: str
    settled: int
    lengths: Mapping[str, int]


class Killed(NamedTuple):
    """What a killed run left: faults, the URLs whose records the checkpoint vouches for, and whether those are all:
    then the kill came between the last commit and the end of the process.
    """

    faults: list[str]
    reported: set[str]
    finished: bool = False


def saved_of(job_folder: Path) -> Saved | str | None:
    """Read the checkpoint, on a copy, so that nothing is repaired; a fault as text, None where nothing was begun."""
    state = job_folder / "state.db"
    if not state.exists():
        return None
    with TemporaryDirectory() as folder:
        for suffix in ("", "-wal", "-journal"):
            if (source := Path(f"{state}{suffix}")).exists():
                shutil.copy(source, Path(folder) / source.name)
        try:
            with closing(sqlite3.connect(Path(folder) / "state.db")) as db:
                return _read(db)
        except sqlite3.Error as error:
            return f"state.db: {error}"


def _read(db: sqlite3.Connection) -> Saved | str | None:
    verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        return f"state.db: {verdict}"
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
        return None
    last = db.execute("SELECT id, state, tally FROM runs ORDER BY n DESC LIMIT 1").fetchone()
    if last is None:
        return None
    tally = json.loads(last[2]) if last[2] else {}
    settled = sum(tally.get(key, 0) for key in ("fetched", "failed", "skipped"))
    lengths = dict(db.execute("SELECT name, length FROM segments"))
    return Saved(last[0], last[1], settled, lengths)


def judge(job_folder: Path, pages: Sequence[Page], sinks: Sinks, *, killed: bool = False) -> list[str]:
    """The faults of a run that came to its end; `killed` when only its process did not."""
    saved = saved_of(job_folder)
    if not isinstance(saved, Saved):
        return [saved or "there is no checkpoint"]
    folder = job_folder / "runs" / saved.run
    faults = [] if saved.state == "finished" else [f"state.db: the run is {saved.state}"]
    if saved.settled != len(pages):
        faults.append(f"state.db: {saved.settled} of {len(pages)} ended")
    for name, length in saved.lengths.items():
        size = _size(folder / name)
        if size != length:
            faults.append(f"{name}: has {size} bytes, the checkpoint vouches for {length}")
    if "jsonl" in sinks.records:
        records, more = records_of(folder / sinks.lines, None)
    else:
        records, more = tables.records_of(folder)
    faults += more
    faults += _complete("records", (record["url"] for record in records), pages)
    faults += _right(folder, records, pages, sinks, None)
    faults += tables.judge(folder, records, sinks.records)
    faults += warcs.judge(folder, records) if "warc" in sinks.bodies else []
    faults += tars.judge(folder, records) if "tar" in sinks.bodies else []
    faults += _leftovers(job_folder, folder, records, sinks, killed)
    return faults


def judge_killed(job_folder: Path, pages: Sequence[Page], sinks: Sinks, acknowledged: Iterable[str] = ()) -> Killed:
    """The faults of what a kill or a power cut left, before anything repaired it."""
    saved = saved_of(job_folder)
    if not isinstance(saved, Saved):
        lost = [f"{url}: was given out, and nothing is committed" for url in acknowledged]
        return Killed([saved, *lost] if saved else lost, set())
    folder, faults = job_folder / "runs" / saved.run, []
    for name, length in saved.lengths.items():
        if (size := _size(folder / name)) < length:
            faults.append(f"{name}: has {size} bytes, the checkpoint vouches for {length}")
    if saved.lengths.get(sinks.lines) or not saved.settled:
        records, more = records_of(folder / sinks.lines, saved.lengths.get(sinks.lines, 0))
    else:  # the journal of a run that is over
        records, more = tables.records_of(folder)
    faults += more
    reported = [record["url"] for record in records]
    faults += [f"{sinks.lines}: {url} stands there {n} times" for url, n in Counter(reported).items() if n > 1]
    if saved.settled != len(records):
        faults.append(f"{sinks.lines}: {len(records)} committed records of {saved.settled} ends")
    faults += [f"{url}: was given out and is not committed" for url in set(acknowledged) - set(reported)]
    faults += _right(folder, records, pages, sinks, saved.lengths)
    if "csv" in sinks.records:
        faults += tables.judge_csv(folder, records, saved.lengths.get("records.csv", 0))
    return Killed(faults, set(reported), saved.state == "finished")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def records_of(path: Path, length: int | None) -> tuple[list[Record], list[str]]:
    """The records of a file of JSON lines, as far as `length` where only that much counts, and what is wrong there."""
    if not path.exists():
        return [], [] if length == 0 else [f"{path.name}: is not there"]
    data = path.read_bytes()[:length]
    try:
        text = _unpacked(data) if data and path.suffix == ".zst" else data
    except (EOFError, zstd.ZstdError) as error:
        return [], [f"{path.name}: {error}"]
    if text and not text.endswith(b"\n"):
        return [], [f"{path.name}: ends within a line"]
    records, faults = [], []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and record.keys() >= _KEYS:
            records.append(record)
        else:
            faults.append(f"{path.name}: line {number} is no record")
    return records, faults


def _unpacked(data: bytes) -> bytes:
    """All frames, the last to its end. Raises EOFError, ZstdError."""
    with zstd.ZstdFile(io.BytesIO(data)) as file:
        return file.read()


def _complete(name: str, urls: Iterable[str], pages: Sequence[Page]) -> Iterator[str]:
    """Each URL once."""
    counts = Counter(urls)
    wanted = {page.url for page in pages}
    yield from (f"{name}: {url} is missing" for url in wanted - set(counts))
    yield from (f"{name}: {url} stands there {n} times" for url, n in counts.items() if n > 1)
    yield from (f"{name}: {url} was never asked for" for url in set(counts) - wanted)


def _right(
    folder: Path, records: Sequence[Record], pages: Sequence[Page], sinks: Sinks, lengths: Mapping[str, int] | None
) -> list[str]:
    """What the records say is what the site knows, and their bodies are where they say."""
    of_url = {page.url: page for page in pages}
    faults = []
    for record in records:
        page = of_url.get(record["url"])
        if page is None:
            faults.append(f"{record['url']}: was never asked for")
            continue
        outcome = "fetched" if page.sha256 is not None else "failed"
        said = (record["outcome"], record["status"], record["final_url"])
        if said != (outcome, page.status, page.final_url):
            faults.append(f"{page.url}: {said}, not {(outcome, page.status, page.final_url)}")
        elif page.sha256 is not None:
            if (record["sha256"], record["bytes"]) != (page.sha256, page.size):
                faults.append(f"{page.url}: the record's digest or size is not the page's")
            faults += _kept(folder, record, page, sinks, lengths)
    return faults


def _kept(folder: Path, record: Record, page: Page, sinks: Sinks, lengths: Mapping[str, int] | None) -> Iterator[str]:
    """The body of a fetched page, in each form."""
    if "files" in sinks.bodies:
        path = folder / (record["body"] or "none")
        if not path.is_file():
            yield f"{page.url}: its body {record['body']} is not there"
        elif sha256(path.read_bytes()).hexdigest() != page.sha256:
            yield f"{page.url}: its body {record['body']} is not the page"
    for form, look in (("warc", warcs.spot), ("tar", tars.spot)):
        if form in sinks.bodies:
            spot = record.get(form)
            if spot is None:
                yield f"{page.url}: its record names no place in a {form}"
            elif lengths is not None and spot["offset"] + spot["length"] > lengths.get(spot["file"], 0):
                yield f"{page.url}: its place in {spot['file']} is beyond what the checkpoint vouches for"
            elif fault := look(folder, spot, page):
                yield f"{page.url}: {fault}"


def _leftovers(job_folder: Path, folder: Path, records: Sequence[Record], sinks: Sinks, killed: bool) -> Iterator[str]:
    """Files that nobody can name."""
    named = {record["body"] for record in records if record["body"]} | {"run.log", "progress.jsonl", "summary.json"}
    named |= {sinks.lines} if "jsonl" in sinks.records else set()
    named |= {"records.csv"} if "csv" in sinks.records else set()
    if killed:
        named.add("summary.json.tmp")
    elif not (folder / "summary.json").exists():
        yield "summary.json: is not there"
    for path in _files(folder):
        if str(path) not in named and not any(each.owns(path) for each in (tables, warcs, tars)):
            yield f"{path}: nobody knows that file"
    yield from _empty_folders(folder / "bodies")
    for name in set(os.listdir(job_folder)) - _JOB_FILES - (_SQLITE if killed else set()):
        yield f"{name}: nobody knows that file"
    contents = {record["sha256"] for record in records if record["body"]}
    for path in _files(job_folder / "store"):
        data = (job_folder / "store" / path).read_bytes()
        if path.name not in contents or sha256(data).hexdigest() != path.name:
            yield f"store/{path}: is not the body of a record"
    yield from (f"parts/{path}: was left" for path in _files(job_folder / "parts"))


def _files(folder: Path) -> list[Path]:
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _empty_folders(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        if not (folders or files) and Path(parent) != folder:
            yield f"{Path(parent).relative_to(folder.parent)}: is an empty folder"
