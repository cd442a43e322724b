"""Whole runs against sites on loopback that answer as a test says: paging, credentials that a host refuses."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest

from crawler.errors import ExitCode, JobError
from tests.jobs import Results, Row, run
from tests.peers import Peer, peer
from tests.servers import Asked, RawSite, raw_site, reply

pytestmark = pytest.mark.slow


@pytest.fixture
async def site() -> AsyncIterator[RawSite]:
    async with raw_site() as one:
        yield one


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "planted-password")


def as_json(value: Any, headers: dict[str, object] | None = None) -> bytes:
    return reply(body=orjson.dumps(value), headers={"Content-Type": "application/json", **(headers or {})})


def query(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(asked.path.partition("?")[2]).items()}


def chain(results: Results) -> list[dict[str, Any]]:
    """The records by page."""
    return sorted(results.records, key=lambda record: record["page"] or 0)


def basic(*hosts: str, **said: Any) -> dict[str, Any]:
    return {"x": {"type": "basic", "hosts": list(hosts), "user": "me", "password": "env:PASSWORD", **said}}


# paging


async def test_pages_by_link(tmp_path: Path, site: RawSite) -> None:
    """Link: rel=next is followed to its end; each page is a record with its number and who led there, asked for with
    what the row said.
    """

    def answer(asked: Asked) -> bytes:
        page = int(query(asked).get("page", "1"))
        following = f'</list?page={page + 1}>; rel="next", </list>; rel="first"' if page < 5 else '</list>; rel="first"'
        return reply(body=b"page %d" % page, headers={"Link": following})

    site.answer = answer
    row: Row = {"case": "p", "url": site.url("/list"), "headers": {"X-Key": "k"}, "cookies": {"c": "1"}}
    results = await run(tmp_path, [row], paging={"next": "link"})
    assert results.exit_code == ExitCode.OK
    records = chain(results)
    assert [record["page"] for record in records] == [1, 2, 3, 4, 5]
    urls = [site.url("/list"), *(site.url(f"/list?page={page}") for page in range(2, 6))]
    assert [record["url"] for record in records] == urls
    assert [record["referrer"] for record in records] == [None, *urls[:-1]]
    assert [(results.folder / record["body"]).read_bytes() for record in records] == [
        b"page %d" % page for page in range(1, 6)
    ]
    assert all(record["input"] == {"case": "p"} for record in records)
    assert [asked.headers["x-key"] + asked.headers["cookie"] for asked in site.asked] == ["kc=1"] * 5


async def test_pages_by_what_json_says(tmp_path: Path, site: RawSite) -> None:
    """A JMESPath to the next URL, and one to a cursor that goes into a parameter."""

    def answer(asked: Asked) -> bytes:
        said = query(asked)
        if "cursor" in asked.path or "items" in asked.path:
            number = int(said.get("cursor", "c0")[1:])
            return as_json({"meta": {"cursor": f"c{number + 1}" if number < 3 else None}, "rows": [number]})
        number = int(said.get("p", "1"))
        return as_json({"links": {"next": f"/urls?p={number + 1}"} if number < 4 else {}})

    site.answer = answer
    results = await run(tmp_path, [{"url": site.url("/urls")}], paging={"next": "jmespath:links.next"})
    assert [record["page"] for record in chain(results)] == [1, 2, 3, 4]
    results = await run(
        tmp_path, [{"url": site.url("/items?size=2")}], paging={"next": "jmespath:meta.cursor", "param": "cursor"}
    )
    assert [record["url"] for record in chain(results)] == [
        site.url("/items?size=2"),
        *(site.url(f"/items?size=2&cursor=c{number}") for number in (1, 2, 3)),
    ]


@pytest.mark.parametrize("end", ["empty", "404", "204", "items"])
async def test_pages_by_counting(tmp_path: Path, site: RawSite, end: str) -> None:
    """Counted until a page is empty, has no items, or answers 404 or 204: that is no failure."""

    def answer(asked: Asked) -> bytes:
        page = int(query(asked).get("page", "1"))
        if page <= 3:
            return as_json({"rows": [page]} if end == "items" else [page])
        return {
            "empty": as_json([]),
            "items": as_json({"rows": []}),
            "404": reply(404),
            "204": b"HTTP/1.1 204 No Content\r\n\r\n",
        }[end]

    site.answer = answer
    paging = {"param": "page", **({"items": "jmespath:rows"} if end == "items" else {})}
    results = await run(tmp_path, [{"url": site.url("/list")}], paging=paging)
    assert results.exit_code == ExitCode.OK
    assert len(site.asked) == 4
    last = chain(results)[-1]
    if end == "404":
        assert (last["outcome"], last["reason"], last["page"], last["status"]) == ("skipped", "past-end", 4, 404)
    else:
        assert (last["outcome"], last["page"]) == ("fetched", 4)


async def test_a_first_page_that_is_not_there_is_a_failure(tmp_path: Path, site: RawSite) -> None:
    """404 ends the counting only behind a page; by itself it is what it always is."""
    site.answer = lambda asked: reply(404)
    results = await run(tmp_path, [{"url": site.url("/list")}], paging={"param": "page"})
    assert [record["reason"] for record in results.records] == ["status-404"]


async def test_a_page_that_fails_ends_its_chain_alone(tmp_path: Path, site: RawSite) -> None:
    """Tried again as any request; when it fails for good its record says which page, and other chains go on."""
    tries: dict[str, int] = {}

    def answer(asked: Asked) -> bytes:
        page, path = int(query(asked).get("page", "1")), asked.path.partition("?")[0]
        tries[asked.path] = tries.get(asked.path, 0) + 1
        if (path, page) == ("/bad", 3) or ((path, page) == ("/flaky", 2) and tries[asked.path] < 3):
            return reply(503)
        return as_json([page] if page <= 4 else [])

    site.answer = answer
    rows: list[Row] = [{"case": name, "url": site.url(f"/{name}")} for name in ("bad", "flaky", "good")]
    results = await run(
        tmp_path,
        rows,
        paging={"param": "page"},
        retry={"attempts": 3, "backoff": {"initial": "1ms", "max": "1ms"}},
    )
    assert results.exit_code == ExitCode.FAILED
    found = {(record["input"]["case"], record["page"]): record for record in results.records}
    assert sorted(found) == sorted(
        [*(("bad", page) for page in (1, 2, 3)), *((name, page) for name in ("flaky", "good") for page in range(1, 6))]
    )
    assert (found["bad", 3]["reason"], found["bad", 3]["attempts"]) == ("status-503", 3)
    assert found["bad", 3]["referrer"] == site.url("/bad?page=2")
    assert found["flaky", 2]["attempts"] == 3
    assert sum(record["outcome"] == "failed" for record in results.records) == 1


async def test_no_page_leads_elsewhere(tmp_path: Path, site: RawSite) -> None:
    """A next page at another host, another port, or in a circle is not followed: the record has a warning, and nobody
    is asked; a page that cannot be read for the next one fails.
    """
    async with peer() as stranger:
        nexts: dict[str, str] = {
            "/host": f"http://b.test:{site.port}/planted",
            "/port": f"{stranger.url}planted",
            "/scheme": "file:///etc/passwd",
            "/self": "/self",
        }

        def answer(asked: Asked) -> bytes:
            return reply(headers={"Link": f'<{nexts[asked.path]}>; rel="next"'})

        site.answer = answer
        rows: list[Row] = [
            {
                "case": path[1:],
                "url": site.url(path),
                "method": "POST",
                "body": "planted",
                "headers": {"X-Key": "planted"},
            }
            for path in nexts
        ]
        results = await run(
            tmp_path,
            rows,
            paging={"next": "link"},
            connection={"resolve": {"b.test": "127.0.0.1"}},
            auth=basic("127.0.0.1"),
        )
    assert sorted(site.paths()) == sorted(nexts)
    assert (stranger.accepted, stranger.raw) == (0, b"")
    assert len(results.records) == 4
    assert "another host" in results.of("host")["warning"]
    assert "not followed" in results.of("port")["warning"]
    assert "names itself" in results.of("self")["warning"]
    assert results.of("scheme")["reason"] == "bad-page"


async def test_paging_ends_at_its_bound(tmp_path: Path, site: RawSite) -> None:
    """A server that always has another page is left after max_pages, with a warning in the last record."""

    def answer(asked: Asked) -> bytes:
        return reply(body=asked.path.encode(), headers={"Link": f"<{asked.path}x>; rel=next"})

    site.answer = answer
    results = await run(tmp_path, [{"url": site.url("/")}], paging={"next": "link", "max_pages": 7})
    assert len(results.records) == len(site.asked) == 7
    assert [bool(record["warning"]) for record in chain(results)] == [False] * 6 + [True]


async def test_only_some_hosts_are_paged(tmp_path: Path) -> None:
    """paging.hosts says whose answers are pages; a page's record has no number elsewhere."""
    async with raw_site(lambda asked: reply(headers={"Link": "</two>; rel=next"})) as site:
        rows: list[Row] = [
            {"case": name, "url": site.url("/one").replace("127.0.0.1", name)} for name in ("a.test", "b.test")
        ]
        results = await run(
            tmp_path,
            rows,
            paging={"next": "link", "hosts": ["b.*"], "max_pages": 2},
            connection={"resolve": {"a.test": "127.0.0.1", "b.test": "127.0.0.1"}},
        )
    pages = sorted((record["input"]["case"], record["page"]) for record in results.records if record["page"])
    assert pages == [("b.test", 1), ("b.test", 2)]
    assert len(results.records) == 3


