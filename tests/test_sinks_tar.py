"""Tar shards: pairs of a body and what is known of it, in whole shards that loaders read as they are."""

from __future__ import annotations

import os
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.durable import Mark
from crawler.entry import Entry, Sync
from crawler.errors import StorageError
from crawler.masking import Mask
from crawler.model import Body
from crawler.sinks.tar import TarShards, header
from crawler.tarcheck import check
from tests.fakes import record_of

GIB = 1 << 30


def entry(id: int, data: bytes | None, *, kind: str | None = "text/html", url: str | None = None) -> Entry:
    """A body in memory with its record; None is a failure."""
    record = record_of(id, data, kind=kind, url=url)
    return Entry(record, None if data is None else Body(len(data), sha256(data).hexdigest(), data=data))


def in_part(folder: Path, id: int, data: bytes) -> Entry:
    """A body in a part file."""
    path = folder / f"run-{id}.part"
    path.write_bytes(data)
    return Entry(record_of(id, data), Body(len(data), sha256(data).hexdigest(), part=str(path)))


def shards(run: Path, marks: Mapping[str, Mark] | None = None, size: int = GIB) -> TarShards:
    return TarShards(run, marks or {}, size, Sync.COMMIT)


def members(run: Path) -> Iterator[tuple[str, bytes]]:
    """Name and data of every member, as tarfile reads all shards."""
    for path in sorted((run / "tar").iterdir()):
        with tarfile.open(path) as archive:
            for info in archive:
                file = archive.extractfile(info)
                assert file is not None
                yield info.name, file.read()


def bodies(run: Path) -> list[tuple[int, bytes]]:
    """Id and data of each body; asserts that its JSON follows it."""
    found = list(members(run))
    pairs = list(zip(found[::2], found[1::2], strict=True))
    for (name, data), (beside, text) in pairs:
        assert beside == name.partition(".")[0] + ".json"
        assert orjson.loads(text)["sha256"] == sha256(data).hexdigest()
    return [(orjson.loads(text)["id"], data) for (_, data), (_, text) in pairs]


def faults(run: Path, marks: Mapping[str, Mark]) -> list[Any]:
    return [fault for name, mark in marks.items() for fault in check(run / name, mark.length, closed=mark.closed)]


def test_a_body_and_its_json_are_members_of_one_key(tmp_path: Path) -> None:
    """The key is the record's id without a dot; the JSON tells where the body is from, and its own crc32."""
    one = entry(7, b"<p>", url="http://site.example/a/b.html")
    one.record.etag, one.record.input = '"e"', {"column": [1, None]}
    one.record.last_modified = "Tue, 15 Nov 1994 12:45:26 GMT"
    sink = shards(tmp_path)
    sink.store(1, [one])
    sink.finish()
    (name, data), (beside, text) = members(tmp_path)
    assert (name, data, beside) == ("000000000007.html", b"<p>", "000000000007.json")
    assert orjson.loads(text) == {
        "id": 7,
        "url": "http://site.example/a/b.html",
        "final_url": "http://site.example/a/b.html",
        "status": 200,
        "content_type": "text/html",
        "sha256": sha256(b"<p>").hexdigest(),
        "bytes": 3,
        "etag": '"e"',
        "last_modified": "Tue, 15 Nov 1994 12:45:26 GMT",
        "input": {"column": [1, None]},
        "crc32": f"{crc32(text.partition(b',' + chr(34).encode() + b'crc32')[0]):08x}",
    }
    with tarfile.open(tmp_path / "tar/shard-000000.tar") as archive:
        assert {(info.mtime, info.uid, info.gid, info.uname) for info in archive} == {(784903526, 0, 0, "")}


@pytest.mark.parametrize(
    ("kind", "url", "ext"),
    [
        ("image/jpeg", "http://h/x", "jpg"),
        (None, "http://h/a.tar.gz", "gz"),
        (None, "http://h/x", "bin"),
        ("application/json", "http://h/x", "body.json"),
        (None, "http://h/x.JSON", "body.json"),
        ("application/octet-stream", "http://h/model.pkl", "bin"),
        (None, "http://h/model.PYD", "bin"),
        (None, "http://h/w.pth", "bin"),
    ],
)
def test_extensions_are_those_of_the_content(tmp_path: Path, kind: str | None, url: str, ext: str) -> None:
    """By type, else by URL; never that of the JSON beside it, nor one that a loader would unpickle."""
    sink = shards(tmp_path)
    sink.store(1, [entry(1, b"1", kind=kind, url=url)])
    sink.finish()
    assert next(members(tmp_path))[0] == f"000000000001.{ext}"


