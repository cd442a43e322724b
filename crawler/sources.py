"""The inputs of a job as streams of rows: URLs named in the job, templates, lists and tables of any size.

Does: read files, never a whole one. Must not know what a URL is, nor what becomes of a row. Invariant: the same
content gives the same items in the same order, so that a count of items taken is a place to go on from; what is wrong
with one line becomes a BadRow, and reading goes on; what is wrong with the file as a whole becomes one BadRow, and
its reading ends. A running iterator raises nothing but OSError.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, Protocol
from weakref import WeakSet

from crawler.errors import JobError
from crawler.lines import COMPRESSED, LIMIT, DamagedInput, guarded_readline, lines, opened
from crawler.model import BadRow, Place, Row
from crawler.tables import LIMIT as ROW_LIMIT
from crawler.tables import Line, csv_items, json_row, read_header, url_row
from crawler.urls import printable

Items = Generator[Row | BadRow, None, None]
_EDGE = 64 * 1024
_FIRST_LINES = 32
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_BOM = b"\xef\xbb\xbf"
# First bytes of what people take for a list of URLs; only those that no list can begin with.
_NOT_TEXT = {
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"\x1f\x8b": "is gzip data; name it .gz, or decompress it",
    b"\x28\xb5\x2f\xfd": "is zstd data; name it .zst, or decompress it",
    b"PAR1": "is Parquet, which is not read; save it as CSV or JSONL",
    b"PK\x03\x04": "is a ZIP archive or a spreadsheet; save the list as CSV",
}


class Source(Protocol):
    """One input of the job, in its order."""

    name: str

    def signature(self) -> str:
        """Names the content, so that a later start can tell that it changed. Raises OSError."""

    def rows(self, skip: int = 0) -> Items:
        """The items after the first `skip`. Raises OSError. Close the iterator, or the source, to close the file."""

    def close(self) -> None:
        """End all iterators of this source; none of them may be running in another thread."""


class ListedSource:
    """URLs that stand in the job itself: input.urls, or a template with its variables."""

    def __init__(self, name: str, urls: Callable[[], Iterable[str]], said: str) -> None:
        self.name = name
        self._urls = urls
        self._said = said

    def signature(self) -> str:
        """The digest of what the job says."""
        return sha256(self._said.encode("utf-8", "surrogatepass")).hexdigest()

    def rows(self, skip: int = 0) -> Items:
        """One row a URL; its line is its number."""
        for number, url in enumerate(islice(self._urls(), skip, None), skip + 1):
            yield Row(Place(self.name, number), url)

    def close(self) -> None:
        """Nothing is held open."""


class FileSource:
    """A list or table in a file, or on stdin (`-`; `-.csv`, `-.jsonl` and so on for tables), which is read only once.

    The suffix of `name` tells the format: .csv, .tsv, .jsonl, .ndjson, else a list; before it .gz or .zst is taken off.
    """

    def __init__(self, name: str, path: Path | None, column: str, stdin: BinaryIO | None = None) -> None:
        self.name = name
        self._path = path
        self._column = column
        self._stdin = stdin
        self._read = False
        self._live: WeakSet[Items] = WeakSet()
        bare = name[: -len(Path(name).suffix)] if name.endswith(COMPRESSED) else name
        self._kind = Path(bare).suffix.lower()
        self._tabular = self._kind in _SEPARATORS or self._kind in _JSON_LINES

    def signature(self) -> str:
        """Size, time of change and both ends of the file. Raises OSError."""
        if self._path is None:
            return "stdin"
        status = self._path.stat()
        digest = sha256(f"{status.st_size} {status.st_mtime_ns} ".encode())
        with open(self._path, "rb") as file:
            digest.update(file.read(_EDGE))
            file.seek(max(_EDGE, status.st_size - _EDGE))
            digest.update(file.read(_EDGE))
        return digest.hexdigest()

    def rows(self, skip: int = 0) -> Items:
        """The items of the file."""
        rows = self._rows(skip)
        self._live.add(rows)
        return rows

    def close(self) -> None:
        """End all iterators, which closes their files."""
        for rows in list(self._live):
            rows.close()

    def preflight(self) -> tuple[str | None, bool]:
        """What is wrong with the file as far as its first piece shows, as a sentence; whether it may have rows."""
        if self._path is None:
            return None, True
        try:
            status = self._path.stat()
            if stat.S_ISDIR(status.st_mode):
                return "is a folder, not a file", True
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
                return "is a pipe or device, which cannot be read twice; give it on stdin, as '-'", True
            if not status.st_size and self._path.suffix == ".gz":  # passes for an empty list otherwise
                return "is empty, so it is no gzip file", True
            with self._opened() as file:
                physical = self._lines(file)
                head = list(islice(physical, _FIRST_LINES))
                more = next(physical, None) is not None
        except FileNotFoundError:
            return "does not exist", True
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            return f"cannot be read: {getattr(error, 'strerror', None) or error}", True
        if head and head[0][2] and not head[0][1]:
            return head[0][2], True
        if self._kind in _SEPARATORS and (fault := read_header(iter(head), self._column, _SEPARATORS[self._kind])[1]):
            return fault, True
        return None, more or next(self._items(iter(head), 0), None) is not None

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(self._stdin or sys.stdin.buffer) if self._path is None else opened(self._path)

    def _rows(self, skip: int) -> Items:
        if self._path is None and self._read:
            yield BadRow(Place(self.name, 1), "", "stdin was read already and cannot be read again")
            return
        self._read = True
        with self._opened() as file:
            for item in self._items(self._lines(file), skip):
                yield item._replace(text=printable(item.text)) if isinstance(item, BadRow) else item

    def _lines(self, file: BinaryIO) -> Iterator[Line]:
        """The lines, checked for what a whole file can be instead of text."""
        physical = _numbered(_table_lines(file), ROW_LIMIT) if self._tabular else _numbered(lines(file), LIMIT)
        number, line, fault = next(physical, (1, b"", None))  # an empty file reads as a blank line
        wrong = next((said for magic, said in _NOT_TEXT.items() if line.startswith(magic)), None)
        return iter([(1, b"", wrong)]) if wrong else chain([(number, line.removeprefix(_BOM), fault)], physical)

    def _items(self, physical: Iterator[Line], skip: int) -> Iterator[Row | BadRow]:
        if self._kind in _SEPARATORS:
            return csv_items(physical, self.name, self._column, _SEPARATORS[self._kind], skip)
        return self._each(physical, skip)

    def _each(self, physical: Iterator[Line], skip: int) -> Iterator[Row | BadRow]:
        """One item a line; what is passed over is not parsed."""
        name, column, tabular = self.name, self._column, self._tabular
        for number, line, fault in physical:
            line = line.strip()
            if (not line and fault is None) or (line[:1] == b"#" and not tabular):
                continue
            if skip:
                skip -= 1
                continue
            place = Place(name, number)
            if fault is not None:
                yield BadRow(place, line.decode("utf-8", "replace"), fault)
            else:
                yield json_row(place, line, column) if tabular else _text_row(place, line)


def _text_row(place: Place, line: bytes) -> Row | BadRow:
    try:
        return url_row(place, line.decode())
    except UnicodeDecodeError as error:
        return BadRow(place, line.decode("utf-8", "replace"), f"the line is not UTF-8 (byte {error.start + 1})")


def _numbered(physical: Iterator[tuple[bytes, bool]], limit: int) -> Iterator[Line]:
    """Lines with their numbers and faults; damage of an archive is the last of them, and has no bytes."""
    number = 0
    try:
        for number, (line, cut) in enumerate(physical, 1):
            yield number, line, f"the line is longer than {limit} bytes" if cut else None
    except DamagedInput as error:
        yield number + 1, b"", str(error)


def _table_lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Each line with its end, which may stand inside a quoted cell, and whether it was cut. Raises DamagedInput."""
    while line := guarded_readline(file, ROW_LIMIT + 2):
        rest = line
        while len(line) > ROW_LIMIT and rest and not rest.endswith(b"\n"):
            rest = guarded_readline(file, _EDGE)
        yield line, len(line) > ROW_LIMIT and not line.endswith(b"\n")


