"""What the monitor answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from crawler.monitoraccess import Keys
from tests.descriptors import open_files
from tests.monitored import RUN, Job, failed, monitor, record

BASE = f"/api/jobs/almanac/runs/{RUN}"
BODY = bytes(range(256)) * 400
HTML = "<script>window.hit=1</script>"
TOKEN = "a-token-of-enough-characters"
CONTROL = Keys(TOKEN, "s" * 40, reading=False, control=True)
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    spots = {"file": "warc/a.warc.gz", "offset": 100, "length": 500}
    records = [record(1, body="bodies/1.html"), failed(2), record(3, warc=spots), record(4, body="bodies/link")]
    run = Job(tmp_path / "out").run([*records, record(5, url=f"http://a.example/{HTML}", body="../../../../secret")])
    (tmp_path / "secret").write_text("outside")
    (run / "bodies").mkdir()
    (run / "bodies" / "1.html").write_bytes(BODY)
    (run / "bodies" / "link").symlink_to(tmp_path / "secret")
    (run / "warc").mkdir()
    (run / "warc" / "a.warc.gz").write_bytes(BODY)
    (run / "report.html").write_text(f"<p>report{HTML}")
    return tmp_path / "out"


@pytest.fixture
async def session(root: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with monitor(root) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session


async def bodies(session: aiohttp.ClientSession) -> dict[int, str]:
    """The links to bodies, by the number of the record."""
    async with session.get(f"{BASE}/records") as answer:
        return {row["id"]: row["body"] for row in (await answer.json())["records"] if row["body"]}


async def test_records_are_filtered_and_paged(session: aiohttp.ClientSession) -> None:
    """A cursor leads to the rest."""
    async with session.get(f"{BASE}/records", params={"outcome": "failed"}) as answer:
        said = await answer.json()
    assert [row["id"] for row in said["records"]] == [2]
    assert (said["next"], said["looked"]) == (None, 5)
    async with session.get(f"{BASE}/records", params={"rows": 2}) as answer:
        first = await answer.json()
    async with session.get(f"{BASE}/records", params={"cursor": first["next"]}) as answer:
        rest = await answer.json()
    assert [row["id"] for row in first["records"] + rest["records"]] == [1, 2, 3, 4, 5]


async def test_a_body_comes_as_a_download(session: aiohttp.ClientSession) -> None:
    """Of no type that a browser shows, in a sandbox of its own."""
    async with session.get((await bodies(session))[1]) as answer:
        assert await answer.read() == BODY
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="1.html"'
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_download_is_gone_on_with(session: aiohttp.ClientSession) -> None:
    """By Range, of the same file only."""
    link = (await bodies(session))[1]
    async with session.get(link, headers={"Range": "bytes=1000-"}) as answer:
        assert answer.status == 206
        assert await answer.read() == BODY[1000:]
        assert answer.headers["Content-Disposition"].startswith("attachment")
        tag = answer.headers["ETag"]
    async with session.get(link, headers={"Range": "bytes=5-9", "If-Range": tag}) as answer:
        assert await answer.read() == BODY[5:10]
    async with session.get(link, headers={"Range": "bytes=5-9", "If-Range": '"another"'}) as answer:
        assert await answer.read() == BODY
    async with session.get(link, headers={"Range": f"bytes={len(BODY)}-"}) as answer:
        assert answer.status == 416


@pytest.mark.parametrize(
    ("range_", "status", "part"),
    [
        ("bytes=-5", 206, BODY[-5:]),
        ("bytes=0-0", 206, BODY[:1]),
        ("bytes=5-4", 200, BODY),
        ("bytes=0-1,5-6", 200, BODY),
        ("lines=0-1", 200, BODY),
        ("bytes=-", 200, BODY),
        ("bytes=999999999-", 416, b""),
        ("bytes=0-99999999", 206, BODY),
    ],
)
async def test_ranges_are_those_of_the_rfc(
    session: aiohttp.ClientSession, range_: str, status: int, part: bytes
) -> None:
    """RFC 9110 14.1.2; what is no range, or several, is not looked at."""
    async with session.get((await bodies(session))[1], headers={"Range": range_}) as answer:
        assert (answer.status, await answer.read()) == (status, part)
        assert ("Content-Range" in answer.headers) == (status != 200)


async def test_of_an_archive_the_record_comes(session: aiohttp.ClientSession) -> None:
    """Its own bytes and no others."""
    async with session.get((await bodies(session))[3], headers={"Range": "bytes=10-"}) as answer:
        assert await answer.read() == BODY[110:600]
    async with session.get((await bodies(session))[3]) as answer:
        assert await answer.read() == BODY[100:600]
        assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("id", [4, 5])
async def test_what_a_record_names_outside_is_not_served(session: aiohttp.ClientSession, id: int) -> None:
    """A link, or a path up: the signature is right, the file is not ours."""
    async with session.get((await bodies(session))[id]) as answer:
        assert answer.status == 404
        assert "outside" not in await answer.text()


@pytest.mark.parametrize(
    "change",
    [
        ("1.html", "2.html"),
        ("sign=", "sign=0"),
        ("almanac", "other"),
        ("path=bodies", "path=.%2Fbodies"),
        ("&sign", "&offset=0&length=5&sign"),
    ],
)
async def test_a_link_opens_nothing_else(session: aiohttp.ClientSession, change: tuple[str, str]) -> None:
    """Any change to it breaks its signature."""
    link = (await bodies(session))[1].replace(*change)
    async with session.get(link) as answer:
        assert answer.status in (403, 404)


async def test_nothing_stays_open_behind_a_download(session: aiohttp.ClientSession) -> None:
    """Whole, in part, or refused."""
    links = await bodies(session)

    for link in (*links.values(), f"{BASE}/report.html"):
        async with session.get(link, headers={"Range": "bytes=0-5"}) as answer:
            await answer.read()
    assert not [path for path in open_files() if RUN in path]


async def test_a_report_runs_nothing(session: aiohttp.ClientSession) -> None:
    """It holds text of the web: sandboxed, without scripts; or a download."""
    async with session.get(f"{BASE}/report.html") as answer:
        assert answer.headers["Content-Type"].startswith("text/html")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "script-src" not in policy
        assert "allow" not in policy
    async with session.get(f"{BASE}/report.html?download") as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"


async def test_stored_html_is_json_text(session: aiohttp.ClientSession) -> None:
    """No answer with text of the web has a type that a browser would render."""
    for path in ("/api/overview", "/api/jobs/almanac", f"{BASE}/records", f"{BASE}/history"):
        async with session.get(path) as answer:
            assert answer.headers["Content-Type"] == "application/json"


async def test_the_overview_and_metrics_tell_of_all_jobs(session: aiohttp.ClientSession) -> None:
    """As JSON and as OpenMetrics."""
    async with session.get("/api/overview") as answer:
        said = await answer.json()
    assert [(job["job"], job["failed"]) for job in said["jobs"]] == [("almanac", 1)]
    assert said["control"] is False
    async with session.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert (await answer.text()).endswith("# EOF\n")


async def test_without_control_nothing_can_be_ordered(session: aiohttp.ClientSession) -> None:
    """There is no such path, for any method."""
    for send in (session.post, session.get, session.put):
        async with send("/api/jobs/almanac/control", headers=BEARER, json={"do": "stop"}) as answer:
            assert answer.status == 404


class Running:
    """A job's control socket that notes what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.orders: list[Any] = []
        self._path = folder / "control"

    async def __aenter__(self) -> Running:
        self._server = await asyncio.start_unix_server(self._answer, str(self._path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            order = orjson.loads(line)
            self.orders.append(order)
            ok = order.get("value") != "nonsense"
            writer.write(orjson.dumps({"ok": ok} if ok else {"ok": False, "error": "no rate"}) + b"\n")
        writer.close()


async def test_orders_reach_the_job(root: Path) -> None:
    """With the token alone; what the job refuses is told."""
    set_ = {"do": "set", "key": "limits.rate", "value": "5/s"}
    async with (
        monitor(root, CONTROL) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        Running(root / "almanac") as running,
    ):
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN}):
            async with session.post("/api/jobs/almanac/control", json={"do": "stop"}, headers=headers) as answer:
                assert answer.status == 401
        assert running.orders == []
        for order, status in (({"do": "pause"}, 200), (set_, 200), ({**set_, "value": "nonsense"}, 400)):
            async with session.post("/api/jobs/almanac/control", json=order, headers=BEARER) as answer:
                assert answer.status == status
        assert running.orders == [{"do": "pause"}, set_, {**set_, "value": "nonsense"}]


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/api/jobs/almanac/control", {"json": {"do": "pause"}}, 409),
        ("/api/jobs/nobody/control", {"json": {"do": "pause"}}, 404),
        ("/api/jobs/almanac/control", {"json": {"do": "state"}}, 400),
        ("/api/jobs/almanac/control", {"json": ["pause"]}, 400),
        ("/api/jobs/almanac/control", {"data": b'{"do":"pause"}'}, 415),
        ("/api/jobs/almanac/control", {"data": {"do": "pause"}}, 415),
        ("/api/jobs/almanac/control", {"json": {"do": "set", "key": "x" * 5000}}, 400),
    ],
)
async def test_what_is_no_order_is_refused(root: Path, path: str, sent: dict[str, Any], status: int) -> None:
    """A form of another site could send all but JSON; and a job that does not run takes none."""
    async with (
        monitor(root, CONTROL) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.post(path, headers=BEARER, **sent) as answer,
    ):
        assert answer.status == status
        assert (await answer.json())["error"]


async def test_a_job_at_work_is_shown_while_it_is_read(root: Path) -> None:
    """Its records so far carry a note."""
    job = Job(root, "working")
    job.run([record(1)], state="running", code=None)
    job.folder.lock(time.time())
    async with (
        monitor(root) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
        session.get(f"/api/jobs/working/runs/{RUN}/records") as answer,
    ):
        assert "going on" in (await answer.json())["note"]
    job.folder.unlock()
