"""Every output, read by those who will: all records, all bytes, every body; and no secret in any of them."""

from __future__ import annotations

import asyncio
import csv
import gc
import gzip
import json
import os
import subprocess
import sys
import tarfile
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from crawler.sinks.warc import INDEX
from tests.servers import Nginx
from tests.test_e2e_secrets import secret
from tests.test_e2e_warc import by_fastwarc, by_hand, by_node, by_warcio, node_modules
from tests.test_leaks import hits, listening, reply

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DOCS = Path("/usr/share/doc/python3.11/html")
PAGES = [
    "/" + quote(str(file.relative_to(DOCS)))
    for folder in ("library", "_static", "_images")
    for file in sorted((DOCS / folder).rglob("*"))
    if file.is_file()
]
EXTRA = f"""
gzip on;
gzip_types *;
location /moved/ {{ rewrite ^/moved/(.*)$ /$1 permanent; }}
location /twin/ {{ alias {DOCS}/; }}
"""
MOVED = [f"/moved{page}" for page in PAGES[40:50]]
PATHS = [*PAGES, *MOVED, *(f"/twin{page}" for page in PAGES[50:60]), *(f"/missing/{n}" for n in range(10))]
COLUMNS = ("id", "url", "outcome", "status", "bytes", "sha256")
Facts = tuple[str, ...]


class Done(NamedTuple):
    """A finished run; `digests` are those of the files behind the paths of its input, None where there is none."""

    site: str
    run: Path
    status: dict[str, Any]
    digests: dict[str, str | None]

    def wanted(self) -> Counter[tuple[str, str | None]]:
        """What the columns `url` and `sha256` have to say."""
        return Counter((self.site + path, digest) for path, digest in self.digests.items())

    @property
    def bodies(self) -> Counter[str]:
        """The digests of all bodies that are kept."""
        return Counter(digest for digest in self.digests.values() if digest is not None)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "packed"])
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A job with every output at once; JSON lines as they are beside bodies as files, or in zstd with bodies inline."""
    folder = tmp_path_factory.mktemp("readers")
    folder.chmod(0o755)
    output = {"records": ["jsonl", "csv", "parquet"], "bodies": ["warc", "tar", "inline"], "compress": True}
    if not request.param:
        output |= {"bodies": ["files", "warc", "tar"], "compress": False, "layout": "mirror"}
    with Nginx(DOCS, folder / "nginx", extra=EXTRA) as site:
        rows = "".join(json.dumps({"url": site.url + path, "note": f'ü, "{path}"\n'}) + "\n" for path in PATHS)
        (folder / "rows.jsonl").write_text(rows)
        job = {
            "name": "readers",
            "input": {"files": ["rows.jsonl"]},
            "limits": {"per_host": 32, "adaptive": False},
            "output": {"dir": str(folder / "out"), "segment_size": "3MiB", "part_rows": 150, **output},
        }
        (folder / "job.json").write_text(json.dumps(job))
        assert crawler("run", folder, "--quiet").returncode == 1  # pages are missing
    status = json.loads(crawler("status", folder, "--json").stdout)
    return Done(site.url, (folder / "out/readers/latest").resolve(), status, {path: digest(path) for path in PATHS})


def crawler(command: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A command with the job of a folder."""
    line = [sys.executable, "-m", "crawler", command, folder / "job.json", *arguments]
    return subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300)


def digest(path: str) -> str | None:
    """Of the file that a path of the site leads to."""
    file = DOCS / path.removeprefix("/moved").removeprefix("/twin").lstrip("/")
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else None


# -- records ---------------------------------------------------------------------------------------------------------


def by_json(run: Path) -> list[Any]:
    """Python's own."""
    return [tuple(row[name] for name in COLUMNS) for row in lines(run)]


def lines(run: Path) -> list[dict[str, Any]]:
    """The records, unpacked by `zstdcat` where they are packed."""
    if (run / "records.jsonl").exists():
        text = (run / "records.jsonl").read_bytes()
    else:
        text = subprocess.run(["zstdcat", run / "records.jsonl.zst"], capture_output=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines()]


