"""Where values stand in a page: by CSS, JMESPath, a pattern, or a function that may raise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from crawler.fieldtypes import Unfit
from crawler.finding import REGEX_BYTES, OfAnother, Raised, finder, raised
from crawler.htmlpage import parse
from crawler.jobextract import FieldSaid
from crawler.page import Head, Page

HTML = b"<h1> Big\n <b>title</b></h1><ul><li>v 1<li>w<li>v 3</ul>"


def page(body: object = HTML, content_type: str = "text/html") -> Page:
    """A page; what is no bytes is its JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    kind = content_type if isinstance(body, bytes) else "application/json"
    head = Head("https://a.example/", "https://a.example/", 200, {"Content-Type": kind})
    return Page(head, data, lambda: parse(data, None).tree)


def found(said: Any, where: Page, function: Callable[[Page], object] | None = None) -> list[Any]:
    """All that a field finds."""
    return list(finder(FieldSaid.model_validate(said), function)(where))


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("css:h1", ["Big title"]),
        ({"css": "h1", "raw": True}, [" Big\n title"]),
        ({"css": "h1", "separator": "/"}, ["Big /title"]),
        ("css:li", ["v 1"]),
        ("css:li::texts", ["v 1", "w", "v 3"]),
        ({"css": "li", "regex": "v ([0-9])"}, ["1"]),
        ({"css": "li", "regex": "[0-9]", "list": True}, ["1", "3"]),
        ({"css": "li", "regex": "w"}, []),
        ({"css": "b", "list": True}, ["title"]),
        ("css:table", []),
        ("regex:<li>(.*?)<", ["v 1"]),
        ({"regex": "<li>([^<]*)", "list": True}, ["v 1", "w", "v 3"]),
        ({"regex": "<h1>.*?<b>", "raw": True}, []),
        ({"regex": "(?s)<h1>.*?<b>", "raw": True}, ["<h1> Big\n <b>"]),
        ("regex:(?s)<h1>.*?<b>", ["<h1> Big <b>"]),
        ("regex:(x)|<b>", []),
        ("regex:(?P<a>v) (?P<b>1)(?P<c>x)?", [{"a": "v", "b": "1", "c": None}]),
        ("regex:nothing", []),
    ],
)
def test_texts_of_a_page(said: Any, values: list[Any]) -> None:
    """White space is one space unless it is kept; of a pattern the first group counts, or its names."""
    assert found(said, page()) == values


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("jmespath:items[].id", [[1, 2]]),
        ({"jmespath": "items[].id", "list": True}, [1, 2]),
        ({"jmespath": "name", "list": True}, ["x"]),
        ("jmespath:nothing", []),
        ({"jmespath": "nothing", "list": True}, []),
        ('regex:"name":"(.)"', ["x"]),
    ],
)
def test_values_of_json(said: Any, values: list[Any]) -> None:
    """A list is one value, or several where the field gives a list."""
    assert found(said, page({"items": [{"id": 1}, {"id": 2}], "name": "x"})) == values


@pytest.mark.parametrize(
    ("said", "content_type"),
    [
        ("css:h1", "application/json"),
        ("css:h1", "image/png"),
        ("jmespath:a", "text/html"),
        ("jmespath:a", "text/plain"),
        ("jmespath:a", "image/png"),
        ("regex:a", "image/png"),
    ],
)
def test_a_page_of_another_format_has_no_such_field(said: str, content_type: str) -> None:
    """A crawl meets all kinds; that a picture has no heading is no fault."""
    with pytest.raises(OfAnother):
        found(said, page(HTML, content_type))


def test_json_is_found_in_what_says_to_be_text() -> None:
    """Many servers say text/plain; what says that it is JSON and is not is a fault."""
    assert found("jmespath:a", page(b'{"a":1}', "text/plain")) == [1]
    with pytest.raises(Unfit, match="is not JSON"):
        found("jmespath:a", page(b"<p>", "application/json"))
    with pytest.raises(Unfit, match=r"length\(\) is given"):
        found("jmespath:length(a)", page({"a": 3}))


def test_a_pattern_sees_the_beginning_only() -> None:
    """So that what it costs has a bound."""
    body = b" " * (REGEX_BYTES - 1) + b"xy"
    assert found("regex:x", page(body, "text/plain")) == ["x"]
    assert found("regex:xy", page(body, "text/plain")) == []
    assert found({"css": "p", "regex": "xy"}, page(b"<p>" + body)) == []


def test_a_function_gives_one_value_or_several() -> None:
    """It is given the page; a generator is as good as a list."""
    assert found("function:a:b", page(), lambda page: page.status) == [200]
    assert found("function:a:b", page(), lambda page: None) == []
    assert found("function:a:b", page(), lambda page: [1, 2]) == [[1, 2]]
    assert found({"function": "a:b", "list": True}, page(), lambda page: (1, 2)) == [1, 2]
    assert found({"function": "a:b", "list": True}, page(), lambda page: iter("ab")) == ["a", "b"]


def test_what_a_function_raises_is_told_with_its_place() -> None:
    """Type and text in the sentence, the lines of the user's code in the trace; never the exception itself."""

    def price(page: Page) -> Any:
        raise KeyError("\x1b[31mprice")

    def prices(page: Page) -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    async def later(page: Page) -> int:
        return 1

    with pytest.raises(Raised) as error:
        found("function:shop:price", page(), price)
    assert str(error.value).startswith("shop:price raised KeyError: ")
    assert str(error.value).isprintable()
    assert error.value.trace is not None
    assert "in price" in error.value.trace
    assert "crawler/finding.py" not in error.value.trace
    assert all(line.isprintable() for line in error.value.trace.split("\n"))
    with pytest.raises(Raised, match="shop:prices raised SystemExit: 3"):
        found({"function": "shop:prices", "list": True}, page(), prices)
    with pytest.raises(Raised, match="shop:leaves raised SystemExit: enough"):
        found("function:shop:leaves", page(), lambda page: sys.exit("enough"))
    with pytest.raises(Raised, match="must be a plain one"):
        found("function:shop:later", page(), later)


def test_an_exception_that_cannot_be_told_is_told_by_its_type() -> None:
    """Its text is code of the user's, too; a trace is bounded."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    def deep(page: Page) -> object:
        return deep(page)

    assert str(raised("a:b", Odd())) == "a:b raised Odd"
    with pytest.raises(Raised, match="RecursionError") as error:
        found("function:a:b", page(), deep)
    assert len((error.value.trace or "").splitlines()) < 150


def test_a_function_must_have_been_loaded() -> None:
    """Else it is our mistake."""
    with pytest.raises(ValueError, match="was not loaded"):
        finder(FieldSaid(function="a:b"), None)


def test_a_pattern_that_would_take_hours_is_stopped() -> None:
    """Of a page that is made for it, the field says so and the run goes on."""
    hostile = b"<p>" + b"Version" * 20_000
    with pytest.raises(Unfit, match="took longer than 1 s"):
        found(r"regex:(?:Version.*)+!(\d+)", page(hostile))