# cookies


@pytest.mark.parametrize("jar", [True, False])
async def test_a_cookie_may_lead_back_to_the_same_url(tmp_path: Path, site: RawSite, jar: bool) -> None:
    """Many sites set a cookie and send back to where one came from; without a jar that is a circle."""

    def answer(asked: Asked) -> bytes:
        if "seen=1" in asked.headers.get("cookie", ""):
            return reply()
        return reply(302, headers={"Location": asked.path, "Set-Cookie": "seen=1"})

    site.answer = answer
    results = await run(tmp_path, [{"case": "a", "url": site.url("/a")}], cookies={"jar": jar})
    assert results.ends() == {"a": "fetched" if jar else "redirect-loop"}
    assert len(site.asked) == (2 if jar else 1)


async def test_a_circle_of_cookies_ends(tmp_path: Path, site: RawSite) -> None:
    """A server that sets another one each time is followed as often as any chain."""
    site.answer = lambda asked: reply(302, headers={"Location": "/a", "Set-Cookie": f"n={len(site.asked)}"})
    results = await run(
        tmp_path, [{"case": "a", "url": site.url("/a")}], cookies={"jar": True}, limits={"max_redirects": 4}
    )
    assert results.ends() == {"a": "too-many-redirects"}
    assert len(site.asked) == 5


