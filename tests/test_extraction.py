"""The fields of a page: their values, what is missing, what was cut, and that nothing raises."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.cssquery import MAX_VALUES
from crawler.extraction import LARGEST, Extracted, Extraction, Problem
from crawler.fieldtypes import MAX_TEXT
from crawler.htmlpage import parse
from crawler.jobextract import Extract
from crawler.page import Head, Page

URL = "https://a.example/docs/page"
HTML = (
    b"<title> The \n page</title><span class=price>EUR 12.50</span><span class=n>many</span><time datetime=2024-05-01>"
    b"<a href=/x>1</a><a href=y>2</a><a href='javascript:z'>3</a><script type='application/ld+json'>"
    b'{"name": "two  spaces"}</script>'
)


def page(body: object = HTML, content_type: str = "text/html", url: str = URL) -> Page:
    """A page; what is no bytes is its JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    kind = content_type if isinstance(body, bytes) else "application/json"
    return Page(Head(url, url, 200, {"Content-Type": kind}), data, lambda: parse(data, None).tree)


def extracted(said: Mapping[str, Any], where: Page | None = None, **functions: Callable[[Page], object]) -> Extracted:
    """What a section gives of a page."""
    return Extraction(Extract.model_validate(said), functions).fields(where or page())


def test_fields_are_typed_and_in_the_order_of_the_job() -> None:
    """From a page as servers send them."""
    found = extracted(
        {
            "price": {"css": ".price", "regex": "[0-9.]+", "type": "float"},
            "title": "css:title::text",
            "when": {"css": "time::attr(datetime)", "type": "time"},
            "links": {"css": "a[href^='/'], a[href=y]::attrs(href)", "type": "url"},
            "ld": {"css": "script[type='application/ld+json']", "type": "json"},
            "none": "css:h6",
            "nones": "css:h6::texts",
        }
    )
    assert found == Extracted(
        {
            "price": 12.5,
            "title": "The page",
            "when": "2024-05-01T00:00:00.000Z",
            "links": ["https://a.example/x", "https://a.example/docs/y"],
            "ld": {"name": "two  spaces"},
            "none": None,
            "nones": [],
        }
    )
    assert list(found.fields)[:2] == ["price", "title"]


def test_what_is_not_of_its_type_is_null_and_said() -> None:
    """The page is fetched all the same; in a list the others stay."""
    found = extracted(
        {
            "n": {"css": ".n", "type": "int", "default": 7},
            "links": {"css": "a::attrs(href)", "type": "url"},
            "many": {"css": "a", "list": True, "type": "bool"},
            "none": {"css": ".n", "list": True, "type": "int", "default": [7]},
        }
    )
    links = ["https://a.example/x", "https://a.example/docs/y"]
    assert found.fields == {"n": None, "links": links, "many": [True], "none": []}
    assert found.problem is None
    assert [text.partition(":")[0] for text in found.warnings] == ["n", "links", "many", "none"]
    assert "'many' is no whole number" in found.warnings[0]
    assert found.warnings[2].endswith("and 1 more like it")


def test_a_list_is_no_single_value() -> None:
    """What is meant is for the job to say."""
    found = extracted({"id": {"jmespath": "ids", "type": "int"}}, page({"ids": [1, 2]}))
    assert found.fields == {"id": None}
    assert "say list = true" in found.warnings[0]
    assert extracted({"id": {"jmespath": "ids", "type": "int", "list": True}}, page({"ids": [1, 2]})).fields == {
        "id": [1, 2]
    }


def test_a_default_stands_where_nothing_was_found() -> None:
    """For single values and lists."""
    said = {"a": {"css": "h6", "default": "-"}, "b": {"css": "h6::texts", "default": ["-"]}}
    assert extracted(said).fields == {"a": "-", "b": ["-"]}
    assert extracted(said, page(b"<h6>x")).fields == {"a": "x", "b": ["x"]}


@pytest.mark.parametrize("said", [{"css": "h6"}, {"css": "h6", "list": True}, {"css": ".n", "type": "int"}])
def test_a_required_field_that_is_missing_is_a_problem(said: dict[str, Any]) -> None:
    """Named by the field; the other fields are there."""
    found = extracted({"x": {**said, "required": True}, "title": "css:title"})
    assert found.problem is not None
    assert found.problem.missing
    assert "no x, which is required (extract.x)" in found.problem.error
    assert found.fields["title"] == "The page"


def test_a_field_is_of_the_pages_that_it_names() -> None:
    """By their URL and by their format: elsewhere it is left out, and not required."""
    said = {
        "title": {"css": "title", "url": r"/docs/\w+$", "required": True},
        "id": {"jmespath": "id", "required": True},
    }
    assert extracted(said) == Extracted({"title": "The page"})
    assert extracted(said, page(url="https://a.example/docs/")) == Extracted({})
    assert extracted(said, page({"id": 3})) == Extracted({"id": 3})
    assert extracted(said, page(b"PNG", "image/png")) == Extracted({})


