"""The text of a token cache."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.tokentext import Token, is_cache, text_of, tokens_of

GOOD: dict[str, Any] = {
    "access_token": "abc",
    "expires_at": 60.5,
    "refresh_token": "r",
    "obtained_at": 1.0,
    "generation": 1,
}
MOMENTS = st.floats(allow_nan=False, allow_infinity=False)
TOKENS = st.builds(
    Token,
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1),
    st.none() | MOMENTS,
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    MOMENTS,
    st.integers(1, 2**50),
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), TOKENS, max_size=8))
def test_what_is_written_is_read_back(tokens: dict[str, Token]) -> None:
    """Every token under its key."""
    assert is_cache(text_of(tokens))
    assert tokens_of(text_of(tokens)) == tokens


def test_the_latest_tokens_are_kept() -> None:
    """A file does not grow for ever."""
    tokens = {str(number): Token("a", None, None, float(number), 1) for number in range(200)}
    kept = tokens_of(text_of(tokens))
    assert 0 < len(kept) < 200
    assert set(kept) == {str(number) for number in range(200 - len(kept), 200)}


@pytest.mark.parametrize(
    "text", [b"", b"\x00", b"[]", b"{}", b'{"tokens": []}', b'{"tokens": {', b"null", b"[" * 10_000]
)
def test_a_text_of_another_origin_is_no_cache(text: bytes) -> None:
    """It holds nothing, and breaks nothing."""
    assert not is_cache(text)
    assert tokens_of(text) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a\r\nb"},
        {"access_token": "x" * 40_000},
        {"refresh_token": ""},
        {"refresh_token": 5},
        {"refresh_token": "x" * 40_000},
        {"generation": 0},
        {"generation": True},
        {"generation": 1.5},
        {"generation": 2**60},
        {"obtained_at": None},
        {"obtained_at": "1"},
        {"expires_at": "60"},
        {"expires_at": True},
    ],
)
def test_an_entry_that_is_no_token_is_left_out(change: dict[str, Any]) -> None:
    """The others in the file stand."""
    tokens = tokens_of(orjson.dumps({"tokens": {"good": GOOD, "bad": GOOD | change, "worse": [1]}}))
    assert tokens == {"good": Token("abc", 60.5, "r", 1.0, 1)}


def test_no_repr_shows_a_token() -> None:
    """Also not in a container."""
    shown = repr([Token("abc", None, "refreshing", 1.0, 1)])
    assert "abc" not in shown
    assert "refreshing" not in shown
