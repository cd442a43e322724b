"""Visits and entries for the tests of WARC, and what two readers that nobody here wrote say of a file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from crawler.durable import Mark
from crawler.entry import Entry, Sync
from crawler.model import Body, Elapsed, Record, Visit
from crawler.sinks.warc import WarcFiles

AT = 1_700_000_000.25  # 2023-11-14T22:13:20.25Z
GET = (("Host", "a.test"), ("User-Agent", "crawler"))


def body_of(data: bytes) -> Body:
    """A body in memory."""
    return Body(len(data), sha256(data).hexdigest(), data)


def visit(url: str = "http://a.test/", data: bytes = b"hello", **more: Any) -> Visit:
    """A GET that was answered with `data`."""
    headers = (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(data))))
    plain: dict[str, Any] = {"sent": GET, "content": None, "status": 200, "phrase": "OK", "headers": headers}
    plain |= {"at": AT, "body": body_of(data), "address": "127.0.0.1"}
    return Visit(url, **{"method": "GET"} | plain | more)


def entry(id: int, *visits: Visit, **more: Any) -> Entry:
    """An entry of request `id`."""
    visits = visits or (visit(f"http://a.test/{id}", b"page %d" % id),)
    last = visits[-1]
    plain: dict[str, Any] = dict.fromkeys(Record.__dataclass_fields__) | {
        "id": id,
        "run": "r1",
        "url": visits[0].url,
        "final_url": last.url,
        "outcome": "fetched",
        "attempts": 1,
        "elapsed_ms": Elapsed(None, None, 1.0, 12.3),
        "sha256": last.body.sha256,
    }
    return Entry(Record(**plain | more), last.body, None, visits)


def sink(folder: Path, marks: dict[str, Mark] | None = None, size: int = 1 << 30, **more: Any) -> WarcFiles:
    """A sink of job `j` in run `r1` that hides nothing by its value."""
    return WarcFiles(folder, "j", "r1", marks or {}, size, Sync.COMMIT, more.pop("hide", str), **more)


def files(folder: Path) -> list[Path]:
    """The WARC files of a run."""
    return sorted((folder / "warc").glob("*.warc.gz"))


class Seen:
    """A record as a reader gives it back."""

    def __init__(self, kind: str, fields: dict[str, str], block: bytes) -> None:
        self.kind = kind
        self.fields = fields
        self.block = block
        self.head, _, self.payload = block.partition(b"\r\n\r\n")


def read(path: Path) -> list[Seen]:
    """The records of a file by FastWARC, each with its digests verified; warcio must see the same ones."""
    from fastwarc.warc import ArchiveIterator
    from warcio.archiveiterator import ArchiveIterator as OtherIterator  # type: ignore[import-untyped]

    found = []
    with path.open("rb") as file:
        for record in ArchiveIterator(file, parse_http=False):
            fields = dict(record.headers)
            assert record.verify_block_digest(), fields
            found.append(Seen(fields["WARC-Type"], fields, record.reader.read()))
    assert _ids(path, OtherIterator) == [one.fields["WARC-Record-ID"] for one in found]
    return found


def _ids(path: Path, reader: Any) -> list[str]:
    ids = []
    with path.open("rb") as file:
        for record in reader(io.BytesIO(file.read()), check_digests=True):
            record.raw_stream.read()
            assert record.digest_checker.passed is not False, record.digest_checker.problems
            ids.append(record.rec_headers.get_header("WARC-Record-ID"))
    return ids


def store(to: WarcFiles, *groups: Sequence[Entry]) -> dict[str, Mark]:
    """Store groups; what the checkpoint has committed then."""
    marks: dict[str, Mark] = {}
    for number, group in enumerate(groups, 1):
        to.store(number, group)
        marks |= dict(to.marks())
    return marks