def test_a_function_that_raises_fails_the_page_and_nothing_else() -> None:
    """The first problem is told, with its trace; it does not keep other fields from being found."""

    def broken(page: Page) -> object:
        return page.input["price"]

    found = extracted({"a": "function:shop:broken", "title": "css:title"}, a=broken)
    assert found.fields == {"a": None, "title": "The page"}
    assert found.problem is not None
    assert not found.problem.missing
    assert found.problem.error == "a: shop:broken raised KeyError: 'price'"
    assert 'return page.input["price"]' in (found.problem.trace or "")


def test_what_a_function_gives_is_plain_data() -> None:
    """As JSON would have it; what it has no word for is said."""
    odd: dict[str, Callable[[Page], object]] = {
        "pair": lambda page: (1, {"a": None}),
        "thing": lambda page: object(),
        "number": lambda page: "12",
        "sign": lambda page: "\ud800",
    }
    said = {name: {"function": "a:b"} for name in odd}
    found = extracted(
        {**said, "number": {"function": "a:b", "type": "int"}, "sign": {"function": "a:b", "type": "text"}}, None, **odd
    )
    assert found.fields == {"pair": [1, {"a": None}], "thing": None, "number": 12, "sign": None}
    assert [text.partition(":")[0] for text in found.warnings] == ["thing", "sign"]


def test_values_are_bounded() -> None:
    """Long texts and long lists are cut, and who reads the record is told."""
    text = extracted({"x": "css:p"}, page(b"<p>" + b"a" * (MAX_TEXT + 1)))
    assert text.fields["x"] == "a" * MAX_TEXT
    assert "extract-limit" in text.warnings[0]
    several = extracted({"x": "css:i::texts"}, page(b"<i>1</i>" * (MAX_VALUES + 1)))
    assert several.fields["x"] == ["1"] * MAX_VALUES
    assert "extract-limit" in several.warnings[0]
    half = b"<p>" + b"a" * (MAX_TEXT // 2) + b"</p>"
    assert len(extracted({"x": "css:p::texts"}, page(half * 2)).fields["x"]) == 2
    large = extracted({"x": "css:p::texts"}, page(half * 3))
    assert len(large.fields["x"]) == 2
    assert "extract-limit" in large.warnings[0]
    data = extracted({"x": "jmespath:@"}, page(["a" * MAX_TEXT]))
    assert data.fields == {"x": None}
    assert "extract-limit" in data.warnings[0]


def test_an_endless_generator_is_left() -> None:
    """Of a field's own function, too."""

    def endless(page: Page) -> object:
        while True:
            yield 1

    found = extracted({"x": {"function": "a:b", "list": True}}, x=endless)
    assert found.fields["x"] == [1] * MAX_VALUES


def test_a_page_that_is_too_large_has_no_fields_but_a_warning() -> None:
    """It is fetched; its fields were not required in vain."""
    found = extracted({"x": {"css": "h6", "required": True}}, page(b" " * (LARGEST + 1)))
    assert found.fields == {}
    assert found.problem is None
    assert "extract-limit" in found.warnings[0]


def test_warnings_are_few() -> None:
    """A record has one line for them."""
    found = extracted({f"f{n}": {"css": "title", "type": "int"} for n in range(30)})
    assert len(found.warnings) == 11
    assert found.warnings[-1] == "and 20 more fields"


def test_json_that_is_too_deep_is_left_out() -> None:
    """What could be read but never be written again."""
    found = extracted(
        {"x": "jmespath:a", "b": "jmespath:b"}, page(b'{"b":1,"a":' + b"[" * 900 + b"]" * 900 + b"}", "text/json")
    )
    assert found.fields == {"x": None, "b": 1}
    assert "cannot be written as JSON" in found.warnings[0]


def test_without_fields_nothing_is_looked_at() -> None:
    """A crawl without [extract] pays nothing."""

    def never() -> Any:
        raise AssertionError

    head = Head(URL, URL, 200, {"Content-Type": "text/html"})
    assert Extraction(Extract()).fields(Page(head, b"<p>", never)) == Extracted({})


ANY = {
    "a": {"css": "p, a::attr(href)", "type": "url", "list": True},
    "b": {"css": "*", "type": "int"},
    "c": {"css": "p", "type": "json", "required": True},
    "d": {"jmespath": "a[].b || @", "list": True, "type": "time"},
    "e": {"jmespath": "length(@)"},
    "f": "regex:(?P<x>[a-z]+)(?P<y>.)?",
    "g": {"regex": ".", "list": True, "type": "bool"},
}


@settings(max_examples=50)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.text() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ).map(lambda value: orjson.dumps(value))
    | st.from_regex(rb"(<(p|a|a href='[^>]*|base href=..|svg|template)>[^<]{0,9}){1,9}", fullmatch=True),
    st.sampled_from(
        ["text/html", "application/json", "text/plain", "", "text/html; charset=utf-16", "application/xml"]
    ),
)
def test_no_page_raises_and_all_fields_can_be_written(body: bytes, content_type: str) -> None:
    """Bytes from the web are hostile."""
    found = extracted(ANY, page(body, content_type))
    assert orjson.loads(orjson.dumps(found.fields)) == found.fields
    assert isinstance(found.problem, Problem | None)
    assert not re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202e]", "".join(found.warnings))