def json_by_duckdb(run: Path) -> list[Any]:
    """DuckDB, which unpacks zstd by itself."""
    [path] = run.glob("records.jsonl*")
    return select(f"read_ndjson('{path}', maximum_object_size = 50000000, sample_size = -1)")


def json_by_polars(run: Path) -> list[Any]:
    """Polars, which unpacks zstd by itself."""
    import polars

    [path] = run.glob("records.jsonl*")
    return list(polars.read_ndjson(path.read_bytes(), infer_schema_length=None).select(COLUMNS).iter_rows())


def by_csv(run: Path) -> list[Any]:
    """Python's own, in its strict form."""
    return [tuple(row[name] or None for name in COLUMNS) for row in cells(run)]


def cells(run: Path) -> list[dict[str, str]]:
    """The rows of the CSV. Python refuses cells of more than 128 KiB unless it is told otherwise."""
    limit = csv.field_size_limit(1 << 30)
    try:
        with open(run / "records.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    finally:
        csv.field_size_limit(limit)


def csv_by_duckdb(run: Path) -> list[Any]:
    """DuckDB, in its strict form."""
    return select(f"read_csv('{run / 'records.csv'}', strict_mode = true, sample_size = -1)")


def csv_by_polars(run: Path) -> list[Any]:
    """Polars."""
    import polars

    return list(polars.read_csv(run / "records.csv", infer_schema_length=None).select(COLUMNS).iter_rows())


def parquet_by_duckdb(run: Path) -> list[Any]:
    """DuckDB, all parts as one table."""
    return select(f"'{run}/records/*.parquet'")


def parquet_by_polars(run: Path) -> list[Any]:
    """Polars, all parts as one table."""
    import polars

    return list(polars.read_parquet(run / "records" / "*.parquet").select(COLUMNS).iter_rows())


def by_pyarrow(run: Path) -> list[Any]:
    """PyArrow, all parts as one data set."""
    import pyarrow.dataset

    rows = pyarrow.dataset.dataset(run / "records", format="parquet").to_table(columns=list(COLUMNS)).to_pylist()
    return [tuple(row[name] for name in COLUMNS) for row in rows]


def select(table: str) -> list[Any]:
    """DuckDB's rows of a table."""
    import duckdb

    with duckdb.connect() as db:
        return db.sql(f"SELECT {', '.join(COLUMNS)} FROM {table}").fetchall()


READERS = (
    by_json,
    json_by_duckdb,
    json_by_polars,
    by_csv,
    csv_by_duckdb,
    csv_by_polars,
    parquet_by_duckdb,
    parquet_by_polars,
    by_pyarrow,
)


@pytest.mark.parametrize("read", READERS)
def test_every_reader_of_records_reads_all_of_them(done: Done, read: Callable[[Path], list[Any]]) -> None:
    """As many as state.db says, with as many bytes, each with the digest of its file; and all say the same."""
    rows = read(done.run)
    assert len(rows) == done.status["settled"] == len(PATHS)
    assert Counter((url, sha256) for _, url, _, _, _, sha256 in rows) == done.wanted()
    assert sum(int(row[4] or 0) for row in rows if row[2] == "fetched") == done.status["bytes"]
    assert Counter(row[2] for row in rows) == {"fetched": done.status["fetched"], "failed": done.status["failed"]}
    said = {tuple(map(str, row)) for row in rows}
    assert said == {tuple(map(str, row)) for row in by_json(done.run)}


# -- bodies ----------------------------------------------------------------------------------------------------------


def test_every_body_is_the_file_that_was_served(done: Done) -> None:
    """As a file, or inline in JSON lines, CSV and Parquet: its bytes are those of the source."""
    import pyarrow.dataset

    if (done.run / "bodies").exists():
        kept = [(done.run / row["body"]).read_bytes() for row in lines(done.run) if row["body"] is not None]
        assert digests(kept) == done.bodies
        assert sum(map(len, kept)) == done.status["bytes"]
        return
    table = pyarrow.dataset.dataset(done.run / "records", format="parquet").to_table().to_pylist()
    for rows in (lines(done.run), cells(done.run), table):
        assert digests(inline(row) for row in rows if row["outcome"] == "fetched") == done.bodies


def inline(row: dict[str, Any]) -> bytes:
    """The body in a record; in one column or the other."""
    assert not (row["content"] and row["content_base64"])
    return (row["content"] or "").encode() or b64decode(row["content_base64"] or "")


def digests(bodies: Iterable[bytes]) -> Counter[str]:
    """How often each content is there."""
    return Counter(sha256(body).hexdigest() for body in bodies)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
def test_every_reader_of_tar_gives_back_every_body(done: Done, tmp_path: Path) -> None:
    """tarfile, GNU tar and webdataset: a body and its facts for each page, in several shards."""
    shards = sorted((done.run / "tar").glob("*.tar"))
    assert len(shards) > 1
    members: dict[str, bytes] = {}
    for shard in shards:
        with tarfile.open(shard, "r:") as archive:
            members |= {one.name: file.read() for one in archive if (file := archive.extractfile(one)) is not None}
        subprocess.run(["tar", "-xf", shard, "-C", tmp_path], check=True, timeout=60)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == members
    facts = {name.partition(".")[0]: json.loads(data) for name, data in members.items() if is_facts(name)}
    bodies = {name.partition(".")[0]: data for name, data in members.items() if not is_facts(name)}
    assert digests(bodies.values()) == done.bodies
    assert {key: sha256(body).hexdigest() for key, body in bodies.items()} == {
        key: said["sha256"] for key, said in facts.items()
    }
    samples = samples_of(shards)
    gc.collect()
    assert {sample["__key__"]: json.loads(sample["json"]) for sample in samples} == facts
    for sample in samples:
        [body] = [data for name, data in sample.items() if not name.startswith("__") and name != "json"]
        assert body == bodies[sample["__key__"]]


def samples_of(shards: list[Path]) -> list[dict[str, Any]]:
    """What webdataset gives a program that learns from it."""
    import webdataset

    return list(webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False))


