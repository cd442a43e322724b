"""The oracle that judges runs from outside finds every fault that is planted, and none where there is none."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sqlite3
import tarfile
from base64 import b32encode
from collections.abc import Callable
from contextlib import closing
from hashlib import sha1, sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.chaos import oracle, warcs
from tests.chaos.jobs import ALL, FEW, Sinks
from tests.chaos.site import Page

RUN = "20261121T000000Z-abcdef"
URL = "http://127.0.0.1:1/p"
BODIES = {"/1": b"one", "/2": b"two and more", "/3": b"one"}  # two of the same content
PAGES = [Page(URL + path, URL + path, 200, sha256(body).hexdigest(), len(body)) for path, body in BODIES.items()]
PAGES.append(Page(URL + "/4", URL + "/4", 404, None, None))


class Folder:
    """A run that came to its end in every form, made by other hands than the crawler's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = path / "runs" / RUN
        for name in ("bodies", "records", "warc", "tar"):
            (self.run / name).mkdir(parents=True)
        self.records: list[dict[str, Any]] = [_record(page) for page in PAGES]
        for name in ("summary.json", "run.log", "progress.jsonl"):
            (self.run / name).write_text("{}\n")
        self._write_bodies()
        self._write_warc()
        self._write_tar()
        self.write_tables()
        self.commit()

    def write_tables(self) -> None:
        """The records as they are now, in each form."""
        import pyarrow
        import pyarrow.parquet as parquet

        (self.run / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in self.records))
        with (self.run / "records.csv").open("w", newline="") as file:
            flat = [
                {key: value for key, value in record.items() if key not in ("warc", "tar")} for record in self.records
            ]
            writer = csv.DictWriter(file, flat[0])
            writer.writeheader()
            writer.writerows(flat)
        for number, half in enumerate((flat[:2], flat[2:])):
            parquet.write_table(pyarrow.Table.from_pylist(half, _schema()), self.part(number))

    def part(self, number: int) -> Path:
        """A Parquet part."""
        return self.run / f"records/part-{number:05}.parquet"

    def commit(self, state: str = "finished") -> None:
        """Let the checkpoint vouch for all of it as it is."""
        (self.path / "state.db").unlink(missing_ok=True)
        fetched = sum(record["outcome"] == "fetched" for record in self.records)
        tally = json.dumps({"fetched": fetched, "failed": len(self.records) - fetched, "skipped": 0})
        with closing(sqlite3.connect(self.path / "state.db")) as db, db:
            db.execute("CREATE TABLE runs (n INTEGER PRIMARY KEY, id, state, tally)")
            db.execute("CREATE TABLE segments (name, length)")
            db.execute("INSERT INTO runs (id, state, tally) VALUES (?, ?, ?)", (RUN, state, tally))
            for path in (*self.run.glob("records.*"), *self.run.glob("warc/*.gz"), *self.run.glob("tar/*")):
                db.execute("INSERT INTO segments VALUES (?, ?)", (str(path.relative_to(self.run)), path.stat().st_size))

    def judged(self, sinks: Sinks = ALL) -> list[str]:
        """What the oracle says."""
        return oracle.judge(self.path, PAGES, sinks)

    def append(self, name: str, data: bytes) -> None:
        """Write more to a file than is vouched for."""
        with (self.run / name).open("ab") as file:
            file.write(data)

    def cut(self, name: str, size: int) -> None:
        """Take the end of a file away."""
        data = (self.run / name).read_bytes()
        (self.run / name).write_bytes(data[:-size])

    def _write_bodies(self) -> None:
        for record in self.records:
            if record["body"]:
                (self.run / record["body"]).write_bytes(BODIES[record["url"].removeprefix(URL)])

    def _write_warc(self) -> None:
        with (self.run / "warc/chaos-00000.warc.gz").open("wb") as file:
            file.write(_member("warcinfo", None, b"software: by hand\r\n"))
            for record in self.records:
                at = file.tell()
                body = BODIES.get(record["url"].removeprefix(URL), b"nothing")
                head = f"HTTP/1.1 {record['status']} -\r\nContent-Length: {len(body)}\r\n\r\n"
                file.write(_member("response", record["url"], head.encode() + body))
                record["warc"] = {"file": "warc/chaos-00000.warc.gz", "offset": at, "length": file.tell() - at}
        self.write_index([record for record in self.records if record["warc"]])

    def write_index(self, records: list[dict[str, Any]]) -> None:
        """CDXJ of these."""
        lines = []
        for record in records:
            place = {"url": record["url"], "filename": "chaos-00000.warc.gz"}
            place |= {name: str(record["warc"][name]) for name in ("offset", "length")}
            lines.append(f"1,0,0,127)/{record['url'][-1]} 20261121000000 {json.dumps(place)}\n")
        for name in ("chaos-00000", "index"):
            (self.run / f"warc/{name}.cdxj").write_text("".join(lines))

    def _write_tar(self) -> None:
        with tarfile.open(self.run / "tar/shard-000000.tar", "w") as archive:
            for number, record in enumerate(self.records):
                if record["outcome"] == "fetched":
                    at, body = archive.offset, BODIES[record["url"].removeprefix(URL)]
                    for name, data in ((f"{number}.html", body), (f"{number}.json", b"{}")):
                        member = tarfile.TarInfo(name)
                        member.size = len(data)
                        archive.addfile(member, io.BytesIO(data))
                        record["tar"] = record["tar"] or {"file": "tar/shard-000000.tar", "offset": at, "length": 1024}


