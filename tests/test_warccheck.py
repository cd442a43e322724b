"""The strict checker: every cut, flip and tail is found, and a whole file has no fault."""

from __future__ import annotations

import tracemalloc
import zlib
from base64 import b32encode
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from random import Random

import pytest

from crawler.errors import StorageError
from crawler.members import packed
from crawler.warccheck import Fault, Found, check, records
from tests.warcs import entry, files, sink, store, visit


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a dozen captures, some of them of bytes that cannot be compressed, some revisits."""
    folder, random = tmp_path_factory.mktemp("run"), Random(7)
    bodies = [random.randbytes(random.randrange(3000)) if n % 3 else b"the same page " * 99 for n in range(12)]
    warc = sink(folder)
    store(warc, [entry(n, visit(f"http://a.test/{n}", body)) for n, body in enumerate(bodies)])
    warc.finish()
    return files(folder)[0]


def ends_of(path: Path) -> list[tuple[int, str]]:
    """Where each record ends, and its type."""
    found = [one for one in records(path) if isinstance(one, Found)]
    return [(one.offset + one.length, one.fields["warc-type"]) for one in found]


def test_a_whole_file_has_no_fault(whole: Path) -> None:
    """With or without its length, which is where its last record ends."""
    size = whole.stat().st_size
    assert list(check(whole)) == list(check(whole, size)) == []
    assert ends_of(whole)[-1] == (size, "metadata")


def test_200_of_200_cuts_are_found(whole: Path, tmp_path: Path) -> None:
    """Cut anywhere, the committed length tells; without it all are found but cuts between two captures."""
    data, random = whole.read_bytes(), Random(11)
    cut = tmp_path / "cut"
    told = with_length = 0
    quiet = {end for end, kind in ends_of(whole) if kind in ("warcinfo", "metadata")} | {0}
    for _ in range(200):
        size = random.randrange(len(data))
        cut.write_bytes(data[:size])
        with_length += bool(list(check(cut, len(data))))
        told += bool(list(check(cut))) or size in quiet
    assert (with_length, told) == (200, 200)


def test_cuts_between_the_records_of_a_capture_are_found(whole: Path, tmp_path: Path) -> None:
    """A cut behind a whole record is seen by what is missing of its capture, though every byte left is right."""
    data = whole.read_bytes()
    cut = tmp_path / "cut"
    for end, kind in ends_of(whole):
        cut.write_bytes(data[:end])
        faults = [] if kind in ("warcinfo", "metadata") else [Fault(end, "ends within a capture")]
        assert list(check(cut)) == faults
        assert bool(list(check(cut, len(data)))) == (end < len(data))


def test_200_of_200_flipped_bits_are_found(whole: Path, tmp_path: Path) -> None:
    """Unless the bit is one of the few that no reader reads: those that fill a byte of deflated data."""
    data, random = whole.read_bytes(), Random(13)
    flipped, same = tmp_path / "flipped", 0
    for _ in range(200):
        changed = bytearray(data)
        changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
        flipped.write_bytes(changed)
        if not list(check(flipped, len(data))):
            assert inflated(bytes(changed)) == inflated(data)
            same += 1
    assert same <= 2


def inflated(data: bytes) -> list[bytes]:
    """The content of every member, by zlib's own reader of gzip."""
    found = []
    while data:
        member = zlib.decompressobj(31)
        found.append(member.decompress(data) + member.flush())
        data = member.unused_data
    return found


@pytest.mark.parametrize(
    "tail", [b"\0", b"\n", bytes(512), b"\x1f\x8b", b"garbage", packed(b"not a record"), packed(b"")]
)
def test_200_of_200_tails_are_found(whole: Path, tmp_path: Path, tail: bytes) -> None:
    """Whatever stands behind the last record, be it a whole gzip member, is a fault there."""
    longer = tmp_path / "longer"
    size = whole.stat().st_size
    longer.write_bytes(whole.read_bytes() + tail)
    assert [fault.offset for fault in check(longer)] == [size]
    assert list(check(longer, size)) == [Fault(size, f"has {size + len(tail)} bytes, and {size} are committed")]


