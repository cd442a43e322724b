"""Records into a series: gathered, streamed, and hashed from the bytes that are written."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest

from crawler.entry import Sync
from crawler.model import Body
from crawler.series import Series
from crawler.warcwriter import RecordWriter, digest_of


@pytest.fixture
def series(tmp_path: Path) -> Series:
    made = Series(tmp_path, "x-{:05}", {}, 1 << 30, Sync.COMMIT)
    made.begin()
    return made


def stored(tmp_path: Path, data: bytes) -> Body:
    """A body in a file."""
    part = tmp_path / "1.part"
    part.write_bytes(data)
    return Body(len(data), sha256(data).hexdigest(), part=str(part))


def test_places_are_known_before_anything_is_written(tmp_path: Path, series: Series) -> None:
    """Small records are gathered, large ones are not, and offset and length are those in the file."""
    writer = RecordWriter(series)
    small = writer.put(b"head ", b"block")
    assert series.length == 0
    large = writer.put(b"head ", b"block ", stored(tmp_path, b"body"))
    last = writer.put(b"last", b"")
    writer.flush()
    file = (tmp_path / series.name).read_bytes()
    contents = [gzip.decompress(file[offset:][:length]) for offset, length in (small, large, last)]
    assert contents == [b"head block\r\n\r\n", b"head block body\r\n\r\n", b"last\r\n\r\n"]
    assert sum(length for _, length in (small, large, last)) == len(file) == series.length == writer.position


def test_a_digest_is_of_block_and_body(tmp_path: Path) -> None:
    """In memory or in a file, of none at all too."""
    assert digest_of(b"a", stored(tmp_path, b"bc")) == sha256(b"abc").hexdigest()
    assert digest_of(b"a", Body(2, "", b"bc")) == sha256(b"abc").hexdigest()
    assert digest_of(b"abc") == sha256(b"abc").hexdigest()


def test_large_bodies_take_constant_memory(tmp_path: Path, series: Series) -> None:
    """64 MiB go through in pieces."""
    body = stored(tmp_path, bytes(64 << 20))
    writer = RecordWriter(series)
    tracemalloc.start()
    digest_of(b"", body)
    writer.put(b"", b"", body)
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()


def test_what_cannot_shrink_is_stored(tmp_path: Path, series: Series) -> None:
    """A body that shrinks anywhere is compressed, unless its type says that it is squeezed."""
    noise = os.urandom(300_000)
    writer = RecordWriter(series)
    sizes = [
        writer.put(b"", b"", stored(tmp_path, data), squeezed=squeezed)[1]
        for data, squeezed in ((noise, False), (noise + bytes(300_000), False), (bytes(300_000), True))
    ]
    assert 300_000 < sizes[0] < 300_100
    assert sizes[1] < 310_000
    assert 300_000 < sizes[2] < 300_100
