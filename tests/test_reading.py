"""The body of a success: expected, labelled, and a page or not."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from crawler.errors import Reason
from crawler.exchange import Refused
from crawler.hosts import HostRules, Hosts
from crawler.jobfile import build
from crawler.model import Body, Fetched, Page, Request, Timing
from crawler.paging import Paging
from crawler.patterns import Patterns
from crawler.reading import Reader
from crawler.spool import EMPTY

URL = "http://a.test/list"
LINK = {"Link": '</list?page=2>; rel="next"'}


class Answer:
    def __init__(self, **headers: str) -> None:
        self.status = 200
        self.headers = CIMultiDict(headers)

    def all(self, name: str) -> list[str]:
        return self.headers.getall(name, [])


def host(folder: Path, **expect: Any) -> HostRules:
    return Hosts(build({"name": "t", "input": {"urls": [URL]}, "expect": expect}, folder).job).of("a.test")


def request(url: str = URL, **said: Any) -> Request:
    return Request(1, url, "a.test", **said)


def read(
    reader: Reader, rules: HostRules, data: bytes = b"x", one: Request | None = None, **headers: str
) -> tuple[Fetched, int]:
    """The outcome, and how much of the body was looked at."""
    outcome, answer = Fetched(one or request(), "id", 200, {}, EMPTY, Timing(0.0)), Answer(**headers)
    first = reader.wanted(outcome, answer, rules)  # type: ignore[arg-type]
    start = None
    if outcome.request.method != "HEAD":
        outcome.body, start = Body(len(data), sha256(data).hexdigest(), data), data[:first]
    reader.look(outcome, answer, rules, start)  # type: ignore[arg-type]
    return outcome, first


def paged(said: dict[str, Any], *hosts: str) -> Reader:
    return Reader(Paging(**said), Patterns((pattern, True) for pattern in hosts or ("*",)))


def test_what_is_not_expected_by_its_head_is_not_read(tmp_path: Path) -> None:
    """Not one byte of a login page of any size: it is refused before anybody says how much to read."""
    answer = Answer(**{"Content-Type": "text/html"})
    outcome, rules = Fetched(request(), "id", 200, {}, EMPTY, Timing(0.0)), host(tmp_path, content_type=["image/*"])
    with pytest.raises(Refused) as caught:
        Reader().wanted(outcome, answer, rules)  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.status) == (Reason.UNEXPECTED_CONTENT, 200)


def test_only_as_much_is_copied_as_is_looked_at(tmp_path: Path) -> None:
    """A few KiB for the charset; a page's JSON, and what is expected of a body, up to 16 MiB."""
    link, cursor = paged({"next": "link"}), paged({"next": "jmespath:next"})
    few = (read(Reader(), host(tmp_path)))[1]
    assert few <= 64 * 1024
    assert (read(link, host(tmp_path)))[1] == few
    assert (read(cursor, host(tmp_path), b"{}"))[1] == 16 * 1024**2 + 1
    assert (read(cursor, host(tmp_path, json=True), b"{}"))[1] == 16 * 1024**2 + 1
    assert (read(cursor, host(tmp_path, min_size="1B"), b"{}"))[1] == 16 * 1024**2 + 1


def test_the_charset_is_told(tmp_path: Path) -> None:
    """By the header, or by what the document says of itself."""
    outcome, _ = read(Reader(), host(tmp_path), **{"Content-Type": "text/html; charset=ISO-8859-2"})
    assert outcome.charset == "iso-8859-2"
    outcome, _ = read(Reader(), host(tmp_path), b"<meta charset=koi8-r>", **{"Content-Type": "text/html"})
    assert outcome.charset == "koi8-r"


def test_a_head_is_held_against_heads_alone(tmp_path: Path) -> None:
    """There is no body to be read, none to be expected, and its Link is followed all the same."""
    rules = host(tmp_path, json=True, min_size="10B", content_type=["application/json"])
    one = request(method="HEAD")
    outcome, _ = read(paged({"next": "link"}), rules, one=one, **{"Content-Type": "application/json"}, **LINK)
    assert outcome.next_url == "http://a.test/list?page=2"


def test_pages_are_numbered_from_one(tmp_path: Path) -> None:
    """The first gets its number by being read; the next one's is in the request already."""
    one = request()
    outcome, _ = read(paged({"next": "link"}), host(tmp_path), one=one, **LINK)
    assert (one.page, outcome.next_url, outcome.warning) == (Page(1), "http://a.test/list?page=2", None)
    one = request("http://a.test/list?page=2", page=Page(2, "before"), referrer=URL)
    outcome, _ = read(paged({"next": "link"}), host(tmp_path), one=one)
    assert (one.page, outcome.next_url) == (Page(2, "before"), None)


def test_hosts_that_are_not_paged_have_no_pages(tmp_path: Path) -> None:
    """By the host at which the request stands now."""
    one = request()
    outcome, _ = read(paged({"next": "link"}, "b.test"), host(tmp_path), one=one, **LINK)
    assert (one.page, outcome.next_url) == (None, None)


@pytest.mark.parametrize(
    ("seed", "target", "followed"),
    [
        ("http://a.test/list", "http://a.test/2", True),
        ("http://a.test/list", "https://a.test/2", True),
        ("https://a.test/list", "http://a.test/2", False),
        ("http://a.test/list", "http://a.test:8080/2", False),
        ("http://a.test/list", "http://b.test/2", False),
        ("http://a.test/list", "http://sub.a.test/2", False),
        ("http://a.test/list", "//user:pw@a.test/2", True),
    ],
)
def test_a_page_stays_with_the_origin_of_its_input(tmp_path: Path, seed: str, target: str, followed: bool) -> None:
    """It is asked for with headers and body of the row, which are for nobody else; https may take the place of http."""
    one = request(seed)
    outcome, _ = read(paged({"next": "link"}), host(tmp_path), one=one, Link=f"<{target}>; rel=next")
    assert (outcome.next_url is not None) == followed
    assert (outcome.warning is not None and "not followed" in outcome.warning) == (not followed)
    assert "user" not in (outcome.next_url or "")


def test_a_page_that_says_nothing_readable_fails(tmp_path: Path) -> None:
    """bad-page, since there might be more."""
    with pytest.raises(Refused) as caught:
        read(paged({"next": "jmespath:next"}), host(tmp_path), b"<html>")
    assert (caught.value.reason, caught.value.status) == (Reason.BAD_PAGE, 200)


def test_what_is_no_success_has_no_next_page(tmp_path: Path) -> None:
    """Content that is not expected ends the chain."""
    with pytest.raises(Refused):
        read(paged({"next": "link"}), host(tmp_path, contains="rows"), **LINK)
