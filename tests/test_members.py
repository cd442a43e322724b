"""gzip members: any gzip reader takes them, and ours gives every byte back or says what is wrong."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.members import HEADER, End, Packer, Piece, Torn, packed, unpacked

CONTENTS = st.lists(st.tuples(st.binary(max_size=100), st.sampled_from([1, 30, 3000])), max_size=5)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def contents(events: list[Piece | End | Torn]) -> dict[int, bytes]:
    """What stands in the member at each offset."""
    pieces = [event for event in events if isinstance(event, Piece)]
    return {at: b"".join(one.data for one in some) for at, some in groupby(pieces, key=lambda piece: piece.offset)}


@given(CONTENTS, st.booleans(), st.integers(1, 50_000))
def test_what_is_packed_comes_back(repeated: list[tuple[bytes, int]], stored: bool, size: int) -> None:
    """Each member by itself, whatever the pieces that they come in, and gzip reads them all as one."""
    datas = [data * times for data, times in repeated]
    members = [packed(data, stored=stored) for data in datas]
    file = b"".join(members)
    assert gzip.decompress(file) == b"".join(datas)
    events = list(unpacked(cut(file, size)))
    ends = [event for event in events if not isinstance(event, Piece)]
    offsets = [sum(map(len, members[:n])) for n in range(len(members))]
    assert ends == [End(at, len(member)) for at, member in zip(offsets, members, strict=True)]
    assert contents(events) == {at: data for at, data in zip(offsets, datas, strict=True) if data}


@pytest.mark.parametrize("stored", [False, True])
def test_a_member_can_be_made_in_pieces(stored: bool) -> None:
    """A body that is read in pieces makes one member."""
    packer = Packer(stored=stored)
    member = HEADER + b"".join([packer.add(b"x" * n) for n in (0, 1, 70_000)]) + packer.end()
    assert gzip.decompress(member) == b"x" * 70_001


def test_every_cut_is_seen() -> None:
    """Of two members, cut anywhere but between them, the one that is cut is told, and where it begins."""
    first, second = packed(b"first" * 9), packed(b"second")
    for size in range(1, len(first + second)):
        last = list(unpacked(iter([(first + second)[:size]])))[-1]
        at = 0 if size < len(first) else len(first)
        assert isinstance(last, End if size == len(first) else Torn)
        assert last.offset == (0 if size == len(first) else at)


@pytest.mark.parametrize("position", range(10))
def test_a_changed_header_is_seen(position: int) -> None:
    """Though no checksum covers the first ten bytes."""
    for bit in range(8):
        member = bytearray(packed(b"content"))
        member[position] ^= 1 << bit
        assert isinstance(next(unpacked(iter([bytes(member)]))), Torn)


def test_a_changed_trailer_is_seen() -> None:
    """The checksum and the length both count."""
    for position in range(-8, 0):
        member = bytearray(packed(b"content"))
        member[position] ^= 1
        assert isinstance(list(unpacked(iter([bytes(member)])))[-1], Torn)


def test_a_bomb_is_read_in_pieces() -> None:
    """No piece is larger than a MiB, whatever a member blows up to."""
    events = list(unpacked(iter([packed(bytes(20 << 20))])))
    pieces = [event for event in events if isinstance(event, Piece)]
    assert max(len(piece.data) for piece in pieces) <= 1 << 20
    assert sum(len(piece.data) for piece in pieces) == 20 << 20