def _record(page: Page) -> dict[str, Any]:
    fetched = page.sha256 is not None
    name = page.url.rpartition("/")[2]
    return {
        "url": page.url,
        "final_url": page.final_url,
        "outcome": "fetched" if fetched else "failed",
        "status": page.status,
        "sha256": page.sha256,
        "bytes": page.size,
        "body": f"bodies/{name}.html" if fetched else None,
        "warc": None,
        "tar": None,
    }


def _member(kind: str, url: str | None, block: bytes) -> bytes:
    """A record of WARC 1.1 as one gzip member."""
    lines = [
        "WARC/1.1",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{uuid4()}>",
        "WARC-Date: 2026-11-21T00:00:00Z",
    ]
    if url is not None:
        digest = b32encode(sha1(block).digest()).decode()
        lines += [f"WARC-Target-URI: {url}", f"WARC-Block-Digest: sha1:{digest}"]
    media = "application/http; msgtype=response" if url is not None else "application/warc-fields"
    head = "\r\n".join((*lines, f"Content-Type: {media}", f"Content-Length: {len(block)}", "", "")).encode()
    return gzip.compress(head + block + b"\r\n\r\n")


def _schema() -> Any:
    import pyarrow as pa

    texts = ("url", "final_url", "outcome", "status", "sha256", "bytes", "body")
    return pa.schema([(name, pa.int64() if name in ("status", "bytes") else pa.string()) for name in texts])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A good run."""
    return Folder(tmp_path / "chaos")


def missing(folder: Folder) -> None:
    """A record that no form has."""
    del folder.records[1]
    folder.write_tables()
    folder.commit()


def doubled(folder: Folder) -> None:
    """A record that stands there twice."""
    folder.records.append(folder.records[0])
    folder.write_tables()
    folder.commit()


def another(folder: Folder) -> None:
    """A record of what nobody asked for."""
    folder.records.append({**folder.records[0], "url": URL + "/other"})
    folder.write_tables()
    folder.commit()


def wrong_outcome(folder: Folder) -> None:
    """A missing page that counts as fetched."""
    folder.records[3]["outcome"] = "fetched"
    folder.write_tables()
    folder.commit()


def wrong_digest(folder: Folder) -> None:
    """A record that says another digest."""
    folder.records[0]["sha256"] = sha256(b"x").hexdigest()
    folder.write_tables()
    folder.commit()


def wrong_body(folder: Folder) -> None:
    """A body that is not the page."""
    (folder.run / folder.records[0]["body"]).write_bytes(b"two")


def no_body(folder: Folder) -> None:
    """A body that is gone."""
    (folder.run / folder.records[0]["body"]).unlink()


def part_left(folder: Folder) -> None:
    """A body on its way in."""
    (folder.path / "parts").mkdir()
    (folder.path / "parts/7.part").write_bytes(b"on")


def unknown_body(folder: Folder) -> None:
    """A body that no record names."""
    (folder.run / "bodies/9.html").write_bytes(b"nine")


def unknown_file(folder: Folder) -> None:
    """A file that nobody writes."""
    (folder.run / "pending").write_bytes(b"")


def store_left(folder: Folder) -> None:
    """A content in the store that is of no record."""
    (folder.path / "store/ab").mkdir(parents=True)
    (folder.path / "store/ab" / sha256(b"x").hexdigest()).write_bytes(b"x")


def wal_left(folder: Folder) -> None:
    """SQLite's log, which a good end removes."""
    (folder.path / "state.db-wal").write_bytes(b"")


def cut_jsonl(folder: Folder) -> None:
    """Less than is vouched for."""
    folder.cut("records.jsonl", 1)


def long_jsonl(folder: Folder) -> None:
    """More than is vouched for."""
    folder.append("records.jsonl", b"{}\n")


def no_record(folder: Folder) -> None:
    """A line that is JSON and no record."""
    folder.append("records.jsonl", b'{"url": 1}\n')
    folder.commit()


def cut_csv(folder: Folder) -> None:
    """A table that ends within a row."""
    folder.cut("records.csv", 5)
    folder.commit()


