"""Functions of the user's: imported by `module:function`, and called with a page within bounds.

Does: import them, from beside the job file first, and take what a page's function gives. Must not know what becomes of
it, nor the job. Invariant: an exception of their code never leaves here as itself: while it is imported it becomes a
ValueError, while it works a Failure (save KeyboardInterrupt and a cancellation); one page gives at most MAX_YIELDED
things and MAX_BYTES of them. A plain function runs where it is called, and all else waits meanwhile; an `async` one
has a time limit.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module, invalidate_caches
from inspect import isawaitable
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from crawler.finding import raised
from crawler.page import Fields, Follow, Page
from crawler.units import render_size
from crawler.urls import printable

MAX_YIELDED = 100_000
MAX_BYTES = 64 * 1024 * 1024  # of all items and requests of one page, as JSON
_MAX_FIELDS = 1024 * 1024  # bytes of the fields of one page, as JSON
_PLAIN = Follow("")[1:]


class Failure(NamedTuple):
    """The function failed on a page: `error` is a sentence, `trace` what to log of it, its lines escaped."""

    error: str
    trace: str | None = None


class Given(NamedTuple):
    """What a page's function gave: fields of the page, items as JSON objects, requests; a sentence where not all of
    it was taken.
    """

    fields: dict[str, Any]
    items: tuple[bytes, ...] = ()
    follows: tuple[Follow, ...] = ()
    warning: str | None = None
    chosen: bool = False  # no other link of the page is to be followed


def load(target: str, base: Path) -> Callable[..., object]:
    """The function "module:function"; the module may stand in the folder `base`. Raises ValueError with a sentence."""
    module, _, path = target.partition(":")
    found: Any = _module(module, base)
    for name in path.split("."):
        owner, found = found, getattr(found, name, None)
        if found is None:
            near = get_close_matches(name, [key for key in vars(owner) if callable(getattr(owner, key, None))], 1)
            raise ValueError(f"'{module}' has no '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    if not callable(found):
        raise ValueError(f"'{target}' is no function, but a {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def faults(targets: Mapping[str, str], base: Path) -> Iterator[tuple[str, str]]:
    """Of functions by key those that cannot be loaded, each with a sentence."""
    for key, target in targets.items():
        try:
            load(target, base)
        except ValueError as error:
            yield key, str(error)


def _module(name: str, base: Path) -> Any:
    folder = str(base.resolve())
    beside = base.joinpath(*name.split("."))
    invalidate_caches()  # the file may be younger than what Python remembers of its folder
    sys.path.insert(0, folder)
    try:
        module = import_module(name)
    except (Exception, SystemExit) as error:  # whatever a module does while it is imported
        raise ValueError(_not_imported(name, base, error)) from None
    finally:
        sys.path.remove(folder)
    own = [path for path in (beside.with_suffix(".py"), beside / "__init__.py") if path.is_file()]
    where = getattr(module, "__file__", None)
    if own and where is not None and Path(where).resolve() != own[0].resolve():
        raise ValueError(f"'{name}' is another module by now, {printable(where)}; give {own[0].name} another name")
    return module


def _not_imported(name: str, base: Path, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name is not None and f"{name}.".startswith(f"{error.name}."):
        near = get_close_matches(name, [path.stem for path in base.glob("*.py")], 1)
        hint = f"did you mean '{near[0]}'?" if near else f"it is looked for in {printable(str(base))} first"
        return f"there is no module '{name}'; {hint}"
    return f"'{name}' cannot be imported: {type(error).__name__}: {printable(str(error), 150)}"


class PageFunction:
    """The user's function for each page; see `page.Page` for what it may be."""

    def __init__(
        self, function: Callable[..., object], name: str, seconds: float = 60.0, *, choosing: bool = False
    ) -> None:
        """`name` is told where it fails; an `async` one may take so many `seconds` for a page. One that is `choosing`
        is given the links of the page as well; what it gives, texts too, is all that is followed, unless that is None.
        """
        self._choosing = choosing
        self._function = function
        self._name = name
        self._seconds = seconds

    def __repr__(self) -> str:
        return f"<PageFunction {self._name}>"

    async def of(self, page: Page) -> Given | Failure:
        """What it gives for a page. Raises nothing of its making."""
        taken = _Taken(page if self._choosing else None)
        try:
            async with asyncio.timeout(self._seconds) as limit:
                value = self._function(page, page.links) if self._choosing else self._function(page)
                if isawaitable(value):
                    value = await value
                if isinstance(value, AsyncIterator):
                    await self._taken_async(value, taken)
                elif isinstance(value, Mapping):
                    taken.add(Fields(value))
                elif value is not None:
                    _take(value, taken)
            chosen = self._choosing and value is not None and not isinstance(value, Mapping)
            return taken.given()._replace(chosen=chosen)
        except _NotTaken as error:
            return Failure(f"{self._name} {error}")
        except TimeoutError as error:
            if limit.expired():
                return Failure(f"{self._name} took longer than {self._seconds:g} s")
            return _failure(self._name, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return _failure(self._name, error)  # it waited for something else that was cancelled
        except (Exception, SystemExit) as error:  # whatever a user's code may raise
            return _failure(self._name, error)

    async def _taken_async(self, values: AsyncIterator[Any], taken: _Taken) -> None:
        async for thing in values:
            if not taken.add(thing):
                break
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


def _failure(name: str, error: BaseException) -> Failure:
    told = raised(name, error)
    return Failure(str(told), told.trace)


class _NotTaken(Exception):
    """The function gave what nothing can be made of; the text goes on behind its name."""


class _Taken:
    """What was taken so far."""

    def __init__(self, page: Page | None = None) -> None:
        """`page`: where texts are links of it."""
        self._page = page
        self._fields: dict[str, Any] = {}
        self._items: list[bytes] = []
        self._follows: list[Follow] = []
        self._bytes = 0
        self._warning: str | None = None

    def add(self, thing: object) -> bool:
        """Take one thing; False where no more is taken. Raises _NotTaken."""
        if len(self._items) + len(self._follows) >= MAX_YIELDED:
            self._warning = f"gave more than {MAX_YIELDED:,} items and requests; the others are left out"
            return False
        if isinstance(thing, Fields):
            self._fields |= thing
            return True
        if self._page is not None and isinstance(thing, str):
            thing = self._page.follow(thing)
        if isinstance(thing, Follow):
            data = _checked(thing)
        elif isinstance(thing, Mapping):
            data = _dumped(dict(thing), "an item")
        else:
            raise _NotTaken(f"gave a {type(thing).__name__}, not a dict (an item), a Follow or Fields")
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            self._warning = f"gave more than {render_size(MAX_BYTES)} of items and requests; the others are left out"
            return False
        if isinstance(thing, Follow):
            self._follows.append(thing)
        else:
            self._items.append(data)
        return True

    def given(self) -> Given:
        """All of it, as plain data. Raises _NotTaken."""
        fields = _dumped(self._fields, "fields")
        if len(fields) > _MAX_FIELDS:
            raise _NotTaken(f"gave fields of {len(fields):,} bytes; a page has at most {render_size(_MAX_FIELDS)}")
        return Given(orjson.loads(fields), tuple(self._items), tuple(self._follows), self._warning)


def _take(value: object, taken: _Taken) -> None:
    """What a plain function returned that is no dict: a Follow, a list, or a generator, which may return a dict."""
    if isinstance(value, Follow):
        taken.add(value)
        return
    if not isinstance(value, Iterator | list | tuple):
        raise _NotTaken(f"gave a {type(value).__name__}, not a dict, a list, a Follow or None")
    things = iter(value)
    while True:
        try:
            thing = next(things)
        except StopIteration as stop:
            if isinstance(stop.value, Mapping):
                taken.add(Fields(stop.value))
            return
        if not taken.add(thing):
            close = getattr(things, "close", None)
            if close is not None:
                close()
            return


def _dumped(value: dict[Any, Any], what: str) -> bytes:
    try:
        return orjson.dumps(value)
    except (TypeError, RecursionError) as error:  # a JSONEncodeError is a TypeError
        raise _NotTaken(f"gave {what} that cannot be written as JSON: {printable(str(error), 150)}") from None


def _checked(follow: Follow) -> bytes:
    """What a request says, as JSON. Raises _NotTaken."""
    if not isinstance(follow.url, str):
        raise _NotTaken(f"gave a Follow whose url is a {type(follow.url).__name__}, not a text")
    if follow[1:] == _PLAIN:
        return follow.url.encode("utf-8", "replace")
    if sum(value is not None for value in (follow.json, follow.form, follow.body)) > 1:
        raise _NotTaken("gave a Follow with more than one of json, form and body")
    for name in ("headers", "form", "input"):
        if not isinstance(getattr(follow, name), Mapping | None):
            raise _NotTaken(f"gave a Follow whose {name} is a {type(getattr(follow, name)).__name__}, not a dict")
    return _dumped({**follow._asdict(), "url": repr(follow.url)}, "a Follow")
