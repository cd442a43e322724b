"""Functions of the user's: found beside the job, called within bounds, and never the end of a run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from crawler import callables
from crawler.callables import Failure, Given, PageFunction, faults, load
from crawler.htmlpage import parse
from crawler.page import Fields, Follow, Head, Page

URL = "https://a.example/docs/"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A job's folder; what is imported from it is forgotten again."""
    before = set(sys.modules)
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def page() -> Page:
    """A page with two rows."""
    body = b"<tr><td>a<tr><td>b"
    head = Head(URL, URL, 200, {"Content-Type": "text/html"})
    return Page(head, body, lambda: parse(b"<table>" + body, None).tree, links=lambda: [URL + "next"])


async def given(
    function: Callable[..., object], page: Page, *, seconds: float = 60.0, choosing: bool = False
) -> Given | Failure:
    """What a function gives."""
    return await PageFunction(function, "shop:page", seconds, choosing=choosing).of(page)


def test_a_function_may_stand_beside_the_job(folder: Path) -> None:
    """In a file or a package; an attribute of a class as well, and what is installed."""
    folder.joinpath("cx_shop.py").write_text("import cx_more.parts\nclass A:\n  @staticmethod\n  def f(p): return p\n")
    folder.joinpath("cx_more").mkdir()
    folder.joinpath("cx_more", "parts.py").write_text("def g(page): return 2\n")
    assert load("cx_shop:A.f", folder)(1) == 1
    assert load("cx_more.parts:g", folder)(None) == 2
    assert load("os.path:basename", folder)("a/b") == "b"


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("cx_shop:prize", "'cx_shop' has no 'prize'; did you mean 'price'?"),
        ("cx_shop:NAME", "is no function, but a str"),
        ("cx_shopp:price", "there is no module 'cx_shopp'; did you mean 'cx_shop'?"),
        ("zzz.parts:price", "there is no module 'zzz.parts'; it is looked for in "),
        ("cx_needs:f", "'cx_needs' cannot be imported: ModuleNotFoundError: No module named 'cx_absent'"),
        ("cx_bad:f", "'cx_bad' cannot be imported: SyntaxError"),
        ("cx_exits:f", "'cx_exits' cannot be imported: SystemExit: 4"),
    ],
)
def test_what_cannot_be_loaded_is_a_sentence(folder: Path, target: str, says: str) -> None:
    """With what was probably meant; a script that exits as it is imported is none of ours."""
    folder.joinpath("cx_shop.py").write_text("NAME = 'x'\ndef price(page): return 1\n")
    folder.joinpath("cx_needs.py").write_text("import cx_absent\n")
    folder.joinpath("cx_bad.py").write_text("def f(:\n")
    folder.joinpath("cx_exits.py").write_text("raise SystemExit(4)\n")
    with pytest.raises(ValueError) as error:
        load(target, folder)
    assert says in str(error.value)
    assert list(faults({"a": target, "b": "cx_shop:price"}, folder)) == [("a", str(error.value))]


def test_a_module_of_another_folder_is_not_taken_for_it(folder: Path) -> None:
    """Two jobs of one process may each have a file of that name."""
    for name in ("one", "two"):
        folder.joinpath(name).mkdir()
        folder.joinpath(name, "cx_twice.py").write_text(f"def f(page): return '{name}'\n")
    assert load("cx_twice:f", folder / "one")(None) == "one"
    assert load("cx_twice:f", folder / "one")(None) == "one"
    with pytest.raises(ValueError, match=r"'cx_twice' is another module by now, .*one.cx_twice.py; give cx_twice.py"):
        load("cx_twice:f", folder / "two")


async def test_what_is_yielded_is_items_requests_and_fields(page: Page) -> None:
    """By a generator, an async one, or a list that is returned."""

    def plain(page: Page) -> Generator[Any, None, object]:
        for row in page.css("td"):
            yield {"name": row.text()}
        yield page.follow("2?x", input={"n": 1})
        yield Fields(rows=2)
        return {"more": (1, 2)}

    async def later(page: Page) -> AsyncIterator[Any]:
        for thing in plain(page):
            await asyncio.sleep(0)
            yield thing
        yield Fields(more=[1, 2])

    expected = Given(
        {"rows": 2, "more": [1, 2]}, (b'{"name":"a"}', b'{"name":"b"}'), (Follow(URL + "2?x", input={"n": 1}),)
    )
    assert await given(plain, page) == expected
    assert await given(later, page) == expected
    assert await given(lambda page: [*plain(page), Fields(more=[1, 2])], page) == expected


async def test_what_is_returned(page: Page) -> None:
    """A dict is the page's fields, nothing is nothing; an async function is awaited."""

    async def fields(page: Page) -> dict[str, Any]:
        return {"links": page.links}

    assert await given(fields, page) == Given({"links": [URL + "next"]})
    assert await given(lambda page: None, page) == Given({})
    assert await given(lambda page: page.follow("x"), page) == Given({}, (), (Follow(URL + "x"),))
    assert await given(lambda page: (), page) == Given({})


