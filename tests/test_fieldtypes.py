"""Types of fields: which texts and values are one, and that the rest is said and not guessed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.fieldtypes import FieldType, Unfit, column_type, convert, shown
from crawler.urls import join


def absolute(href: str) -> str:
    """Relative to one page."""
    return join("https://a.example/docs/", href).href


@pytest.mark.parametrize(
    ("kind", "value", "becomes"),
    [
        ("text", "x", "x"),
        ("text", 3, "3"),
        ("text", True, "true"),
        ("int", " -12 ", -12),
        ("int", 7.0, 7),
        ("int", "+9223372036854775807", 2**63 - 1),
        ("float", "1e3", 1000.0),
        ("float", ".5", 0.5),
        ("float", 3, 3.0),
        ("bool", "Yes", True),
        ("bool", 0, False),
        ("bool", "off", False),
        ("url", " ../x?q=1#part ", "https://a.example/x?q=1"),
        ("time", "2024-05-01", "2024-05-01T00:00:00.000Z"),
        ("time", "2024-05-01T10:00:00.25+02:00", "2024-05-01T08:00:00.250Z"),
        ("time", "Wed, 01 May 2024 10:00:00 GMT", "2024-05-01T10:00:00.000Z"),
        ("time", "1 May 2024 10:00:00 +0200", "2024-05-01T08:00:00.000Z"),
        ("time", "1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z"),
        ("time", 86400, "1970-01-02T00:00:00.000Z"),
        ("json", '{"a":[1]}', {"a": [1]}),
    ],
)
def test_what_is_of_its_type(kind: FieldType, value: Any, becomes: Any) -> None:
    """As a page writes it, or as JSON has it."""
    found = convert(kind, value, absolute)
    assert (found, type(found)) == (becomes, type(becomes))


UNFIT: dict[FieldType, list[Any]] = {
    "int": ["", "1,299", "1.5", "1_000", "٣", "9223372036854775808", 1.5, True, [], "1" * 99],
    "float": ["", "1,5", "inf", "nan", "1e999", "1_0", {}, True, float("nan"), 10**400],
    "bool": ["", "maybe", 2, None, [1], "true" * 99],
    "url": ["javascript:x()", "http://", 3, "a\x01b"],
    "time": ["", "soon", "2024-13-01", "0001-01-01T00:00:00+14:00", 1e300, True, [], "9" * 9],
    "json": ["", "{", "[" * 10_000],
    "text": [[], {}, None, "\ud800"],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in UNFIT.items() for value in values])
def test_what_is_not_is_said(kind: FieldType, value: Any) -> None:
    """No guess at thousands, at local spellings, or at what a year means."""
    with pytest.raises(Unfit) as error:
        convert(kind, value, absolute)
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


@given(
    st.sampled_from(get_args(FieldType)),
    st.text()
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.none()),
)
def test_nothing_else_is_raised_and_what_is_kept_is_json(kind: FieldType, value: Any) -> None:
    """Pages may hold what they like."""
    try:
        found = convert(kind, value, absolute)
    except Unfit:
        return
    if kind != "json":
        assert orjson.loads(orjson.dumps(found)) == found


@given(st.datetimes(min_value=datetime(1900, 1, 1)))
def test_a_moment_that_is_kept_stays(moment: Any) -> None:
    """Converted again it is the same, to the millisecond."""
    kept = convert("time", moment.isoformat(), absolute)
    assert convert("time", kept, absolute) == kept
    assert kept[:19] == moment.isoformat()[:19]


def test_each_type_has_a_column() -> None:
    """A list is a list of it."""
    assert column_type("time", False) == pa.timestamp("ms", "UTC")
    assert column_type("int", True) == pa.list_(pa.int64())
    for kind in get_args(FieldType):
        assert column_type(kind, True).value_type == column_type(kind, False)


def test_values_in_sentences_are_short() -> None:
    """A page's own text is cut and escaped."""
    assert len(shown("\x1b[31m" * 500)) < 100
    assert shown("\x1b").isprintable()
    assert shown({"a": 1}) == "an object"
