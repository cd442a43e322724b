"""The check of tar shards: silent on what was written, never silent on what was damaged."""

from __future__ import annotations

import tracemalloc
from hashlib import sha256
from pathlib import Path
from random import Random
from zlib import crc32

import orjson
import pytest

from crawler.entry import Entry, Sync
from crawler.sinks.tar import TarShards, header
from crawler.tarcheck import Fault, Member, check, read
from tests.test_sinks_tar import entry, in_part


def shard(folder: Path, entries: list[Entry], *, closed: bool = True) -> Path:
    sink = TarShards(folder, {}, 1 << 40, Sync.NEVER)
    sink.store(1, entries)
    if closed:
        sink.finish()
    sink.close()
    return folder / "tar/shard-000000.tar"


def some(rng: Random) -> list[Entry]:
    return [entry(id, rng.randbytes(rng.choice([0, 1, 511, 512, 513, 3000, 9000]))) for id in range(12)]


def said(path: Path, length: int | None = None, *, closed: bool = True) -> list[Fault]:
    return list(check(path, path.stat().st_size if length is None else length, closed=closed))


@pytest.mark.parametrize("closed", [True, False])
def test_a_whole_shard_has_no_fault(tmp_path: Path, *, closed: bool) -> None:
    """Every body is reported with the bytes it takes, which are those the sink told."""
    entries = some(Random(1))
    path = shard(tmp_path, entries, closed=closed)
    found = list(read(path, path.stat().st_size, closed=closed))
    assert found == [
        Member(one.record.id, one.tar.offset, one.tar.length, str(one.record.sha256)) for one in entries if one.tar
    ]
    assert len(found) == len(entries)


def test_what_is_not_committed_yet_is_no_fault(tmp_path: Path) -> None:
    """A killed run leaves bytes behind its committed length, dropped by the next; behind an end there are none."""
    path = shard(tmp_path, some(Random(2)), closed=False)
    length = path.stat().st_size
    with open(path, "ab") as file:
        file.write(b"half of a member")
    assert said(path, length, closed=False) == []
    closed = shard(tmp_path, some(Random(2)))
    length = closed.stat().st_size
    with open(closed, "ab") as file:
        file.write(bytes(512))
    assert [fault.offset for fault in said(closed, length)] == [length]


@pytest.mark.parametrize("closed", [True, False])
def test_every_cut_is_found(tmp_path: Path, *, closed: bool) -> None:
    """200 of 200 files that were cut somewhere, also between two members."""
    rng = Random(3)
    path = shard(tmp_path, some(rng), closed=closed)
    whole = path.read_bytes()
    for _ in range(150):
        path.write_bytes(whole[: rng.randrange(len(whole))])
        assert "was cut" in said(path, len(whole), closed=closed)[0].said
    for _ in range(50):
        path.write_bytes(whole[: 512 * rng.randrange(len(whole) // 512)])
        assert said(path, len(whole), closed=closed)


@pytest.mark.slow
def test_a_length_inside_of_a_pair_is_found(tmp_path: Path) -> None:
    """A committed length stands behind a pair, in a file cut there and in a longer one; neither has its end."""
    path = shard(tmp_path, some(Random(4)), closed=False)
    whole = path.read_bytes()
    ends = {one.offset for one in read(path, len(whole), closed=False) if isinstance(one, Member)} | {len(whole)}
    for length in range(0, len(whole) + 1, 256):
        path.write_bytes(whole[:length])
        assert bool(said(path, closed=False)) is (length not in ends)
        assert said(path, closed=True)
    path.write_bytes(whole)
    for length in range(0, len(whole) + 1, 256):
        assert bool(said(path, length, closed=False)) is (length not in ends)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """200 of 200, in headers, bodies, JSON, padding and the end."""
    rng = Random(5)
    path = shard(tmp_path, some(rng))
    whole = path.read_bytes()
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        assert said(path)


@pytest.mark.slow
def test_every_bit_of_a_small_shard_counts(tmp_path: Path) -> None:
    """No byte of the first header is without meaning for the check, nor one in seven of what follows."""
    path = shard(tmp_path, [entry(1, b"body")])
    whole = path.read_bytes()
    for at in (*range(512), *range(512, len(whole), 7)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert said(path), at


def test_zeros_where_bytes_were_are_found(tmp_path: Path) -> None:
    """What a power cut leaves of a file that was not synced: its length, and blocks of zeros."""
    rng = Random(6)
    path = shard(tmp_path, some(rng))
    whole = path.read_bytes()
    for _ in range(50):
        at = 512 * rng.randrange(len(whole) // 512 - 2)
        damaged = whole[:at] + bytes(512) + whole[at + 512 :]
        path.write_bytes(damaged)
        assert bool(said(path)) is (damaged != whole)


def test_a_damaged_body_does_not_hide_the_others(tmp_path: Path) -> None:
    """The check goes on behind a body with another digest, and names where it begins."""
    entries = [entry(1, b"one"), entry(2, b"two"), entry(3, b"three")]
    path = shard(tmp_path, entries)
    data = bytearray(path.read_bytes())
    assert entries[1].tar is not None
    data[entries[1].tar.offset + 512] ^= 1
    path.write_bytes(data)
    found = list(read(path, len(data), closed=True))
    assert [type(one) for one in found] == [Member, Fault, Member]
    assert found[1].offset == entries[1].tar.offset


def pair(name: str, body: bytes, beside: str, id: int) -> bytes:
    """A pair as another hand might make it, right by itself."""
    text = orjson.dumps({"id": id, "sha256": sha256(body).hexdigest(), "bytes": len(body)})[:-1]
    text += b',"crc32":"%08x"}\n' % crc32(text)
    return b"".join(
        header(name, len(data), 0) + data + bytes(-len(data) % 512) for name, data in ((name, body), (beside, text))
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pair("1.txt", b"x", "2.json", 1), "followed by 2.json"),
        (pair("1.txt", b"x", "1.json", 2), "another record"),
        (pair("1.json", b"x", "1.json", 1), "followed by"),
        (pair("one.txt", b"x", "one.json", 1), "another record"),
        (pair("1.txt", b"x", "1.json", 1)[:1024], "ends in the middle"),
        (b"\xff" * 2048, "header"),
    ],
)
def test_members_that_do_not_belong_together_are_told(tmp_path: Path, data: bytes, words: str) -> None:
    """A pair has one key, one id, one digest."""
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    (fault,) = said(path, closed=False)
    assert words in fault.said


@pytest.mark.slow
def test_a_header_of_more_than_8_gib_is_read(tmp_path: Path) -> None:
    """Its three blocks are checked as one; here the body behind it is missing."""
    path = tmp_path / "x.tar"
    path.write_bytes(header("1.bin", 9 << 30, 0) + b"only the begin")
    (fault,) = said(path, closed=False)
    assert fault.offset == path.stat().st_size
    for at in range(0, 1536, 3):
        damaged = bytearray(header("1.bin", 9 << 30, 0))
        damaged[at] ^= 4
        path.write_bytes(damaged)
        assert said(path, closed=False)[0].offset <= 1536, at


def test_memory_does_not_grow_with_a_body(tmp_path: Path) -> None:
    """A body of 32 MiB is read in pieces."""
    path = shard(tmp_path, [in_part(tmp_path, 1, bytes(32 << 20))])
    tracemalloc.start()
    try:
        assert said(path) == []
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
