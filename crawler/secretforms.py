"""The forms in which a secret turns up in texts: as it is, percent-encoded, escaped, as part of something in Base64.

Decides by patterns, a character at a time, since every encoder leaves other characters alone. Must not know texts or
what becomes of a find. Invariant: each form's `anchor` stands in every text that its pattern matches; no pattern takes
more than linear time at a place.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

_PIECES = re.compile(r"\\+|.", re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+")  # RFC 3986 2.3: what stands for itself in every encoding
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]+")
_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}  # of HTML
# Both alphabets of RFC 4648, also where they went through JSON or into a URL.
_DIGIT = {"+": r"(?:[+-]|%(?:25){0,2}2[Bb])", "/": r"(?:\\?/|_|%(?:25){0,2}2[Ff])"}
_ANY_DIGIT = r"(?:[A-Za-z0-9+/_-]|\\/|%(?:25){0,2}2[BbFf])"
_PADDING = r"(?:=|%(?:25){0,2}3[Dd]){0,2}"
_ENCODED = re.compile(r"%(?:25){0,2}[0-9A-Fa-f]{2}|.", re.DOTALL)
_TORN = re.compile(r"%[0-9A-Fa-f]{0,4}\Z")
_REST = re.compile(r"[0-9A-Fa-f]{1,4}")
_SHORTEST_PART = 6  # characters of a secret at a cut that are hidden too


class Form(NamedTuple):
    """`text` is the form at its plainest, `pattern` all its spellings; `anchor` is "" where none is common to them."""

    text: str
    pattern: str
    anchor: str

    def __repr__(self) -> str:
        return "<Form>"


def forms_of(secret: str) -> Iterator[Form]:
    """The four forms of a secret: itself, and its three places within groups of three octets (RFC 4648 4)."""
    yield Form(secret, "".join(map(_spelled, _PIECES.findall(secret))), _longest(_PLAIN, secret))
    octets = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        yield _in_base64(octets, before)


def parts_left(text: str, cut: str, forms: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where what cuts have left of forms stands, at their plainest: heads before a `cut`, tails behind it, of six
    characters or more; as they are or percent-encoded.
    """
    end = -len(cut)
    for piece in text.split(cut):
        start, end = end + len(cut), end + len(cut) + len(piece)
        if end < len(text) and (left := _head(_TORN.sub("", piece), forms)) is not None:
            yield start + left, end
        if start > 0 and (left := _tail(piece, forms)):
            yield start, start + left


def _head(text: str, forms: Sequence[str]) -> int | None:
    """Where the longest head of a form begins that the text ends with."""
    found = []
    for view, places in _views(text):
        for form in (form for form in forms if form[:_SHORTEST_PART] in view):
            length = next((length for length in _lengths(form, view) if view.endswith(form[:length])), 0)
            found += [places[len(view) - length]] if length else []
    return min(found, default=None)


def _tail(text: str, forms: Sequence[str]) -> int:
    """Where the longest tail of a form ends that the text begins with, maybe within an escape; 0 for none."""
    torn = _REST.match(text)
    found = [0]
    for begin in range(len(torn[0]) + 1 if torn else 1):
        for view, places in _views(text[begin:]):
            for form in (form for form in forms if form[-_SHORTEST_PART:] in view):
                length = next((length for length in _lengths(form, view) if view.startswith(form[-length:])), 0)
                found += [begin + places[length]] if length else []
    return max(found)


def _lengths(form: str, view: str) -> range:
    return range(min(len(form), len(view)), _SHORTEST_PART - 1, -1)


def _views(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """A text as Base64 and all else are looked for in it: as it is, and percent-decoded; with the place at which each
    character begins, and the end.
    """
    plain = text.replace("-", "+").replace("_", "/")
    for view in dict.fromkeys((text, plain)):
        yield view, range(len(view) + 1)
    if "%" not in text:
        return
    pieces = _ENCODED.findall(text)
    decoded = "".join(chr(int(piece[-2:], 16)) if len(piece) > 1 else piece for piece in pieces)
    yield decoded, [0, *accumulate(map(len, pieces))]


def _spelled(piece: str) -> str:
    """All spellings of one character, or of a run of backslashes."""
    if _PLAIN.match(piece):
        return re.escape(piece)
    octets = piece.encode("utf-8", "surrogatepass")
    units = piece.encode("utf-16-be", "surrogatepass")
    ways = [
        re.escape(piece),
        "".join(f"%(?:25){{0,2}}{_hex(octet)}" for octet in octets),
        "".join(rf"\\{{1,2}}u{_hex(high)}{_hex(low)}" for high, low in zip(units[::2], units[1::2], strict=True)),
        "".join(rf"\\{{1,2}}x{_hex(octet)}" for octet in octets),  # the repr of bytes
    ]
    if piece[0] == "\\":
        ways[0] = rf"\\{{{len(piece)},{4 * len(piece)}}}"
        return f"(?:{'|'.join(ways)})"
    ways += [rf"&#(?:0*{ord(piece)}|[xX]0*{_letters(f'{ord(piece):x}')});"]
    if piece in "\"'/":
        ways.append(rf"\\{{1,3}}{piece}")
    if piece in _NAMES:
        ways.append(f"&{_NAMES[piece]};")
    if piece == " ":
        ways.append(r"\+")
    if 0x7F < ord(piece) < 0x100:
        ways.append(rf"\\{{1,2}}x{_hex(ord(piece))}")  # the repr of text
    if ord(piece) > 0xFFFF:
        ways.append(rf"\\{{1,2}}U{_letters(f'{ord(piece):08x}')}")
    return f"(?:{'|'.join(ways)})"


def _in_base64(octets: bytes, before: int) -> Form:
    """What octets look like after `before` others; digits that they share with others go along, whatever they are."""
    end = 8 * (before + len(octets))
    first, last = -(-8 * before // 6), end // 6
    core = b64encode(b"\0" * before + octets).decode()[first:last]
    pattern = "".join(_DIGIT.get(digit, digit) for digit in core)
    shared = f"{_ANY_DIGIT}?" if end % 6 else ""
    return Form(core, (_ANY_DIGIT if before else "") + pattern + shared + _PADDING, _longest(_ALPHANUMERIC, core))


def _longest(kind: re.Pattern[str], text: str) -> str:
    return max(kind.findall(text), key=len, default="")


def _hex(octet: int) -> str:
    return _letters(f"{octet:02x}")


def _letters(digits: str) -> str:
    """Hexadecimal digits, of either case."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)
