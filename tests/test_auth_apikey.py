"""API keys in headers, parameters and cookies."""

from __future__ import annotations

from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.auth.apikey import ApiKey
from crawler.auth.scheme import FINE, Answered, Draft, Scheme, Signed, Step
from crawler.urls import parse

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=10)


def sign(scheme: ApiKey, url: str = "https://a.example/p?x=1", headers: dict[str, str] | None = None) -> Signed:
    return scheme.sign(Draft("GET", url, headers or {}), 0.0, Random(1))


def test_several_headers() -> None:
    """Each with its value; the URL stays."""
    signed = sign(ApiKey({"X-Api-Key": "k1", "X-App-Id": "k2"}))
    assert (signed.headers, signed.url) == ({"X-Api-Key": "k1", "X-App-Id": "k2"}, None)


def test_a_prefix() -> None:
    """It stands before the key."""
    assert sign(ApiKey({"Authorization": "k1"}, prefix="Token ")).headers == {"Authorization": "Token k1"}


@pytest.mark.parametrize(
    ("url", "signed"),
    [
        ("https://a.example/", "https://a.example/?key=a%26b"),
        ("https://a.example/p?x=1&y", "https://a.example/p?x=1&y&key=a%26b"),
        ("https://a.example/p?key=old&x=1", "https://a.example/p?x=1&key=a%26b"),
        ("https://a.example/p?k%65y=old", "https://a.example/p?key=a%26b"),
        ("https://a.example/p?key=a%26b&key", "https://a.example/p?key=a%26b"),
        ("https://a.example/p?monkey=1", "https://a.example/p?monkey=1&key=a%26b"),
    ],
)
def test_a_parameter_stands_in_the_signed_url_once(url: str, signed: str) -> None:
    """What a server said back in a Location is replaced; the draft's own URL is left alone."""
    given_back = sign(ApiKey(params={"key": "a&b"}), url)
    assert given_back.url == signed
    assert not given_back.headers


@given(TEXT, TEXT)
def test_any_parameter_arrives_as_it_was_given(name: str, value: str) -> None:
    """The server decodes the very name and value, and the URL is canonical."""
    url = sign(ApiKey(params={name: value})).url
    assert url is not None
    assert parse(url).href == url
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert pairs[-1] == (name, value)
    assert [pair for pair in pairs if pair[0] == name] == [(name, value)]


def test_a_cookie_joins_those_of_the_request() -> None:
    """The jar's cookies stay."""
    scheme = ApiKey(cookies={"session": "s1"})
    assert sign(scheme).headers == {"Cookie": "session=s1"}
    assert sign(scheme, headers={"cookie": "a=1; b=2"}).headers == {"Cookie": "a=1; b=2; session=s1"}


@pytest.mark.parametrize(
    "make",
    [
        lambda bad: ApiKey({"X-Key": bad}),
        lambda bad: ApiKey(params={"key": bad}),
        lambda bad: ApiKey(cookies={"key": bad}),
    ],
)
@pytest.mark.parametrize("bad", ["", "zq\r\nX: 1", "zq\n", "zq\0", "zq\x7f", "zq\ud800"])
def test_values_that_cannot_be_sent_are_refused(make, bad: str) -> None:  # type: ignore[no-untyped-def]
    """And never shown."""
    with pytest.raises(ValueError) as caught:
        make(bad)
    assert "zq" not in str(caught.value)


def test_other_faults_of_a_section() -> None:
    """No key at all, names that are none, a cookie that would be two."""
    faults: list[dict[str, Any]] = [
        {},
        {"headers": {"X Key": "k"}},
        {"headers": {"": "k"}},
        {"params": {"": "k"}},
        {"cookies": {"k": "a; b=c"}},
        {"cookies": {"k": "a"}, "headers": {"cookie": "b=1"}},
        {"headers": {"X-Key": "k"}, "prefix": "a\n"},
    ]
    for fault in faults:
        with pytest.raises(ValueError):
            ApiKey(**fault)


def test_a_401_rejects_and_all_else_is_fine() -> None:
    """The sentence names what the server wants, and holds no key."""
    scheme: Scheme = ApiKey({"X-Key": "hunter2"}, {"k": "hunter3"}, {"c": "hunter4"})
    draft = Draft("GET", "https://a.example/", {})
    signed = scheme.sign(draft, 0.0, Random(1))
    step, error = scheme.accept(draft, signed, Answered(401, {}, ['Bearer realm="hunter2 hunter3 hunter4"']), 0.0)
    assert (step, error) == (Step.REJECTED, 'the server wants Bearer realm "*** *** ***", this section offers API key')
    assert scheme.accept(draft, signed, Answered(403, {}), 0.0) == FINE
    assert "hunter" not in repr(scheme) + repr(signed)
    assert (scheme.wants, scheme.reads_errors, scheme.stale(1e9)) == (frozenset(), False, False)