# credentials that are refused


async def test_a_host_that_rejects_is_barred_and_others_go_on(tmp_path: Path) -> None:
    """After three rejections in a row its other 2,000 rows end at once, unsent; the rows of other hosts are fetched."""
    async with raw_site(
        lambda asked: (
            reply(401, headers={"WWW-Authenticate": 'Digest realm="r", nonce="n"'})
            if asked.host == "bad.test"
            else reply()
        )
    ) as site:
        rows: list[Row] = [{"case": f"bad{n}", "url": f"http://bad.test:{site.port}/{n}"} for n in range(2000)] + [
            {"case": f"good{n}", "url": f"http://good.test:{site.port}/{n}"} for n in range(200)
        ]
        began = monotonic()
        results = await run(
            tmp_path,
            rows,
            connection={"resolve": {"bad.test": "127.0.0.1", "good.test": "127.0.0.1"}},
            auth=basic("*.test", allow_insecure=True),
            limits={"per_host": 4},
        )
        took = monotonic() - began
        asked = [one.host for one in site.asked]
    assert results.exit_code == ExitCode.FAILED
    assert took < 3
    assert 3 <= asked.count("bad.test") <= 3 + 4
    assert asked.count("good.test") == 200
    bad = [record for record in results.records if record["input"]["case"].startswith("bad")]
    assert {record["reason"] for record in bad} == {"auth-rejected"}
    sent = [record for record in bad if record["attempts"]]
    assert len(sent) == asked.count("bad.test")
    assert all('wants Digest realm "r", this section offers Basic' in record["error"] for record in sent)
    unsent = [record for record in bad if not record["attempts"]]
    assert all("3 times in a row" in record["error"] and "[auth.x]" in record["error"] for record in unsent)
    assert {record["started_at"] for record in unsent} == {None}


async def test_a_row_that_is_no_request_is_told_as_such(tmp_path: Path, site: RawSite) -> None:
    """Also when it names a host that refused the credential again and again."""
    site.answer = lambda asked: reply(401)
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    rows: list[Row] = [{"url": site.url(f"/{n}")} for n in range(8)]
    bad: list[Row] = [{"url": site.url(f"/bad{n}"), "json": deep} for n in range(8)]
    results = await run(tmp_path, [*rows, *bad], auth=basic("127.0.0.1"), limits={"workers": 1})
    told = [record["reason"] for record in sorted(results.records, key=lambda record: record["id"])]
    assert told == ["auth-rejected"] * 8 + ["bad-input"] * 8


