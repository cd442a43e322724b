"""[extract]: what may be asked of a page, and what is said of what may not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from crawler.jobextract import MAX_FIELDS, Extract, FieldSaid, column_types


def said(**fields: Any) -> Extract:
    """The section as a job file gives it."""
    return Extract.model_validate(fields)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("css:title::text", {"css": "title::text"}),
        ("css: li.tag::texts ", {"css": "li.tag::texts"}),
        ("jmespath:items[].id", {"jmespath": "items[].id"}),
        ("regex:Version: (\\d+)", {"regex": "Version: (\\d+)"}),
        ("function:shop.parts:price", {"function": "shop.parts:price"}),
    ],
)
def test_a_text_is_a_short_table(text: str, table: dict[str, str]) -> None:
    """What stands before the first colon says how a field is found; prefixes within a table do no harm."""
    assert said(x=text).fields["x"] == FieldSaid.model_validate(table)
    assert FieldSaid(css="css:h1") == FieldSaid(css="h1")


@pytest.mark.parametrize(
    ("field", "kind", "many"),
    [
        ("css:h1", "text", False),
        ("css:h1::texts", "text", True),
        ({"css": "h1", "list": True, "type": "int"}, "int", True),
        ("regex:a", "text", False),
        ("regex:(?P<major>\\d+)[.](?P<minor>\\d+)", "json", False),
        ("jmespath:a", "json", False),
        ({"jmespath": "a", "type": "time"}, "time", False),
        ("function:a:b", "json", False),
        ({"css": "h1", "regex": "\\d+"}, "text", False),
    ],
)
def test_a_field_has_a_type_even_if_none_is_said(field: Any, kind: str, many: bool) -> None:
    """A text where it is found in one, else JSON as it comes."""
    found = said(x=field).fields["x"]
    assert (found.kind, found.gives_list) == (kind, many)


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("title", "did you mean 'css:title'"),
        ("", "write 'css:h1::text'"),
        ("ccs:h1", "did you mean 'css:h1'"),
        ("xpath://h1", "XPath is not understood"),
        ("jsonpath:a.b", "did you mean 'jmespath:a.b'"),
        ("re:a+", "did you mean 'regex:a+'"),
        ("python:a:b", "did you mean 'function:a:b'"),
        ("css:h1::txt", "did you mean '::text'"),
        ("jmespath:items[", "no JMESPath expression"),
        ("jmespath:lenght(a)", "did you mean 'length'"),
        ("regex:a(", "no regular expression: missing ) at position 2"),
        ("regex:", "0 characters"),
        ("function:shop.price", "did you mean 'shop:price'"),
        ("function:shop.py:price()", "did you mean 'shop:price'"),
        ("function:price", "write it as 'module:function'"),
        ({"css": "h1", "typ": "int"}, "unknown key 'typ'; did you mean 'type'"),
        ({"css": "h1", "type": "integer"}, "'int'"),
        ({}, "has nothing"),
        ({"type": "int"}, "has nothing"),
        ({"css": "h1", "jmespath": "a"}, "has css and jmespath"),
        ({"jmespath": "a", "regex": "b"}, "has jmespath and regex"),
        ({"jmespath": "a", "raw": True}, "needs css or regex"),
        ({"regex": "a", "separator": " "}, "needs css"),
        ({"regex": "(?P<a>b)", "type": "int"}, "named groups"),
        ({"css": "h1", "url": "("}, "no regular expression"),
        ({"css": "h1", "required": True, "default": "x"}, "leave out required"),
        ({"css": "h1", "type": "int", "default": "3"}, "no int"),
        ({"css": "h1", "type": "float", "default": True}, "no float"),
        ({"css": "h1", "type": "url", "default": "/x"}, "no url"),
        ({"css": "h1::texts", "default": "x"}, "default = []"),
        ({"jmespath": "a", "default": {1}}, "no json"),
        (3, ""),
        (None, ""),
    ],
)
def test_what_may_not_be_asked_is_said_with_what_was_meant(field: Any, says: str) -> None:
    """When the job is loaded, and not on the first page."""
    with pytest.raises(ValidationError) as error:
        said(x=field)
    assert says in str(error.value)
    assert error.value.errors()[0]["loc"][0] == "x"


@pytest.mark.parametrize("default", [3, 0, -(2**63)])
def test_a_default_has_the_type_of_its_field(default: int) -> None:
    """Else a column would hold two."""
    assert said(x={"css": "b", "type": "int", "default": default}).fields["x"].default == default
    assert said(x={"css": "b", "list": True, "type": "int", "default": [default]}).fields["x"].default == [default]


@pytest.mark.parametrize("name", ["a-b", "1st", "", "ä", "a b", "x" * 61])
def test_names_are_columns(name: str) -> None:
    """Letters, digits and '_', so that each tool takes them unquoted; the sentence has one that is right."""
    with pytest.raises(ValidationError, match="is no name of a field") as error:
        said(**{name: "css:h1"})
    meant = str(error.value).split("write '")[1].split("'")[0]
    assert said(**{meant: "css:h1"}).fields


def test_names_of_our_own_are_names_like_others() -> None:
    """A field may be called as a part of the model is."""
    names = ["json", "copy", "fields", "functions", "model_dump", "_private", "page", "dict", "schema"]
    extract = said(**dict.fromkeys(names, "css:h1"))
    assert list(extract.fields) == names
    assert list(extract.model_dump(mode="json", by_alias=True)) == ["function", *names]


def test_the_function_of_pages_is_no_field() -> None:
    """It stands under its own name, and a field cannot have that."""
    extract = said(function="shop:page", price="function:shop:price", title="css:h1")
    assert extract.functions == {"function": "shop:page", "price": "shop:price"}
    assert list(extract.fields) == ["price", "title"]
    assert extract
    assert not said()
    with pytest.raises(ValidationError, match="call the field otherwise"):
        said(function="css:h1")
    with pytest.raises(ValidationError, match="did you mean 'shop:page'"):
        said(function="shop.page")


def test_fields_are_counted() -> None:
    """One too many is refused."""
    names = [f"f{n}" for n in range(MAX_FIELDS + 1)]
    assert len(said(**dict.fromkeys(names[1:], "css:h1"), function="a:b").fields) == MAX_FIELDS
    with pytest.raises(ValidationError, match="101 fields"):
        said(**dict.fromkeys(names, "css:h1"))


def test_what_is_dumped_loads_as_the_same() -> None:
    """The effective job can be run as it is printed."""
    extract = said(
        function="shop:page",
        title="css:h1::text",
        price={"css": ".price", "regex": "([0-9.]+)", "type": "float", "url": "/item/", "default": 0.0},
        tags={"css": "li", "list": True, "separator": " ", "raw": True},
        ids="jmespath:items[].id",
    )
    assert Extract.model_validate(extract.model_dump(mode="json", by_alias=True)) == extract


def test_columns_are_typed() -> None:
    """Each field has one, in the order of the job."""
    extract = said(when={"css": "time", "type": "time"}, ids={"jmespath": "a", "type": "int", "list": True})
    assert column_types(extract) == {"when": pa.timestamp("ms", "UTC"), "ids": pa.list_(pa.int64())}
    assert list(column_types(extract)) == ["when", "ids"]


def test_the_schema_for_editors_knows_fields() -> None:
    """As texts and as tables."""
    found = Extract.model_json_schema(by_alias=True)
    assert found["additionalProperties"] == {"$ref": "#/$defs/FieldSaid"}
    text, table = found["$defs"]["FieldSaid"]["anyOf"]
    assert text["type"] == "string"
    assert {"css", "list", "type"} <= table["properties"].keys()
