"""Record lines read back: exactly those between two committed lengths, or a fault that says where."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.durable import EMPTY
from crawler.errors import StorageError
from crawler.recordlines import is_zstd, lines
from crawler.sinks.jsonl import JsonlRecords

LINE = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\n") | st.just(b"x" * 300_000 + b"\n")


def written(folder: Path, groups: list[list[bytes]], *, zstd: bool) -> tuple[Path, list[int]]:
    """The file, and its committed length behind each group, 0 before the first."""
    records = JsonlRecords(folder, EMPTY, zstd=zstd)
    lengths = [0]
    for group in groups:
        records.append(group)
        [(_, mark)] = records.marks()
        lengths.append(mark.length)
    records.close()
    return folder / records.name, lengths


@pytest.mark.slow
@pytest.mark.parametrize("zstd", [False, True])
@settings(max_examples=40)
@given(groups=st.lists(st.lists(LINE, max_size=5), max_size=6), data=st.data())
def test_a_range_gives_the_lines_of_its_groups(
    tmp_path_factory: pytest.TempPathFactory, zstd: bool, groups: list[list[bytes]], data: st.DataObject
) -> None:
    """Whatever stands before it, and whatever follows that is not committed yet."""
    path, lengths = written(tmp_path_factory.mktemp("run"), groups, zstd=zstd)
    with open(path, "ab") as file:
        file.write(data.draw(st.binary(max_size=20)))
    first = data.draw(st.integers(0, len(groups)))
    last = data.draw(st.integers(first, len(groups)))
    assert list(lines(path, lengths[first], lengths[last])) == [line for group in groups[first:last] for line in group]


def test_the_name_tells_what_is_in_a_file() -> None:
    """`.zst` is compressed, `.jsonl` is not."""
    assert is_zstd(Path("run/records.jsonl.zst"))
    assert not is_zstd(Path("zst/records.jsonl"))


def groups_of(rng: Random) -> list[list[bytes]]:
    return [[b'{"n":%d,"x":"%s"}\n' % (n, rng.randbytes(20).hex().encode()) for n in range(20)] for _ in range(12)]


@pytest.mark.parametrize("zstd", [False, True])
def test_every_cut_is_found(tmp_path: Path, zstd: bool) -> None:
    """200 of 200: the committed length is there or it is not; also where the mark itself is a wrong one."""
    rng = Random(1)
    path, lengths = written(tmp_path, groups_of(rng), zstd=zstd)
    whole = path.read_bytes()
    for _ in range(200):
        cut = rng.randrange(len(whole))
        path.write_bytes(whole[:cut])
        with pytest.raises(StorageError, match=rf"records.jsonl(.zst)?: was cut: it has {cut} bytes"):
            list(lines(path, 0, len(whole)))
        if cut not in lengths and not whole[:cut].endswith(b"\n"):
            with pytest.raises(StorageError, match="has no end"):
                list(lines(path, 0, cut))


def test_every_flipped_bit_of_a_frame_is_found_or_harmless(tmp_path: Path) -> None:
    """200 of 200: what is read is what was written, or a fault that names a frame's first byte."""
    rng = Random(2)
    groups = groups_of(rng)
    path, _ = written(tmp_path, groups, zstd=True)
    whole = path.read_bytes()
    said = []
    for _ in range(200):
        damaged = bytearray(whole)
        at = rng.randrange(len(whole))
        damaged[at] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert list(lines(path, 0, len(whole))) == [line for group in groups for line in group]
        except StorageError as error:
            said.append(str(error))
    assert all(sentence.startswith(f"{path}: is damaged: ") for sentence in said)
    assert len(said) >= 195  # a frame's header has a bit that no decoder looks at (RFC 8878, section 3.1.1.1.1)


def test_a_damaged_frame_is_named_by_its_offset(tmp_path: Path) -> None:
    """The groups before it are read all the same."""
    path, lengths = written(tmp_path, groups_of(Random(3)), zstd=True)
    data = bytearray(path.read_bytes())
    data[lengths[6] - 1] ^= 1  # the checksum of the sixth
    path.write_bytes(data)
    seen: list[bytes] = []
    with pytest.raises(StorageError, match=f"the frame at byte {lengths[5]}: "):
        seen.extend(lines(path, 0, lengths[-1]))
    assert len(seen) >= 5 * 20


@pytest.mark.parametrize("zstd", [False, True])
def test_a_range_that_begins_elsewhere_is_refused(tmp_path: Path, zstd: bool) -> None:
    """A start inside of a line, or of a frame, gives no half lines."""
    path, lengths = written(tmp_path, groups_of(Random(4)), zstd=zstd)
    with pytest.raises(StorageError, match=f"byte {lengths[2] + 3}"):
        list(lines(path, lengths[2] + 3, lengths[-1]))


def test_memory_does_not_grow_with_a_group(tmp_path: Path) -> None:
    """A frame of 64 MiB is read in pieces."""
    path, lengths = written(tmp_path, [[b"x" * 1000 + b"\n"] * 64_000], zstd=True)
    tracemalloc.start()
    try:
        assert sum(1 for _ in lines(path, 0, lengths[-1])) == 64_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
