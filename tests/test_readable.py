"""What is text on a page, and which images it shows."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.readable import images, readable


def test_what_people_read_is_left() -> None:
    """Tags, comments, scripts and styles go, closed or not; words that tags divide stay apart."""
    page = b"<title>A</title><script>x<y</script >b<!-- c -- -->d<p class='x'>e</p><STYLE>f{}</STYLE>g<script>h"
    assert readable(page).split() == ["A", "b", "d", "e", "g"]
    assert readable(b"a < b").split() == ["a"]
    assert readable("déjà \udcff".encode("utf-8", "surrogatepass")).startswith("déjà ")


def test_images_are_named_as_written() -> None:
    """Quoted or not, in any case; what has no src, or is in no image, is none."""
    page = b"<img src='a.png'><IMG alt=x SRC=b.png><img alt=c><p src=d><img\nsrc = \"e.png\" >"
    assert images(page) == ["a.png", "b.png", "e.png"]
    assert len(images(b"<img src=a>" * 5000)) == 1000


@given(st.lists(st.sampled_from([b"<script", b">", b"<!--", b"-->", b"</script>", b"a", b"<img src=", b" "])))
def test_nothing_raises(pieces: list[bytes]) -> None:
    """And what is text is no tag."""
    assert "<" not in readable(b"".join(pieces))
    assert isinstance(images(b"".join(pieces)), list)


@pytest.mark.parametrize("piece", [b"<script", b"<script>", b"<!--", b"<img ", b"<img src", b"<style>", b"<"])
def test_hostile_pages_take_no_longer_than_others(piece: bytes) -> None:
    """A MiB of beginnings without an end."""
    page = piece * (1024 * 1024 // len(piece))
    before = process_time()
    readable(page)
    images(page)
    assert process_time() - before < 2.0