def is_facts(name: str) -> bool:
    """Is this what is told of a body, and not the body."""
    return name.endswith(".json") and not name.endswith(".body.json")


def test_every_reader_of_warc_reads_all_captures(done: Done) -> None:
    """warcio, FastWARC, gzip and a strict reader: each answer with its request, the right body behind each URL."""
    paths = sorted((done.run / "warc").glob("*.warc.gz"))
    assert len(paths) > 1
    program = Path(sys.executable).with_name("warcio")
    assert subprocess.run([program, "check", *paths], timeout=60).returncode == 0
    subprocess.run(["gzip", "-t", *paths], check=True, timeout=60)
    found = [record for path in paths for record in by_hand(path)]
    modules = node_modules()
    for read in (by_warcio, by_fastwarc, *([partial(by_node, modules=modules)] if modules is not None else [])):
        assert [record for path in paths for record in read(path)] == found
    kinds = Counter(record.kind for record in found)
    answers = done.status["settled"] + len(MOVED)  # what a page has moved from is a capture as well
    assert kinds["response"] + kinds["revisit"] == kinds["request"] == answers
    assert kinds["warcinfo"] == len(paths)
    assert kinds["metadata"] == done.status["settled"]
    pages = {done.site + path.removeprefix("/moved"): digest for path, digest in done.digests.items() if digest}
    for record in found:
        if record.kind == "response" and record.url in pages:
            assert record.payload == pages[record.url], record.url
    rows = [json.loads(line.split(" ", 2)[2]) for line in (done.run / INDEX).read_text().splitlines()]
    told = Counter((row["url"], row["digest"]) for row in rows if row.get("status", "200") == "200")
    assert told == Counter(
        (done.site + path.removeprefix("/moved"), f"sha256:{digest}") for path, digest in done.digests.items() if digest
    )


# -- secrets ---------------------------------------------------------------------------------------------------------

