"""Records into the present file of a series, each as one gzip member: small ones gathered, large ones in pieces.

Does: hash, compress and append at constant memory. Must not know what a record says. Invariant: a member is compressed
from the very bytes that were hashed, else nothing of its group counts; `position` counts what is gathered too.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from crawler.errors import StorageError
from crawler.members import HEADER, Packer, packed
from crawler.model import Body
from crawler.series import Series
from crawler.warctext import END

_PIECE = 1024 * 1024
_SAMPLE = 64 * 1024


class RecordWriter:
    """Appends to `series`."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._gathered: list[bytes] = []
        self._size = 0

    def __repr__(self) -> str:
        return f"<RecordWriter {self._series.name} position={self.position}>"

    @property
    def position(self) -> int:
        """Where the next member begins."""
        return self._series.length + self._size

    def put(self, head: bytes, block: bytes, body: Body | None = None, *, squeezed: bool = False) -> tuple[int, int]:
        """Append the record of this head, whose block is `block` and then the body; offset and length of its member.

        `squeezed`: the body is compressed already. Raises OSError, StorageError.
        """
        offset = self.position
        if body is not None and body.part is not None:
            self.flush()
            self._put_large(head + block, body, squeezed)
        else:
            data = body.data or b"" if body is not None else b""
            self._gather(packed(b"".join((head, block, data, END)), stored=squeezed))
        return offset, self.position - offset

    def flush(self) -> None:
        """Hand over what was gathered. Raises OSError."""
        if self._gathered:
            self._series.append(b"".join(self._gathered))
            self._gathered, self._size = [], 0

    def _gather(self, data: bytes) -> None:
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            self.flush()

    def _put_large(self, head: bytes, body: Body, squeezed: bool) -> None:
        packer = Packer(stored=squeezed or not _shrinks(body))
        self._series.append(HEADER + packer.add(head))
        for piece in _pieces(body):
            self._series.append(packer.add(piece))
        self._series.append(packer.add(END) + packer.end())


def digest_of(block: bytes, body: Body | None = None) -> str:
    """The SHA-256 of a block and the body behind it, in hex. Raises OSError, StorageError."""
    found = sha256(block)
    if body is not None and body.part is not None:
        for piece in _pieces(body):
            found.update(piece)
    elif body is not None:
        found.update(body.data or b"")
    return found.hexdigest()


def _pieces(body: Body) -> Iterator[bytes]:
    """A body's file from its start. Raises StorageError where it is not as long as the body."""
    assert body.part is not None
    left = body.size
    with open(body.part, "rb") as file:
        while piece := file.read(_PIECE):
            left -= len(piece)
            yield piece
    if left:
        raise StorageError(f"{body.part}: has {body.size - left} bytes, and {body.size} came")


def _shrinks(body: Body) -> bool:
    """Is it worth the time to compress it, by three samples: not to is fifteen times as fast."""
    assert body.part is not None
    samples = []
    with open(body.part, "rb") as file:
        for part in range(3):
            file.seek(max(0, body.size - _SAMPLE) * part // 2)
            samples.append(file.read(_SAMPLE))
    whole = b"".join(samples)
    return len(packed(whole)) < 0.95 * len(whole)
