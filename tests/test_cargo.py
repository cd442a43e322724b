"""A file on its way: opened only as what was committed, read in pieces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cargo import Abandoned, Cargo, Slice, opened
from crawler.parcels import Parcel, Trouble, Undelivered

CONTENT = bytes(range(256)) * 10_000  # several pieces


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("cargo") / "file"
    found.write_bytes(CONTENT)
    return found


@pytest.fixture(scope="module")
def cargo(path: Path) -> Iterator[Cargo]:
    with opened(path, Parcel(1, "run", "file", len(CONTENT)), lambda: False) as found:
        yield found


def fault_of(path: Path, parcel: Parcel) -> Undelivered:
    with pytest.raises(Undelivered) as caught, opened(path, parcel, lambda: False):
        pass
    return caught.value


def test_digests_are_those_of_the_file(cargo: Cargo) -> None:
    """Of the whole, and of a range."""
    assert cargo.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert cargo.hashes.md5 == hashlib.md5(CONTENT).digest()
    assert cargo.hash(100, 1_500_000).md5 == hashlib.md5(CONTENT[100:1_500_100]).digest()


@pytest.mark.parametrize("kind", ["missing", "link", "folder", "pipe"])
def test_what_is_no_file_is_not_sent(tmp_path: Path, path: Path, kind: str) -> None:
    """A link may lead anywhere, a pipe would wait for ever."""
    target = tmp_path / "it"
    if kind == "link":
        target.symlink_to(path)
    elif kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    size = len(CONTENT) if kind == "link" else 0
    assert fault_of(target, Parcel(1, "run", "it", size)).trouble is Trouble.GONE


def test_a_file_of_another_size_or_content_is_not_sent(path: Path) -> None:
    """What was committed is known by both."""
    assert "2560000 bytes" in str(fault_of(path, Parcel(1, "run", "file", 17)))
    assert "sha256" in str(fault_of(path, Parcel(1, "run", "file", len(CONTENT), "0" * 64)))


def test_a_file_with_its_digest_is_opened(path: Path) -> None:
    """The sha256 of the record holds."""
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    with opened(path, Parcel(1, "run", "file", len(CONTENT), sha256), lambda: False) as found:
        assert found.size == len(CONTENT)


def test_a_file_that_is_cut_is_no_end(tmp_path: Path) -> None:
    """Never taken for a whole one."""
    (tmp_path / "f").write_bytes(b"0123456789")
    with opened(tmp_path / "f", Parcel(1, "run", "f", 10), lambda: False) as found:
        os.truncate(tmp_path / "f", 4)
        with pytest.raises(Undelivered) as caught:
            Slice(found, 0, 10).read()
    assert caught.value.trouble is Trouble.GONE


def test_who_is_abandoned_reads_no_further(path: Path) -> None:
    """Also while it is hashed."""
    with pytest.raises(Abandoned), opened(path, Parcel(1, "run", "file", len(CONTENT)), lambda: True):
        pass


@given(st.integers(0, 3000), st.integers(0, 3000), st.lists(st.integers(1, 2000), max_size=5), st.integers(0, 4000))
def test_a_slice_reads_as_a_file_of_its_own(
    cargo: Cargo, start: int, length: int, sizes: list[int], place: int
) -> None:
    """Whatever is read and sought: the bytes of the range, and none beside."""
    piece = Slice(cargo, start, length)
    expected = CONTENT[start : start + length]
    at = 0
    for size in sizes:
        assert piece.read(size) == expected[at : at + size]
        at = min(length, at + size)
        assert piece.tell() == at
    assert piece.seek(0, os.SEEK_END) == len(piece) == length
    piece.seek(place)
    assert piece.read() == expected[place:]
