"""Which headers go along with an attempt."""

from __future__ import annotations

import pytest

from crawler.compose import headers_for, merged, with_cookies
from crawler.model import Request


def request(url: str, seed: str | None = None, **headers: str) -> Request:
    one = Request(1, seed or url, "a.test", headers=headers or None)
    if seed is not None:
        one.url, one.foreign = url, True
    return one


def test_the_row_stands_over_the_host_over_the_job() -> None:
    """Names compare without case; the spelling of whoever says it last stands, and each name goes out once."""
    found = headers_for(
        request("http://a.test/", **{"x-one": "row", "Own": "row"}),
        {"X-One": "job", "X-Two": "job", "X-Three": "job"},
        {"X-TWO": "host", "X-ONE": "host"},
        "id",
    )
    assert found == {"x-one": "row", "X-TWO": "host", "X-Three": "job", "Own": "row", "X-Request-ID": "id"}


@pytest.mark.parametrize("name", ["X-Request-ID", "x-request-id"])
def test_the_request_id_is_ours(name: str) -> None:
    """Whoever else says one: the id in the record is the one on the wire."""
    found = headers_for(request("http://a.test/", **{name: "row"}), {}, {name: "host"}, "ours")
    assert [value for key, value in found.items() if key.lower() == "x-request-id"] == ["ours"]


def test_another_origin_gets_what_was_said_for_it_and_what_is_harmless() -> None:
    """After a redirect away, keys and cookies of job and row stay; headers for the new host by name go along."""
    found = headers_for(
        request("http://b.test/", "http://a.test/", **{"X-Key": "row", "Cookie": "c=1", "Accept-Language": "en"}),
        {"X-Job-Key": "job", "Accept": "text/html"},
        {"X-B-Key": "for b"},
        "id",
    )
    assert found == {"Accept": "text/html", "X-B-Key": "for b", "Accept-Language": "en", "X-Request-ID": "id"}


@pytest.mark.parametrize(
    ("url", "goes"),
    [("http://a.test/", False), ("https://a.test:8443/", False), ("https://a.test/", True)],
)
def test_what_is_for_a_host_does_not_go_down_with_it(url: str, goes: bool) -> None:
    """From https to http, or to another port of it, the headers for that very host stay behind."""
    one = request(url, "https://a.test/")
    one.foreign = not goes
    found = headers_for(one, {}, {"X-Host-Key": "k", "Accept-Language": "en"}, "id")
    assert ("X-Host-Key" in found) == goes
    assert found["Accept-Language"] == "en"


@pytest.mark.parametrize(
    ("said", "jar", "sent"),
    [
        (None, None, None),
        (None, "a=1; b=2", "a=1; b=2"),
        ("a=9", "a=1; b=2", "a=9; b=2"),
        ("a=9; c=8", "b=2", "a=9; c=8; b=2"),
        ("a=9", None, "a=9"),
        ("a=9", "a=1", "a=9"),
        ("ab=9", "a=1", "ab=9; a=1"),
    ],
)
def test_a_cookie_said_by_name_stands_over_the_jars(said: str | None, jar: str | None, sent: str | None) -> None:
    """One Cookie header, in which no name stands twice."""
    headers = {"cookie": said} if said is not None else {}
    found = with_cookies(headers, jar)
    assert [value for name, value in found.items() if name.lower() == "cookie"] == ([sent] if sent is not None else [])


def test_merged_keeps_the_place_of_the_first_and_the_words_of_the_last() -> None:
    """So that the order of headers does not depend on who overrides them."""
    assert list(merged({"A": "1", "B": "1"}, {"a": "2"}).items()) == [("a", "2"), ("B", "1")]


def test_what_a_page_led_to_gets_nothing_of_the_jobs() -> None:
    """What a function of the user's said for that very request goes along, until a hop leads away from it."""
    one = request("http://b.test/", "http://b.test/", **{"X-Key": "said for b"})
    one.foreign, one.depth = True, 1
    job, sent = {"X-Job-Key": "job", "Accept": "text/html"}, {"Accept": "text/html", "X-Request-ID": "id"}
    assert headers_for(one, job, {}, "id") == {**sent, "X-Key": "said for b"}
    one.hops = ("http://a.test/",)
    assert headers_for(one, job, {}, "id") == sent
