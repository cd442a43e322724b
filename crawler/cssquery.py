"""Texts "css:SELECTOR::text" of a job: checked as it is loaded, asked of a parsed page.

Decides what is a query, which elements it means and what of them it gives. Must not know what is looked for, nor how a
page was parsed. Invariant: a query that was let through never fails on a page, save that it may be too large for it; of
one page it gives at most MAX_VALUES values, and one more that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from crawler.cssmatch import Selector, Tree, selector
from crawler.urls import printable

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

PREFIX = "css:"
MAX_VALUES = 10_000
_LONGEST = 1000  # characters of a query

_END = re.compile(r"::\s*([A-Za-z-]*)\s*(\([^()]*\))?\s*\Z")
_ATTRIBUTE = re.compile(r"\(\s*['\"]?([^\s'\"<>/=()]+)['\"]?\s*\)\Z")
_PARTS = ("text", "texts", "attr", "attrs", "html")
_FOREIGN = {"content": "attr(content)", "href": "attr(href)", "src": "attr(src)", "innertext": "text", "inner": "html"}
_PSEUDO = re.compile(r"(?<![:\\]):([A-Za-z-]+)")
_CLASSES = re.split(
    r"\s+",
    "any-link blank checked disabled empty enabled first-child first-of-type has is last-child last-of-type "
    "lexbor-contains link not nth-child nth-last-child nth-last-of-type nth-of-type only-child only-of-type "
    "optional placeholder-shown read-only read-write required root where active current focus hover",
)


class CssQuery(NamedTuple):
    """Which elements, and what of them: the `text` of all that is in one, an `attr`, or its `html`.

    `many`: "::texts" and "::attrs(…)" ask for all that match.
    """

    selector: Selector
    part: Literal["text", "attr", "html"] = "text"
    attribute: str = ""
    many: bool = False

    def all(self, tree: Tree, separator: str = "") -> Iterator[str]:
        """What each element that matches has, at most MAX_VALUES + 1 of it; an element without the attribute is passed.

        `separator` stands between the pieces of a text that elements divide. Raises TooLarge, at once.
        """
        values = (self._of(node, separator) for node in self.selector.all(tree))
        return islice((value for value in values if value is not None), MAX_VALUES + 1)

    def first(self, tree: Tree, separator: str = "") -> str | None:
        """What the first element has, of those that have it at all. Raises TooLarge."""
        node = self.selector.first(tree)
        value = self._of(node, separator) if node is not None else None
        if value is None and node is not None:
            return next(self.all(tree, separator), None)
        return value

    def _of(self, node: LexborNode, separator: str) -> str | None:
        if self.part == "text":
            return node.text(separator=separator)
        if self.part == "html":
            return node.html or ""
        found = node.attributes
        for name in (self.attribute, self.attribute.lower()):  # those of HTML are in lower case, of SVG as written
            if name in found:
                return found[name] or ""
        return None


def parsed(text: str) -> CssQuery:
    """The query, without its prefix or with it. Raises ValueError with what was probably meant."""
    query = text.removeprefix(PREFIX).strip()
    if not 0 < len(query) <= _LONGEST:
        raise ValueError(f"has {len(query)} characters after '{PREFIX}'; a selector has 1 to {_LONGEST}")
    end = _END.search(query)
    if end is None:
        return CssQuery(_selector(query))
    asked = _selector(query[: end.start()].strip())
    name, argument = end[1].lower(), end[2] or ""
    if name not in _PARTS or (name in ("attr", "attrs")) != bool(argument):
        raise ValueError(_no_part(name, argument))
    if name in ("text", "texts"):
        return CssQuery(asked, many=name == "texts")
    if name == "html":
        return CssQuery(asked, "html")
    attribute = _ATTRIBUTE.match(argument)
    if attribute is None:
        raise ValueError(f"'{printable(argument, 100)}' names no attribute; write it like '::attr(href)'")
    return CssQuery(asked, "attr", attribute[1], many=name == "attrs")


def _no_part(name: str, argument: str) -> str:
    known = "::text, ::texts, ::attr(name), ::attrs(name), ::html"
    if name in ("attr", "attrs"):
        return f"'::{name}' names no attribute; write it like '::{name}(href)'"
    near = [*filter(None, [_FOREIGN.get(name)]), *get_close_matches(name, _PARTS, 1, 0.5)]
    if name in _PARTS:
        return f"'::{name}' takes no argument; write '::{name}'"
    meant = near[0] + (argument or "(href)") * (near[0] in ("attr", "attrs")) if near else ""
    said = f"'::{printable(name, 60)}' is none of {known}"
    return said + (f"; did you mean '::{printable(meant, 100)}'?" if meant else "")


def _selector(text: str) -> Selector:
    if not text:
        raise ValueError("has no selector before the '::'; write it like 'css:h1::text'")
    if not _reads(text):
        raise ValueError(f"'{printable(text, 100)}' is no CSS selector{_why(text)}")
    return selector(text)


def _reads(text: str) -> bool:
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    try:
        LexborHTMLParser("").css(text)
    except (SelectolaxError, UnicodeEncodeError):  # UnicodeEncodeError: lone surrogates
        return False
    return True


def _why(text: str) -> str:
    """What of it cannot be read; lexbor itself does not say."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", "''", text)
    for name in _PSEUDO.findall(bare):
        if name.lower() in ("contains", "icontains", "has-text"):
            return f": there is no ':{name}'; write ':lexbor-contains(\"…\")', or take a regex"
        if name.lower() not in _CLASSES:
            near = get_close_matches(name.lower(), _CLASSES, 1, 0.6)
            return f": there is no ':{printable(name, 60)}'" + (f"; did you mean ':{near[0]}'?" if near else "")
    if "::" in bare:
        return ": '::' stands at its end alone, once for all of them"
    if text.startswith(("/", "./", "(/")):
        return ": XPath is not understood"
    parts = text.split(" ")
    read = max((n for n in range(1, len(parts)) if _reads(" ".join(parts[:n]))), default=0)
    return f": it cannot be read from '{printable(' '.join(parts[read:]), 60)}' on" if read else ""
