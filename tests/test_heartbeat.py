"""Telling a watcher on the net that a job is alive."""

from __future__ import annotations

import pytest

from crawler import heartbeat
from tests.servers import Asked, free_port, raw_site, reply


def test_a_beat_is_a_path_below_the_url() -> None:
    """Success is the URL itself; a query stays at the end."""
    assert heartbeat.url_of("https://hc.example/u", "success") == "https://hc.example/u"
    assert heartbeat.url_of("https://hc.example/u/", "start") == "https://hc.example/u/start"
    assert heartbeat.url_of("https://hc.example/u?rid=1", "fail") == "https://hc.example/u/fail?rid=1"


async def test_it_asks_once_and_once_more_after_a_fault() -> None:
    """With the User-Agent of the job; what is accepted is not repeated."""
    answers = [reply(503), reply(200), reply(500), reply(500)]
    async with raw_site(lambda asked: answers.pop(0)) as site:
        assert await heartbeat.send(site.url("/u"), "start", "me/1") is None
        assert [asked.path for asked in site.asked] == ["/u/start", "/u/start"]
        assert site.asked[0].headers["user-agent"] == "me/1"
        assert await heartbeat.send(site.url("/u"), "fail", "me/1") == "the answer was 500"
        assert len(site.asked) == 4


async def test_no_fault_shows_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where nobody listens, nor where the answer is no HTTP, nor in time."""
    said = [await heartbeat.send(f"http://127.0.0.1:{free_port()}/secret", "start", "me")]
    async with raw_site(lambda asked: b"nonsense secret\r\n\r\n") as site:
        said.append(await heartbeat.send(site.url("/secret"), "start", "me"))
    monkeypatch.setattr(heartbeat, "TIMEOUT", 0.05)
    async with raw_site(lambda asked: reply(), latency=0.5) as site:
        said.append(await heartbeat.send(site.url("/secret"), "start", "me"))
    assert said[0] == "Connection refused"
    assert said[2] == "no answer within 0.05 s"
    assert all(text and "secret" not in text and "127" not in text for text in said)


async def test_an_answer_that_trickles_in_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole has its time as well as each attempt."""
    monkeypatch.setattr(heartbeat, "_LONGEST", 0.1)
    async with raw_site(lambda asked: reply(), latency=0.5) as site:
        assert await heartbeat.send(site.url("/u"), "start", "me") == "no answer within 0.1 s"


async def test_proxies_are_those_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the environment count only where the job trusts it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    asked: list[Asked] = []

    def answer(one: Asked) -> bytes:
        asked.append(one)
        return reply()

    async with raw_site(answer) as site:
        assert await heartbeat.send(site.url("/u"), "success", "me") is None
        assert await heartbeat.send("http://hc.invalid/u", "success", "me", {"http": site.url("")}) is None
    assert asked[1].path == "http://hc.invalid/u"
