"""CSS selectors matched in a time that grows with the page, whatever the page is.

Decides how a selector is asked of lexbor, which tries for "a b c d" all ways to choose the ancestors (500 nested <div>
take it half a minute), and counts the siblings of each element for ":nth-child". So a selector of several words is
matched word by word, and one that may cost the square of a page is not asked of a large page. Must not know what is
looked for. Invariant: the elements are those that the selector means (Selectors 4), each once, in the page's order.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

LARGEST = 20_000  # elements of a page that is asked what may cost the square of them: two seconds

_LITERAL = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\\.|\[[^\]]*\]|[\0-\x08]", re.DOTALL)
_NUMBERED = re.compile(r"(:nth-[a-z-]+|:lexbor-contains)(\([^()]*\))", re.IGNORECASE)
_INNERMOST = re.compile(r"(:[a-z-]+)?(\([^()]*\))", re.IGNORECASE)
_SIBLINGS = re.compile(r":nth-|-of-type\b", re.IGNORECASE)
_DESCENDANT = re.compile(r"(?<=[^\s>+~,])\s+(?=[^\s>+~,])")
_COMBINATOR = re.compile(r"[\s>+~]+")


class TooLarge(ValueError):
    """The page has too many elements for this selector; the text is a sentence."""


class Tree(Protocol):
    """A parsed page, or one element of it."""

    def css(self, query: str) -> list[LexborNode]:
        """All elements that match, in the order of the page."""

    def css_first(self, query: str) -> LexborNode | None:
        """The first of them."""


class _Step(NamedTuple):
    """What stands between two descendant combinators: its text, its last word alone, and how many '>' it has."""

    text: str
    last: str
    children: int


class Selector(NamedTuple):
    """A selector, taken apart: `steps` are empty where lexbor may match it as it is."""

    text: str
    steps: tuple[tuple[_Step, ...], ...] = ()
    square: bool = False
    alternatives: int = 1

    def all(self, tree: Tree) -> list[LexborNode]:
        """All elements that match, each once, in the order of the page. Raises TooLarge."""
        self._check(tree)
        if not self.steps:
            found = tree.css(self.text)
            return found if self.alternatives == 1 else list({node.mem_id: node for node in found}.values())
        if self.alternatives == 1:
            return _matched(tree, self.steps[0])
        wanted = {node.mem_id for steps in self.steps for node in _matched(tree, steps)}
        candidates = {node.mem_id: node for node in tree.css(", ".join(steps[-1].last for steps in self.steps))}
        return [node for key, node in candidates.items() if key in wanted]

    def first(self, tree: Tree) -> LexborNode | None:
        """The first of them. Raises TooLarge."""
        self._check(tree)
        return next(iter(self.all(tree)), None) if self.steps else tree.css_first(self.text)

    def _check(self, tree: Tree) -> None:
        if self.square and (count := len(tree.css("*"))) > LARGEST:
            raise TooLarge(f"the page has {count:,} elements, too many for this selector (extract-limit)")


def selector(text: str) -> Selector:
    """What is asked for a selector that lexbor reads. Raises ValueError where it may cost more than a square."""
    blank = _NUMBERED.sub(lambda found: found[1] + "x" * len(found[2]), _LITERAL.sub(lambda x: "x" * len(x[0]), text))
    power = _power(_marked(blank), top=True)
    if power > 1:
        raise ValueError(
            "may take hours on a large page; leave out one of its '~', ':has()', ':not(a b)', ':nth-child()'"
        )
    flat = blank
    while "(" in flat and (shorter := _INNERMOST.sub(lambda found: "x" * len(found[0]), flat)) != flat:
        flat = shorter
    steps = tuple(_steps(text[start:end], flat[start:end]) for start, end in _between(re.compile(","), flat))
    # Where the nearest ancestor is not what a function wants, lexbor looks at none above it.
    narrow = any("(" in step.text for alternative in steps for step in alternative[:-1])
    needed = max(map(len, steps)) > (1 if power or narrow else 2)
    return Selector(text, steps if needed else (), power > 0, len(steps))


def _marked(blank: str) -> str:
    """The selector with a mark for each pair of parentheses: by how much more than the page it costs what is within."""
    text = blank
    while found := _INNERMOST.search(text):
        name = (found[1] or "").lower()
        power = _power(found[2][1:-1], top=False) + (name == ":has")
        text = f"{text[: found.start()]}{name}{chr(min(power, 7) + 1)}{text[found.end() :]}"
    return text


def _power(text: str, *, top: bool) -> int:
    """To which power of the page, beyond the first, one of the alternatives may cost; at the top words are steps."""
    powers = [0]
    for part in re.split(",", text):
        words = _DESCENDANT.split(part.strip()) if top else [part.strip()]
        for word in words:
            own = max([1 if _SIBLINGS.search(word) else 0, *(ord(mark) - 1 for mark in word if mark <= "\x08")])
            powers.append(own + word.count("~") + (0 if top else len(_DESCENDANT.findall(word))))
    return max(powers)


def _between(divider: re.Pattern[str], flat: str) -> list[tuple[int, int]]:
    """Where the parts begin and end that a pattern divides."""
    marks = [(0, 0), *(found.span() for found in divider.finditer(flat)), (len(flat), len(flat))]
    return [(before[1], after[0]) for before, after in pairwise(marks)]


def _steps(text: str, flat: str) -> tuple[_Step, ...]:
    margin = len(flat) - len(flat.lstrip())
    text, flat = text.strip(), flat[margin:].rstrip()
    steps = []
    for start, end in _between(_DESCENDANT, flat):
        last = _between(_COMBINATOR, flat[start:end])[-1]
        steps.append(_Step(text[start:end], text[start:end][slice(*last)], flat[start:end].count(">")))
    return tuple(steps)


def _matched(tree: Tree, steps: tuple[_Step, ...]) -> list[LexborNode]:
    """What matches the last step, within what matches the step before, and so on."""
    found = tree.css(steps[0].text)
    for step in steps[1:]:
        if not found:
            break
        above = {node.mem_id for node in found}
        known: dict[int, bool] = {}
        found = [node for node in tree.css(step.text) if _within(_top(node, step.children), above, known)]
    return found


def _top(node: LexborNode | None, children: int) -> LexborNode | None:
    """The element that the first word of a step stands for, or a sibling of it."""
    for _ in range(children):
        node = node.parent if node is not None else None
    return node


def _within(node: LexborNode | None, above: set[int], known: dict[int, bool]) -> bool:
    """Is an element in one of those `above`; `known` says of elements whether they are one, or in one."""
    passed = []
    inside = False
    while node is not None and (node := node.parent) is not None:
        key = node.mem_id
        if key in above or key in known:
            inside = known.get(key, True)
            break
        passed.append(key)
    known.update(dict.fromkeys(passed, inside))
    return inside
