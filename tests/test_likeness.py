"""Likeness: what two pages must have in common to say the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.likeness import likeness

MENU = "Home Products About us Contact. " * 200


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("March 2031: 1 2 3 4", "March 2032:\n 1 2 3  4 5"),
        ("Next: 2031-03-01, 12:03:59", "Next: 2031-4-1, 9:01:00"),
        ("Am 01.03.2031 nichts", "Am 31.12.2032 nichts"),
        ("made in 0.0123 seconds", "made in 0.4 seconds"),
    ],
)
def test_counting_on_says_nothing(one: str, other: str) -> None:
    """Days, years, times, page numbers and how long it took."""
    assert likeness(MENU + one) == likeness(MENU + other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Blue chair", "Blue table"),
        ("Chair 19.99", "Chair 29.99"),
        ("Station 3: 23.4 degrees", "Station 3: 23.5 degrees"),
        ("Inhabitants: 104233", "Inhabitants: 104234"),
        ("Grüße", "Grüsse"),
    ],
)
def test_one_word_or_price_tells_pages_apart(one: str, other: str) -> None:
    """However much else they share: a catalogue's pages differ in no more."""
    assert likeness(MENU + one + MENU) != likeness(MENU + other + MENU)


def test_an_echo_of_the_address_says_nothing() -> None:
    """As a page has it that tells what is not there, encoded or not."""
    said = "Sorry, {} is not here"
    assert likeness(said.format("/old/caf\u00e9"), "https://a.example/old/caf%C3%A9") == likeness(
        said.format("/old/b%20c"), "https://a.example/old/b%20c"
    )
    assert likeness(said.format("This"), "https://a.example/old/tea") != likeness(said.format("That"))


def test_pages_of_a_gallery_differ_in_their_images() -> None:
    """Though all that can be read is a number; the order of images is none of the page's words."""
    photos = [likeness("Photo 1", media=[f"/photo/{number}.jpg", "/logo.png"]) for number in range(3)]
    assert len(set(photos)) == 3
    assert photos[0] == likeness("Photo 2", media=["/logo.png", "/photo/0.jpg"])


@given(st.text(), st.text())
def test_any_text_has_one(text: str, href: str) -> None:
    """Of 64 bits, lone surrogates or not."""
    assert 0 <= likeness(text, href) < 2**64


def test_it_is_the_same_in_every_process() -> None:
    """Since it goes into the checkpoint."""
    told = subprocess.run(
        [sys.executable, "-c", "from crawler.likeness import likeness; print(likeness('Blue chair 19.99'))"],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert int(told.stdout) == likeness("Blue chair 19.99")
