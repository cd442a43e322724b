"""[paging]: which page comes next, where pages end, and what cannot be said."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crawler.job import Job
from crawler.paging import LARGEST, End, Fault, Next, PageSeen, Paging, next_page, set_param
from crawler.urls import parse, printable

HERE = "https://a.example/items?q=x"
LINK = Paging(next="link")
URL = Paging(next="jmespath:meta.next")
CURSOR = Paging(next="jmespath:cursor", param="after")
COUNT = Paging(param="page")
ITEMS = Paging(param="offset", start=0, step=50, items="jmespath:data")


def seen(body: object = b"<p>", *, url: str = HERE, number: int = 1, **more: Any) -> PageSeen:
    """A page; what is no bytes is its JSON."""
    data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
    digest = sha256(data or b"").hexdigest()
    return PageSeen(
        url, number, more.pop("links", ()), data, more.pop("content_type", "application/json"), digest, **more
    )


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("https://a.example/items?page=2", "https://a.example/items?page=2"),
        ("?page=2", "https://a.example/items?page=2"),
        ("/other", "https://a.example/other"),
        ("//b.example/x#part", "https://b.example/x"),
        ("HTTP://B.example:80", "http://b.example/"),
        ("https://user:secret@a.example/2", "https://a.example/2"),
    ],
)
def test_a_url_is_resolved_and_canonical(target: str, leads: str) -> None:
    """Both ways that name one: relative to the page, without userinfo or fragment; another origin is a URL as well."""
    assert next_page(LINK, seen(links=[f'<{target}>; rel="next"'])) == Next(leads)
    assert next_page(URL, seen({"meta": {"next": target}})) == Next(leads)


@pytest.mark.parametrize(
    "target", ["ftp://a.example/", "javascript:alert(1)", "http://", "/a\x01b", "/" + "a" * 20_000]
)
def test_what_cannot_be_fetched_is_a_fault(target: str) -> None:
    """Never silently the end."""
    for step in (
        next_page(LINK, seen(links=[f"<{target}>; rel=next"])),
        next_page(URL, seen({"meta": {"next": target}})),
    ):
        assert isinstance(step, Fault)
        assert step.error.startswith("the URL of the next page ")


def test_without_a_link_pages_end() -> None:
    """The last page has no rel=next; its body is not looked at."""
    assert next_page(LINK, seen(None, links=["</1>; rel=prev"])) == End("no Link leads to a next page")


@pytest.mark.parametrize("value", [None, "", " ", False, []])
@pytest.mark.parametrize("paging", [URL, CURSOR])
def test_nothing_named_is_the_end(paging: Paging, value: object) -> None:
    """As APIs say that there is no more: null, an empty text, false, or nothing at all."""
    for data in ({"meta": {"next": value}, "cursor": value}, {}, {"meta": None}):
        assert next_page(paging, seen(data)) == End("the page names no next one")


@pytest.mark.parametrize(
    ("cursor", "written"),
    [
        ("abc", "abc"),
        ("a b&c=d/+", "a+b%26c%3Dd%2F%2B"),
        (17, "17"),
        (0, "0"),
        (2.5, "2.5"),
        (["x"], "x"),
        ("ü", "%C3%BC"),
    ],
)
def test_a_cursor_goes_into_its_parameter(cursor: object, written: str) -> None:
    """Encoded, behind the others; a list of one, as a filter finds it, is that one."""
    assert next_page(CURSOR, seen({"cursor": cursor})) == Next(f"{HERE}&after={written}")


@pytest.mark.parametrize("cursor", [True, {"a": 1}, ["a", "b"], 12345678901234567890123])
def test_what_is_no_cursor_is_a_fault(cursor: object) -> None:
    """A number that lost its digits would fetch a wrong page."""
    body = f'{{"cursor": {cursor}}}'.encode() if type(cursor) is int else orjson.dumps({"cursor": cursor})
    assert isinstance(next_page(CURSOR, seen(body)), Fault)


@pytest.mark.parametrize("value", [17, True, {"href": "/2"}, ["/2", "/3"]])
def test_what_is_no_url_is_a_fault(value: object) -> None:
    """The sentence says what a cursor needs."""
    step = next_page(URL, seen({"meta": {"next": value}}))
    assert isinstance(step, Fault)
    assert "paging.param" in step.error


def test_counting_goes_on_from_what_the_url_says() -> None:
    """Else from `start`, which is what the first request is taken to have."""
    assert next_page(COUNT, seen()) == Next(f"{HERE}&page=2")
    assert next_page(COUNT, seen(url=f"{HERE}&page=7", number=1)) == Next(f"{HERE}&page=8")
    assert next_page(COUNT, seen(url="https://a.example/?page=7&q=x", number=3)) == Next(
        "https://a.example/?page=8&q=x"
    )
    assert next_page(COUNT, seen(url="https://a.example/?page=", number=3)) == Next("https://a.example/?page=4")
    assert next_page(ITEMS, seen({"data": [1]})) == Next(f"{HERE}&offset=50")
    assert next_page(ITEMS, seen({"data": [1]}, url=f"{HERE}&offset=50", number=2)) == Next(f"{HERE}&offset=100")


def test_a_count_that_is_none_is_a_fault() -> None:
    """page=abc has no successor."""
    for value in ("abc", "-1", "1e3", "9" * 30, "%D9%A3"):
        step = next_page(COUNT, seen(url=f"https://a.example/?page={value}"))
        assert isinstance(step, Fault), value
        assert "is no number" in step.error


@pytest.mark.parametrize("body", [b"", b" \n", b"[]", b" [ ] ", b"{}", b"{\n}", b"null"])
def test_counting_ends_at_an_empty_page(body: bytes) -> None:
    """Where no items are named, a page is empty if nothing is in it."""
    assert next_page(COUNT, seen(body)) == End("the page is empty")


@pytest.mark.parametrize("body", [b"0", b"[[]]", b"[] x", b"{]", b" " * 70_000 + b"x", b"<html>", None])
def test_counting_goes_on_where_something_is_in_it(body: bytes | None) -> None:
    """Of whatever type it is, and however large."""
    assert isinstance(next_page(COUNT, seen(body)), Next)


@pytest.mark.parametrize("data", [{"data": []}, {"data": None}, {}, {"data": {}}, [], {"data": 0}])
def test_counting_ends_without_items(data: object) -> None:
    """An empty list, or none at all."""
    assert next_page(ITEMS, seen(data)) == End("the page has no items")


@pytest.mark.parametrize("paging", [URL, CURSOR, ITEMS])
def test_a_page_that_is_no_json_is_a_fault(paging: Paging) -> None:
    """With the place where it is none; an empty body is the end."""
    step = next_page(paging, seen(b"<html>"))
    assert isinstance(step, Fault)
    assert step.error.startswith("the page is not JSON: ")
    assert "line 1 column 1" in step.error
    assert next_page(paging, seen(b" \n")) == End("the page is empty")


def test_a_page_too_large_to_be_read_is_a_fault() -> None:
    """In memory or not; where no JSON is read, its size means nothing."""
    for body in (None, b"[1" + b" " * LARGEST + b"]"):
        assert next_page(URL, seen(body)) == Fault("the page is larger than 16MiB, so it was not read for the next one")
        assert isinstance(next_page(COUNT, seen(body)), Next)


def test_json_in_another_charset_is_read() -> None:
    """As its Content-Type says."""
    body = '{"cursor": "ü"}'.encode("latin-1")
    assert next_page(CURSOR, seen(body, content_type="application/json; charset=latin1")) == Next(
        f"{HERE}&after=%C3%BC"
    )


@pytest.mark.parametrize(
    ("paging", "page"),
    [
        (LINK, seen(links=[f"<{HERE}#x>; rel=next"])),
        (URL, seen({"meta": {"next": "?q=x"}})),
        (CURSOR, seen({"cursor": "a"}, url=f"{HERE}&after=a", number=2)),
    ],
)
def test_a_page_that_leads_to_itself_is_the_end(paging: Paging, page: PageSeen) -> None:
    """And is told."""
    assert next_page(paging, page) == End(f"page {page.number} names itself as the next one", warning=True)


@pytest.mark.parametrize("paging", [COUNT, CURSOR])
def test_the_same_content_again_is_the_end(paging: Paging) -> None:
    """A server that ignores the parameter, or repeats its last page for ever."""
    page = seen({"cursor": "b"}, number=5)
    assert isinstance(next_page(paging, page._replace(previous_sha256="0" * 64)), Next)
    step = next_page(paging, page._replace(previous_sha256=page.sha256))
    assert step == End("page 5 has the same content as the one before", warning=True)


def test_the_same_content_behind_links_goes_on() -> None:
    """The server named another URL, on purpose."""
    page = seen(links=["</2>; rel=next"], number=2)
    assert isinstance(next_page(LINK, page._replace(previous_sha256=page.sha256)), Next)


def test_a_circle_is_the_end() -> None:
    """A page that leads back to one before it."""
    step = next_page(LINK, seen(links=["</1>; rel=next"], number=3, seen={"https://a.example/1"}))
    assert step == End("page 3 leads back to https://a.example/1", warning=True)


def test_most_pages() -> None:
    """Reaching the bound is told only where more would have come."""
    paging = Paging(next="link", max_pages=3)
    assert isinstance(next_page(paging, seen(links=["</3>; rel=next"], number=2)), Next)
    step = next_page(paging, seen(links=["</4>; rel=next"], number=3))
    assert step == End("there are more than 3 pages (paging.max_pages)", warning=True)
    assert next_page(paging, seen(number=3)) == End("no Link leads to a next page")


@pytest.mark.parametrize("total", [3, "3", 3.0])
def test_total_pages_end_a_count(total: object) -> None:
    """Counted from the first page there is, wherever the first request began."""
    paging = Paging(param="page", total_pages="jmespath:total")
    assert isinstance(next_page(paging, seen({"total": total}, number=2)), Next)
    assert next_page(paging, seen({"total": total}, number=3)) == End("it was the last of 3 pages")
    assert next_page(paging, seen({"total": total}, url=f"{HERE}&page=3")) == End("it was the last of 3 pages")
    offsets = Paging(param="offset", start=0, step=50, total_pages="jmespath:total")
    assert isinstance(next_page(offsets, seen({"total": total}, url=f"{HERE}&offset=50")), Next)
    assert isinstance(next_page(offsets, seen({"total": total}, url=f"{HERE}&offset=100")), End)


def test_total_pages_bound_other_ways_too() -> None:
    """Some servers name a next page behind the last one; a page that does not say it goes on."""
    paging = Paging(next="jmespath:next", total_pages="jmespath:total")
    assert isinstance(next_page(paging, seen({"total": 2, "next": "/3"}, number=2)), End)
    assert next_page(paging, seen({"next": "/3"}, number=2)) == Next("https://a.example/3")
    for wrong in ("many", True, [3], -1, 2.5):
        assert isinstance(next_page(paging, seen({"total": wrong, "next": "/3"})), Fault)


def test_an_expression_that_fails_is_a_fault() -> None:
    """With what is wrong, not with the page."""
    step = next_page(Paging(param="page", items="jmespath:length(data)"), seen({"data": 12_345}))
    assert isinstance(step, Fault)
    assert "length()" in step.error
    assert "12345" not in step.error


def test_statuses_that_end_a_count() -> None:
    """Behind the last page; not the first one, and not a page that was named."""
    for status in (404, 204):
        assert COUNT.ends_by_status(status, 2)
        assert not COUNT.ends_by_status(status, 1)
        assert not LINK.ends_by_status(status, 2)
        assert not CURSOR.ends_by_status(status, 2)
    assert not any(COUNT.ends_by_status(status, 2) for status in (200, 400, 403, 410, 500))


@pytest.mark.parametrize(
    ("href", "name", "value", "set_"),
    [
        ("https://a.example/", "page", "2", "https://a.example/?page=2"),
        ("https://a.example/?", "page", "2", "https://a.example/?page=2"),
        ("https://a.example/?a=1&page=1&b=%20+", "page", "2", "https://a.example/?a=1&page=2&b=%20+"),
        ("https://a.example/?page=1&a&page=5", "page", "2", "https://a.example/?page=2&a"),
        ("https://a.example/?pages=1", "page", "2", "https://a.example/?pages=1&page=2"),
        ("https://a.example/?p%61ge=1", "page", "2", "https://a.example/?p%61ge=2"),
        ("https://a.example/?page[number]=1", "page[number]", "2", "https://a.example/?page[number]=2"),
        ("https://a.example/?page", "page", "a&b", "https://a.example/?page=a%26b"),
    ],
)
def test_a_parameter_is_set_in_its_place(href: str, name: str, value: str, set_: str) -> None:
    """What else is in the query stays as it was spelled."""
    assert set_param(href, name, value) == set_


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_parameter_is_set_once(value: str, name: str) -> None:
    """Setting it again replaces it, and the URL stays canonical."""
    once = set_param(HERE, name, value)
    assert set_param(set_param(HERE, name, "other"), name, value) == once
    assert parse(once).href == once


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({}, "says no way to the next page"),
        ({"items": "jmespath:data"}, "says no way to the next page"),
        ({"next": "link", "param": "page"}, "a Link header gives the whole URL"),
        ({"next": "jmespath:a", "param": "p", "start": 0}, "leave one of them out"),
        ({"next": "Link"}, "did you mean 'link'?"),
        ({"next": "rel=next"}, "did you mean 'link'?"),
        ({"next": "meta.next"}, "'jmespath:meta.next'"),
        ({"next": "jmespath:a["}, "it ends too early"),
        ({"param": "page", "items": "data.items"}, "did you mean 'jmespath:data.items'?"),
        ({"param": "page", "items": "jmespath:lenght(a)"}, "did you mean 'length'?"),
        ({"param": "?page="}, "write 'page'"),
        ({"param": ""}, "is the name of a query parameter"),
        ({"param": "page\n"}, "is the name of a query parameter"),
        ({"param": "page", "step": 0}, "greater than or equal to 1"),
        ({"param": "page", "max_pages": 0}, "greater than or equal to 1"),
        ({"param": "page", "hosts": ["https://a.example/"]}, "write the host only: 'a.example'"),
        ({"param": "page", "items_": "x"}, "items_"),
    ],
)
def test_what_cannot_be_said(section: dict[str, Any], told: str) -> None:
    """Before anything is fetched, with what was probably meant."""
    with pytest.raises(ValidationError) as caught:
        Paging.model_validate(section)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("paging", "body", "json"),
    [
        (LINK, False, False),
        (Paging(next="link", items="jmespath:a"), True, True),
        (URL, True, True),
        (COUNT, True, False),
        (ITEMS, True, True),
    ],
)
def test_what_a_way_needs(paging: Paging, body: bool, json: bool) -> None:
    """Bodies are held only where they are looked at."""
    assert (paging.needs_body, paging.reads_json) == (body, json)


def test_the_section_survives_its_own_dump() -> None:
    """The effective job, defaults and all, loads back to the same."""
    for paging in (LINK, URL, CURSOR, COUNT, ITEMS, Paging(param="page", hosts=["*.A.example"])):
        job = Job.model_validate({"name": "t", "input": {"urls": [HERE]}, "paging": paging.model_dump()})
        assert job.paging == paging
        assert Job.model_validate(job.to_data()).paging == paging


PAGINGS = [LINK, URL, CURSOR, COUNT, ITEMS, Paging(param="page", total_pages="jmespath:meta.next")]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["meta", "next", "cursor", "data"]), inner, max_size=3)
    ),
)


@given(
    st.sampled_from(PAGINGS),
    st.binary(max_size=50) | JSON.map(orjson.dumps),
    st.sampled_from([HERE, "https://a.example/?page=7", "https://a.example/?after=x&offset=5"]),
    st.lists(st.text(max_size=40) | st.text(max_size=30).map("<{}>; rel=next".format), max_size=2),
)
def test_nothing_raises(paging: Paging, body: bytes, url: str, links: list[str]) -> None:
    """Whatever a page says, it leads to another page that has a canonical URL, ends, or is a fault in a sentence."""
    step = next_page(paging, seen(body, url=url, links=links))
    if isinstance(step, Next):
        assert parse(step.url).href == step.url != url
    else:
        assert printable(step[0], 100_000) == step[0]


@given(st.integers(1, 30), st.integers(0, 5), st.integers(1, 50))
def test_counting_asks_for_each_page_once(pages: int, start: int, step: int) -> None:
    """From the first to the first that is empty, whatever start and step are."""
    paging = Paging(param="n", start=start, step=step, items="jmespath:data")
    full = {start + place * step for place in range(pages)}
    url, asked = HERE, [start]
    for number in range(1, pages + 2):
        found = next_page(paging, seen({"data": [asked[-1]] if asked[-1] in full else []}, url=url, number=number))
        if isinstance(found, End):
            break
        assert isinstance(found, Next)
        url = found.url
        asked.append(int(url.partition("n=")[2]))
    assert asked == [*sorted(full), start + pages * step]
