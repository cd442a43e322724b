"""Links in JSON, by the job's expression."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.jsonlinks import LARGEST, json_leads
from crawler.links import NOTHING, Kind, Link

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("expression", "read"),
    [
        ("jmespath:next", ["/2"]),
        ("jmespath:items[].url", ["/a", "/b"]),
        ("jmespath:[next, items[].url]", ["/2", "/a", "/b"]),
        ("jmespath:nothing", []),
        ("jmespath:items[0]", []),
        ("jmespath:count", []),
    ],
)
def test_what_the_expression_finds(expression: str, read: list[str]) -> None:
    """Texts, and texts in lists, in their order; numbers and objects are no links."""
    data = orjson.dumps(
        {"next": " /2#x", "count": 3, "items": [{"url": "/a"}, {"url": "/b"}, {"url": "/a"}, {"url": 1}]}
    )
    found = json_leads(data, "application/json", expression)
    assert found.links == tuple(Link(href, Kind.DATA) for href in read)
    assert found.warning is None


@pytest.mark.parametrize(
    ("data", "expression", "said"),
    [
        (b"{", "jmespath:a", "not JSON"),
        (b"\xff", "jmespath:a", "not JSON"),
        (b'{"a": 1}', "jmespath:length(a)", "fails on this page"),
        (b'"' + b"x" * LARGEST + b'"', "jmespath:@", "larger than"),
    ],
)
def test_what_cannot_be_read_is_told(data: bytes, expression: str, said: str) -> None:
    """As a warning, without the data."""
    found = json_leads(data, "application/json", expression)
    assert found.links == ()
    assert found.warning is not None
    assert said in found.warning


def test_an_empty_body_is_no_fault() -> None:
    """As of a 204."""
    assert json_leads(b" \n", "application/json", "jmespath:a") == NOTHING


@given(JSON)
def test_whatever_the_data(data: object) -> None:
    """A link is told for texts alone."""
    found = json_leads(orjson.dumps(data), None, "jmespath:@")
    assert found.warning is None
    if not isinstance(data, (str, list)):
        assert found.links == ()
