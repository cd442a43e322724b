"""What a visit tells is what went over the wire."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from crawler.model import Body, Message, Timing
from crawler.session import Session, SessionSettings
from crawler.visiting import LARGEST_CONTENT, Reply, visit_of
from crawler.watch import Limits, Transfer

OWN = {"User-Agent": "crawler/1", "Accept": "*/*", "Accept-Encoding": "gzip", "X-All": "1"}
REPLY = Reply(200, "OK", [("A", "1"), ("a", "2")], Body(0, "00"), False, "127.0.0.1", "time")


class Pieces:
    """A body that is sent in pieces."""

    length = 3

    async def pieces(self) -> Any:
        yield b"abc"


async def heard(message: Message, own: dict[str, str]) -> list[tuple[str, str]]:
    """The header lines that a server hears of a message; PORT in its URL is the server's."""
    head = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head.set_result((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        message = message._replace(url=message.url.replace("PORT", str(port)), trusted=True)
        async with Session(SessionSettings(1, 30, 60, own)) as session:
            transfer = Transfer(message.url, Limits(connect=5, read=5, total=5, stall=5, min_speed=1), monotonic())
            (await session.send(message, transfer, Timing(0.0))).close()
    lines = (await head).replace(str(port), "PORT").split("\r\n")[1:-2]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


@pytest.mark.parametrize(
    "message",
    [
        Message("GET", "http://127.0.0.1:PORT/a", {"X-Request-ID": "1"}),
        Message("GET", "http://127.0.0.1:PORT/a?b", {"user-agent": "other", "Cookie": "a=1"}),
        Message("GET", "http://127.0.0.1:PORT/a", {"Host": "other.test", "X-B": "2"}),
        Message("GET", "http://127.0.0.1:PORT/a", {}, bare=True),
        Message("HEAD", "http://127.0.0.1:PORT/a", {"X-C": "3"}),
        Message("POST", "http://127.0.0.1:PORT/a", {"Content-Type": "text/plain"}, b"hello"),
        Message("POST", "http://127.0.0.1:PORT/a", {"Content-Type": "a/b", "X-D": "4"}, Pieces()),
        Message("PUT", "http://127.0.0.1:PORT/a", {}, b"\x00"),
        Message("POST", "http://127.0.0.1:PORT/a", {}),
        Message("DELETE", "http://127.0.0.1:PORT/a", {}),
        Message("DELETE", "http://127.0.0.1:PORT/a", {}, b"x"),
        Message("GET", "http://127.0.0.1:PORT/a", {"content-length": "1"}, b"x"),
        Message("DELETE", "http://127.0.0.1:PORT/a", {"X-E": "5"}, Pieces()),
        Message("PATCH", "http://127.0.0.1:PORT/a", {}, Pieces()),
        Message("OPTIONS", "http://127.0.0.1:PORT/a", {}),
    ],
    ids=lambda message: f"{message.method} {sorted(message.headers)} {'bare' if message.bare else ''}",
)
async def test_what_is_told_is_what_was_sent(message: Message) -> None:
    """Every header line that a server hears stands in the visit, and no other, in an order that means the same."""
    told = visit_of(message, OWN, REPLY, 1.0).sent
    assert sorted(told) == sorted(await heard(message, OWN))
    assert told[0][0] == "Host"


def test_an_answer_is_told_as_it_came() -> None:
    """Status line, headers and body of the reply stand in the visit, beside what was asked and when."""
    visit = visit_of(Message("POST", "http://user:pw@a.test:81/x", {}, b"abc"), {}, REPLY, 1.5)
    assert (visit.url, visit.method, visit.content, visit.at) == ("http://user:pw@a.test:81/x", "POST", b"abc", 1.5)
    assert (visit.status, visit.phrase, visit.headers) == (200, "OK", (("A", "1"), ("a", "2")))
    assert (visit.body, visit.decoded, visit.address, visit.truncated) == (Body(0, "00"), False, "127.0.0.1", "time")
    assert ("Host", "a.test:81") in visit.sent


def test_of_a_large_body_the_start_is_kept() -> None:
    """At most a MiB of what was sent, nothing of what was read from files; the length tells what lacks."""
    whole = Message("POST", "http://a.test/", {}, b"x" * (LARGEST_CONTENT + 1))
    visit = visit_of(whole, {}, REPLY, 1.0)
    assert visit.content == b"x" * LARGEST_CONTENT
    assert ("Content-Length", str(LARGEST_CONTENT + 1)) in visit.sent
    assert visit_of(whole._replace(body=Pieces()), {}, REPLY, 1.0).content is None
