"""Inputs as streams: the same items in the same order from every format, in bounded memory, whatever is in the file."""

from __future__ import annotations

import csv
import gzip
import io
import os
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import JobError
from crawler.model import BadRow, Place, Row
from crawler.sources import Source, open_sources, preflight

FORMATS = ("txt", "csv", "tsv", "jsonl")
PACKERS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}
URLS = st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1).filter(lambda url: url[0] != "#"))
# Bytes that mean something to one of the formats, so that chance finds the corners.
SOUP = st.lists(
    st.sampled_from(
        [b"u", b"url", b",", b"\t", b'"', b"\n", b"\r\n", b"\r", b"#", b" ", b"\0", b"\xff", b'{"url":"u"}']
    )
    | st.binary(max_size=3)
).map(b"".join)


def source_of(folder: Path, name: str, data: bytes) -> Source:
    (folder / name).write_bytes(data)
    return open_sources([], [name], "url", None, folder)[0]


def items(source: Source, skip: int = 0) -> list[Row | BadRow]:
    return list(source.rows(skip))


def read(folder: Path, name: str, data: bytes) -> list[Row | BadRow]:
    return items(source_of(folder, name, data))


def written(kind: str, urls: Sequence[str]) -> bytes:
    if kind == "txt":
        return "".join(f"{url}\n" for url in urls).encode()
    if kind == "jsonl":
        return b"".join(orjson.dumps({"url": url}) + b"\n" for url in urls)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter="," if kind == "csv" else "\t")
    writer.writerows([["n", "url"], *enumerate(urls)])
    return text.getvalue().encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property; each writes its file anew."""
    return tmp_path_factory.mktemp("lists")


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("kind", FORMATS)
@given(urls=URLS)
def test_every_format_gives_back_what_was_written(folder: Path, kind: str, packed: str, urls: list[str]) -> None:
    """The texts of any list come back from any format, plain or packed, in their order."""
    found = read(folder, f"same.{kind}{packed}", PACKERS[packed](written(kind, urls)))
    assert [row.url for row in found if isinstance(row, Row)] == urls
    assert len(found) == len(urls)


@pytest.mark.parametrize("kind", FORMATS)
@given(soup=SOUP, skip=st.integers(0, 12))
def test_to_skip_is_to_drop(folder: Path, kind: str, soup: bytes, skip: int) -> None:
    """Passing over n items gives what reading all and dropping n gives, for any bytes with and without a header."""
    for data in (soup, b"url\n" + soup, b"n,url\n" + soup):
        source = source_of(folder, f"skip.{kind}", data)
        assert items(source, skip) == items(source)[skip:]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("packed", [".gz", ".zst"])
@given(data=st.data())
def test_a_cut_archive_gives_its_rows_and_then_says_so(
    folder: Path, kind: str, packed: str, data: st.DataObject
) -> None:
    """Wherever an archive ends early: the rows before, then one BadRow with the next line; skipping agrees."""
    urls = [f"https://h/{number * 7919 % 1000}" for number in range(300)]
    whole = PACKERS[packed](written(kind, urls))
    cut = data.draw(st.integers(2, len(whole) - 1))  # one byte of it cannot be told from another kind of file
    source = source_of(folder, f"cut.{kind}{packed}", whole[:cut])
    *rows, last = items(source)
    assert [row.url for row in rows if isinstance(row, Row)] == urls[: len(rows)]
    assert isinstance(last, BadRow)
    assert "ends early" in last.error
    assert last.place.line == 1 + len(rows) + (1 if kind in ("csv", "tsv") and (rows or last.place.line == 2) else 0)
    assert items(source, len(rows)) == [last]
    assert items(source, len(rows) + 1) == []


def test_a_damaged_archive_is_one_bad_row(tmp_path: Path) -> None:
    """A flipped byte and rubbish after the end are told once, after the rows before them."""
    whole = bytearray(gzip.compress(b"https://h/1\nhttps://h/2\n"))
    rubbish = read(tmp_path, "tail.txt.gz", bytes(whole) + b"rubbish")
    whole[-6] ^= 1
    flipped = read(tmp_path, "flip.txt.gz", bytes(whole))
    for found, name in ((rubbish, "tail.txt.gz"), (flipped, "flip.txt.gz")):
        assert found[:2] == [Row(Place(name, 1), "https://h/1"), Row(Place(name, 2), "https://h/2")]
        assert [row.error for row in found[2:] if isinstance(row, BadRow)] == [found[2][2]]
        assert "damaged" in found[2][2]


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_archives_may_be_concatenated(tmp_path: Path, packed: str) -> None:
    """Several members (gzip) or frames (zstd) are read as one list."""
    pack = PACKERS[packed]
    found = read(tmp_path, f"two.txt{packed}", pack(b"https://h/1\nhttps://h") + pack(b"/2\n"))
    assert [row[1] for row in found] == ["https://h/1", "https://h/2"]


def test_a_list_has_comments_blank_lines_and_numbers(tmp_path: Path) -> None:
    """BOM, CRLF, blank lines and comments are no items, but their lines count."""
    found = read(tmp_path, "urls.txt", b"\xef\xbb\xbf# mine\r\n\r\n  https://h/1 \r\n  # no\n\nhttps://h/2")
    assert found == [Row(Place("urls.txt", 3), "https://h/1"), Row(Place("urls.txt", 6), "https://h/2")]


def test_tables_have_no_comments(tmp_path: Path) -> None:
    """A line that begins with # is an item of a table, if a bad one; blank lines are none."""
    bad, good = read(tmp_path, "rows.jsonl", b'# no\n\n{"url": "u"}\n')
    assert isinstance(bad, BadRow)
    assert good == Row(Place("rows.jsonl", 3), "u")
    assert read(tmp_path, "rows.csv", b"url\n#u\n") == [Row(Place("rows.csv", 2), "#u")]


