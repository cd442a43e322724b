"""Some URLs in, their results out, in the same order: a whole run as one call.

Does: write the rows down as the input of a job, let it run to its end, read its records and bodies back. Must not
know how a run works. Invariant: one result for each row given, duplicates as well, whatever becomes of it; what was
written to a temporary folder is gone when the call is over, however it ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, NamedTuple

import orjson

from crawler.errors import JobError
from crawler.feed import request_of
from crawler.jobfile import LoadedJob
from crawler.library import from_data
from crawler.library import open as open_run
from crawler.listening import record_of
from crawler.model import Record
from crawler.parts import defaults_of, sources_of
from crawler.sinks.jsonl import NAME

_ROWS = "rows.jsonl"
_OURS = ("input", "paging")


class Result(NamedTuple):
    """What became of one URL: its record, and its body where one was kept."""

    record: Record
    data: bytes | None

    @property
    def ok(self) -> bool:
        """Was it fetched, with a status that is accepted."""
        return self.record.outcome == "fetched"

    @property
    def status(self) -> int | None:
        """The status of the last answer, where there was one."""
        return self.record.status

    @property
    def error(self) -> str | None:
        """Why it is not ok, as a sentence; `record.reason` is the word for programs."""
        return self.record.error


async def fetch_all(
    urls: Iterable[str | Mapping[str, Any]],
    *,
    output: str | Path | Mapping[str, Any] | None = None,
    workers: int | None = None,
    timeout: float | str | None = None,  # noqa: ASYNC109 - a key of the job, not a bound of this call
    headers: Mapping[str, str] | None = None,
    **sections: Mapping[str, Any],
) -> list[Result]:
    """Fetch URLs, or rows with the columns of a table (url, method, json, …), and give their results in that order.

    What stands twice is fetched once. All bodies are held in memory: for more than fits there is `open`. `output` is
    the folder to keep everything in, or the job's section of that name; without a folder nothing is kept. `timeout` is
    that of one attempt, in seconds or as in a job; `sections` are the job's (request, limits, retry, auth, …).
    Raises JobError, BusyError, StorageError; what fails is no exception but a Result.
    """
    rows = list(urls)
    if not rows:
        return []
    given: dict[str, Mapping[str, Any]] = {
        "limits": {"workers": workers},
        "timeouts": {"total": _seconds(timeout)},
        "request": {"headers": headers},
    }
    folder = Path(mkdtemp(prefix="crawler-"))
    try:
        loaded, keep = await asyncio.to_thread(_job, rows, folder, output, sections, given)
        numbers = await asyncio.to_thread(_numbers, loaded)
        async with open_run(loaded) as run:
            async for _ in run:  # what an earlier, unfinished run has is not among these: all are read below
                pass
        results = await asyncio.to_thread(_results, run.folder, keep)
    finally:
        await asyncio.to_thread(rmtree, folder, ignore_errors=True)
    return [results[number] for number in numbers]


def _seconds(timeout: float | str | None) -> str | None:
    return f"{timeout}s" if isinstance(timeout, int | float) else timeout


def _job(
    rows: Sequence[str | Mapping[str, Any]],
    folder: Path,
    output: str | Path | Mapping[str, Any] | None,
    sections: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Mapping[str, Any]],
) -> tuple[LoadedJob, bool]:
    """The job of a call, and whether its results are kept. Raises JobError."""
    for section in _OURS:
        if section in sections:
            raise JobError(f"{section}: is not for fetch_all, which gives one result for each URL; use open")
    written = b"".join(_line(number, row) for number, row in enumerate(rows, 1))
    (folder / _ROWS).write_bytes(written)
    os.utime(folder / _ROWS, ns=(0, 0))  # the same rows are the same list, also when a later call goes on with its run
    out = {"dir": str(output)} if isinstance(output, str | Path) else dict(output or {})
    data: dict[str, Any] = {**sections, "name": f"fetch-{sha256(written).hexdigest()[:8]}"}
    data["input"] = {"files": [str(folder / _ROWS)]}
    data["output"] = {"dir": str(folder), **out}
    for section, keys in given.items():
        said = {key: value for key, value in keys.items() if value is not None}
        if said:
            data[section] = {**data.get(section, {}), **said}
    return from_data(data), "dir" in out


def _line(number: int, row: str | Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(row if isinstance(row, str) else dict(row), option=orjson.OPT_APPEND_NEWLINE)
    except (TypeError, ValueError) as error:
        raise JobError(f"row {number} is neither a URL nor a table of what JSON can say: {error}") from None


def _numbers(loaded: LoadedJob) -> list[int]:
    """For each row, the how-manieth different one it is: in that order requests get their ids."""
    defaults, seen = defaults_of(loaded), dict[int, int]()
    [source] = sources_of(loaded)
    return [seen.setdefault(request_of(row, 0, defaults)[1], len(seen)) for row in source.rows()]


def _results(folder: Path, keep: bool) -> list[Result]:
    """All that a finished run gave, by id."""
    with (folder / NAME).open("rb") as lines:
        records = sorted(map(record_of, lines), key=lambda record: record.id)
    results = []
    for record in records:
        data = (folder / record.body).read_bytes() if record.body is not None else None
        if not keep:
            record.body = None
        if record.place is not None and record.error is not None:  # a line of our own file says nothing to the caller
            record.place, record.error = None, record.error.removeprefix(f"{record.place}: ")
        results.append(Result(record, data))
    return results