def open_sources(
    urls: Sequence[str],
    files: Sequence[str],
    column: str,
    template: tuple[str, Callable[[], Iterator[str]]] | None,
    base: Path,
    stdin: BinaryIO | None = None,
    sitemaps: Sequence[str] = (),
) -> list[Source]:
    """The sources of a job, in the order in which they are read; nothing is opened yet.

    `files` are relative to `base`; `template` is a text that names it and what makes its URLs; `stdin` is for tests.
    """
    sources: list[Source] = []
    if urls:
        sources.append(ListedSource("input.urls", lambda: urls, "\n".join(urls)))
    if template:
        sources.append(ListedSource("input.template", template[1], template[0]))
    if sitemaps:
        sources.append(ListedSource("input.sitemaps", lambda: sitemaps, "\n".join(sitemaps)))
    for file in files:
        path = None if file == "-" or file.startswith("-.") else base / file
        sources.append(FileSource(file, path, column, stdin))
    return sources


def preflight(sources: Sequence[Source]) -> None:
    """Look at the beginning of every file. Raises JobError with all that is wrong, or when there is no input at all."""
    problems, some = [], False
    for source in sources:
        if isinstance(source, FileSource):
            fault, rows = source.preflight()
            problems += [f"input.files: {source.name}: {fault}"] if fault else []
        else:
            rows = next(source.rows(), None) is not None
        some = some or rows
    if problems:
        raise JobError(*problems)
    if not some:
        raise JobError(f"input: {', '.join(source.name for source in sources)}: no input in it, so nothing to fetch")
