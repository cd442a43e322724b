"""How the columns are spelled that say what a body is."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from crawler.bodytext import BadContent
from crawler.promises import digest_of, mirrors_of, size_of

SIZES = {"sha256": 32, "sha512": 64, "md5": 16}


@pytest.mark.parametrize("name", SIZES)
def test_spellings_of_a_digest(name: str) -> None:
    """In hex of any case, with the name of its kind before it, or as Subresource Integrity has it."""
    digest = bytes(range(200, 200 + SIZES[name])) if name != "sha512" else bytes(range(190, 254))
    coded = b64encode(digest).decode()
    for text in (digest.hex(), f" {digest.hex().upper()} ", f"{name.upper()}:{digest.hex()}", f"{name}-{coded}"):
        assert digest_of(name, text) == digest.hex()


@pytest.mark.parametrize(
    "cell",
    [
        *(
            "",
            "ab",
            "é" * 64,
            "g" * 64,
            "md5:" + "ab" * 32,
            "sha256:sha256:" + "ab" * 32,
            "ab" * 33,
            7,
            None,
            ["ab" * 32],
        ),
        *("sha256-" + b64encode(b"x" * 31).decode(), "sha256-!", "sha512-" + b64encode(b"x" * 32).decode(), "sha256-é"),
    ],
)
def test_what_is_no_digest(cell: Any) -> None:
    """Another length, another kind, other characters."""
    with pytest.raises(BadContent, match="sha256 is not 64 hexadecimal digits"):
        digest_of("sha256", cell)


def test_a_size_is_a_number_of_bytes() -> None:
    """As a number, or in digits."""
    assert [size_of(cell) for cell in (0, 7, " 007 ", 10**18 - 1)] == [0, 7, 7, 10**18 - 1]


@pytest.mark.parametrize("cell", [-1, 1.0, True, 10**18, [1], "-1", "1_0", "1,024", "12 KB", "\u0661", "9" * 19, "1.0"])
def test_what_is_no_size(cell: Any) -> None:
    """No fractions, no units, no digits of other scripts, nothing that no file can have."""
    with pytest.raises(BadContent, match=r"size .* is not a number of bytes"):
        size_of(cell)


def test_mirrors_are_a_list() -> None:
    """Of texts; in a cell they are separated by spaces."""
    assert mirrors_of(" http://a/1 \t b ") == mirrors_of(["http://a/1", " b"]) == ("http://a/1", "b")
    assert mirrors_of([]) == mirrors_of(" ") == ()
    for bad in ([1], {"a": "b"}, 7):
        with pytest.raises(BadContent, match="mirrors is neither a list of URLs nor"):
            mirrors_of(bad)
    with pytest.raises(BadContent, match="mirrors has 101 URLs, at most 100 are tried"):
        mirrors_of(["http://a/"] * 101)
