"""[expect]: what is a login page with status 200, and what is let through."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from crawler.expect import LARGEST, Expect
from crawler.job import Job

LOGIN = b"<!DOCTYPE html>\n<html><head><title>Login</title></head></html>"


@pytest.mark.parametrize(
    ("globs", "content_type"),
    [
        (["application/json"], "application/json"),
        (["application/json"], "Application/JSON; charset=utf-8"),
        (["APPLICATION/json"], "application/json"),
        (["text/html", "application/*+json"], "application/vnd.api+json;v=1"),
        (["image/*"], "image/svg+xml"),
        (["*/xml"], "text/xml"),
        (["binary/octet-stream"], "binary/octet-stream"),
        (["text/csv"], "text/csv, text/csv"),
        ([], None),
    ],
)
def test_a_content_type_that_is_expected(globs: list[str], content_type: str | None) -> None:
    """Any of them is enough; letter case and parameters make no difference."""
    assert Expect(content_type=globs).unmet_by_head(content_type) is None


@pytest.mark.parametrize(
    ("content_type", "told"),
    [
        ("text/html; charset=utf-8", "Content-Type is text/html, the job expects application/json or image/*"),
        ("application/json5", "Content-Type is application/json5,"),
        ("x/application/json", "Content-Type is x/application/json,"),
        ("text/\x1b[31mhtml", r"Content-Type is text/\x1b[31mhtml,"),
        (None, "there is no Content-Type, the job expects application/json or image/*"),
        ("", "there is no Content-Type, the job expects"),
        ("; charset=utf-8", "there is no Content-Type, the job expects"),
    ],
)
def test_another_content_type(content_type: str | None, told: str) -> None:
    """The sentence says what came, what was expected, and by which key."""
    found = Expect(content_type=["application/json", "image/*"]).unmet_by_head(content_type) or ""
    assert told in found
    assert found.endswith("(expect.content_type)")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("json", "did you mean 'application/json'?"),
        ("JSON", "did you mean 'application/json'?"),
        (".jpg", "did you mean 'image/jpeg'?"),
        ("html", "did you mean 'text/html'?"),
        ("image", "did you mean 'image/*'?"),
        ("image/", "did you mean 'image/*'?"),
        ("jsno", "did you mean 'application/json'?"),
        ("aplication/json", "did you mean 'application/json'?"),
        ("application.json", "did you mean 'application/json'?"),
        ("text/html; charset=utf-8", "write 'text/html'"),
        ("", "write it like 'application/json'"),
        ("*", "write it like 'application/json'"),
        ("text/[a-z]", "is no media type"),
        ("text /html", "is no media type"),
    ],
)
def test_a_wrong_glob_is_told_the_right_one(said: str, told: str) -> None:
    """Before anything is fetched."""
    with pytest.raises(ValidationError) as caught:
        Expect(content_type=[said])
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("expect", "body", "told"),
    [
        ({"json": True}, LOGIN, "the body is not JSON: it begins with '<!DOCTYPE html>"),
        ({"json": True}, b"", "the body is not JSON: it is empty (expect.json)"),
        ({"json": True}, b" \n", "it is empty"),
        ({"json": True}, b'{"a": 1', "the body is not JSON: unexpected end of data: line 1 column 8"),
        ({"json": True}, b"[NaN]", "the body is not JSON"),
        ({"json": True}, b"\x00\x1b[2J", r"it begins with '\x00\x1b[2J'"),
        (
            {"min_size": "1KiB"},
            b"x" * 1023,
            "the body has 1,023 bytes, the job expects 1,024 or more (expect.min_size)",
        ),
        ({"contains": "Results"}, LOGIN, "the body does not have 'Results' (expect.contains)"),
        ({"contains": "LOGIN"}, LOGIN, "the body does not have 'LOGIN' (expect.contains)"),
        ({"not_contains": "<title>Login"}, LOGIN, "the body has '<title>Login' (expect.not_contains)"),
        ({"contains": "x"}, b"", "the body does not have 'x'"),
    ],
)
def test_a_body_that_is_not_expected(expect: dict[str, Any], body: bytes, told: str) -> None:
    """The sentence says what is wrong with it, and by which key."""
    assert told in (Expect.model_validate(expect).unmet_by_body(body, len(body)) or "")


@pytest.mark.parametrize(
    ("expect", "body"),
    [
        ({}, b""),
        ({"json": True}, b"null"),
        ({"json": True}, b'\xef\xbb\xbf{"a": [1]}\n'),
        ({"min_size": "1KiB"}, b"x" * 1024),
        ({"contains": "Login", "not_contains": "Error"}, LOGIN),
        ({"not_contains": "Login"}, b""),
    ],
)
def test_a_body_that_is_expected(expect: dict[str, Any], body: bytes) -> None:
    """All that is said must hold; nothing said lets everything through."""
    assert Expect.model_validate(expect).unmet_by_body(body, len(body)) is None


def test_text_is_found_in_any_charset() -> None:
    """The charset is that of the page; its bytes are not those of the job file."""
    expect, other = Expect(contains="grün"), Expect(not_contains="grün")
    for charset in ("utf-8", "iso-8859-1", "utf-16le"):
        body = "Der Wald ist grün.".encode(charset)
        assert expect.unmet_by_body(body, len(body), f"text/html; charset={charset}") is None
        assert other.unmet_by_body(body, len(body), f"text/html; charset={charset}") is not None
    latin = "grün".encode("latin-1")
    assert expect.unmet_by_body(latin, len(latin), "text/html") is not None


def test_json_may_be_in_another_charset() -> None:
    """As long as the server says which."""
    body = '{"a": "ü"}'.encode("latin-1")
    assert Expect(json=True).unmet_by_body(body, len(body), "application/json; charset=latin1") is None
    assert Expect(json=True).unmet_by_body(body, len(body), "application/json") is not None


@pytest.mark.parametrize(
    ("expect", "needed"),
    [
        ({}, False),
        ({"content_type": ["text/*"], "min_size": "1B"}, False),
        ({"json": True}, True),
        ({"contains": "a"}, True),
        ({"not_contains": "a"}, True),
    ],
)
def test_a_body_is_held_only_where_it_is_looked_into(expect: dict[str, Any], needed: bool) -> None:
    """Sizes and types are known without it; and where it was not held, what is expected of its content is unmet."""
    section = Expect.model_validate(expect)
    assert section.needs_body is needed
    told = section.unmet_by_body(None, LARGEST + 1)
    assert (told is not None) is needed
    if told:
        assert "16MiB" in told
        assert f"expect.{next(iter(expect))}" in told


def test_a_body_above_the_bound_is_not_parsed() -> None:
    """Even where it is in memory: what cannot be checked does not pass."""
    assert "checked up to" in (Expect(json=True).unmet_by_body(b"[]", LARGEST + 1) or "")
    assert Expect(json=True).unmet_by_body(b"[]" + b" " * 100, LARGEST) is None


def test_what_cannot_be_met_is_refused() -> None:
    """Both texts in one body is impossible where one holds the other."""
    with pytest.raises(ValidationError, match="no body can have"):
        Expect(contains="Login page", not_contains="Login")


def test_an_empty_text_is_refused() -> None:
    """Every body holds it."""
    for key in ("contains", "not_contains"):
        with pytest.raises(ValidationError):
            Expect.model_validate({key: ""})


def test_the_section_survives_its_own_dump() -> None:
    """The effective job, as text and as data, loads back to the same, by either name of a key."""
    data = {"content_type": ["image/*"], "json": True, "min_size": "1KiB", "contains": "a", "not_contains": "b"}
    data["verify_format"] = True
    section = Expect.model_validate(data)
    assert section.model_dump(mode="json", by_alias=True) == data
    assert Expect.model_validate(section.model_dump(mode="json", by_alias=True)) == section
    assert Expect.model_validate_json(section.model_dump_json()) == section


def test_a_copy_with_other_values_decides_by_them() -> None:
    """Overrides of hosts are laid over copies: nothing of the old values may be remembered."""
    section = Expect(content_type=["text/html"], min_size=10)
    assert section.unmet_by_head("image/png") is not None
    other = copy.copy(section).model_copy(update={"content_type": ["image/*"], "is_json": True, "min_size": 0})
    assert other.unmet_by_head("image/png") is None
    assert other.needs_body


def test_a_job_says_it_and_a_misspelled_key_is_refused() -> None:
    """As a table of the job."""
    job = {"name": "t", "input": {"urls": ["https://a.example/"]}, "expect": {"json": True, "min_size": "10B"}}
    assert Job.model_validate(job).expect == Expect(json=True, min_size=10)
    with pytest.raises(ValidationError, match="maxsize"):
        Job.model_validate({**job, "expect": {"maxsize": "1B"}})
