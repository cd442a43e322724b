"""The committed lines of a record file read back, plain or in zstd frames, from one committed length to another.

Does: read a range of bytes as lines. Must not know what stands in a line, nor the checkpoint. Invariant: memory holds
some pieces and one line, not a group or a file; a range that does not hold whole lines (and frames) raises, at the
latest behind its last line, and never ends as if it were whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from crawler.errors import StorageError

_PIECE = 1 << 18  # bytes


def is_zstd(path: Path) -> bool:
    """Does a file of this name hold zstd frames."""
    return path.suffix == ".zst"


def lines(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The lines between two committed lengths in bytes, each with its line end.

    Raises OSError, and StorageError, with the offset, where the file is too short, a line or a frame is cut, or a
    frame is damaged. Lines of a damaged frame may have come before: its checksum is its end.
    """
    begun: list[bytes] = []  # the pieces of a line that goes on
    with open(path, "rb") as file:
        stored = _stored(file, path, start, end)
        for piece in _decoded(stored, path, start) if is_zstd(path) else stored:
            first, *more = piece.split(b"\n")
            begun.append(first)
            for text in more:
                begun.append(b"\n")
                yield b"".join(begun)
                begun = [text]
    if any(begun):
        raise StorageError(f"{path}: is damaged: its last line before byte {end} has no end")


def _stored(file: BinaryIO, path: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes of the range as they are in the file."""
    if start and not is_zstd(path):
        file.seek(start - 1)
        if file.read(1) != b"\n":
            raise StorageError(f"{path}: is damaged: no line begins at byte {start}")
    file.seek(start)
    at = start
    while at < end:
        piece = file.read(min(_PIECE, end - at))
        if not piece:
            raise StorageError(f"{path}: was cut: it has {at} bytes, {end} are committed")
        at += len(piece)
        yield piece


def _decoded(stored: Iterator[bytes], path: Path, start: int) -> Iterator[bytes]:
    """What the frames hold, which must fill the range."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    frame, at = None, start  # `at`: where the bytes not yet fed begin
    begun = start  # where the present frame begins
    for data in stored:
        while data:
            if frame is None:
                frame, begun = zstd.ZstdDecompressor(), at
            try:
                yield frame.decompress(data, _PIECE)
                while not (frame.needs_input or frame.eof):
                    yield frame.decompress(b"", _PIECE)
            except zstd.ZstdError as error:
                raise StorageError(f"{path}: is damaged: the frame at byte {begun}: {error}") from error
            rest = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
            at += len(data) - len(rest)
            data = rest
    if frame is not None:
        raise StorageError(f"{path}: is damaged: the frame at byte {begun} has no end")