PLANTED = {name: secret(number) for number, name in enumerate(("basic", "query", "header", "cookie"))}
AUTH = {
    "basic": {"type": "basic", "user": "me", "password": "env:PLANTED_BASIC"},
    "query": {"type": "key", "params": {"token": "env:PLANTED_QUERY"}},
    "header": {"type": "key", "headers": {"X-Custom": "env:PLANTED_HEADER"}},
}


def answer(name: str, head: str) -> bytes:
    """What a host says: its secret comes back in heads and in what it leads to, but in no body."""
    if name == "cookie":
        return reply(200, b"in" * 600, Set_Cookie=f"session={quote(PLANTED[name], safe='')}; Path=/")
    said = quote(PLANTED[name], safe="")
    echo = {"X-Echo": PLANTED[name], "X-Base": b64encode(f"me:{PLANTED[name]}".encode()).decode()}
    match head.split(" ")[1].partition("?")[0]:
        case "/moved":
            return reply(302, b"", Location=f"/next?token={said}&a=1", **echo)
        case "/missing":
            return reply(404, b"no", **echo)
    return reply(200, name.encode() * 300, **echo)


def written(run: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a run but the jar of its cookies, as it is and, where it is packed, unpacked."""
    import pyarrow.parquet

    for file in sorted(run.rglob("*")):
        if file.is_file() and file.name != "cookies.json":
            name = str(file.relative_to(run))
            yield name, file.read_bytes()
            if file.suffix == ".gz":
                yield f"{name}, unpacked", gzip.decompress(file.read_bytes())
            elif file.suffix == ".zst":
                yield f"{name}, unpacked", subprocess.run(["zstdcat", file], capture_output=True, check=True).stdout
            elif file.suffix == ".parquet":
                yield f"{name}, unpacked", repr(pyarrow.parquet.read_table(file).to_pylist()).encode()


@pytest.mark.parametrize("keep", [False, True], ids=["left out", "kept"])
async def test_no_secret_is_in_any_output_unless_it_is_to_be_kept(tmp_path: Path, keep: bool) -> None:
    """Credentials in headers and queries, cookies both ways, in any form; `keep_secrets` spares cookies in the WARC."""
    async with AsyncExitStack() as stack:
        sites = {}
        for name in PLANTED:
            sites[name] = await stack.enter_async_context(listening("127.0.0.2"))
            sites[name].answer = partial(answer, name)
        pages = [f"http://{site.place}/{page}" for site in sites.values() for page in ("a", "moved", "missing", "b")]
        job = {
            "name": "secret",
            "input": {"urls": pages},
            "limits": {"per_host": 1, "robots": "ignore"},
            "cookies": {"jar": True},
            "auth": {name: {**said, "hosts": [sites[name].place]} for name, said in AUTH.items()},
            "output": {
                "dir": str(tmp_path / "out"),
                "records": ["jsonl", "csv", "parquet"],
                "bodies": ["files", "warc", "tar", "inline"],
                "compress": True,
                "headers_in_record": True,
                "keep_secrets": keep,
            },
        }
        (tmp_path / "job.json").write_text(json.dumps(job))
        environment = os.environ | {f"PLANTED_{name.upper()}": value for name, value in PLANTED.items()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crawler", "run", str(tmp_path / "job.json"), "--quiet"), env=environment
        )
        assert await asyncio.wait_for(process.wait(), 60) == 1
    for name, site in sites.items():
        assert hits("\n".join(site.heads).encode(), PLANTED[name]), name
    found = dict(written((tmp_path / "out/secret/latest").resolve()))
    assert {Path(name).suffix for name in found} >= {".gz", ".cdxj", ".tar", ".csv", ".parquet", ".zst"}
    [archive] = [data for name, data in found.items() if name.endswith(".warc.gz, unpacked")]
    assert archive.count(b"***") > 10
    leaks = {(name, where) for where, data in found.items() for name in PLANTED if hits(data, PLANTED[name])}
    assert leaks == ({("cookie", where) for where in found if where.endswith(".warc.gz, unpacked")} if keep else set())
    if keep:
        assert b"\r\nSet-Cookie: session=" in archive
        assert b"\r\nCookie: session=" in archive
