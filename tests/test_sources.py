"""Lists and tables as streams of rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.errors import JobError
from crawler.model import BadRow, Row
from crawler.sources import FileSource, open_sources, preflight


def pack(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data)
    if suffix == ".zst":
        from backports import zstd

        return zstd.compress(data)
    return data


def rows_of(folder: Path, name: str, data: bytes, skip: int = 0) -> list[Row | BadRow]:
    (folder / name).write_bytes(data)
    return list(FileSource(name, folder / name, "url").rows(skip))


URLS = st.lists(st.from_regex(r"https://e\.org/[a-z0-9,;\"' ]{0,20}[a-z]", fullmatch=True), min_size=1, max_size=30)


KINDS = [".txt", ".csv", ".tsv", ".jsonl"]


@settings(max_examples=25)
@given(
    URLS, st.sampled_from(["", ".gz", ".zst"]), st.sampled_from([".txt", ".csv", ".tsv", ".jsonl"]), st.integers(0, 31)
)
def test_every_format_gives_the_urls_back(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str], packed: str, kind: str, skip: int
) -> None:
    """Written in any format, plain or compressed, the same URLs come back; skipping n is dropping n."""
    import csv
    import io

    folder = tmp_path_factory.mktemp("rows")
    if kind == ".txt":
        data = "\r\n# a comment\n\n".join(urls)
    elif kind == ".jsonl":
        data = "\n".join(orjson.dumps({"n": 1, "url": url}).decode() for url in urls)
    else:
        text = io.StringIO()
        writer = csv.writer(text, delimiter="," if kind == ".csv" else "\t")
        writer.writerows([["n", "url"], *(["1", url] for url in urls)])
        data = text.getvalue()
    rows = rows_of(folder, f"list{kind}{packed}", pack(data.encode(), packed))
    assert [row.url for row in rows if isinstance(row, Row)] == urls
    assert rows_of(folder, f"list{kind}{packed}", pack(data.encode(), packed), skip) == rows[skip:]


def test_a_table_says_how_to_ask(tmp_path: Path) -> None:
    """Columns we know are understood in any order, quoted or not; the rest is carried along."""
    text = 'note,sha256,url,headers,method,params\n"a, ""b""",,https://e.org/,"{""X-A"": ""1""}",post,q=1&q=2\n'
    (row,) = rows_of(tmp_path, "t.csv", text.encode())
    assert isinstance(row, Row)
    assert (row.method, row.headers, row.params, row.sha256) == ("POST", {"X-A": "1"}, {"q": ["1", "2"]}, None)
    assert row.input == {"note": 'a, "b"'}
    assert str(row.place) == "t.csv:2"


@pytest.mark.parametrize(
    ("name", "data", "line", "said"),
    [
        ("l.txt", b"https://a/\n\xff\xfe\nhttps://b/\n", 2, "not UTF-8"),
        ("l.txt", b"https://a/\n" + b"x" * 100_000 + b"\nhttps://b/\n", 2, "longer than"),
        ("l.jsonl", b'{"url":"https://a/"}\n{bad\n{"url":"https://b/"}\n', 2, "not JSON"),
        ("l.jsonl", b'{"url":"https://a/"}\n[1]\n{"url":"https://b/"}\n', 2, "neither"),
        ("l.jsonl", b'{"url":"https://a/"}\n{"url":"u","sha256":"x"}\n{"url":"https://b/"}\n', 2, "sha256"),
        (
            "l.jsonl",
            b'{"url":"https://a/"}\n{"url":"u","headers":{"A":"1\\r\\n2"}}\n{"url":"https://b/"}\n',
            2,
            "control",
        ),
        ("l.csv", b"url,n\nhttps://a/,1\nhttps://x/\nhttps://b/,2\n", 3, "1 fields"),
        ("l.csv", b"url,method\nhttps://a/,\nhttps://x/,FETCH\nhttps://b/,\n", 3, "method"),
    ],
)
def test_a_bad_row_has_its_place_and_reading_goes_on(
    tmp_path: Path, name: str, data: bytes, line: int, said: str
) -> None:
    """The row before and the row after are fine, the bad one says what is wrong and where."""
    first, bad, last = rows_of(tmp_path, name, data)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, BadRow)
    assert bad.place.line == line
    assert said in bad.error


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_cut_archive_gives_what_precedes_the_cut(tmp_path: Path, suffix: str) -> None:
    """The rows before the damage, then one bad row that says so."""
    lines = "".join(f"https://e.org/{number * 7919}\n" for number in range(30_000)).encode()
    rows = rows_of(tmp_path, f"l.txt{suffix}", pack(lines, suffix)[:-2000])
    assert isinstance(rows[-1], BadRow)
    assert "ends early" in rows[-1].error
    assert all(isinstance(row, Row) for row in rows[:-1])


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("u.txt", "https://e.org/".encode("utf-16"), "UTF-16"),
        ("t.csv", b"link,n\nhttps://e.org/,1\n", "has no column 'url'"),
        ("g.txt.gz", b"plain", "damaged"),
        ("e.txt", b"# nothing\n\n", "no input in it"),
    ],
)
def test_preflight_tells_before_anything_is_made(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """What the first piece of a file shows to be wrong is told at the start."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(JobError, match=said):
        preflight(open_sources([], [name], "url", None, tmp_path))


def test_a_changed_file_has_another_signature(tmp_path: Path) -> None:
    """The signature follows the content."""
    path = tmp_path / "u.txt"
    path.write_text("https://a/\n")
    source = FileSource("u.txt", path, "url")
    before = source.signature()
    assert source.signature() == before
    path.write_text("https://b/\n")
    assert source.signature() != before
