"""srcset: what its commas and descriptors mean."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.srcset import urls


@pytest.mark.parametrize(
    ("srcset", "read"),
    [
        ("", []),
        ("/a", ["/a"]),
        ("/a 1x, /b 2x", ["/a", "/b"]),
        ("/a 100w,/b 200w", ["/a", "/b"]),
        ("/a,/b", ["/a,/b"]),
        ("/a, /b", ["/a", "/b"]),
        ("/a,w_200,h_100 1x,\n\t/b,w_400 2x", ["/a,w_200,h_100", "/b,w_400"]),
        (" , ,/a 1x , , /b", ["/a", "/b"]),
        ("/a calc(1x, 2x), /b", ["/a", "/b"]),
        ("/a (never closed, /b", ["/a"]),
        ("data:image/gif;base64,AA== 1x, /b 2x", ["data:image/gif;base64,AA==", "/b"]),
        ("/a,,, /b", ["/a", "/b"]),
    ],
)
def test_srcset(srcset: str, read: list[str]) -> None:
    """A comma ends a URL only at its end, and a descriptor only outside parentheses."""
    assert list(urls(srcset)) == read


@given(st.text(st.sampled_from("a,( )\n1x/"), max_size=60))
def test_nothing_raises(srcset: str) -> None:
    """Each URL stood there, without white space."""
    for url in urls(srcset):
        assert url in srcset
        assert not set(url) & set(" \n")


@pytest.mark.parametrize("unit", [",", "(", "a(", " a", "a, ", "a (,"])
def test_it_is_linear(unit: str) -> None:
    """A million characters are read in a moment."""
    before = time.process_time()
    list(urls(unit * (1_000_000 // len(unit))))
    assert time.process_time() - before < 2
