"""Where the value of a field stands in a page: what CSS, JMESPath, a pattern or a function of the user's finds there.

Decides what is found, and whether a page is of a format that can be looked into. Must not know types, defaults or
bounds of values: what is found comes one by one, so that who takes it can stop. Invariant: of what a page holds, or a
function raises, nothing leaves but OfAnother, Unfit and Raised. A pattern sees the first REGEX_BYTES of a text; how
long it takes on them is up to its author.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

from crawler import jmespaths
from crawler.cssmatch import TooLarge
from crawler.cssquery import CssQuery, parsed
from crawler.fieldtypes import Unfit
from crawler.jobextract import FieldSaid
from crawler.page import Page
from crawler.urls import printable

if TYPE_CHECKING:
    import regex

REGEX_BYTES = 1024 * 1024
REGEX_SECONDS = 1.0  # for one text
_FRAMES, _LINES = 20, 200  # of a traceback

Function = Callable[[Page], object]
Finder = Callable[[Page], Iterator[Any]]


class OfAnother(Exception):
    """The page is of another format than the field reads."""


class Raised(Exception):
    """A function of the user's raised: the text is a sentence, `trace` what to log, its lines escaped."""

    def __init__(self, sentence: str, trace: str | None = None) -> None:
        super().__init__(sentence)
        self.trace = trace


def finder(said: FieldSaid, function: Function | None) -> Finder:
    """What finds the values of a field: several where it gives a list, else the one that there is, or none.

    What it gives raises OfAnother, Unfit, Raised.
    """
    if said.function is not None:
        if function is None:
            raise ValueError(f"the function {said.function} was not loaded")
        return _by_function(function, said.function, said.gives_list)
    if said.jmespath is not None:
        return _by_jmespath(said.jmespath, said.gives_list)
    pattern = None
    if said.regex is not None:
        import regex  # it can be stopped, which `re` cannot: patterns that backtrack take hours on hostile pages

        pattern = regex.compile(said.regex)
    tidy = _same if said.raw or said.type == "json" else _tidied
    if said.css is not None:
        return _by_css(parsed(said.css), pattern, said, tidy)
    assert pattern is not None
    return _by_regex(pattern, said.gives_list, tidy)


def raised(name: str, error: BaseException) -> Raised:
    """What is told of an exception of the user's function: its type and text, and where in their code it was raised."""
    try:
        text = printable(str(error), 200)
    except Exception:  # its own __str__
        text = ""
    behind = error.__traceback__.tb_next if error.__traceback__ is not None else None  # the first frame is ours
    trace = traceback.TracebackException(type(error), error, behind, limit=-_FRAMES)
    lines = [printable(line, 500) for part in trace.format() for line in part.splitlines()]
    return Raised(f"{name} raised {type(error).__name__}{f': {text}' if text else ''}", "\n".join(lines[-_LINES:]))


def _by_css(query: CssQuery, pattern: regex.Pattern[str] | None, said: FieldSaid, tidy: Callable[[str], str]) -> Finder:
    def find(page: Page) -> Iterator[Any]:
        if page.format != "html":
            raise OfAnother
        try:
            if said.gives_list:
                texts = query.all(page.html, said.separator)
            else:
                text = query.first(page.html, said.separator)
                texts = iter(() if text is None else (text,))
        except TooLarge as error:
            raise Unfit(str(error)) from None
        return map(tidy, texts) if pattern is None else _matches(pattern, texts, tidy, said.gives_list)

    return find


def _by_regex(pattern: regex.Pattern[str], many: bool, tidy: Callable[[str], str]) -> Finder:
    def find(page: Page) -> Iterator[Any]:
        if page.format == "binary":
            raise OfAnother
        return _matches(pattern, [page.beginning(REGEX_BYTES)], tidy, many)

    return find


def _matches(
    pattern: regex.Pattern[str], texts: Iterable[str], tidy: Callable[[str], str], many: bool
) -> Iterator[str | dict[str, str | None]]:
    """Of each match the named groups, or the first group, or the whole; of several texts from each at most one, unless
    `many`.
    """
    for text in texts:
        try:
            for match in pattern.finditer(text[:REGEX_BYTES], timeout=REGEX_SECONDS):
                if pattern.groupindex:
                    yield {name: value and tidy(value) for name, value in match.groupdict().items()}
                elif (value := match[1 if pattern.groups else 0]) is not None:
                    yield tidy(value)
                if not many:
                    break
        except TimeoutError:
            raise Unfit(f"the regular expression took longer than {REGEX_SECONDS:g} s") from None


def _by_jmespath(expression: str, many: bool) -> Finder:
    def find(page: Page) -> Iterator[Any]:
        if page.format in ("html", "binary"):
            raise OfAnother
        try:
            data = page.json
        except ValueError as error:
            if page.format == "text":
                raise OfAnother from None
            raise Unfit(f"the page is not JSON: {printable(str(error), 100)}") from None
        try:
            return _several(jmespaths.evaluate(expression, data), many)
        except jmespaths.Unfit as error:
            raise Unfit(str(error)) from None

    return find


def _by_function(function: Function, name: str, many: bool) -> Finder:
    def find(page: Page) -> Iterator[Any]:
        try:
            value = function(page)
        except (Exception, SystemExit) as error:  # whatever a user's code may raise
            raise raised(name, error) from None
        if isawaitable(value):
            if iscoroutine(value):
                value.close()
            raise Raised(f"{name} is a coroutine function; that of a field must be a plain one")
        if isinstance(value, Iterator):
            return _guarded(value, name)
        return _several(value, many)

    return find


def _guarded(values: Iterator[Any], name: str) -> Iterator[Any]:
    """The values of a generator of the user's, whose code runs while they are taken."""
    try:
        yield from values
    except (Exception, SystemExit) as error:
        raise raised(name, error) from None


def _several(value: Any, many: bool) -> Iterator[Any]:
    return iter(value if many and isinstance(value, list | tuple) else () if value is None else (value,))


def _tidied(text: str) -> str:
    return " ".join(text.split())


def _same(text: str) -> str:
    return text
