"""What is wrong with a tar shard, found by reading all of it: a cut, a flipped bit, a member without its other half.

Does: read one file from its start to its committed length. Must not know the checkpoint or write anything. Invariant:
memory does not grow with the file. Every byte is looked at: headers must be what our own writer makes of their fields,
a body has its digest and a JSON its crc32 beside it, and all else is zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from tarfile import BLOCKSIZE, PAX_FORMAT, XHDTYPE, HeaderError, TarInfo
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

import orjson

_PIECE = 1 << 20  # bytes
_LONGEST = 64 << 20  # bytes of JSON beside a body; more is not read at once
_TRAILER = 2 * BLOCKSIZE
_SEAL = len(b',"crc32":"00000000"}\n')


class Fault(NamedTuple):
    """Something wrong at a byte of the shard, as a sentence."""

    offset: int
    said: str


class Member(NamedTuple):
    """A body that is whole: the id of its record, and which bytes it takes, header and padding included."""

    id: int
    offset: int
    length: int
    sha256: str


class _Damaged(Exception):
    """What follows cannot be read."""

    def __init__(self, offset: int, said: str) -> None:
        super().__init__(said)
        self.fault = Fault(offset, said)


class _Head(NamedTuple):
    name: str
    size: int
    mtime: int


def check(path: Path, length: int, *, closed: bool) -> Iterator[Fault]:
    """The faults of a shard of which `length` bytes are committed; `closed`: it has its end. Raises OSError.

    Behind a fault in a header nothing more is found, since what follows cannot be told apart.
    """
    return (found for found in read(path, length, closed=closed) if isinstance(found, Fault))


def read(path: Path, length: int, *, closed: bool) -> Iterator[Member | Fault]:
    """The same, with each body that is whole, in the order of the shard."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < length:
            yield Fault(size, f"the shard was cut: it has {size} bytes, {length} are committed")
        elif closed and size > length:
            yield Fault(length, f"{size - length} bytes follow the end of the shard")
        try:
            yield from _members(file, length - _TRAILER if closed else length)
            if closed:
                _read_zeros(file, _TRAILER, "the end of the shard")
        except _Damaged as damage:
            yield damage.fault


def _members(file: BinaryIO, end: int) -> Iterator[Member | Fault]:
    """All pairs up to `end`, which must be where a pair ends."""
    while (at := file.tell()) < end:
        body = _read_head(file)
        digest = _read_body(file, body.size)
        _read_zeros(file, -body.size % BLOCKSIZE, "the padding of a body")
        length = file.tell() - at
        beside_at = file.tell()
        beside = _read_head(file)
        key = body.name.partition(".")[0]
        if beside.name != f"{key}.json" or body.name == beside.name:
            raise _Damaged(beside_at, f"{body.name} is followed by {beside.name}, not by {key}.json")
        text = _read_text(file, beside.size)
        _read_zeros(file, -beside.size % BLOCKSIZE, "the padding of a JSON")
        fault = _disagreement(key, text, digest, body.size)
        yield Fault(at, fault) if fault else Member(int(key), at, length, digest)
    if at != end:
        raise _Damaged(end, "the committed length stands inside of a member")


def _disagreement(key: str, text: bytes, digest: str, size: int) -> str | None:
    """Why a body and its JSON do not belong together, or one of them is damaged."""
    told, seal = text[:-_SEAL], text[-_SEAL:]
    if seal != b',"crc32":"%08x"}\n' % crc32(told):
        return f"{key}.json is damaged: its crc32 is another"
    try:
        known: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"{key}.json is no JSON: {error}"
    if not key.isdecimal() or known.get("id") != int(key):
        return f"{key}.json is of another record ({known.get('id')})"
    if known.get("bytes") != size:
        return f"the body of {key} has {size} bytes, its JSON says {known.get('bytes')}"
    if known.get("sha256") != digest:
        return f"the body of {key} is damaged: its sha256 is another than its JSON says"
    return None


def _read_head(file: BinaryIO) -> _Head:
    """A header, of three blocks where the size needs them; and it is one that our writer makes."""
    at = file.tell()
    blocks = _read(file, BLOCKSIZE)
    size = None
    if blocks[156:157] == XHDTYPE:
        blocks += _read(file, 2 * BLOCKSIZE)
        size = blocks[BLOCKSIZE : 2 * BLOCKSIZE].rstrip(b"\0").partition(b"size=")[2].rstrip(b"\n")
    try:
        info = TarInfo.frombuf(blocks[-BLOCKSIZE:], "utf-8", "strict")
        if size is not None:
            info.size = int(size)
        made = info.tobuf(PAX_FORMAT, "utf-8", "strict")
    except (HeaderError, ValueError) as error:
        raise _Damaged(at, f"the header of a member is damaged: {error}") from None
    if made != blocks or not info.isreg():
        raise _Damaged(at, f"the header of {info.name!a} is damaged")
    return _Head(info.name, info.size, int(info.mtime))


def _read_body(file: BinaryIO, size: int) -> str:
    """Its sha256."""
    digest = sha256()
    while size:
        piece = _read(file, min(size, _PIECE))
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def _read_text(file: BinaryIO, size: int) -> bytes:
    if size > _LONGEST:
        raise _Damaged(file.tell(), f"a JSON of {size} bytes is too large to be one of ours")
    return _read(file, size)


def _read_zeros(file: BinaryIO, size: int, what: str) -> None:
    at = file.tell()
    if _read(file, size).strip(b"\0"):
        raise _Damaged(at, f"{what} is damaged: other bytes than zeros stand there")


def _read(file: BinaryIO, size: int) -> bytes:
    at = file.tell()
    data = file.read(size)
    if len(data) != size:
        raise _Damaged(at + len(data), "the shard ends in the middle of a member")
    return data