def test_bad_lines_are_told_and_passed(tmp_path: Path) -> None:
    """Control characters, broken UTF-8 and endless lines become BadRows, escaped and cut; reading goes on."""
    data = b"https://h/\0\nhttps://h/\t\x1b[2J\nhttps://\xff\n" + b"x" * 70_000 + b"\nhttps://h/ok\n"
    nul, escape, broken, long, good = read(tmp_path, "urls.txt", data)
    assert nul[1:] == ("https://h/\\x00", "the URL has a control character (character 11)")
    assert escape[1] == "https://h/\\t\\x1b[2J"
    assert broken[2] == "the line is not UTF-8 (byte 9)"
    assert long[2] == "the line is longer than 65536 bytes"
    assert len(long[1]) <= 201
    assert good == Row(Place("urls.txt", 5), "https://h/ok")


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_memory_is_bounded_whatever_the_file(tmp_path: Path, kind: str) -> None:
    """A line, or a CSV row of many lines, that unpacks to 32 MiB is not held, and what follows it is read."""
    bomb = b'"' + (b"x" * 1023 + b"\n") * (32 << 10) if kind == "csv" else b"x" * (32 << 20)
    source = source_of(tmp_path, f"bomb.{kind}.gz", gzip.compress(b"url\n" + bomb + b'\n"u"\n', 1))
    del bomb
    tracemalloc.start()
    try:
        last = deque(source.rows(), maxlen=1).pop()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last[1].strip('"') == "u"
    assert peak < 12 << 20


def test_whole_files_that_are_no_text_end_at_once(tmp_path: Path) -> None:
    """UTF-16 and the like are one BadRow where no preflight could look, and none once it is skipped."""
    stdin = io.BytesIO("https://h/1\nhttps://h/2\n".encode("utf-16"))
    source = open_sources([], ["-"], "url", None, tmp_path, stdin)[0]
    assert items(source) == [BadRow(Place("-", 1), "", "is UTF-16; save it as UTF-8")]


def test_stdin_is_a_list_or_what_its_suffix_says(tmp_path: Path) -> None:
    """`-` is read as lines, `-.jsonl` and `-.csv` as tables."""
    for name, data in (
        ("-", b"u\n"),
        ("-.jsonl", b'{"url": "u"}\n'),
        ("-.csv", b"n,url\n1,u\n"),
        ("-.tsv", b"url\nu\n"),
    ):
        source = open_sources([], [name], "url", None, tmp_path, io.BytesIO(data))[0]
        assert source.signature() == "stdin"
        assert [row[1] for row in items(source)] == ["u"]


def test_stdin_cannot_be_read_twice(tmp_path: Path) -> None:
    """A second reading tells so, rather than pass for an empty list."""
    source = open_sources([], ["-"], "url", None, tmp_path, io.BytesIO(b"https://h/\n"))[0]
    items(source)
    assert items(source) == [BadRow(Place("-", 1), "", "stdin was read already and cannot be read again")]