@pytest.mark.parametrize("why", ["auth-insecure", "upload-unreadable"])
async def test_what_is_not_sent_costs_no_time(tmp_path: Path, why: str) -> None:
    """Rows whose credential or body is not to be had end at once whatever the rates, and count no attempt."""
    rows: list[Row] = [{"url": f"http://a.test/{n}"} for n in range(50)]
    said: dict[str, Any] = {"auth": basic("a.test")}
    if why == "upload-unreadable":
        said = {"request": {"body_file": "gone"}}
    began = monotonic()
    results = await run(tmp_path, rows, limits={"rate_per_host": "1/s", "rate": "5/s"}, **said)
    assert monotonic() - began < 5
    assert {(record["reason"], record["attempts"], record["started_at"]) for record in results.records} == {
        (why, 0, None)
    }


async def test_rejections_count_in_a_row_only(tmp_path: Path, site: RawSite) -> None:
    """A host that refuses every second page is asked for all of them."""
    site.answer = lambda asked: reply(401 if int(asked.path[1:]) % 2 else 200)
    results = await run(
        tmp_path,
        [{"case": f"{n}", "url": site.url(f"/{n}")} for n in range(20)],
        auth=basic("127.0.0.1"),
        limits={"workers": 1},
    )
    assert len(site.asked) == 20
    assert list(results.ends().values()).count("fetched") == 10


async def test_all_that_a_server_wants_is_named(tmp_path: Path, site: RawSite) -> None:
    """Without a section, a 401 with several WWW-Authenticate lines names each; without any it says nothing more."""

    def answer(asked: Asked) -> bytes:
        if asked.path == "/mute":
            return reply(401)
        lines = 'WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm="r"\r\n'
        return f"HTTP/1.1 401 No\r\n{lines}Content-Length: 0\r\n\r\n".encode()

    site.answer = answer
    results = await run(tmp_path, [{"case": path, "url": site.url(f"/{path}")} for path in ("many", "mute")])
    assert results.of("many")["reason"] == "status-401"
    assert 'wants Negotiate or Basic realm "r"' in results.of("many")["error"]
    assert "no credential of an [auth] section" in results.of("many")["error"]
    assert results.of("mute")["error"] == "the server answered 401"


async def test_a_credential_does_not_go_in_the_clear(tmp_path: Path) -> None:
    """Over plain http to another machine's name: auth-insecure, nothing sent; allow_insecure sends it. Loopback by
    address needs no permission.
    """
    async with peer() as server:
        rows: list[Row] = [
            {"case": "name", "url": f"http://a.test:{server.port}/"},
            {"case": "loopback", "url": server.url},
            {"case": "free", "url": f"http://b.test:{server.port}/free"},
        ]
        resolve = {"a.test": "127.0.0.1", "b.test": "127.0.0.1"}
        results = await run(tmp_path, rows, connection={"resolve": resolve}, auth=basic("a.test", "127.0.0.1"))
        assert results.ends() == {"name": "auth-insecure", "loopback": "fetched", "free": "fetched"}
        assert "allow_insecure" in results.of("name")["error"]
        hosts = sorted(line for head in server.heads for line in head.split("\r\n") if line.startswith("Host:"))
        assert hosts == [f"Host: 127.0.0.1:{server.port}", f"Host: b.test:{server.port}"]
        assert server.raw.lower().count(b"authorization") == 1
        allowed = await run(
            tmp_path, rows[:1], connection={"resolve": resolve}, auth=basic("a.test", allow_insecure=True)
        )
        assert allowed.ends() == {"name": "fetched"}
        assert base64.b64encode(b"me:planted-password") in server.raw