def test_random_tails_are_found(whole: Path, tmp_path: Path) -> None:
    """Of 200 tails of random bytes none is taken for a record."""
    longer, data, random = tmp_path / "longer", whole.read_bytes(), Random(17)
    for _ in range(200):
        longer.write_bytes(data + random.randbytes(random.randrange(1, 100)))
        assert list(check(longer)) != []


BLOCK = b"HTTP/1.1 200 OK\r\n\r\nbody"
HEAD = (
    b"WARC/1.1\r\nWARC-Type: resource\r\nWARC-Record-ID: <urn:x:1>\r\nWARC-Date: 2020-01-01T00:00:00Z\r\n"
    b"Content-Type: application/http\r\n"
    b"WARC-Block-Digest: sha1:%b\r\nContent-Length: 23\r\n\r\n" % b32encode(sha1(BLOCK).digest())
)


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda record: record.replace(old, new)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (swap(b"Content-Length: 23", b"Content-Length: 22"), "its block does not end where its Content-Length says"),
        (swap(b"Content-Length: 23", b"Content-Length: 24"), "its block does not end where its Content-Length says"),
        (swap(b"Content-Length: 23", b"Content-Length: 99"), "lacks 72 bytes of the block that it promises"),
        (swap(b"Content-Length: 23\r\n", b""), "does not say Content-Length"),
        (swap(b"WARC-Type: resource\r\n", b""), "does not say WARC-Type"),
        (swap(b"WARC-Date", b"WARC-Type"), "says WARC-Type twice"),
        (swap(b"body", b"bodY"), "its block digest is another than it says"),
        (swap(b"sha1:", b"rot13:"), "its block digest is another than it says"),
        (swap(b"WARC/1.1\r\n", b"WARC/9.9\r\n"), "is no record of WARC/1.1"),
        (swap(b"Content-Type: ", b"Content-Type "), "has a line in its head that is no field"),
        (lambda record: record[:50], "ends within its head"),
        (lambda record: record + b"x", "its block does not end where its Content-Length says"),
        (lambda record: record + record, "its block does not end where its Content-Length says"),
        (lambda record: b"", "ends within its head"),
        (lambda record: b"\x00" * 3_000_000, "is no record of WARC/1.1"),
    ],
)
def test_records_that_are_not_right_are_told(tmp_path: Path, change: Callable[[bytes], bytes], said: str) -> None:
    """In a gzip member that is whole, each fault of the record in it is named; without one there is none."""
    path = tmp_path / "one"
    path.write_bytes(packed(HEAD + BLOCK + b"\r\n\r\n"))
    assert [type(one) for one in records(path)] == [Found]
    path.write_bytes(packed(change(HEAD + BLOCK + b"\r\n\r\n")))
    assert Fault(0, said) in list(records(path))


def test_a_record_out_of_its_place_is_told(whole: Path, tmp_path: Path) -> None:
    """A request that lost its answer, or an answer that lost its request, though both are whole."""
    data = whole.read_bytes()
    found = [one for one in records(whole) if isinstance(one, Found)]
    info, response, request, metadata = (data[one.offset :][: one.length] for one in found[:4])
    path = tmp_path / "file"
    path.write_bytes(info + request + metadata)
    assert [fault.error for fault in check(path)] == ["is a request without an answer"]
    path.write_bytes(info + response + metadata)
    assert ["is not the request of" in fault.error for fault in check(path)] == [True]


def test_memory_is_constant(tmp_path: Path) -> None:
    """100 MB of zeros in one member are read, not held."""
    path = tmp_path / "zeros"
    path.write_bytes(packed(bytes(100 << 20)))
    tracemalloc.start()
    assert [fault.error for fault in check(path)][:1] == ["is no record of WARC/1.1"]
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing file is our fault and not the archive's."""
    with pytest.raises(StorageError, match="cannot be read"):
        list(check(tmp_path / "none"))
