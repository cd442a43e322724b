"""What it costs to build the tree of a page, and how far it can be built at a bounded cost.

Decides where to stop, by an estimate that errs on the dear side: elements count as open until their end tag comes where
it belongs. An HTML parser looks through all open elements at many tags, compares each attribute with all before, and
builds open formatting elements anew in each paragraph: 190 KB of <font size=1><p><font size=2><p> take 18 GB and a
minute. It does not know foreign content, so a <title> of SVG can hide from it what it holds. Must not know what the
tree is for. Invariant: linear in time.
"""

from __future__ import annotations

import re

from crawler.htmltags import attribute_count, every_tag, plain_attributes

MAX_STEPS = 3 * 10**8  # about a second
MAX_COPIES = 10**6  # formatting elements built anew: about 350 bytes each
_FEW = 2800  # so many tags cannot reach either: at worst half of them open, the others copy them
_SHORT = 80_000  # bytes, as many as 24,000 attributes take

_MANY = 20_000  # so many tags, however nested, stay below MAX_STEPS
# A formatting tag but <a>; its text is found where it is plain enough to be told from others.
_FORMATTING_TAG = re.compile(
    rb"""<(?:[bBiIsSuU]|[tT][tT]|[eE][mM]|[bB][iI][gG]|[cC][oO][dD][eE]|[fF][oO][nN][tT]|[nN][oO][bB][rR]
    |[sS](?:[tT][rR](?:[oO][nN][gG]|[iI][kK][eE])|[mM][aA][lL][lL]))
    (?=[\ \t\n\r\f/>])((?:\ [\w:-]++(?:="[^"<>]*+"|='[^'<>]*+'|(?=[\ >])))*+>)?""",
    re.VERBOSE,
)
_VOID = frozenset(b"area base br col embed hr img input link meta param source track wbr".split())
_FORMATTING = frozenset(b"a b big code em font i nobr s small strike strong tt u".split())
# One that follows another ends it.
_ENDED_BY = {
    name: frozenset(group)
    for group in ((b"p",), (b"li",), (b"dt", b"dd"), (b"td", b"th"), (b"tr",), (b"option",), (b"a",))
    for name in group
}


def affordable(page: bytes) -> int:
    """How many bytes of the page, from its start, can be made a tree."""
    tags = page.count(b"<")
    if tags <= _FEW and len(page) <= _SHORT:
        return len(page)
    if tags <= _MANY and 3 * _kinds(page) * tags <= MAX_COPIES and (len(page) <= _SHORT or plain_attributes(page)):
        return len(page)
    estimate = _Estimate()
    for found in every_tag(page):
        if (name := found["name"]) and not estimate.bears(name.lower(), found["rest"]):
            return found.start("name") - 1
    return len(page)


def _kinds(page: bytes) -> int:
    """At most so many formatting elements differ; no more than three of a kind are built anew (HTML standard, 13.2.4.3,
    the "Noah's Ark clause"). An <a> ends the one before.
    """
    texts = _FORMATTING_TAG.findall(page)
    return len(set(texts)) + texts.count(b"")


class _Estimate:
    """What the tags so far may have cost."""

    __slots__ = ("_copied", "_copies", "_kinds", "_opened", "_steps")

    def __init__(self) -> None:
        self._opened: list[bytes] = []  # the name of each open element, of formatting ones the whole tag
        self._kinds: dict[bytes, int] = {}  # how many formatting elements of a kind are open
        self._copied = 0  # how many of them are built anew, where that is called for
        self._copies = 0
        self._steps = 0

    def bears(self, name: bytes, rest: bytes) -> bool:
        """Can the tree be built up to and with this tag."""
        if name[:1] == b"/":
            self._close(name[1:])
        elif name not in _VOID:
            self._open(name, rest)
        self._copies += self._copied
        self._steps += len(self._opened) + self._copied
        if len(rest) > _SHORT // 8:
            self._steps += attribute_count(rest) ** 2 // 2
        return self._steps <= MAX_STEPS and self._copies <= MAX_COPIES

    def _open(self, name: bytes, rest: bytes) -> None:
        opened = self._opened
        if name == b"tr" and opened and opened[-1] in (b"td", b"th"):
            opened.pop()
        ending = _ENDED_BY.get(name)
        if ending is not None:
            inner = len(opened)  # formatting elements end with it, to be built anew
            while inner and b" " in opened[inner - 1] and name != b"a":
                inner -= 1
            if inner and opened[inner - 1].partition(b" ")[0] in ending:
                del opened[inner:]
                return
        if name in _FORMATTING:
            name = b"%s %s" % (name, rest)
            self._kinds[name] = self._kinds.get(name, 0) + 1
            self._copied += self._kinds[name] <= 3
        opened.append(name)

    def _close(self, name: bytes) -> None:
        """End an element where it is the innermost, or holds but one whose end may be left out."""
        opened = self._opened
        inner = len(opened) > 1 and opened[-1] in _ENDED_BY and opened[-1] != b"a" and _named(opened[-2], name)
        if inner:
            opened.pop()
        elif not opened or not _named(opened[-1], name):
            return
        kind = opened.pop()
        if b" " in kind:
            self._copied -= self._kinds[kind] <= 3
            self._kinds[kind] -= 1
            if not self._kinds[kind]:
                del self._kinds[kind]


def _named(kind: bytes, name: bytes) -> bool:
    return kind == name or (kind[len(name) : len(name) + 1] == b" " and kind.startswith(name))
