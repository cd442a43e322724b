"""Records between a commit and whoever iterates."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import asdict, fields

import orjson
import pytest

from crawler.listening import Listening, record_of
from crawler.model import Elapsed, Record
from crawler.sinks.jsonl import line


def record(number: int, **more: object) -> Record:
    """A Record in which nothing stands but what is said."""
    return Record(**{**{field.name: None for field in fields(Record)}, "id": number, **more})  # type: ignore[arg-type]


def lines(*numbers: int) -> list[bytes]:
    return [line(record(number)) for number in numbers]


async def test_a_record_is_read_back_as_it_was_written() -> None:
    """Its times as well; what an older version did not write is None."""
    whole = record(7, url="http://e.org/", elapsed_ms=Elapsed(1.5, None, 2.0, 3.25), input={"a": [1]})
    assert record_of(line(whole)) == whole
    older = orjson.dumps({name: value for name, value in asdict(whole).items() if name != "referrer"})
    assert record_of(older) == whole


async def test_all_come_out_once_in_their_order() -> None:
    """From another thread as well; None after the last, as often as one asks."""
    heard = Listening()
    thread = threading.Thread(target=lambda: [heard.hear(lines(1, 2)), heard.hear(lines(3))])
    thread.start()
    taken = [await heard.next() for _ in range(3)]
    thread.join()
    heard.over()
    assert [one.id for one in taken if one is not None] == [1, 2, 3]
    assert [await heard.next(), await heard.next()] == [None, None]


async def test_what_came_before_the_end_is_still_given() -> None:
    """The end is told after the last record."""
    heard = Listening()
    heard.hear(lines(1))
    asyncio.get_running_loop().call_soon(heard.over)
    await asyncio.sleep(0)
    assert (await heard.next()) == record(1)
    assert await heard.next() is None


@pytest.mark.parametrize(("bound", "most"), [("_MOST", 4), ("_MOST_BYTES", 4 * len(lines(1)[0]))])
async def test_too_many_are_waited_for(bound: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number or by size: it is behind from the bound on, until half of it is taken."""
    monkeypatch.setattr(f"crawler.listening.{bound}", most)
    heard = Listening()
    heard.hear(lines(1, 2, 3))
    await asyncio.sleep(0)
    assert not heard.behind
    heard.hear(lines(4))
    await asyncio.sleep(0)
    assert heard.behind
    waiting = asyncio.create_task(heard.caught_up())
    await heard.next()
    await asyncio.sleep(0)
    assert not waiting.done()
    await heard.next()
    await asyncio.wait_for(waiting, 20)
    assert not heard.behind


async def test_who_has_gone_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is dropped, what comes later as well, and nobody is held up."""
    monkeypatch.setattr("crawler.listening._MOST", 1)
    heard = Listening()
    heard.hear(lines(1))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(heard.caught_up())
    heard.close()
    await asyncio.wait_for(waiting, 20)
    heard.hear(lines(2, 3))
    await asyncio.sleep(0)
    assert not heard.behind
    assert await heard.next() is None