def short_csv(folder: Folder) -> None:
    """A table that lacks its last row."""
    last = (folder.run / "records.csv").read_bytes().splitlines(keepends=True)[-1]
    folder.cut("records.csv", len(last))
    folder.commit()


def cut_parquet(folder: Folder) -> None:
    """A part without its end."""
    folder.cut("records/part-00001.parquet", 4)


def no_parquet(folder: Folder) -> None:
    """A part that is gone."""
    folder.part(1).unlink()


def doubled_parquet(folder: Folder) -> None:
    """A part that stands there twice."""
    folder.part(2).write_bytes(folder.part(1).read_bytes())


def half_parquet(folder: Folder) -> None:
    """A part under way."""
    folder.part(1).with_suffix(".parquet.part").write_bytes(b"PAR1")


def cut_warc(folder: Folder) -> None:
    """A WARC without its last bytes, vouched for as it is."""
    folder.cut("warc/chaos-00000.warc.gz", 3)
    folder.commit()


def short_warc(folder: Folder) -> None:
    """A WARC that lacks its last record as a whole."""
    folder.cut("warc/chaos-00000.warc.gz", folder.records[3]["warc"]["length"])
    folder.commit()


def doubled_warc(folder: Folder) -> None:
    """A WARC with a record twice."""
    at, length = folder.records[3]["warc"]["offset"], folder.records[3]["warc"]["length"]
    path = folder.run / "warc/chaos-00000.warc.gz"
    folder.append("warc/chaos-00000.warc.gz", path.read_bytes()[at : at + length])
    folder.commit()


def flipped_warc(folder: Folder) -> None:
    """A WARC with a bit that is another."""
    path = folder.run / "warc/chaos-00000.warc.gz"
    data = bytearray(path.read_bytes())
    data[folder.records[1]["warc"]["offset"] + 40] ^= 4
    path.write_bytes(data)


def misplaced_warc(folder: Folder) -> None:
    """A record that names the place of another."""
    folder.records[0]["warc"], folder.records[1]["warc"] = folder.records[1]["warc"], folder.records[0]["warc"]
    folder.write_tables()


def short_index(folder: Folder) -> None:
    """An index that lacks an answer."""
    folder.write_index(folder.records[:3])


def misplaced_index(folder: Folder) -> None:
    """An index that names another place."""
    first = folder.records[0]
    folder.write_index([{**first, "warc": {**first["warc"], "offset": 1}}, *folder.records[1:]])


def unsorted_index(folder: Folder) -> None:
    """An index that cannot be searched."""
    folder.write_index(folder.records[::-1])


def cut_tar(folder: Folder) -> None:
    """A shard without its end."""
    folder.cut("tar/shard-000000.tar", 10240)
    folder.commit()


def misplaced_tar(folder: Folder) -> None:
    """A record that names the place of another."""
    folder.records[0]["tar"], folder.records[1]["tar"] = folder.records[1]["tar"], folder.records[0]["tar"]
    folder.write_tables()


def doubled_tar(folder: Folder) -> None:
    """A shard that is there twice."""
    copy = (folder.run / "tar/shard-000000.tar").read_bytes()
    (folder.run / "tar/shard-000001.tar").write_bytes(copy)
    folder.commit()


def no_summary(folder: Folder) -> None:
    """A run without its sign of being whole."""
    (folder.run / "summary.json").unlink()


def unfinished(folder: Folder) -> None:
    """A run that the checkpoint takes for one at work."""
    folder.commit("running")


def damaged(folder: Folder) -> None:
    """A checkpoint with a page of something else."""
    data = bytearray((folder.path / "state.db").read_bytes())
    data[4096:8192] = b"x" * 4096
    (folder.path / "state.db").write_bytes(data)


