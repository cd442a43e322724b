"""From rows to requests: whose word counts, and what cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.feed import Defaults, Said, request_of
from crawler.fingerprints import fingerprint
from crawler.model import BadRow, Field, FileBody, Messages, Multipart, Place, Promised, Request, Row

PLACE = Place("rows.csv", 7)
URL = "https://a.example:8080/x"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def asked(defaults: Defaults | None = None, url: str = URL, **said: Any) -> Request:
    request, _ = request_of(Row(PLACE, url, **said), 3, defaults or Defaults())
    assert request.error is None
    return request


def headers(request: Request) -> Mapping[str, str]:
    return request.headers or {}


@pytest.mark.parametrize("said", [Said(), Said("GET"), Said(typed=True), Said("GET", {}, None, {})])
def test_most_rows_are_a_url(said: Said) -> None:
    """A URL and a job that says nothing of bodies give a GET without anything."""
    request, print_ = request_of(Row(PLACE, URL), 3, Defaults(said))
    assert (request.id, request.method, request.url, request.host) == (3, "GET", URL, "a.example")
    assert (request.headers, request.body, request.input, request.error) == (None, None, None, None)
    assert print_ == fingerprint("GET", URL, None)


@pytest.mark.parametrize(
    "job",
    [Said("PUT"), Said(params={"a": "b"}), Said(body=b""), Said(cookies={"a": "b"})],
)
def test_what_a_job_says_is_not_passed_over(job: Said) -> None:
    """Each default reaches a row that is nothing but a URL."""
    request = asked(Defaults(job))
    got = Said(request.method, {"a": "b"} if "?a=b" in request.url else {}, request.body)
    assert got.method == (job.method or ("POST" if job.body is not None else "GET"))
    assert (got.params, got.body) == (job.params, job.body)
    assert headers(request) == ({"Cookie": "a=b"} if job.cookies else {})


def test_the_row_stands_over_its_host_and_that_over_the_job() -> None:
    """Method, and body with its type, are replaced as a whole; parameters and cookies are laid over by name."""
    job = Said("PUT", {"a": "job", "b": "job", "c": "job"}, b"job", {"a": "job", "b": "job", "c": "job"}, "job/job")
    host = Said("PATCH", {"b": "host", "c": "host"}, b"host", {"b": "host", "c": "host"}, "host/host")
    seen = []

    def of(netloc: str) -> Said:
        seen.append(netloc)
        return host if netloc == "a.example:8080" else Said()

    defaults = Defaults(job, of=of)
    row = asked(defaults, method="DELETE", params={"c": "row"}, cookies={"c": "row"}, json=[1])
    assert (row.method, row.body) == ("DELETE", b"[1]")
    assert row.url == URL + "?a=job&b=host&c=row"
    assert headers(row) == {"Content-Type": "application/json", "Cookie": "a=job; b=host; c=row"}
    hosts = asked(defaults)
    assert (hosts.method, hosts.body, headers(hosts)["Content-Type"]) == ("PATCH", b"host", "host/host")
    jobs = asked(defaults, "https://b.example/")
    assert (jobs.method, jobs.body, headers(jobs)["Content-Type"]) == ("PUT", b"job", "job/job")
    assert seen == ["a.example:8080", "a.example:8080", "b.example"]


def test_a_host_says_what_the_job_does_not() -> None:
    """It reaches a row that is nothing but a URL under a job that says nothing; its empty body is one as well."""
    host = Said("PUT", {"a": "b"}, b"", {"c": "d"}, "text/x")
    request = asked(Defaults(of=lambda netloc: host))
    assert (request.method, request.url, request.body) == ("PUT", URL + "?a=b", b"")
    assert headers(request) == {"Content-Type": "text/x", "Cookie": "c=d"}
    over = asked(Defaults(Said(body=b"job", content_type="job/job"), of=lambda netloc: host))
    assert (over.body, headers(over)["Content-Type"]) == (b"", "text/x")


def test_a_body_that_has_no_type_takes_none_from_below() -> None:
    """The type of the job's JSON is not that of a row's file or text."""
    defaults = Defaults(Said(body=b"{}", content_type="application/json"), base="/jobs")
    for said in ({"body": "text"}, {"body_file": "a"}, {"multipart": (Field("a", "b"),)}):
        assert headers(asked(defaults, **said)) == {}


@pytest.mark.parametrize("said", [{"json": 0}, {"form": {}}, {"body": ""}, {"body_file": "f"}])
def test_a_body_without_a_method_is_a_post(said: dict[str, Any]) -> None:
    """As curl does; a method that anybody names stays."""
    assert asked(**said).method == "POST"
    assert asked(Defaults(Said("GET")), **said).method == "GET"
    assert asked(Defaults(of=lambda netloc: Said("PUT")), **said).method == "PUT"
    assert asked(Defaults(Said(body=b"")), method="GET").method == "GET"


def test_headers_of_the_row_stand_over_what_follows_from_it() -> None:
    """Its Content-Type and its Cookie are taken as they are, whatever their case."""
    own = {"content-type": "application/vnd.api+json", "COOKIE": "own=1", "X-Mine": "1"}
    request = asked(Defaults(Said(cookies={"a": "b"})), json={}, cookies={"c": "d"}, headers=own)
    assert request.headers == own
    mixed = asked(json={}, headers={"X-Mine": "1"})
    assert mixed.headers == {"Content-Type": "application/json", "X-Mine": "1"}


def test_a_type_that_the_job_names_itself_is_not_overruled() -> None:
    """Where the headers of job or host have a Content-Type, none is derived from json."""
    for defaults in (Defaults(Said(typed=True)), Defaults(of=lambda netloc: Said(typed=True))):
        assert headers(asked(defaults, json={})) == {}


def test_files_are_named_from_the_folder_of_the_job() -> None:
    """The request has absolute paths; whether the files are there shows when they are sent."""
    defaults = Defaults(base="/jobs")
    assert asked(defaults, body_file="up/a.bin").body == FileBody("/jobs/up/a.bin")
    fields = (Field("n", "v"), Field("f", path="a.bin"))
    assert asked(defaults, multipart=fields).body == Multipart((fields[0], Field("f", path="/jobs/a.bin")))


def test_bodies_tell_requests_apart() -> None:
    """Rows for the same URL are the same only if they send the same."""
    said: list[dict[str, Any]] = [
        {},
        {"body": "a"},
        {"body": ""},
        {"body_file": "a"},
        {"body_file": "b"},
        {"multipart": (Field("a", "b"),)},
        {"multipart": (Field("a", path="b"),)},
        {"multipart": (Field("a", "b"), Field("a", "b"))},
        {"form": {"a": "b"}},
    ]
    prints = [request_of(Row(PLACE, URL, method="POST", **each), 1, Defaults())[1] for each in (*said, *said)]
    assert len(set(prints)) == len(said)


def test_relative_urls_need_a_base() -> None:
    """With base_url they are joined; without they are told with their place."""
    assert asked(Defaults(base_url="https://b.example/v1/"), "items?x=1").url == "https://b.example/v1/items?x=1"
    request, _ = request_of(Row(PLACE, "items"), 1, Defaults())
    assert request.error is not None
    assert request.error.startswith("rows.csv:7: ")


def test_a_bad_row_is_a_request_that_ends_in_its_turn() -> None:
    """It has a number, its place and its error; userinfo of its text is masked."""
    request, _ = request_of(BadRow(PLACE, "http://u:secret@h/", "is odd"), 5, Defaults())
    assert (request.id, request.place, request.error) == (5, PLACE, "rows.csv:7: is odd")
    assert "secret" not in request.url


@pytest.mark.parametrize("url", [URL, "no url"])
@pytest.mark.parametrize("column", ["json", "input"])
def test_a_row_without_bottom_is_refused(url: str, column: str) -> None:
    """What could not be written into a record does not travel, not even with a row that is bad for another reason."""
    deep: Any = 0
    for _ in range(150):
        deep = {"a": [deep]}
    request, _ = request_of(Row(PLACE, url, **{column: deep}), 1, Defaults())
    assert request.error == "rows.csv:7: the row is nested more than 100 levels deep"
    assert request.input is None


@given(TEXT, st.dictionaries(TEXT, TEXT, max_size=2), st.dictionaries(TEXT, TEXT, max_size=2))
def test_every_row_leads_to_one_request(path: str, row: dict[str, str], job: dict[str, str]) -> None:
    """Whatever a URL or parameters are made of, one request comes back: at the same host, or with an error."""
    url = "https://a.example/" + path
    request, print_ = request_of(Row(PLACE, url, params=row), 1, Defaults(Said(params=job)))
    assert (request.id, request.host) == (1, "a.example" if request.error is None else "")
    assert print_ != 0


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("ws://A.example/x", "http://a.example/x"),
        ("WSS://a.example:443", "https://a.example/"),
        ("ws://a.example:80/?q#f", "http://a.example/?q"),
    ],
)
def test_a_websocket_is_asked_for_over_http(url: str, href: str) -> None:
    """A ws(s) URL becomes a capture at its http(s) URL, with the messages of the row or of the job."""
    defaults = Defaults(Said("POST", {}, b"body"), send=("job",))
    request, _ = request_of(Row(PLACE, url), 1, defaults)
    assert (request.method, request.url, request.body) == ("WEBSOCKET", href, Messages(("job",)))
    request, _ = request_of(Row(PLACE, url, send=("row", b"\0")), 1, defaults)
    assert request.body == Messages(("row", b"\0"))
    request, _ = request_of(Row(PLACE, url, send=()), 1, defaults)
    assert request.body is None


def test_other_messages_are_another_capture() -> None:
    """The same URL with the same messages is a duplicate, with others it is not, nor as a page."""
    rows = [
        Row(PLACE, "ws://a.example/"),
        Row(PLACE, "ws://a.example/", send=("a", "b")),
        Row(PLACE, "ws://a.example/", send=("ab",)),
        Row(PLACE, "ws://a.example/", send=(b"ab",)),
        Row(PLACE, "http://a.example/"),
    ]
    prints = [request_of(row, 1, Defaults())[1] for row in (*rows, *rows)]
    assert len(set(prints)) == len(rows)


@pytest.mark.parametrize("said", [{"method": "POST"}, {"body": ""}, {"json": 0}, {"body_file": "x"}])
def test_a_websocket_has_no_method_and_no_body(said: dict[str, Any]) -> None:
    """It is told, with its place; GET is what its handshake is."""
    request, _ = request_of(Row(PLACE, "ws://a.example/", **said), 1, Defaults())
    assert request.error is not None
    assert "'send'" in request.error
    assert request_of(Row(PLACE, "ws://a.example/", method="GET"), 1, Defaults())[0].error is None


def test_what_is_promised_does_not_tell_requests_apart() -> None:
    """Two rows of one URL ask for the same body, whatever each says of it."""
    rows = [
        Row(PLACE, URL),
        Row(PLACE, URL, promised=Promised(size=1)),
        Row(PLACE, URL, mirrors=("http://m.example/",)),
    ]
    asked_for = [request_of(row, 0, Defaults()) for row in rows]
    assert len({print_ for _, print_ in asked_for}) == 1
    assert [request.promised for request, _ in asked_for] == [None, Promised(size=1), None]


def test_mirrors_are_canonical() -> None:
    """They are resolved as a URL is, each stands once, and no parameters of the row or the job go with them."""
    mirrors = ("HTTP://M.example:80/a#b", "b", URL, "http://m.example/a")
    request = asked(Defaults(Said(params={"key": "k"}), "https://base.example/x/"), mirrors=mirrors, params={"q": "1"})
    assert request.mirrors == ("http://m.example/a", "https://base.example/x/b", URL)
    assert asked(mirrors=(URL, "http://m.example/a")).mirrors == ("http://m.example/a",)
    assert asked(method="HEAD", mirrors=("http://m.example/a",)).mirrors == ("http://m.example/a",)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"mirrors": ("ftp://m.example/a",)}, "mirrors: 'ftp://m.example/a' is a ftp: URL"),
        ({"mirrors": ("http://m.example/a", "http://u:p@m.example/")}, "mirrors: has credentials in the URL"),
        ({"mirrors": ("a",)}, "mirrors: 'a' has no scheme"),
        ({"mirrors": ("http://m.example/",), "body": "x"}, "mirrors are of a body that is asked for by GET or HEAD"),
        (
            {"mirrors": ("http://m.example/",), "method": "DELETE"},
            "mirrors are of a body that is asked for by GET or HE",
        ),
    ],
)
def test_bad_mirrors_are_told(said: dict[str, Any], error: str) -> None:
    """A row with a mirror that cannot be asked is not asked at all."""
    request, _ = request_of(Row(PLACE, URL, **said), 3, Defaults())
    assert (request.error or "").startswith(f"rows.csv:7: {error}")


def test_a_websocket_has_no_mirrors() -> None:
    """A capture is of one place."""
    request, _ = request_of(Row(PLACE, "wss://a.example/", mirrors=("http://m.example/",)), 3, Defaults())
    assert request.error == "rows.csv:7: a WebSocket has no mirrors"
