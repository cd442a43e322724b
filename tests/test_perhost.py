"""Patterns and tables of [hosts]: what is let through, and how the rest is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crawler.patterns import canonical_pattern, split_port
from crawler.perhost import HostOverrides
from crawler.urls import BadURL, origin, parse


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("A.Example", "a.example"),
        ("*.Example:8080", "*.example:8080"),
        ("**", "*"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("[0:0::1]:8080", "[::1]:8080"),
        ("127.1", "127.0.0.1"),
        ("10.0.?.*", "10.0.?.*"),
    ],
)
def test_a_pattern_has_one_spelling(said: str, meant: str) -> None:
    """Lower case, IDNA, short IPv6: as the host stands in canonical URLs."""
    assert canonical_pattern(said) == meant


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "write a host: 'a.example'"),
        ("https://a.example/x", "write the host only: 'a.example'"),
        ("http://*.a.example:8080/", "write the host only: '*.a.example:8080'"),
        ("a.example/x", "write the host only: 'a.example'"),
        ("me:pw@a.example", "write the host only: 'a.example'"),
        (" a.example", "write the host only: 'a.example'"),
        ("https://", "such as 'a.example'"),
        ("::1", "write '[::1]'"),
        ("[::1", "is not a host"),
        ("[a-z].example", "is not a host"),
        ("[a-z]*.example", "is not a host"),
        ("*.a,b", "only '*' and '?' are wildcards"),
        ("bü*.example", "use '*'"),
        ("a.example:443", "names a default port, which means nothing here; write 'a.example'"),
        ("a.example:", "write 'a.example' or 'a.example:8080'"),
        ("a.example:99999", "no port from 1 to 65535"),
        ("[::1]:", "has an empty port; write '[::1]'"),
        ("a\0b", "is not a host"),
        ("\ud800", "is not a host"),
        ("*" * 1000, "no host name is"),
    ],
)
def test_a_bad_pattern_gets_a_sentence(said: str, told: str) -> None:
    """What cannot match any host is refused with the nearest right thing."""
    with pytest.raises(ValueError) as caught:
        canonical_pattern(said)
    assert told in str(caught.value)


@given(st.text("aB.-:*?[]/ü1%@ ", max_size=12))
def test_canonical_means_settled(text: str) -> None:
    """A pattern that was let through is its own canonical form, and one without wildcards is some URL's host."""
    try:
        pattern = canonical_pattern(text)
    except ValueError:
        return
    assert canonical_pattern(pattern) == pattern
    if not set(pattern) & set("*?"):
        assert origin(parse(f"https://{pattern}/").href)[1] == pattern


@given(st.sampled_from(["a.example", "[::1]", "127.0.0.1"]), st.integers(1, 65535))
def test_ports_are_split_off(host: str, port: int) -> None:
    """A host is told from its port, IPv6 included."""
    assert split_port(host) == (host, "")
    assert split_port(f"{host}:{port}") == (host, str(port))
    assert split_port("::1") == ("[::1]", "")


@pytest.mark.parametrize(
    "table",
    [
        {"per_host": 0},
        {"rate_per_host": "0/s"},
        {"rate_per_host": None},
        {"delay_per_host": "-1s"},
        {"workers": 3},
        {"robots": "maybe"},
        {"retry": {"attempts": 0}},
        {"retry": {"backoff": {"factor": 0.5}}},
        {"timeouts": {"read": "0s"}},
        {"breaker": {"failures": 0}},
        {"headers": {"A B": "1"}},
        {"headers": {"A": "1", "a": "2"}},
    ],
)
def test_overrides_pass_the_checks_of_their_sections(table: dict[str, Any]) -> None:
    """A value that the section would refuse is refused for one host as well."""
    with pytest.raises(ValidationError):
        HostOverrides.model_validate(table)


def test_only_what_was_given_is_dumped() -> None:
    """An override says no more when it is written down again than when it was read."""
    table = {"per_host": 2, "retry": {"backoff": {"max": "3s"}}, "headers": {"X-A": "b"}, "timeouts": {}}
    assert HostOverrides.model_validate(table).model_dump(mode="json") == table


def test_urls_cannot_name_more_than_patterns_can() -> None:
    """The netloc of a canonical URL never has a default port, which is why patterns may not name one."""
    assert origin(parse("https://a.example:443/").href)[1] == "a.example"
    with pytest.raises(BadURL):
        parse("https://a.example:99999/")
