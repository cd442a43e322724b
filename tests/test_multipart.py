"""A multipart body, read back by a parser that others wrote."""

from __future__ import annotations

import io
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import FormDataParser

from crawler.model import Field, FileBody, Multipart
from crawler.multipart import clashes, media_type, segments

BOUNDARY = "0123456789abcdef"
# Parsers differ over backslashes and percent signs in names, as they do with those of browsers.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\\%") | st.sampled_from('"\r\n;='),
    min_size=1,
    max_size=12,
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(["\r\n", "--", "--\r\n"])
DATA = {"/up/a.bin": b"\r\n--" * 3, "/up/b.txt": bytes(range(256)), "/up/c": b""}
TEXTS = st.tuples(NAMES, VALUES).map(lambda said: Field(*said))
FILES = st.tuples(NAMES, st.none(), st.sampled_from(sorted(DATA)), st.none() | NAMES).map(lambda said: Field(*said))


def whole(multipart: Multipart) -> bytes:
    parts = segments(multipart, BOUNDARY)
    return b"".join(part if isinstance(part, bytes) else DATA[part.path] for part in parts)


def parsed(body: bytes) -> tuple[list[tuple[str, str]], list[tuple[str, Any, bytes, Any]]]:
    """Texts, and files as name, file name, content and type."""
    _, form, files = FormDataParser(silent=False).parse(
        io.BytesIO(body), "multipart/form-data", len(body), {"boundary": BOUNDARY}
    )
    found = []
    for name, file in files.items(multi=True):
        with closing(file):
            found.append((name, file.filename, file.read(), file.content_type))
    return list(form.items(multi=True)), found


def unescaped(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%22", '"')


@given(st.lists(TEXTS | FILES, min_size=1, max_size=4))
def test_a_parser_finds_what_was_said(fields: list[Field]) -> None:
    """Any names, texts and contents come back; CR, LF and quotes of names percent-encoded, as browsers do."""
    texts, files = parsed(whole(Multipart(tuple(fields))))
    expected = [(field.name, field.value) for field in fields if field.path is None]
    assert sorted((unescaped(name), value) for name, value in texts) == sorted(expected)
    assert sorted((unescaped(name), unescaped(filename), data) for name, filename, data, _ in files) == sorted(
        (field.name, field.filename or field.path.rpartition("/")[2], DATA[field.path])
        for field in fields
        if field.path
    )


@given(NAMES, NAMES)
def test_names_cannot_add_lines(name: str, filename: str) -> None:
    """The head of a part has its two lines and nothing else, whatever stands in the names."""
    head, _, _ = whole(Multipart((Field(name, None, "/up/c", filename),))).partition(b"\r\n\r\n")
    boundary, disposition, kind = head.split(b"\r\n")
    assert boundary == b"--" + BOUNDARY.encode()
    assert not set(b"\r\n") & set(disposition + kind)
    assert disposition.count(b'"') == 4


def test_types_are_given_with_files_and_where_they_are_said() -> None:
    """A file has the type of its name unless another is said; a text has one only if it is said."""
    fields = (
        Field("a", "text"),
        Field("b", "{}", content_type="application/json"),
        Field("c", path="/up/b.txt"),
        Field("d", path="/up/c"),
        Field("e", path="/up/b.txt", content_type="text/csv"),
    )
    body = whole(Multipart(fields))
    assert body.startswith(
        b"--" + BOUNDARY.encode() + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\ntext\r\n--'
    )
    assert b'name="b"\r\nContent-Type: application/json\r\n\r\n{}\r\n' in body
    assert [(name, kind) for name, _, _, kind in parsed(body)[1]] == [
        ("c", "text/plain"),
        ("d", "application/octet-stream"),
        ("e", "text/csv"),
    ]


def test_the_order_stays_and_bytes_are_joined() -> None:
    """Files stand between the bytes around them; fields without files are one piece."""
    fields = (Field("a", "1"), Field("b", path="/up/c"), Field("c", path="/up/a.bin"), Field("a", "2"), Field("d", "3"))
    kinds = [type(part) for part in segments(Multipart(fields), BOUNDARY)]
    assert kinds == [bytes, FileBody, bytes, FileBody, bytes]
    assert parsed(whole(Multipart(fields)))[0] == [("a", "1"), ("a", "2"), ("d", "3")]


def test_a_boundary_that_stands_in_a_text_is_noticed() -> None:
    """In a name, a value or a file name, at any place."""
    for field in (Field("x" + BOUNDARY), Field("x", BOUNDARY + "x"), Field("x", None, "/up/c", f"x{BOUNDARY}")):
        assert clashes(Multipart((Field("a", "b"), field)), BOUNDARY)
    assert not clashes(Multipart((Field("a", BOUNDARY[:-1]), Field("b", None, "/up/c"))), BOUNDARY)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/a/b.json", "application/json"),
        ("b.PDF", "application/pdf"),
        ("b.csv.gz", "application/gzip"),
        ("b.csv.Z", "application/octet-stream"),
        ("b.webp", "image/webp"),
        ("b", "application/octet-stream"),
        ("http.d/b", "application/octet-stream"),
        ("data:text,b", "application/octet-stream"),
    ],
)
def test_the_name_of_a_file_tells_its_type(path: str, kind: str) -> None:
    """What is packed is told as packed, and what nobody knows as bytes."""
    assert media_type(path) == kind