def test_without_a_body_there_is_no_member(tmp_path: Path) -> None:
    """Failures and bodies that were only counted are left out; with nothing to hold there is no shard."""
    failed, counted = entry(1, None), Entry(record_of(2, b""), Body(0, sha256(b"").hexdigest()))
    refused = entry(3, b"not found")
    refused.record.outcome = "failed"
    sink = shards(tmp_path)
    sink.store(1, [failed, counted, refused])
    sink.finish()
    assert (failed.tar, counted.tar, refused.tar, sink.marks(), sink.state()) == (None, None, None, [], None)
    assert list((tmp_path / "tar").iterdir()) == []


def test_an_entry_is_told_where_its_body_is(tmp_path: Path) -> None:
    """The place holds the member's header and padded data, and reads alone as an archive."""
    entries = [entry(1, b"one"), in_part(tmp_path, 2, b"2" * 2_500_000), entry(3, b""), entry(4, b"4" * 512)]
    sink = shards(tmp_path)
    sink.store(1, entries)
    sink.finish()
    for one, data in zip(entries, [b"one", b"2" * 2_500_000, b"", b"4" * 512], strict=True):
        assert one.tar is not None
        assert one.tar.length % 512 == 0
        (tmp_path / "cut.tar").write_bytes((tmp_path / one.tar.file).read_bytes()[one.tar.offset :][: one.tar.length])
        with tarfile.open(tmp_path / "cut.tar") as archive:
            (info,) = archive.getmembers()
            file = archive.extractfile(info)
            assert file is not None
            assert file.read() == data
    assert (tmp_path / "run-2.part").exists()  # whoever comes next moves it


@pytest.mark.parametrize("real", [1_000_000, 3_000_000])
def test_a_part_of_another_size_fails_the_group(tmp_path: Path, real: int) -> None:
    """A header that promises another size than comes would spoil the whole shard: the next start drops it."""
    sink = shards(tmp_path)
    sink.store(1, [entry(1, b"1")])
    marks = dict(sink.marks())
    bad = in_part(tmp_path, 2, b"2" * 2_000_000)
    Path(f"{tmp_path}/run-2.part").write_bytes(b"2" * real)
    with pytest.raises(StorageError, match=f"has {real} bytes, not the 2000000"):
        sink.store(2, [bad])
    sink.close()
    again = shards(tmp_path, marks)
    again.finish()
    assert again.dropped > 0
    assert bodies(tmp_path) == [(1, b"1")]


def test_a_stopped_run_is_readable_and_goes_on(tmp_path: Path) -> None:
    """Without its end a shard reads as it is; the next run appends to it, and the end comes once."""
    sink = shards(tmp_path)
    sink.store(1, [entry(1, b"1")])
    marks = dict(sink.marks())
    sink.close()
    assert bodies(tmp_path) == [(1, b"1")]
    assert faults(tmp_path, marks) == []
    sink = shards(tmp_path, marks)
    sink.store(2, [entry(2, b"2")])
    sink.finish()
    marks |= dict(sink.marks())
    sink.close()
    assert bodies(tmp_path) == [(1, b"1"), (2, b"2")]
    (mark,) = marks.values()
    assert mark.closed
    assert faults(tmp_path, marks) == []
    data = (tmp_path / "tar/shard-000000.tar").read_bytes()
    assert data.endswith(bytes(1024))
    assert len(data) == 1024 + 8 * 512


def test_an_end_that_was_not_committed_is_written_again(tmp_path: Path) -> None:
    """A kill behind `finish` and before its commit leaves a run that is finished by the next start."""
    sink = shards(tmp_path)
    sink.store(1, [entry(1, b"1")])
    marks = dict(sink.marks())
    sink.finish()
    sink.close()
    whole = (tmp_path / "tar/shard-000000.tar").read_bytes()
    again = shards(tmp_path, marks)
    assert again.dropped == 1024
    again.finish()
    again.finish()
    assert (tmp_path / "tar/shard-000000.tar").read_bytes() == whole


