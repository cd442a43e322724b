"""One number for what a page says: equal where two pages say the same, up to counting and to their own address.

Decides by the text alone. Must not know other pages. Invariant: the same on every machine and in every run; any word,
price or long number that only one of two pages has tells them apart. A trap counts on for ever (days, page numbers)
and echoes what it was asked for; a page of a catalogue shares all with its neighbours but its name, so likeness is
no measure of how much two pages share.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from urllib.parse import unquote

_LONGEST = 1_000_000  # characters of a text that are looked at
_DIGITS_AND_SPACE = b"0123456789\x7f" + bytes(range(33))
_NUMBERS_ONLY = bytes(byte if byte in b"0123456789." else 32 for byte in range(256))
_SHORTEST_ECHO = 3  # characters


def likeness(text: str, href: str = "", media: Iterable[str] = ()) -> int:
    """64 bits of a page's readable `text`, its title among it. Short whole numbers, dates, times of day and white space
    do not count, nor does what of `href`, its own URL, is repeated in it; `media` are the addresses of its images and
    the like, by which pages without words of their own differ.
    """
    data = _without(text[:_LONGEST], href).encode("utf-8", "replace")
    digest = blake2b(data.translate(None, _DIGITS_AND_SPACE), digest_size=8)
    for number in data.translate(_NUMBERS_ONLY).split():
        if len(number) > 3 and _tells(number.strip(b".")):
            digest.update(b" " + number)
    for address in sorted(set(media)):
        digest.update(b"\n" + address.encode("utf-8", "replace"))
    return int.from_bytes(digest.digest(), "big")


def _tells(number: bytes) -> bool:
    """Is it a price or a long number: not a year or a date, and no fraction, as in "made in 0.02 seconds"."""
    if b"." not in number:
        return len(number) > 4
    return number.count(b".") == 1 and not number.startswith(b"0.")


def _without(text: str, href: str) -> str:
    """The text without its own address, and without the last part of that."""
    rest = href.partition("//")[2]
    path = rest.partition("/")[2]
    for echo in (href, rest, path, path.rstrip("/").rpartition("/")[2]):
        for spelled in {echo, unquote(echo)} if "%" in echo else (echo,):
            if len(spelled) >= _SHORTEST_ECHO:
                text = text.replace(spelled, "")
    return text
