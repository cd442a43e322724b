"""A request as a row of the store."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crawler.model import Field, FileBody, Messages, Multipart, Place, Promised, Request
from crawler.rows import NewRow, request_from

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COLUMNS = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-(2**53), 2**53), st.booleans(), st.none()), max_size=3)
ADDRESS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)  # URLs and hosts are printable
FIELDS = st.builds(Field, TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT)
BODIES = (
    st.binary(max_size=300)
    | st.builds(FileBody, TEXT)
    | st.builds(Multipart, st.lists(FIELDS, max_size=3).map(lambda fields: tuple(fields)))
)
PROMISES = st.builds(Promised, *[st.none() | TEXT] * 3, st.none() | st.integers(0, 10**18))
REQUESTS = st.builds(
    Request,
    st.integers(1, 10_000),
    ADDRESS,
    ADDRESS,
    method=st.sampled_from(["GET", "POST", "HEAD", "DELETE", "PROPFIND"]),
    headers=st.none() | st.dictionaries(TEXT, TEXT, max_size=3),
    body=st.none() | BODIES,
    filename=st.none() | TEXT,
    promised=st.none() | PROMISES,
    mirrors=st.lists(TEXT, max_size=3).map(tuple),
    input=st.none() | COLUMNS,
    place=st.none() | st.builds(Place, TEXT, st.integers(1, 2**40)),
    error=st.none() | TEXT,
)


def said_by(request: Request) -> dict[str, Any]:
    return {name: getattr(request, name) for name in Request.__slots__}


def back(row: NewRow) -> Request:
    return request_from(row.home, row.id, 1, row.url, row.more)


@given(REQUESTS)
def test_a_row_brings_back_the_same_request(request: Request) -> None:
    """Whatever bytes and characters it is made of."""
    assert said_by(back(NewRow(request, 1))) == said_by(request)


def test_a_row_is_the_request_before_its_first_hop() -> None:
    """A redirect that is faster than the commit does not change what the row asks for."""
    request = Request(1, "http://h/seed", "h", method="POST", body=b"form")
    row = NewRow(request, 1)
    request.url, request.host, request.method, request.body = "http://other/", "other", "GET", None
    request.attempt = 2
    assert said_by(back(row)) == said_by(Request(1, "http://h/seed", "h", method="POST", body=b"form"))


def test_most_rows_are_a_url_alone() -> None:
    """A plain GET needs nothing beyond its URL; an empty body or empty columns are not the same as none."""
    assert NewRow(Request(1, "http://h/", "h"), 1).more is None
    for request in (Request(1, "http://h/", "h", body=b""), Request(1, "http://h/", "h", input={})):
        assert said_by(back(NewRow(request, 1))) == said_by(request)


def test_a_row_remembers_the_attempt_it_is_given() -> None:
    """Attempts are kept apart from the row, which is written once."""
    row = NewRow(Request(5, "http://h/", "h", method="HEAD"), 1)
    assert request_from(row.home, row.id, 3, row.url, row.more).attempt == 3
    assert request_from("h", 5, 4, "http://h/", None).attempt == 4


def test_rows_of_older_versions_are_read() -> None:
    """A body that was written before there were files is the bytes that it was."""
    request = request_from("h", 1, 1, "http://h/", '{"m":"POST","b":"caf\u00e9"}')
    assert (request.method, request.body) == ("POST", b"caf\xe9")
    assert request_from("h", 1, 1, "http://h/", '{"m":"HEAD"}').body is None
    assert request_from("h", 1, 1, "http://h/", '{"s":"00ff"}').promised == Promised(sha256="00ff")


def test_a_body_keeps_its_type() -> None:
    """What comes back is matched by its class, not only equal to it."""
    for body in (b"x", FileBody("x"), Multipart((Field("x"),))):
        found = back(NewRow(Request(1, "http://h/", "h", body=body), 1)).body
        assert type(found) is type(body)
        assert not isinstance(found, Multipart) or type(found.fields[0]) is Field


def test_messages_come_back_as_texts_and_bytes() -> None:
    """What is sent over a WebSocket is the same after a restart."""
    request = Request(1, "http://h/", "h", method="WEBSOCKET", body=Messages(("a", b"\0\xff", "", b"")))
    found = back(NewRow(request, 1))
    assert (found.method, found.body) == ("WEBSOCKET", request.body)
