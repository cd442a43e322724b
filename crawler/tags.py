"""HTML and SVG as values: what is a tag is Markup, and whatever else is put into one is escaped.

Decides how text stands in a page. Must not know what the page says. Invariant: only `tag` and `raw` make Markup, so
that no text from elsewhere can become a tag or leave an attribute; characters that turn the direction of writing or
cannot be seen are shown as escapes, as `printable` does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape as html_escape
from typing import Union

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"
)
_VOID = frozenset({"meta", "br", "col"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = Union[str, int, float, None, "Iterable[Child]"]


def shown(text: str) -> str:
    """Text without characters that cannot be seen or turn the writing: their escapes stand instead. Line ends stay."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def escape(text: str) -> Markup:
    """Text as it stands in a page; Markup as it is."""
    return text if isinstance(text, Markup) else Markup(html_escape(shown(text)))


def raw(text: str) -> Markup:
    """Our own style, script or markup, which is taken as it is: never for text from elsewhere."""
    return Markup(text)


def join(*children: Child) -> Markup:
    """Things one after the other; None is nothing."""
    return Markup("".join(_parts(children)))


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element. In names of attributes `_` stands for `-`, and one at the end is dropped (`class_`).

    An attribute that is None or False is left out, one that is True has no value. Raises ValueError for a name that is
    none, since only our own code may name tags and attributes.
    """
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is no name of a tag")
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{join(*children)}</{name}>")


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if not _NAME.match(name):
        raise ValueError(f"{key!r} is no name of an attribute")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{html_escape(shown(str(value)))}"'


def _parts(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, str):
            yield escape(child)
        elif isinstance(child, int | float):
            yield str(child)
        else:
            yield from _parts(child)