async def test_a_credential_stays_with_its_host(tmp_path: Path) -> None:
    """A redirect to another host, or to another port of one that is bound by port, carries none of it; the way back
    has it again.
    """

    async def leading(one: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await one.head(reader)
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            if "GET /away" in head:
                answer = f"HTTP/1.1 302 F\r\nLocation: {second.url}back\r\nContent-Length: 0\r\n\r\n".encode()
            if "GET /back" in head:
                answer = f"HTTP/1.1 302 F\r\nLocation: {first.url}home\r\nContent-Length: 0\r\n\r\n".encode()
            writer.write(answer)

    async with peer(leading) as first, peer(leading) as second:
        results = await run(
            tmp_path,
            [
                {
                    "case": "x",
                    "url": f"{first.url}away",
                    "headers": {"X-Api-Key": "planted"},
                    "cookies": {"c": "planted"},
                }
            ],
            auth=basic(f"127.0.0.1:{first.port}"),
        )
    assert results.ends() == {"x": "fetched"}
    assert len(first.heads) == 2
    for head in first.heads:
        assert "Authorization: Basic" in head
        assert "planted" in head
    assert "planted" not in second.heads[0]
    assert "authorization" not in second.heads[0].lower()


async def test_each_attempt_may_learn_its_challenge_anew(tmp_path: Path, site: RawSite) -> None:
    """What the attempts before were sent back for does not count: nonces that went stale meanwhile are replaced."""
    statuses = iter([401, 401, 503, 401, 401, 503, 401, 401, 200])
    nonces = iter(range(100))

    def answer(asked: Asked) -> bytes:
        status = next(statuses)
        challenge = f'Digest realm="r", nonce="{next(nonces)}", qop="auth", stale=true'
        return reply(status, headers={"WWW-Authenticate": challenge} if status == 401 else {})

    site.answer = answer
    results = await run(
        tmp_path,
        [{"case": "x", "url": site.url("/")}],
        auth={"x": {"type": "digest", "hosts": ["127.0.0.1"], "user": "me", "password": "env:PASSWORD"}},
        retry={"attempts": 3, "backoff": {"initial": "1ms", "max": "1ms"}},
    )
    assert (results.ends(), results.of("x")["attempts"]) == ({"x": "fetched"}, 3)


async def test_pages_of_one_row_have_files_of_their_own(tmp_path: Path, site: RawSite) -> None:
    """A row's filename is that of its first page; the others have names beside it, and each its own bytes."""
    site.answer = lambda asked: reply(
        body=asked.path.encode(), headers={"Link": f"<{asked.path}1>; rel=next"} if len(asked.path) < 4 else {}
    )
    results = await run(tmp_path, [{"url": site.url("/"), "filename": "mine/one.html"}], paging={"next": "link"})
    records = chain(results)
    assert records[0]["body"] == "bodies/mine/one.html"
    assert len({record["body"] for record in records}) == 4
    assert [(results.folder / record["body"]).read_bytes() for record in records] == [b"/", b"/1", b"/11", b"/111"]


async def test_what_is_missing_is_told_before_anything(tmp_path: Path, site: RawSite) -> None:
    """An absent secret, netrc and cookie file: all in one message with the keys, no value, nothing asked, no folder."""
    with pytest.raises(JobError) as caught:
        await run(
            tmp_path,
            [{"url": site.url()}],
            auth={
                **basic("a.test"),
                "gone": {"type": "bearer", "hosts": ["b.test"], "token": "env:NOT_THERE_AT_ALL"},
            },
        )
    assert "auth.gone.token" in str(caught.value)
    assert "NOT_THERE_AT_ALL" in str(caught.value)
    with pytest.raises(JobError) as caught:
        await run(
            tmp_path,
            [{"url": site.url()}],
            auth={"n": {"type": "netrc", "hosts": ["b.test"], "file": "gone.netrc"}},
            cookies={"jar": True, "load": "gone.txt"},
        )
    assert "auth.n" in str(caught.value)
    assert "cookies.load" in str(caught.value)
    assert not site.asked
    assert not (tmp_path / "out").exists()


async def test_bodies_that_need_not_be_read_are_checked_too(tmp_path: Path, site: RawSite) -> None:
    """A success of too few bytes, and one that is not JSON, as pages: neither is a page, the chain ends there."""
    site.answer = lambda asked: reply(body=b"<html>log in</html>", headers={"Link": "</2>; rel=next"})
    results = await run(tmp_path, [{"url": site.url("/1")}], paging={"next": "link"}, expect={"json": True})
    assert [record["reason"] for record in results.records] == ["unexpected-content"]
    assert len(site.asked) == 1


async def test_posts_are_repeated_where_asked_with_one_key(tmp_path: Path, site: RawSite) -> None:
    """retry.methods = POST: each attempt has the same Idempotency-Key and body; two rows have two keys."""
    seen: list[str] = []

    def answer(asked: Asked) -> bytes:
        seen.append(asked.headers["idempotency-key"])
        return reply(500) if seen.count(seen[-1]) < 3 else reply()

    site.answer = answer
    rows: list[Row] = [{"case": f"{n}", "url": site.url("/"), "method": "POST"} for n in range(2)]
    results = await run(
        tmp_path,
        rows,
        request={"idempotency_key": True},
        retry={"methods": ["POST"], "attempts": 3, "backoff": {"initial": "1ms", "max": "1ms"}},
    )
    assert set(results.ends().values()) == {"fetched"}
    assert sorted(seen.count(key) for key in set(seen)) == [3, 3]
