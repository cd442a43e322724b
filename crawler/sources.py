"""The inputs of a job as streams of rows: URLs named in the job, templates, lists and tables of any size.

Does: read files, never a whole one. Must not know what a URL is, nor what becomes of a row. Invariant: the same
content gives the same items in the same order, so that a count of items taken is a place to go on from; what is wrong
with one line becomes a BadRow, and reading goes on.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import orjson

from crawler.errors import JobError
from crawler.lines import COMPRESSED, LIMIT, DamagedInput, lines, opened
from crawler.model import BadRow, Place, Row
from crawler.tables import row_of

_EDGE = 64 * 1024
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")


class Source(Protocol):
    """One input of the job, in its order."""

    name: str

    def signature(self) -> str:
        """Names the content, so that a later start can tell that it changed."""
        ...

    def rows(self, skip: int = 0) -> Generator[Row | BadRow, None, None]:
        """The items after the first `skip`. Raises OSError. Close the iterator to close the file."""
        ...


class ListedSource:
    """URLs that stand in the job itself: input.urls, or a template with its variables."""

    def __init__(self, name: str, urls: Callable[[], Iterable[str]], said: str) -> None:
        self.name = name
        self._urls = urls
        self._said = said

    def signature(self) -> str:
        """The digest of what the job says."""
        return sha256(self._said.encode("utf-8", "surrogatepass")).hexdigest()

    def rows(self, skip: int = 0) -> Generator[Row | BadRow, None, None]:
        """One row a URL; its line is its number."""
        for number, url in enumerate(islice(self._urls(), skip, None), skip + 1):
            yield Row(Place(self.name, number), url)


class FileSource:
    """A list or table in a file, or on stdin (`-`; `-.csv`, `-.jsonl` and so on for tables)."""

    def __init__(self, name: str, path: Path | None, column: str) -> None:
        self.name = name
        self._path = path
        self._column = column
        bare = name[: -len(Path(name).suffix)] if name.endswith(COMPRESSED) else name
        self._kind = Path("x" + bare).suffix.lower() if bare.startswith("-.") else Path(bare).suffix.lower()

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

    def rows(self, skip: int = 0) -> Generator[Row | BadRow, None, None]:
        """The items of the file."""
        with opened(self._path) as file:
            count = 0
            try:
                for row in self._items(file, skip):
                    count += 1
                    yield row
            except DamagedInput as error:
                yield BadRow(Place(self.name, count + skip + 1), "", f"after {count + skip} inputs: {error}")

    def preflight(self) -> str | None:
        """What is wrong with the file as far as its first piece shows, as a sentence."""
        if self._path is None:
            return None
        try:
            with opened(self._path) as file:
                first = next(lines(file), (b"", False))[0]
        except IsADirectoryError:
            return f"{self.name}: is a folder, not a file"
        except FileNotFoundError:
            return f"{self.name}: does not exist"
        except (OSError, DamagedInput) as error:
            return f"{self.name}: cannot be read: {error}"
        if first.startswith((b"\xff\xfe", b"\xfe\xff")):
            return f"{self.name}: is UTF-16; save it as UTF-8"
        return self._missing_column(first) if self._kind in _SEPARATORS else None

    def _missing_column(self, first: bytes) -> str | None:
        text = first.decode("utf-8-sig", "replace")
        header = next(csv.reader([text], delimiter=_SEPARATORS[self._kind]), [])
        if self._column in header:
            return None
        near = difflib.get_close_matches(self._column, header, 1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; its columns are {', '.join(header)[:200] or 'none'}"
        return f"{self.name}: has no column '{self._column}' (input.column){hint}"

    def _items(self, file: BinaryIO, skip: int) -> Generator[Row | BadRow, None, None]:
        if self._kind in _SEPARATORS:
            yield from islice(self._csv(file), skip, None)
        elif self._kind in _JSON_LINES:
            yield from self._each(file, skip, self._json_row)
        else:
            yield from self._each(file, skip, self._text_row)

    def _each(
        self, file: BinaryIO, skip: int, make: Callable[[Place, bytes], Row | BadRow]
    ) -> Generator[Row | BadRow, None, None]:
        comments = make == self._text_row
        name = self.name
        for number, (line, cut) in enumerate(lines(file), 1):
            if number == 1 and line.startswith(b"\xef\xbb\xbf"):
                line = line[3:]
            line = line.strip()
            if not line or (comments and line.startswith(b"#")):
                continue
            if skip:
                skip -= 1
                continue
            place = Place(name, number)
            if cut:
                text = line[:200].decode("utf-8", "replace")
                yield BadRow(place, text, f"the line is longer than {LIMIT} bytes")
                continue
            yield make(place, line)

    def _text_row(self, place: Place, line: bytes) -> Row | BadRow:
        try:
            return Row(place, line.decode())
        except UnicodeDecodeError as error:
            return BadRow(
                place, line[:200].decode("utf-8", "replace"), f"the line is not UTF-8 (byte {error.start + 1})"
            )

    def _json_row(self, place: Place, line: bytes) -> Row | BadRow:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return BadRow(place, line[:200].decode("utf-8", "replace"), f"the line is not JSON: {error}")
        if isinstance(value, str):
            return Row(place, value)
        if not isinstance(value, dict):
            return BadRow(place, line[:200].decode("utf-8", "replace"), "the line is neither a JSON object nor a text")
        return row_of(place, value, self._column)

    def _csv(self, file: BinaryIO) -> Generator[Row | BadRow, None, None]:
        csv.field_size_limit(1024 * 1024)
        bad: list[str] = []
        reader = csv.reader(_decoded(file, bad), delimiter=_SEPARATORS[self._kind])
        header = next(reader, [])
        while True:
            began = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(Place(self.name, began), "", f"the row is not CSV: {error}")
                continue
            if not cells:
                continue
            place = Place(self.name, began)
            if bad:
                yield BadRow(place, ",".join(cells)[:200], bad[0])
                bad.clear()
            elif len(cells) != len(header):
                shown = ",".join(cells)[:200]
                yield BadRow(place, shown, f"the row has {len(cells)} fields, the header {len(header)}")
            else:
                yield row_of(place, dict(zip(header, cells, strict=True)), self._column)


def _decoded(file: BinaryIO, bad: list[str]) -> Iterator[str]:
    """Physical lines of a CSV as text, their ends kept; what is wrong with one is noted for the row it belongs to."""
    for number, (line, cut) in enumerate(lines(file), 1):
        if cut:
            bad.append(f"a line of the row is longer than {LIMIT} bytes")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            bad.append(f"the row is not UTF-8 (byte {error.start + 1} of line {number})")
            text = line.decode("utf-8", "replace")
        yield text + "\n"


def open_sources(
    urls: Sequence[str],
    files: Sequence[str],
    column: str,
    template: tuple[str, Callable[[], Iterator[str]]] | None,
    base: Path,
) -> list[Source]:
    """The sources of a job, in the order in which they are read; nothing is opened yet.

    `files` are relative to `base`; `template` is a text that names it and what makes its URLs.
    """
    sources: list[Source] = []
    if urls:
        sources.append(ListedSource("input.urls", lambda: urls, "\n".join(urls)))
    if template:
        sources.append(ListedSource("input.template", template[1], template[0]))
    for file in files:
        stdin = file == "-" or file.startswith("-.")
        sources.append(FileSource(file, None if stdin else base / file, column))
    return sources


def preflight(sources: Sequence[Source]) -> None:
    """Look at the beginning of every file. Raises JobError with all that is wrong, or when there is no input at all."""
    files = [source for source in sources if isinstance(source, FileSource)]
    problems = [f"input.files: {said}" for source in files if (said := source.preflight())]
    if problems:
        raise JobError(*problems)
    if not any(_may_have_rows(source) for source in sources):
        raise JobError(f"input: {', '.join(source.name for source in sources)}: no input in it, so nothing to fetch")


def _may_have_rows(source: Source) -> bool:
    if isinstance(source, FileSource) and source.signature() == "stdin":
        return True
    rows = source.rows()
    try:
        return next(rows, None) is not None
    finally:
        rows.close()
