"""tar/shard-000000.tar, …: each body as `<key>.<ext>` with `<key>.json` beside it, in the naming of WebDataset.

Does: append bodies and what is known of them to shards that are begun anew when they are large enough. Must not know
the checkpoint or who reads. Invariant: both members of a key stand in one shard, one after the other, and the
committed length always stands behind such a pair; the two blocks of zeros that end an archive are written once, when
a shard ends. What a server says chooses neither a key nor an extension that a loader would run as code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from tarfile import BLOCKSIZE, PAX_FORMAT, TarInfo
from zlib import crc32

import orjson

from crawler.durable import Mark
from crawler.entry import Entry, Spot, Sync
from crawler.errors import StorageError
from crawler.masking import NOTHING, Mask
from crawler.model import Body, Record
from crawler.names import extension
from crawler.series import Series

PATTERN = "tar/shard-{:06}.tar"
TRAILER = bytes(2 * BLOCKSIZE)

_PIECE = 1 << 20  # bytes
_LARGEST = _LATEST = 8**11 - 1  # what fits into the header's fields, in bytes and in seconds
# Python's loaders, WebDataset's own among them, unpickle these: code that a page could choose.
_RUNS_CODE = {"ckpt", "dill", "joblib", "npy", "npz", "p", "pck", "pickle", "pkl", "pt", "pth", "pyc", "pyd", "pyo"}


class TarShards:
    """The shards of one run; `size` in bytes is when one is full. Blocks, in the one storage thread."""

    def __init__(
        self, run_folder: Path, marks: Mapping[str, Mark], size: int, sync: Sync, mask: Mask = NOTHING
    ) -> None:
        """`mask` takes secrets out of the JSON. Raises StorageError where a shard is not the one that was written."""
        self._shards = Series(run_folder, PATTERN, marks, size, sync)
        self._mask = mask

    def __repr__(self) -> str:
        return f"<TarShards {self._shards!r}>"

    @property
    def dropped(self) -> int:
        """Bytes that no commit vouched for, removed at the start."""
        return self._shards.dropped

    def store(self, group: int, entries: Sequence[Entry]) -> None:
        """Append each body that was fetched, and say where it is. Raises OSError, StorageError."""
        for entry in entries:
            body = entry.body
            if body is None or entry.record.outcome != "fetched" or (body.data is None and body.part is None):
                continue
            if not self._shards.open:
                self._shards.begin()
            entry.tar = self._add(entry.record, body)
            if self._shards.full:
                self._end()
        self._shards.sync()

    def marks(self) -> list[tuple[str, Mark]]:
        """What the next commit vouches for."""
        return self._shards.marks()

    def state(self) -> str | None:
        """Nothing beside the marks."""
        return None

    def finish(self) -> None:
        """The run is over: the last shard gets its end."""
        if self._shards.open:
            self._end()

    def close(self) -> None:
        """Close the present shard for now; it goes on where it is committed."""
        self._shards.close()

    def _end(self) -> None:
        self._shards.append(TRAILER)
        self._shards.end()

    def _add(self, record: Record, body: Body) -> Spot:
        key = f"{record.id:012}"
        at = self._shards.length
        mtime = _seconds(record.last_modified) if record.last_modified else 0
        head = header(f"{key}.{_ext(record)}", body.size, mtime)
        pad = bytes(-body.size % BLOCKSIZE)
        text = _known(record, self._mask)
        beside = pad + header(f"{key}.json", len(text), mtime) + text + bytes(-len(text) % BLOCKSIZE)
        if body.data is not None:
            self._shards.append(b"".join((head, body.data, beside)))
        else:
            self._shards.append(head)
            for piece in _pieces(body):
                self._shards.append(piece)
            self._shards.append(beside)
        return Spot(self._shards.name, at, len(head) + body.size + len(pad))


def header(name: str, size: int, mtime: int) -> bytes:
    """The blocks before a member's data: one (USTAR), or three from 8 GiB on (PAX); the same for the same arguments.

    `name` is of ASCII, of at most 100 bytes; `mtime` in seconds. What tarfile makes, in a tenth of its time.
    """
    if size > _LARGEST:
        return _made(name, size, mtime)
    fields = b"%b%b%011o\0%011o\0" % (name.encode("ascii").ljust(100, b"\0"), _OWNER, size, mtime)
    return b"%b%06o\0 %b" % (fields, sum(fields) + _SUM, _REST)


def _made(name: str, size: int, mtime: int) -> bytes:
    info = TarInfo(name)
    info.size, info.mtime = size, mtime
    return info.tobuf(PAX_FORMAT, "utf-8", "strict")


_BLANK = _made("", 0, 0)
_OWNER, _REST = _BLANK[100:124], _BLANK[156:]  # around the fields that differ (POSIX.1-1988, ustar)
_SUM = sum(_REST) + 8 * ord(" ")  # the checksum counts itself as blanks


def _ext(record: Record) -> str:
    """Without a dot; `body.json` where the body is JSON itself: a loader decodes by what is behind the last dot."""
    ext = extension(record.content_type, record.final_url)[1:]
    if ext == "json":
        return "body.json"
    return "bin" if ext in _RUNS_CODE else ext


def _known(record: Record, mask: Mask) -> bytes:
    """The JSON beside a body; `crc32` is of the bytes before it, so that damage shows."""
    facts = {
        "id": record.id,
        "url": record.url,
        "final_url": record.final_url,
        "status": record.status,
        "content_type": record.content_type,
        "sha256": record.sha256,
        "bytes": record.bytes,
        "etag": record.etag,
        "last_modified": record.last_modified,
        "input": record.input,
    }
    try:
        text = orjson.dumps(facts)
    except orjson.JSONEncodeError:  # lone surrogates, integers of more than 64 bits
        text = json.dumps(facts, ensure_ascii=False, default=str).encode("utf-8", "replace")
    if mask.knows:
        text = mask.of_json(text)
    return text[:-1] + b',"crc32":"%08x"}\n' % crc32(text[:-1])


@lru_cache(maxsize=256)
def _seconds(date: str) -> int:
    """A Last-Modified as a time that the header can hold; 0 where it is none."""
    try:
        moment = parsedate_to_datetime(date)
        whole = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0
    return min(max(0, whole), _LATEST)


def _pieces(body: Body) -> Iterator[bytes]:
    """A body in its part file. Raises StorageError where that has another size: the header has been written."""
    assert body.part is not None
    size = 0
    with open(body.part, "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            yield piece
    if size != body.size:
        raise StorageError(f"{body.part}: has {size} bytes, not the {body.size} that were received")