def test_sources_stand_in_order(tmp_path: Path) -> None:
    """URLs of the job, then its template, then its files; each names its places."""
    (tmp_path / "a.txt").write_text("f\n")
    template = ("t{n}", lambda: iter(["t1", "t2"]))
    sources = open_sources(["u"], ["a.txt"], "url", template, tmp_path)
    found = [f"{row.place} {row[1]}" for source in sources for row in source.rows()]
    assert found == ["input.urls:1 u", "input.template:1 t1", "input.template:2 t2", "a.txt:1 f"]
    assert [row.place.line for row in sources[1].rows(1)] == [2]


def test_a_signature_tells_that_the_content_changed(tmp_path: Path) -> None:
    """Another end, beginning or length is another signature; the same content is the same."""
    data = b"a" * 300_000
    first = source_of(tmp_path, "a.txt", data).signature()
    stamp = (tmp_path / "a.txt").stat().st_mtime_ns
    seen = {first}
    for changed in (b"b" + data[1:], data[:-1] + b"b", data + b"a"):
        source = source_of(tmp_path, "a.txt", changed)
        os.utime(tmp_path / "a.txt", ns=(stamp, stamp))
        seen.add(source.signature())
    source = source_of(tmp_path, "a.txt", data)
    os.utime(tmp_path / "a.txt", ns=(stamp, stamp))
    assert len(seen) == 4
    assert source.signature() == first
    listed = {open_sources(urls, [], "url", None, tmp_path)[0].signature() for urls in (["a"], ["a", "b"], ["a"])}
    assert len(listed) == 2


@pytest.mark.parametrize("packed", PACKERS)
def test_closing_gives_the_file_back(tmp_path: Path, packed: str) -> None:
    """A closed source, a closed iterator and an exhausted one hold no file open."""
    source = source_of(tmp_path, f"a.txt{packed}", PACKERS[packed](b"a\nb\nc\n"))
    before = len(os.listdir("/dev/fd"))
    one, other = source.rows(), source.rows()
    assert next(one) == next(other)
    assert len(os.listdir("/dev/fd")) == before + 2
    one.close()
    source.close()
    assert len(items(source)) == 3
    assert len(os.listdir("/dev/fd")) == before


def test_preflight_tells_all_problems_at_once(tmp_path: Path) -> None:
    """Missing files, folders, pipes, false archives, wrong encodings and columns stand in one error, in their order."""
    (tmp_path / "dir.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    faults = {
        "utf16.txt": ("a\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        "no.csv.gz": (b"url\n", "the compressed file is damaged: Not a gzipped file"),
        "is.txt": (gzip.compress(b"a\n"), "is gzip data; name it .gz, or decompress it"),
        "caps.csv": (b"ID,URL\n", "has no column 'url' (input.column); did you mean 'URL'?"),
        "other.tsv": (b"x\ty\n", "has no column 'url' (input.column); its columns are 'x', 'y'"),
        "twice.csv": (b"url,url\n", "has more than one column 'url'"),
        "void.txt.gz": (b"", "is empty, so it is no gzip file"),
        "blank.csv": (b"", "is empty; a table begins with its column names"),
    }
    for name, (data, _) in faults.items():
        (tmp_path / name).write_bytes(data)
    names = ["gone.txt", "dir.txt", "pipe.txt", *faults]
    with pytest.raises(JobError) as caught:
        preflight(open_sources(["u"], names, "url", None, tmp_path))
    told = ["does not exist", "is a folder, not a file", "is a pipe", *(fault for _, fault in faults.values())]
    assert [problem.split(": ")[1] for problem in caught.value.problems] == names
    for problem, fault in zip(caught.value.problems, told, strict=True):
        assert fault in problem


def test_preflight_refuses_a_job_without_any_input(tmp_path: Path) -> None:
    """Sources that are all empty are an error; one that has rows, or may have, is enough."""
    empty = {"a.txt": b"# none\n\n", "b.csv": b"url\n", "c.jsonl.gz": gzip.compress(b"")}
    for name, data in empty.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(JobError, match=r"a\.txt, b\.csv, c\.jsonl\.gz: no input in it"):
        preflight(open_sources([], list(empty), "url", None, tmp_path))
    (tmp_path / "long.txt").write_bytes(b"# none\n" * 100)
    for name in ("-", "long.txt"):
        preflight(open_sources([], ["a.txt", name], "url", None, tmp_path, io.BytesIO()))


def test_preflight_reads_the_beginning_only(tmp_path: Path) -> None:
    """A list cut far behind its beginning passes: its rows are fetched, and the cut is told when it is reached."""
    whole = gzip.compress(b"".join(b"https://h/%d\n" % (number * 7919) for number in range(50_000)))
    source = source_of(tmp_path, "a.txt.gz", whole[: len(whole) // 2])
    preflight([source])
    assert isinstance(items(source)[-1], BadRow)
