"""A WARC made of a run that kept none: what other readers find in it, and that bodies are the right ones."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator

from crawler.entry import Entry, Sync
from crawler.errors import ExitCode, JobError, StorageError
from crawler.exporting import Exported, Wanted, export
from crawler.job import Job
from crawler.model import Body, Record
from crawler.sinks.tar import TarShards
from tests.exportruns import RUN, JobRuns, record

LARGE = Random(5).randbytes(700_000) * 4


class Found(NamedTuple):
    """A record as warcio reads it, its digests verified."""

    kind: str
    url: str | None
    fields: dict[str, str]
    status: str | None
    http: dict[str, str]
    body: bytes


@pytest.fixture
def runs(tmp_path: Path) -> JobRuns:
    runs = JobRuns(tmp_path / "out")
    runs.begin()
    return runs


def job_of(runs: JobRuns, **request: Any) -> Job:
    output = {"dir": str(runs.folder.path.parent)}
    return Job.model_validate(
        {"name": "j", "input": {"urls": ["http://a.example/"]}, "output": output, "request": request}
    )


def exported(runs: JobRuns, *records: dict[str, Any], **request: Any) -> Exported:
    runs.jsonl(records)
    return export(job_of(runs, **request), Wanted("warc"))


def read(path: Path) -> list[Found]:
    found = []
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, check_digests="raise"):
            http = record.http_headers
            found.append(
                Found(
                    record.rec_type,
                    record.rec_headers.get_header("WARC-Target-URI"),
                    dict(record.rec_headers.headers),
                    http.get_statuscode() if http else None,
                    dict(http.headers) if http else {},
                    record.raw_stream.read(),
                )
            )
    with open(path, "rb") as file:
        fast = [record.verify_block_digest() for record in FastIterator(file, parse_http=False)]
    assert fast == [True] * len(found)
    return found


def kept(runs: JobRuns, name: str, data: bytes) -> str:
    path = runs.folder.run(RUN) / "bodies" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return f"bodies/{name}"


@pytest.mark.parametrize("data", [b"", b"hello", LARGE], ids=["empty", "small", "large"])
def test_a_body_without_headers_is_a_resource(runs: JobRuns, data: bytes) -> None:
    """Nothing is claimed of HTTP; what is known of the capture is a metadata record beside it."""
    told = record(7, data, body=kept(runs, "x", data), final_url="http://a.example/7?to=ü", attempts=2)
    made = exported(runs, told)
    info, resource, metadata = read(made.path)
    assert [info.kind, resource.kind, metadata.kind] == ["warcinfo", "resource", "metadata"]
    assert (resource.url, resource.body) == ("http://a.example/7?to=%C3%BC", data)
    assert resource.fields["Content-Type"] == "text/plain"
    assert resource.fields["WARC-Date"] == "2026-01-02T03:04:07.678000Z"
    assert resource.fields["WARC-Payload-Digest"] == f"sha256:{sha256(data).hexdigest()}"
    assert metadata.fields["WARC-Concurrent-To"] == resource.fields["WARC-Record-ID"]
    assert b"via: http://a.example/7\r\n" in metadata.body
    assert b"attempts: 2\r\n" in metadata.body
    assert made.rows == 1
    assert any("`resource`" in note for note in made.notes)


def test_a_body_with_headers_is_a_response(runs: JobRuns) -> None:
    """Status and headers are those of the record; what no longer holds of a decoded body is under other names."""
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip", "Content-Length": "9", "Set-Cookie": "id=1"}
    made = exported(runs, record(1, b"hello", body=kept(runs, "x", b"hello"), status=203, headers=headers))
    _, response, metadata = read(made.path)
    assert (response.kind, response.status, response.body) == ("response", "203", b"hello")
    assert response.http["Content-Length"] == "5"
    assert response.http["X-Archive-Orig-Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in response.http
    assert response.http["Set-Cookie"] == "***"
    assert response.fields["WARC-Payload-Digest"] == f"sha256:{sha256(b'hello').hexdigest()}"
    assert metadata.fields["WARC-Concurrent-To"] == response.fields["WARC-Record-ID"]
    assert made.notes == ()


def test_a_body_kept_as_it_came_keeps_its_coding(runs: JobRuns) -> None:
    """With `decompress = false` the header is true."""
    headers = {"Content-Encoding": "gzip", "Content-Length": "5"}
    told = record(1, b"hello", body=kept(runs, "x", b"hello"), headers=headers)
    _, response, _ = read(exported(runs, told, decompress=False).path)
    assert response.http == headers


@pytest.mark.parametrize(
    "more",
    [
        {"content": "grüße", "content_base64": None},
        {"content": None, "content_base64": b64encode("grüße".encode()).decode()},
    ],
)
def test_a_body_that_stands_in_its_record_is_taken_from_there(runs: JobRuns, more: dict[str, Any]) -> None:
    """As text or in Base64."""
    _, resource, _ = read(exported(runs, record(1, "grüße".encode(), **more)).path)
    assert resource.body.decode() == "grüße"


def test_bodies_are_taken_out_of_tar_shards(runs: JobRuns) -> None:
    """Small and large ones, from their places in several shards."""
    bodies, place = [b"one", LARGE, b"", b"four", LARGE[::-1]], runs.folder.run(RUN)
    shards = TarShards(place, {}, 1024, Sync.COMMIT)
    records = []
    for n, data in enumerate(bodies):
        told = record(n, data)
        entry = Entry(Record(**told), Body(len(data), told["sha256"], data))
        shards.store(n, [entry])
        assert entry.tar is not None
        records.append({**told, "tar": entry.tar._asdict()})
    shards.finish()
    shards.close()
    assert len({told["tar"]["file"] for told in records}) > 1
    made = exported(runs, *records)
    assert [found.body for found in read(made.path) if found.kind == "resource"] == bodies
    assert [path.name for path in made.path.parent.iterdir()] == ["records.warc.gz"]


def test_an_end_without_a_body_is_metadata(runs: JobRuns) -> None:
    """A failure that was sent is told; what was never sent was never captured, and is counted."""
    failed = record(1, outcome="failed", reason="status-404", status=404, error="not\r\nfound", content_type=None)
    never = record(2, outcome="skipped", reason="robots", status=None, started_at=None, elapsed_ms=None, attempts=0)
    made = exported(runs, failed, never, {**never, "id": 3})
    info, metadata = read(made.path)
    assert (info.kind, metadata.kind) == ("warcinfo", "metadata")
    assert b"reason: status-404\r\n" in metadata.body
    assert b"error: not found\r\n" in metadata.body
    assert "WARC-Concurrent-To" not in metadata.fields
    assert (made.rows, made.notes) == (1, ("2 inputs that were never sent are left out",))


def test_a_head_has_its_headers(runs: JobRuns) -> None:
    """No body came, and none is claimed."""
    told = record(1, method="HEAD", headers={"Content-Length": "99"})
    _, response, _ = read(exported(runs, told).path)
    assert (response.kind, response.body) == ("response", b"")
    assert response.http == {"X-Archive-Orig-Content-Length": "99", "Content-Length": "0"}


def test_the_file_says_what_it_is(runs: JobRuns) -> None:
    """A warcinfo with the name that it has in the end, and ids that differ."""
    made = exported(runs, *(record(n, b"x", content="x") for n in range(50)))
    info, *others = read(made.path)
    assert info.fields["WARC-Filename"] == "records.warc.gz"
    assert f"run: {RUN}\r\n".encode() in info.body
    assert len({found.fields["WARC-Record-ID"] for found in (info, *others)}) == 101
    with open(made.path, "rb") as file:
        iterator = ArchiveIterator(file)
        offsets = [iterator.get_record_offset() for _ in iterator]
    assert offsets == sorted(set(offsets))  # a member each


def test_what_a_server_says_ends_no_line(runs: JobRuns) -> None:
    """A Content-Type with a line end makes no field of its own."""
    told = record(1, b"x", content="x", content_type="text/plain\r\nX-Evil: 1")
    _, resource, _ = read(exported(runs, told).path)
    assert "X-Evil" not in resource.fields
    assert resource.fields["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("size", [5, 2_800_000])
@pytest.mark.parametrize("harm", ["gone", "edited", "cut"])
def test_a_body_that_is_not_the_one_that_came_is_told(runs: JobRuns, size: int, harm: str) -> None:
    """Exit 4, and no archive that says otherwise."""
    data = LARGE[:size]
    path = runs.folder.run(RUN) / kept(runs, "x", data)
    match harm:
        case "gone":
            path.unlink()
        case "edited":
            path.write_bytes(b"?" + data[1:])
        case _:
            path.write_bytes(data[:-1])
    with pytest.raises(StorageError) as told:
        exported(runs, record(1, data, body="bodies/x"))
    assert told.value.code == ExitCode.NO_ROOM
    assert [*(runs.folder.run(RUN) / "export").iterdir()] == []


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_shard_that_cannot_be_read_is_told(runs: JobRuns, harm: str) -> None:
    """Exit 4, with its name."""
    path = runs.folder.run(RUN) / "tar" / "shard-000000.tar"
    path.parent.mkdir()
    if harm == "damaged":
        path.write_bytes(b"\1" * 4096)
    told = record(1, b"x", tar={"file": "tar/shard-000000.tar", "offset": 512, "length": 1024})
    with pytest.raises(StorageError, match=r"shard-000000\.tar"):
        exported(runs, told)


def test_a_run_with_warc_files_has_them_already(runs: JobRuns) -> None:
    """Those are the better ones, with what went over the wire."""
    told = record(1, b"x", warc={"file": "warc/j-00000.warc.gz", "offset": 0, "length": 9})
    with pytest.raises(JobError, match=rf"WARC files of its own: .*{RUN}/warc"):
        exported(runs, told)


def test_a_name_with_braces_is_a_name(runs: JobRuns, tmp_path: Path) -> None:
    """Nothing in it is filled in."""
    runs.jsonl([record(1, b"x", content="x")])
    target = tmp_path / "a{0}{}b{.gz"
    export(job_of(runs), Wanted("warc", output=target))
    assert len(read(target)) == 3
