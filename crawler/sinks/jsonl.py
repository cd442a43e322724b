"""records.jsonl: one line per finished input, in one append-only segment; as records.jsonl.zst a zstd frame a group.

Does: turn Records into lines, name in them where bodies lie, append them. Must not know requests or the checkpoint.
Invariant: the committed length always stands at a line end, and where compressed at the end of a frame (RFC 8878: any
number of frames one after another is a whole file), so a file that is cut there is sound.
"""

from __future__ import annotations

import os
import re
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler.durable import EMPTY, Mark, Segment, open_segment
from crawler.entry import LARGEST_INLINE, Entry, Spot, Sync
from crawler.known import CHANGES
from crawler.model import Record

NAME = "records.jsonl"
ZST = ".zst"
_SURROGATES = re.compile("[\ud800-\udfff]")
_LEVEL = 3  # what zstd itself takes by default


class JsonlRecords:
    """The records of one run; `name` is the file's, relative to the run's folder, `.zst` included."""

    def __init__(
        self, run_folder: Path, mark: Mark, *, name: str = NAME, zstd: bool = False, sync: Sync = Sync.COMMIT
    ) -> None:
        """Raises StorageError where the file is not the one that `mark` vouches for."""
        self.name = name + ZST if zstd else name
        self._path = run_folder / self.name
        self._zstd = zstd
        self._sync = sync
        self._segment: Segment | None
        self._segment, self.dropped = open_segment(self._path, mark)

    def __repr__(self) -> str:
        length = self._segment.length if self._segment is not None else 0
        return f"<JsonlRecords {self.name} length={length}>"

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines of one group. Raises OSError."""
        if not lines:
            return
        group = b"".join(lines)
        if self._segment is None:
            self._segment, _ = open_segment(self._path, EMPTY)
        self._segment.append(_frame(group) if self._zstd else group)
        if self._sync is Sync.COMMIT:
            self._segment.sync()

    def marks(self) -> list[tuple[str, Mark]]:
        """Name and state for the checkpoint."""
        return [(self.name, self._segment.mark() if self._segment is not None else EMPTY)]

    def state(self) -> str | None:
        """Nothing beside the mark."""
        return None

    def finish(self) -> None:
        """The run is over. Raises OSError."""
        if self._segment is not None and self._sync is not Sync.NEVER:
            self._segment.sync()

    def remove(self) -> None:
        """Remove the file, for which no commit vouches any more; with further lines it begins anew. Raises OSError."""
        os.unlink(self._path)
        self.close()
        self._segment = None

    def close(self) -> None:
        """Close the segment, durable where that is done on closing."""
        if self._segment is not None:
            if self._sync is Sync.CLOSE:
                self._segment.sync()
            self._segment.close()


class Beside(NamedTuple):
    """What the lines of a run tell behind the path of the body; each of them stands in every line or in none.

    `inline`: the run's folder, where the bodies are to stand in the lines themselves.
    """

    warc: bool = False
    tar: bool = False
    inline: Path | None = None


PATH_ONLY = Beside()
_NO_BODY = b"null}\n"
_LAST = b',"body":null}\n'
# The end of a line by what became of its URL.
_CHANGES = {change: b',"change":' + orjson.dumps(change) + _LAST for change in (None, *CHANGES)}
_NO_CONTENT = b',"content":null,"content_base64":null'


def line(record: Record) -> bytes:
    """A record as its line; a second later, when the record is out of the cache, it takes six times as long."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        # Header bytes that are not UTF-8 arrive as lone surrogates, which JSON cannot carry.
        clean = _printable({field.name: getattr(record, field.name) for field in fields(record)})
        return orjson.dumps(clean, option=orjson.OPT_APPEND_NEWLINE)


def with_change(text: bytes, change: str | None) -> bytes:
    """The line of a record with what became of its URL since earlier runs, before its `body`."""
    assert text.endswith(_LAST)
    return text[: -len(_LAST)] + _CHANGES[change]


def with_fields(text: bytes, extracted: Mapping[str, Any] | None) -> bytes:
    """The line of a record with what was extracted, before its `body`; such a job's lines have it all, null or not."""
    assert text.endswith(_LAST)
    return b"".join((text[: -len(_LAST)], b',"fields":', orjson.dumps(extracted), _LAST))


def with_places(text: bytes, entry: Entry, beside: Beside = PATH_ONLY) -> bytes:
    """The line of a record whose body has found its places: `body` stands last and was null.

    Raises OSError where a body that is to stand in the line cannot be read.
    """
    if entry.file is None and beside == PATH_ONLY:
        return text
    assert text.endswith(_NO_BODY)
    file = b"null" if entry.file is None else orjson.dumps(entry.file)
    parts = [text[: -len(_NO_BODY)], file]
    if beside.warc:
        parts += (b',"warc":', _spot(entry.warc))
    if beside.tar:
        parts += (b',"tar":', _spot(entry.tar))
    if beside.inline is not None:
        parts.append(_content(entry, beside.inline))
    parts.append(b"}\n")
    return b"".join(parts)


def _spot(spot: Spot | None) -> bytes:
    if spot is None:
        return b"null"
    return b'{"file":%b,"offset":%d,"length":%d}' % (orjson.dumps(spot.file), spot.offset, spot.length)


def _content(entry: Entry, run_folder: Path) -> bytes:
    """The body itself: as text where it is UTF-8 without NUL, else in Base64; whole in memory, as its line is.

    One that is too large for that stands elsewhere alone.
    """
    body = entry.body
    if body is None or (body.data is None and body.part is None) or body.size > LARGEST_INLINE:
        return _NO_CONTENT
    data = body.data
    if data is None:
        assert body.part is not None
        path = run_folder / entry.file if entry.file is not None else Path(body.part)  # a sink has moved it
        data = path.read_bytes()
    try:
        if b"\0" not in data:
            return b',"content":%b,"content_base64":null' % orjson.dumps(data.decode())
    except UnicodeDecodeError:
        pass
    return b',"content":null,"content_base64":"%b"' % b64encode(data)


def _frame(group: bytes) -> bytes:
    """One zstd frame with its checksum and size."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    parameter = zstd.CompressionParameter
    return zstd.compress(group, options={parameter.compression_level: _LEVEL, parameter.checksum_flag: 1})


def _printable(value: Any) -> Any:
    """The same value with U+FFFD where JSON has no word for it."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {_printable(str(key)): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