def test_a_full_shard_is_ended_and_the_next_begun(tmp_path: Path) -> None:
    """Shards end behind the pair that fills them; a finished run that goes on leaves ended ones alone."""
    sink = shards(tmp_path, size=3000)
    sink.store(1, [entry(id, bytes([id]) * 600) for id in range(5)])
    sink.finish()
    marks = dict(sink.marks())
    assert sorted(marks) == [f"tar/shard-{n:06}.tar" for n in range(3)]
    assert all(mark.closed for mark in marks.values())
    sink.close()
    before = {path: path.read_bytes() for path in (tmp_path / "tar").iterdir()}
    assert [data.endswith(bytes(1024)) for data in before.values()] == [True] * 3
    sink = shards(tmp_path, marks, size=3000)
    sink.store(2, [entry(5, b"\5" * 600)])
    sink.finish()
    assert {path: path.read_bytes() for path in before} == before
    assert bodies(tmp_path) == [(id, bytes([id]) * 600) for id in range(6)]


def test_the_same_ends_give_the_same_bytes(tmp_path: Path) -> None:
    """Nothing of the clock, the user or the machine gets into a shard."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        sink = shards(tmp_path / name)
        one = entry(1, b"1")
        one.record.last_modified = "Tue, 15 Nov 1994 12:45:26 -0000"
        sink.store(1, [one, entry(2, b"2")])
        sink.finish()
        made.append((tmp_path / name / "tar/shard-000000.tar").read_bytes())
    assert made[0] == made[1]


def test_a_date_without_a_zone_is_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the zone of the machine."""
    one = entry(1, b"1")
    one.record.last_modified = "Thu, 01 Jan 1970 00:01:40 -0000"
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        sink = shards(tmp_path)
        sink.store(1, [one])
        sink.finish()
    finally:
        monkeypatch.undo()
        time.tzset()
    with tarfile.open(tmp_path / "tar/shard-000000.tar") as archive:
        assert {info.mtime for info in archive} == {100}


def test_a_policy_says_when_shards_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each group and each end of a shard, with the latter only, or never."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    counts = []
    for sync in Sync:
        folder = tmp_path / sync.value
        folder.mkdir()
        sink = TarShards(folder, {}, GIB, sync)
        before = len(synced)
        sink.store(1, [entry(1, b"1"), entry(2, b"2")])
        middle = len(synced)
        sink.finish()
        counts.append((middle - before, len(synced) - middle))
    assert counts == [(1, 1), (0, 1), (0, 0)]


@pytest.mark.parametrize(
    "date", ["", "yesterday", "Wed, 15 Nov 1950 12:45:26 GMT", "Tue, 99 Nov 1994 12:45:26 GMT", "9" * 500, "\ud800"]
)
def test_a_date_that_is_none_stops_nothing(tmp_path: Path, date: str) -> None:
    """What a server says of the last change may be anything."""
    one = entry(1, b"1")
    one.record.last_modified = date
    sink = shards(tmp_path)
    sink.store(1, [one])
    sink.finish()
    with tarfile.open(tmp_path / "tar/shard-000000.tar") as archive:
        assert {info.mtime for info in archive} == {0}


def test_what_json_cannot_carry_stops_nothing(tmp_path: Path) -> None:
    """Header bytes beyond UTF-8 and huge integers are written in a way that reads back."""
    one = entry(1, b"1")
    one.record.etag, one.record.input = "a\udcffb", {"n": 10**30}
    sink = shards(tmp_path)
    sink.store(1, [one])
    sink.finish()
    assert bodies(tmp_path) == [(1, b"1")]
    assert faults(tmp_path, dict(sink.marks())) == []


def test_secrets_do_not_stand_in_the_json(tmp_path: Path) -> None:
    """What the mask knows is starred, and the crc32 is of what was written."""
    one = entry(1, b"1", url="http://site.example/?key=s3cr3t-value")
    one.record.input = {"token": "s3cr3t-value"}
    sink = TarShards(tmp_path, {}, GIB, Sync.COMMIT, Mask(["s3cr3t-value"]))
    sink.store(1, [one])
    sink.finish()
    assert b"s3cr3t-value" not in (tmp_path / "tar/shard-000000.tar").read_bytes()
    assert faults(tmp_path, dict(sink.marks())) == []