FAULTS: dict[Callable[[Folder], None], str] = {
    missing: "records: http://127.0.0.1:1/p/2 is missing",
    doubled: "records: http://127.0.0.1:1/p/1 stands there 2 times",
    another: "records: http://127.0.0.1:1/p/other was never asked for",
    wrong_outcome: "('fetched', 404,",
    wrong_digest: "p/1: the record's digest or size is not the page's",
    wrong_body: "p/1: its body bodies/1.html is not the page",
    no_body: "p/1: its body bodies/1.html is not there",
    part_left: "parts/7.part: was left",
    unknown_body: "bodies/9.html: nobody knows that file",
    unknown_file: "pending: nobody knows that file",
    store_left: "is not the body of a record",
    wal_left: "state.db-wal: nobody knows that file",
    cut_jsonl: "records.jsonl: ends within a line",
    long_jsonl: "records.jsonl: has ",
    no_record: "records.jsonl: line 5 is no record",
    cut_csv: "records.csv: ends within a line",
    short_csv: "records.csv: http://127.0.0.1:1/p/4 is missing",
    cut_parquet: "part-00001.parquet: ",
    no_parquet: "records/*.parquet: http://127.0.0.1:1/p/3 is missing",
    doubled_parquet: "records/*.parquet: http://127.0.0.1:1/p/3 is doubled",
    half_parquet: "records/part-00001.parquet.part: nobody knows that file",
    cut_warc: "the member is cut",
    short_warc: "WARC: http://127.0.0.1:1/p/4 is missing",
    doubled_warc: "WARC: http://127.0.0.1:1/p/4 stands there 1 times too often",
    flipped_warc: "warc/chaos-00000.warc.gz: at ",
    misplaced_warc: "a response of http://127.0.0.1:1/p/2 stands there",
    short_index: "index.cdxj: http://127.0.0.1:1/p/4 is missing",
    misplaced_index: "index.cdxj: http://127.0.0.1:1/p/1 is named too often, or at a wrong place",
    unsorted_index: "chaos-00000.cdxj: is not sorted",
    cut_tar: "shard-000000.tar: ",
    misplaced_tar: "what stands there is not the page",
    doubled_tar: "is doubled or unknown",
    no_summary: "summary.json: is not there",
    unfinished: "state.db: the run is running",
    damaged: "state.db: ",
}


def test_a_good_run_has_no_fault(folder: Folder) -> None:
    """All forms, by other writers than ours: nothing to say."""
    assert folder.judged() == []


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_every_planted_fault_is_found(folder: Folder, plant: Callable[[Folder], None]) -> None:
    """The sentence names the fault; what caused it may cause others."""
    plant(folder)
    faults = folder.judged()
    assert any(FAULTS[plant] in fault for fault in faults), faults


def test_what_a_kill_left_counts_as_far_as_it_is_vouched_for(folder: Folder) -> None:
    """Bytes behind the committed length, files of nobody and a log of SQLite are for the next start to remove."""
    folder.commit("running")
    for name in ("records.jsonl", "records.csv", "warc/chaos-00000.warc.gz", "tar/shard-000000.tar"):
        folder.append(name, b"torn")
    unknown_body(folder)
    left = oracle.judge_killed(folder.path, PAGES, ALL, [URL + "/1"])
    assert left == oracle.Killed([], {page.url for page in PAGES}, finished=False)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (no_body, "its body bodies/1.html is not there"),
        (wrong_body, "its body bodies/1.html is not the page"),
        (cut_jsonl, "records.jsonl: has "),
        (doubled, "stands there 2 times"),
        (short_csv, "records.csv: http://127.0.0.1:1/p/4 is missing"),
        (flipped_warc, "warc/chaos-00000.warc.gz: at "),
        (misplaced_tar, "what stands there is not the page"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_what_is_vouched_for_must_be_right_after_a_kill(
    folder: Folder, plant: Callable[[Folder], None], said: str
) -> None:
    """A committed record without its body, bytes that are gone: nothing repairs these."""
    folder.commit("running")
    plant(folder)
    faults = oracle.judge_killed(folder.path, PAGES, ALL).faults
    assert any(said in fault for fault in faults), faults


def test_what_was_given_out_must_be_committed(folder: Folder) -> None:
    """An acknowledgement that no commit stands behind is a fault, also where nothing was begun."""
    lost = URL + "/never"
    assert oracle.judge_killed(folder.path, PAGES, FEW, [lost]).faults == [
        f"{lost}: was given out and is not committed"
    ]
    (folder.path / "state.db").unlink()
    assert oracle.judge_killed(folder.path, PAGES, FEW, [lost]).faults == [
        f"{lost}: was given out, and nothing is committed"
    ]


def test_a_place_beyond_the_committed_length_is_a_fault(folder: Folder) -> None:
    """A record must not name bytes of a segment that the next start cuts off."""
    with closing(sqlite3.connect(folder.path / "state.db")) as db, db:
        db.execute(
            "UPDATE segments SET length = ? WHERE name LIKE 'warc/%'", (folder.records[3]["warc"]["offset"] - 1,)
        )
    faults = oracle.judge_killed(folder.path, PAGES, ALL).faults
    assert [fault for fault in faults if "beyond what the checkpoint vouches for" in fault]


def test_every_cut_of_a_warc_is_seen_by_the_strict_reader(folder: Folder) -> None:
    """At whatever byte it is cut but between two records: what readers of WARC pass for whole."""
    data = (folder.run / "warc/chaos-00000.warc.gz").read_bytes()
    whole = {0, *(one.offset + one.length for one in warcs.members(data))}
    passed = []
    for size in range(len(data) + 1):
        try:
            list(warcs.members(data[:size]))
        except ValueError:
            continue
        passed.append(size)
    assert set(passed) == whole