async def test_one_that_chooses_is_given_the_links_and_says_which_are_followed(page: Page) -> None:
    """As texts or requests; None, or fields alone, leave all of them as they are."""

    async def choose(page: Page, links: list[str]) -> list[Any]:
        return [*links, "../up", page.follow("x"), Fields(n=len(links))]

    def some(page: Page, links: list[str]) -> Iterator[Any]:
        yield from ()

    follows = (Follow(URL + "next"), Follow("https://a.example/up"), Follow(URL + "x"))
    assert await given(choose, page, choosing=True) == Given({"n": 1}, (), follows, chosen=True)
    assert await given(some, page, choosing=True) == Given({}, chosen=True)
    assert await given(lambda page, links: None, page, choosing=True) == Given({})
    assert await given(lambda page, links: {"n": len(links)}, page, choosing=True) == Given({"n": 1})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "gave a int, not a dict, a list, a Follow or None"),
        ("abc", "gave a str, not"),
        ([3], "gave a int, not a dict (an item)"),
        ([{"a": object()}], "gave an item that cannot be written as JSON"),
        ([{1: 2}], "gave an item that cannot be written as JSON"),
        ({"a": {1}}, "gave fields that cannot be written as JSON"),
        ({"a": "x" * 1024 * 1024}, "gave fields of 1,048,584 bytes"),
        (Follow(3), "a Follow whose url is a int"),  # type: ignore[arg-type]
        (Follow("/", json=1, body="x"), "more than one of json, form and body"),
        (Follow("/", input=[1]), "a Follow whose input is a list"),  # type: ignore[arg-type]
        (Follow("/", input={"a": object()}), "a Follow that cannot be written as JSON"),
    ],
)
async def test_what_nothing_can_be_made_of_is_said(value: object, says: str, page: Page) -> None:
    """As a failure of that page."""
    found = await given(lambda page: value, page)
    assert isinstance(found, Failure)
    assert found.error.startswith("shop:page gave ")
    assert says in found.error


async def test_an_exception_is_a_failure_with_its_trace(page: Page) -> None:
    """Wherever it is raised: at once, within a generator, in what is awaited."""

    def at_once(page: Page) -> object:
        return page.input["price"]

    def within(page: Page) -> Iterator[Any]:
        yield {}
        at_once(page)

    async def awaited(page: Page) -> AsyncIterator[Any]:
        yield {}
        at_once(page)

    def leaves(page: Page) -> object:
        sys.exit("enough")

    for function in (at_once, within, awaited):
        found = await given(function, page)
        assert isinstance(found, Failure)
        assert found.error == "shop:page raised KeyError: 'price'"
        assert "in at_once" in (found.trace or "")
    found = await given(leaves, page)
    assert isinstance(found, Failure)
    assert found.error == "shop:page raised SystemExit: enough"


async def test_one_that_waits_too_long_is_left(page: Page) -> None:
    """A timeout of its own is told as such."""

    async def waits(page: Page) -> None:
        await asyncio.Event().wait()

    async def times_out(page: Page) -> None:
        raise TimeoutError("mine")

    assert await given(waits, page, seconds=0.01) == Failure("shop:page took longer than 0.01 s")
    found = await given(times_out, page)
    assert isinstance(found, Failure)
    assert found.error == "shop:page raised TimeoutError: mine"


async def test_a_cancellation_of_the_run_goes_through_and_one_of_its_own_does_not(page: Page) -> None:
    """Who waits for something that was cancelled is not cancelled."""

    async def its_own(page: Page) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    begun = asyncio.Event()

    async def waits(page: Page) -> None:
        begun.set()
        await asyncio.Event().wait()

    found = await given(its_own, page)
    assert isinstance(found, Failure)
    assert found.error == "shop:page raised CancelledError"
    task = asyncio.create_task(given(waits, page))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_page_gives_so_much_and_no_more(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; the generator is closed, what came before is kept, and it is said."""
    closed: list[str] = []

    def endless(page: Page) -> Iterator[Any]:
        try:
            while True:
                yield {"a": 1}
                yield page.follow("x")
        finally:
            closed.append("plain")

    async def later(page: Page) -> AsyncIterator[Any]:
        try:
            while True:
                yield {"a": 1}
        finally:
            closed.append("async")

    monkeypatch.setattr(callables, "MAX_YIELDED", 5)
    found = await given(endless, page)
    assert isinstance(found, Given)
    assert (len(found.items), len(found.follows)) == (3, 2)
    assert "more than 5" in (found.warning or "")
    found = await given(later, page)
    assert isinstance(found, Given)
    assert len(found.items) == 5
    assert closed == ["plain", "async"]
    monkeypatch.setattr(callables, "MAX_BYTES", len(orjson.dumps({"a": 1})) * 3)
    found = await given(later, page)
    assert isinstance(found, Given)
    assert len(found.items) == 3
    assert "of items and requests" in (found.warning or "")


def test_it_shows_which_function_it_is() -> None:
    """Not where it stands in memory."""
    assert repr(PageFunction(print, "shop:page")) == "<PageFunction shop:page>"
