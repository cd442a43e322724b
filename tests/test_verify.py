"""`crawler verify`: whatever happened to a finished run, it is found; and a run to which nothing happened is whole."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from crawler.demo import serve
from crawler.errors import ExitCode, JobError
from crawler.job import Job
from crawler.jobfile import build
from crawler.opening import Options
from crawler.run import run_job
from crawler.verify import Fault, Verifier, told
from tests.jobs import Unseen

pytestmark = pytest.mark.slow

FORMS = {"records": ["jsonl", "csv", "parquet"], "bodies": ["files", "warc", "tar"], "segment_size": "64KiB"}


def data_of(folder: Path, base: str, **output: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "input": {"template": "articles/{n}", "vars": {"n": "1..60"}},
        "request": {"base_url": base},
        "output": {"dir": str(folder / "out"), "part_rows": 20, **FORMS, **output},
    }


async def fetched(folder: Path, **output: Any) -> Job:
    async with serve() as site:
        loaded = build(data_of(folder, site.url + "/", **output), folder)
        ended = await run_job(loaded, Options(), lambda _: Unseen())
    assert ended.exit_code == ExitCode.OK
    return loaded.job


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run, in every form at once."""
    folder = tmp_path_factory.mktemp("whole")
    asyncio.run(fetched(folder))
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> tuple[Job, Path]:
    """One of it that a test may damage, and its run's folder."""
    shutil.copytree(original / "out", tmp_path / "out", symlinks=True)
    job = build(data_of(tmp_path, "http://127.0.0.1/"), tmp_path).job
    return job, (tmp_path / "out" / "t" / "latest").resolve()


def found(job: Job) -> list[Fault]:
    return list(Verifier(job).faults())


def test_a_whole_run_has_no_fault(original: Path) -> None:
    """Every record and body is counted."""
    verifier = Verifier(build(data_of(original, "http://127.0.0.1/"), original).job)
    assert list(verifier.faults()) == []
    assert verifier.verified[1:3] == (60, 60)
    assert verifier.verified.bytes > 60 * 4000


@pytest.mark.parametrize("output", [{"records": "csv"}, {"records": "parquet"}, {"records": "jsonl", "compress": True}])
async def test_records_of_any_form_are_read(tmp_path: Path, output: dict[str, Any]) -> None:
    """Also where nobody asked for JSON lines; a body that is gone is found by them."""
    given = {"bodies": "files", **output}
    if "parquet" not in given["records"]:
        given["part_rows"] = 100_000
    job = await fetched(tmp_path, **given)
    verifier = Verifier(job)
    assert list(verifier.faults()) == []
    assert verifier.verified[1:3] == (60, 60)
    body = next(path for path in (verifier.folder / "bodies").rglob("*") if path.is_file())
    body.unlink()
    [fault] = found(job)
    assert fault.file == str(body.relative_to(verifier.folder))
    assert fault.error.startswith("is gone; it is the body of input ")


@pytest.mark.parametrize("kind", ["warc/*.warc.gz", "tar/*.tar", "records.jsonl", "records.csv", "records/*.parquet"])
def test_every_cut_is_found(copy: tuple[Job, Path], kind: str) -> None:
    """Forty of each kind of file at random bytes: two hundred of two hundred, and each names the file."""
    job, run = copy
    rng = Random(kind)
    files = sorted(run.glob(kind))
    for _ in range(40):
        file = rng.choice(files)
        whole = file.read_bytes()
        file.write_bytes(whole[: rng.randrange(len(whole))])
        assert str(file.relative_to(run)) in {fault.file for fault in found(job)}
        file.write_bytes(whole)
    assert found(job) == []


@pytest.mark.parametrize(
    "kind", ["warc/*.warc.gz", "tar/*.tar", "records.jsonl", "records.csv", "records/*.parquet", "bodies/**/*.html"]
)
def test_every_change_of_a_byte_is_found(copy: tuple[Job, Path], kind: str) -> None:
    """Anywhere, however small."""
    job, run = copy
    rng = Random(kind)
    files = sorted(run.glob(kind))
    for _ in range(20):
        file = rng.choice(files)
        whole = file.read_bytes()
        at = rng.randrange(len(whole))
        changed = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        file.write_bytes(changed)
        told = str(file.relative_to(run)) in {fault.file for fault in found(job)}
        # Some bits of deflate are padding, which no reader ever sees.
        assert told or (kind.endswith(".gz") and gzip.decompress(changed) == gzip.decompress(whole)), at
        file.write_bytes(whole)


def remove(path: Path) -> None:
    path.unlink()


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


@pytest.mark.parametrize("damage", [remove, append])
@pytest.mark.parametrize("kind", ["warc/*.warc.gz", "tar/*.tar", "records/*.parquet", "bodies/**/*.html"])
def test_what_is_gone_or_grew_is_found(copy: tuple[Job, Path], kind: str, damage: Callable[[Path], None]) -> None:
    """A file that is finished neither goes nor grows."""
    job, run = copy
    file = sorted(run.glob(kind))[0]
    damage(file)
    assert str(file.relative_to(run)) in {fault.file for fault in found(job)}


def test_records_are_counted(copy: tuple[Job, Path]) -> None:
    """One that stands there twice, and one too many or too few by what the checkpoint knows, are told."""
    job, run = copy
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    changed = b"".join([*lines[:-1], lines[0]])
    (run / "records.jsonl").write_bytes(changed)
    with sqlite3.connect(run.parent.parent / "state.db") as db:
        db.execute("UPDATE segments SET length = ? WHERE name = 'records.jsonl'", (len(changed),))
    errors = [fault.error for fault in found(job)]
    number = orjson.loads(lines[0])["id"]
    assert f"has input {number} more than once" in errors
    with sqlite3.connect(run.parent.parent / "state.db") as db:
        db.execute("UPDATE segments SET length = ? WHERE name = 'records.jsonl'", (len(b"".join(lines[:-1])),))
    assert "has 59 records of 60 that ended" in [fault.error for fault in found(job)]


def test_what_is_told(copy: tuple[Job, Path]) -> None:
    """A line for each fault and one for the whole; or one object."""
    job, run = copy
    assert next(told(Verifier(job), as_json=False)).endswith("all is there")
    (run / "records.csv").unlink()
    lines = [*told(Verifier(job), as_json=False)]
    assert lines[0] == "records.csv is gone"
    assert lines[1].startswith(f"run {run.name}: 60 records, 60 body files, ")
    assert lines[1].endswith("; 1 fault")
    [text] = told(Verifier(job), as_json=True)
    assert orjson.loads(text)["faults"] == [{"file": "records.csv", "error": "is gone"}]


def test_what_never_ran_is_told(tmp_path: Path) -> None:
    """There is nothing to read, and nothing is made."""
    job = build(data_of(tmp_path, "http://127.0.0.1/"), tmp_path).job
    with pytest.raises(JobError, match="t: was never run"):
        Verifier(job)
    assert list(tmp_path.iterdir()) == []
