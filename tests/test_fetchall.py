"""`fetch_all`: results in the order of what was asked for, from real servers on loopback."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession, web

import crawler
from crawler.demo import DemoSite, serve
from crawler.errors import JobError
from tests.peers import on_both_loops
from tests.servers import Asked, raw_site, reply

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made: what is left there is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
async def site() -> AsyncIterator[DemoSite]:
    async with serve() as demo:
        yield demo


async def test_results_come_in_the_order_of_the_urls(site: DemoSite, temporary: Path) -> None:
    """Also where they end in another one; what stands twice, however it is written, is asked for once."""
    paths = ["/slow/300", "/articles/1", "/status/404", "/large/1.bin", "/articles/1", "/compressed/gzip/2"]
    urls = [*map(site.at, paths), "nope", site.url.replace("http", "HTTP") + "/articles/1"]
    results = await crawler.fetch_all(urls)
    assert [result.record.url for result in results[:6]] == urls[:6]
    assert [result.ok for result in results] == [True, True, False, True, True, True, False, True]
    assert [result.status for result in results] == [200, 200, 404, 200, 200, 200, None, 200]
    for path, result in zip(paths, results, strict=False):
        assert result.data == (site.expected(path) if result.ok else None)
    assert results[7] == results[4] == results[1]
    assert site.stats.hits["/articles/1"] == 1
    assert "404" in str(results[2].error)
    assert results[6].record.reason == "bad-input"
    assert str(results[6].error).startswith("'nope' ")
    assert list(temporary.iterdir()) == []
    assert {result.record.body for result in results} == {None}


async def test_a_row_says_how_it_is_asked(site: DemoSite) -> None:
    """Rows are those of a table: method, json and headers go to the server, other columns come back."""
    row = {"url": site.at("/api/echo"), "method": "PUT", "json": {"a": [1]}, "headers": {"X-Mine": "yes"}, "note": 5}
    [plain, result] = await crawler.fetch_all([site.at("/articles/1"), row])
    said = orjson.loads(result.data or b"")
    assert (said["method"], orjson.loads(said["body"]), said["headers"]["X-Mine"]) == ("PUT", {"a": [1]}, "yes")
    assert result.record.input == {"note": 5}
    assert plain.ok


async def test_settings_are_those_of_a_job() -> None:
    """Shortcuts and sections are laid over each other by key."""
    async with raw_site(lambda asked: reply(200, asked.headers.get("x-a", "").encode()), latency=0.05) as site:
        results = await crawler.fetch_all(
            [site.url(f"/{n}") for n in range(6)],
            workers=2,
            timeout=5,
            headers={"X-A": "here"},
            request={"headers": {"X-A": "not here"}, "params": {"q": "1"}},
            limits={"per_host": 6},
            output={"bodies": "none", "headers_in_record": True},
        )
        assert {asked.path for asked in site.asked} == {f"/{n}?q=1" for n in range(6)}
        assert {asked.headers["x-a"] for asked in site.asked} == {"here"}
        assert site.peak() == 2
    assert {(result.data, result.record.bytes) for result in results} == {(None, 4)}
    assert {(result.record.headers or {})["content-length"] for result in results} == {"4"}


async def test_a_time_out_is_of_one_attempt() -> None:
    """An answer that takes longer is a result that failed."""
    async with raw_site(latency=2.0) as site:
        [result] = await crawler.fetch_all([site.url()], timeout=0.2, retry={"attempts": 1})
    assert (result.ok, result.record.reason, result.data) == (False, "total-timeout", None)


@pytest.mark.parametrize(
    ("rows", "sections", "said"),
    [
        (["http://e.org/"], {"limits": {"wokers": 3}}, "^limits.wokers: .*workers"),
        (["http://e.org/"], {"input": {"dedupe": False}}, "^input: "),
        (["http://e.org/"], {"paging": {"next": "link"}}, "^paging: "),
        (["http://e.org/", {"url": object()}], {}, "^row 2 "),
        (["http://e.org/", 5], {}, "^row 2 "),
    ],
)
async def test_what_is_wrong_with_a_call_is_a_job_error(
    rows: list[str], sections: dict[str, dict[str, object]], said: str, temporary: Path
) -> None:
    """Nothing is fetched, and nothing is left."""
    with pytest.raises(JobError, match=said):
        await crawler.fetch_all(rows, **sections)
    assert list(temporary.iterdir()) == []


async def test_nothing_asked_for_is_nothing_done(temporary: Path) -> None:
    """An empty list is no error."""
    assert await crawler.fetch_all([]) == []
    assert await crawler.fetch_all(iter(())) == []


@on_both_loops
async def test_a_cancelled_call_leaves_nothing(tmp_path: Path) -> None:
    """A time-out ends it at once, with its folder and its task."""
    async with raw_site(latency=30) as site:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await crawler.fetch_all([site.url("/1"), site.url("/2")])
        assert [task.get_name() for task in asyncio.all_tasks()].count("crawler run") == 0
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_a_call_with_a_folder_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    """The same call gives all results, also those of the call before, and asks for no page again that it has."""
    stuck = [True]

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.sleep(3600)
        yield b""

    def answer(asked: Asked) -> bytes | AsyncIterator[bytes]:
        return silence() if stuck[0] and asked.path == "/2" else reply(200, asked.path.encode())

    async with raw_site(answer) as site:
        urls = [site.url(f"/{n}") for n in (0, 2, 1, 3)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await crawler.fetch_all(urls, output=tmp_path / "kept")
        stuck[0] = False
        results = await crawler.fetch_all(urls, output=tmp_path / "kept")
        assert [result.data for result in results] == [b"/0", b"/2", b"/1", b"/3"]
        assert sorted(site.paths()) == ["/0", "/1", "/2", "/2", "/3"]
    [latest] = (tmp_path / "kept").glob("*/latest")
    for result in results:
        assert result.record.body is not None
        assert (latest / result.record.body).read_bytes() == result.data


@on_both_loops
async def test_handlers_of_a_web_application_may_call_it_at_once() -> None:
    """Ten requests to the application at a time, each of which fetches for itself, in the application's own loop."""

    async def handler(request: web.Request) -> web.Response:
        results = await crawler.fetch_all([f"{upstream.url()}{request.query['n']}-{part}" for part in range(3)])
        return web.json_response([(result.data or b"").decode() for result in results])

    async with raw_site(lambda asked: reply(200, asked.path.encode())) as upstream:
        application = web.Application()
        application.router.add_get("/", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]

            async def ask(n: int) -> list[str]:
                async with ClientSession() as client, client.get(f"http://127.0.0.1:{port}/?n={n}") as answer:
                    said: list[str] = await answer.json()
                    return said

            answers = await asyncio.gather(*map(ask, range(10)))
        finally:
            await runner.cleanup()
    assert answers == [[f"/{n}-{part}" for part in range(3)] for n in range(10)]