def test_a_member_beyond_8_gib_has_a_header_that_tells_its_size(tmp_path: Path) -> None:
    """USTAR has eleven octal digits; from there on a PAX record goes before."""
    for size, blocks in ((8 * GIB - 1, 1), (8 * GIB, 3)):
        head = header("000000000001.bin", size, 0)
        assert len(head) == blocks * 512
        path = tmp_path / "large.tar"
        with open(path, "wb") as file:
            file.write(head)
            file.truncate(len(head) + size + -size % 512)  # sparse
        with tarfile.open(path) as archive:
            assert [(info.name, info.size) for info in archive] == [("000000000001.bin", size)]
        listed = subprocess.run(["tar", "tvf", path], capture_output=True, text=True, check=True).stdout.split()
        assert listed[2] == str(size)


@given(st.integers(0, 10**15), st.integers(0, 10 * GIB), st.integers(0, 8**11 - 1))
def test_a_header_is_what_tarfile_makes(id: int, size: int, mtime: int) -> None:
    """Byte for byte, for any size and time."""
    info = tarfile.TarInfo(f"{id:012}.html")
    info.size, info.mtime = size, mtime
    assert header(info.name, size, mtime) == info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def test_gnu_tar_reads_a_shard(tmp_path: Path) -> None:
    """Listed and taken out without a word of complaint."""
    sink = shards(tmp_path)
    sink.store(1, [entry(1, b"one"), entry(2, b"two" * 1000)])
    sink.finish()
    done = subprocess.run(
        ["tar", "xvf", "tar/shard-000000.tar"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    names = [f"00000000000{id}.{ext}" for id in (1, 2) for ext in ("html", "json")]
    assert (done.stdout.split(), done.stderr) == (names, "")
    assert (tmp_path / names[2]).read_bytes() == b"two" * 1000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("finished", [True, False])
def test_webdataset_reads_shards_as_they_are(tmp_path: Path, *, finished: bool) -> None:
    """Each sample is a body with its JSON, of ended shards and of a stopped run's last one; JSON bodies decode too."""
    webdataset = pytest.importorskip("webdataset")
    sink = shards(tmp_path, size=6000)
    sink.store(1, [entry(id, b"%d" % id, kind="text/plain") for id in range(4)])
    sink.store(2, [entry(4, b'{"a": 1}', kind="application/json")])
    if finished:
        sink.finish()
    sink.close()
    files = sorted(map(str, (tmp_path / "tar").iterdir()))
    assert len(files) == 2
    samples = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=False).decode())
    assert [sample["__key__"] for sample in samples] == [f"{id:012}" for id in range(5)]
    assert [sample["json"]["id"] for sample in samples] == list(range(5))
    assert [sample["txt"] for sample in samples[:4]] == ["0", "1", "2", "3"]
    assert samples[4]["body.json"] == {"a": 1}


GROUPS = st.lists(st.lists(st.integers(0, 3000), max_size=4), max_size=5)


@pytest.mark.slow
@settings(max_examples=60)
@given(GROUPS, st.integers(1500, 9000), st.data())
def test_whatever_a_kill_leaves_each_body_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[int]], size: int, data: st.DataObject
) -> None:
    """Groups that were written and not committed are dropped and written again, however much of them stayed."""
    run = tmp_path_factory.mktemp("run")
    marks: dict[str, Mark] = {}
    wanted: list[tuple[int, bytes]] = []
    sink = shards(run, marks, size)
    for number, sizes in enumerate(groups):
        these = [(number * 10 + n, bytes([n + 1]) * length) for n, length in enumerate(sizes)]
        if data.draw(st.booleans()):  # a kill behind the write; the disk may have kept a part of it
            sink.store(number, [entry(id, body) for id, body in these])
            sink.close()
            last = max((run / "tar").iterdir(), default=None)
            if last is not None:
                known = marks[f"tar/{last.name}"].length if f"tar/{last.name}" in marks else 0
                with open(last, "r+b") as file:
                    file.truncate(data.draw(st.integers(known, last.stat().st_size)))
            sink = shards(run, marks, size)
        sink.store(number, [entry(id, body) for id, body in these])
        marks |= dict(sink.marks())
        wanted += these
    sink.finish()
    marks |= dict(sink.marks())
    sink.close()
    assert bodies(run) == wanted
    assert faults(run, marks) == []
    assert {f"tar/{path.name}" for path in (run / "tar").iterdir()} == set(marks)
