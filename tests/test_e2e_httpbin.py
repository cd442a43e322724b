"""httpbin behind a WSGI server, asked by whole jobs: each record is checked by what the server says it was sent."""

from __future__ import annotations

import base64
import csv
import gzip
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from time import monotonic
from time import time as wall_clock
from typing import Any

import orjson
import pytest

from crawler.errors import ExitCode
from tests.jobs import Row, records_of, run
from tests.peers import httpbin

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def bin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with httpbin(tmp_path_factory.mktemp("httpbin")) as url:
        yield url


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "pass word é")
    monkeypatch.setenv("PLAIN", "passwd")
    monkeypatch.setenv("WRONG", "mistaken")


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_every_method_arrives(tmp_path: Path, bin: str) -> None:
    """Each method reaches the server as itself; HEAD and OPTIONS have no body and are fetched all the same."""
    echoing = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    rows: list[Row] = [{"case": method, "method": method, "url": f"{bin}/anything/x"} for method in echoing]
    rows += [{"case": method, "method": method, "url": f"{bin}/get"} for method in ("HEAD", "OPTIONS")]
    rows.append({"case": "405", "method": "DELETE", "url": f"{bin}/post"})
    results = await run(tmp_path, rows)
    assert results.exit_code == ExitCode.FAILED
    for method in echoing:
        assert results.echo(method)["method"] == results.of(method)["method"] == method
        assert results.echo(method)["data"] == ""
    assert results.of("HEAD")["bytes"] == results.of("OPTIONS")["bytes"] == 0
    assert results.of("HEAD")["content_type"] == "application/json"
    assert (results.of("405")["reason"], results.of("405")["attempts"]) == ("status-405", 1)


async def test_each_kind_of_body_arrives(tmp_path: Path, bin: str) -> None:
    """json, form, multipart with texts and files, raw text and a file: the server reads out of each what was meant."""
    (tmp_path / "in.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "note é.txt").write_text("grüße\r\n")
    value = {"a": [1, 2.5, None, True], "ü": "\u2028"}
    rows: list[Row] = [
        {"case": "json", "url": "post", "json": value},
        {"case": "form", "url": "post", "form": {"a": ["1", "2 & 3"], "b": "ü=+", "n": 7}},
        {
            "case": "multipart",
            "url": "post",
            "multipart": {
                "text": ["one", "two ü"],
                "note": {"file": "note é.txt", "filename": "n.txt", "content_type": "text/plain"},
                "blob": {"file": "in.bin"},
            },
        },
        {"case": "body", "url": "put", "method": "PUT", "body": "raw ü", "headers": {"Content-Type": "text/x-own"}},
        {"case": "file", "url": "put", "method": "PUT", "body_file": "in.bin"},
        {"case": "gone", "url": "put", "method": "PUT", "body_file": "gone.bin"},
        {"case": "empty", "url": "post", "method": "POST"},
    ]
    results = await run(tmp_path, rows, request={"base_url": bin + "/"})
    echo = results.echo("json")
    assert (echo["json"], echo["headers"]["Content-Type"]) == (value, "application/json")
    echo = results.echo("form")
    assert echo["form"] == {"a": ["1", "2 & 3"], "b": "ü=+", "n": "7"}
    echo = results.echo("multipart")
    assert echo["form"] == {"text": ["one", "two ü"]}
    assert echo["files"]["note"] == "grüße\r\n"
    data = (tmp_path / "in.bin").read_bytes()
    assert base64.b64decode(echo["files"]["blob"].partition("base64,")[2]) == data
    echo = results.echo("body")
    assert (echo["data"], echo["headers"]["Content-Type"]) == ("raw ü", "text/x-own")
    echo = results.echo("file")
    assert base64.b64decode(echo["data"].partition("base64,")[2]) == data
    assert echo["headers"]["Content-Length"] == "1024"
    assert "Transfer-Encoding" not in echo["headers"]
    assert results.echo("empty")["headers"]["Content-Length"] == "0"
    assert (results.of("gone")["reason"], results.of("gone")["attempts"]) == ("upload-unreadable", 0)
    assert "gone.bin" in results.of("gone")["error"]
    assert len(results.records) == len(rows)


async def test_a_csv_says_all_that_a_jsonl_does(tmp_path: Path, bin: str) -> None:
    """Cells of a CSV hold JSON, query strings, cookie lines and files."""
    (tmp_path / "up.txt").write_text("from a file")
    names = ["url", "case", "method", "params", "headers", "json", "form", "multipart", "body", "body_file", "cookies"]
    rows = [
        {"case": "params", "url": "/get?z=0", "params": "a=1&a=2&b=x%20y"},
        {"case": "headers", "url": "/get", "headers": '{"X-One": "1, \\"2\\""}', "cookies": "a=b; c=d"},
        {"case": "json", "url": "/post", "json": '{"a": [1]}'},
        {"case": "form", "url": "/post", "form": "a=1&a=2"},
        {"case": "multipart", "url": "/post", "multipart": '{"f": {"file": "up.txt"}, "t": "x"}'},
        {"case": "body", "url": "/put", "method": "put", "body": "a,b\nc"},
        {"case": "file", "url": "/patch", "method": "PATCH", "body_file": "up.txt"},
    ]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    results = await run(tmp_path, [], input={"files": ["rows.csv"], "dedupe": False}, request={"base_url": bin + "/"})
    assert results.exit_code == ExitCode.OK
    assert results.echo("params")["args"] == {"z": "0", "a": ["1", "2"], "b": "x y"}
    headers = results.echo("headers")["headers"]
    assert (headers["X-One"], headers["Cookie"]) == ('1, "2"', "a=b; c=d")
    assert results.echo("json")["json"] == {"a": [1]}
    assert results.echo("form")["form"] == {"a": ["1", "2"]}
    assert (results.echo("multipart")["files"], results.echo("multipart")["form"]) == ({"f": "from a file"}, {"t": "x"})
    assert results.echo("body")["data"] == "a,b\nc"
    assert results.echo("file")["data"] == "from a file"


async def test_rows_stand_over_hosts_over_the_job(tmp_path: Path, bin: str) -> None:
    """Headers, params and cookies are laid over each other by name; method and body are replaced as a whole."""
    port = port_of(bin)
    rows: list[Row] = [
        {"case": "job", "url": f"http://a.test:{port}/anything"},
        {"case": "host", "url": f"http://b.test:{port}/anything"},
        {
            "case": "row",
            "url": f"http://b.test:{port}/anything?p=url",
            "method": "PATCH",
            "body": "row",
            "headers": {"x-job": "row", "X-Row": "1"},
            "params": {"job": "row", "l": ["1", "2"]},
            "cookies": {"c": "row"},
        },
    ]
    results = await run(
        tmp_path,
        rows,
        request={
            "headers": {"X-Job": "job", "X-Both": "job", "User-Agent": "mine/1"},
            "params": {"job": 1, "flag": True},
            "cookies": {"c": "job", "d": "job"},
            "json": {"from": "job"},
        },
        hosts={
            "b.test": {
                "headers": {"X-Both": "host", "x-host": "host"},
                "request": {"params": {"job": "host"}, "method": "PUT", "cookies": {"d": "host"}, "form": {"f": "1"}},
            }
        },
        connection={"resolve": {"a.test": "127.0.0.1", "b.test": "127.0.0.1"}},
    )
    assert results.exit_code == ExitCode.OK
    echo = results.echo("job")
    assert (echo["method"], echo["json"], echo["args"]) == ("POST", {"from": "job"}, {"job": "1", "flag": "true"})
    assert (echo["headers"]["X-Both"], echo["headers"]["User-Agent"]) == ("job", "mine/1")
    assert echo["headers"]["Cookie"] == "c=job; d=job"
    assert "X-Host" not in echo["headers"]
    echo = results.echo("host")
    assert (echo["method"], echo["form"], echo["json"]) == ("PUT", {"f": "1"}, None)
    assert echo["args"] == {"job": "host", "flag": "true"}
    assert [echo["headers"][name] for name in ("X-Job", "X-Both", "X-Host")] == ["job", "host", "host"]
    assert echo["headers"]["Cookie"] == "c=job; d=host"
    echo = results.echo("row")
    assert (echo["method"], echo["data"], echo["form"]) == ("PATCH", "row", {})
    assert echo["args"] == {"p": "url", "job": "row", "flag": "true", "l": ["1", "2"]}
    assert [echo["headers"][name] for name in ("X-Job", "X-Both", "X-Row")] == ["row", "host", "1"]
    assert echo["headers"]["Cookie"] == "c=row; d=host"


async def test_the_jar_keeps_what_servers_set(tmp_path: Path, bin: str) -> None:
    """Set on the way of a redirect, sent from then on, gone when deleted; not sent to another host."""
    other = bin.replace("127.0.0.1", "other.test")
    rows: list[Row] = [
        {"case": "set", "url": f"{bin}/cookies/set?a=1&b=2"},
        {"case": "kept", "url": f"{bin}/cookies"},
        {"case": "own", "url": f"{bin}/cookies", "cookies": {"a": "row", "z": "9"}},
        {"case": "other", "url": f"{other}/cookies"},
        {"case": "deleted", "url": f"{bin}/cookies/delete?a="},
        {"case": "left", "url": f"{bin}/cookies"},
    ]
    results = await run(
        tmp_path,
        rows,
        cookies={"jar": True},
        limits={"workers": 1},
        connection={"resolve": {"other.test": "127.0.0.1"}},
    )
    assert results.exit_code == ExitCode.OK
    got = {row["case"]: results.echo(row["case"])["cookies"] for row in rows}
    assert got["set"] == got["kept"] == {"a": "1", "b": "2"}
    assert got["own"] == {"a": "row", "b": "2", "z": "9"}
    assert got["other"] == {}
    assert got["deleted"] == got["left"] == {"b": "2"}
    without = await run(tmp_path, rows[:2])
    assert without.echo("kept")["cookies"] == {}


async def test_a_jar_is_loaded_persisted_and_saved(tmp_path: Path, bin: str) -> None:
    """cookies.txt in; cookies that last are there in the next run, those of the session are not; cookies.txt out."""
    far = str(int(wall_clock()) + 30 * 86400)
    (tmp_path / "in.txt").write_text(
        f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t{far}\tlasting\tyes\n"
        "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tonly\n"
        f"#HttpOnly_127.0.0.1\tFALSE\t/nowhere\tFALSE\t{far}\telsewhere\t1\n"
    )
    (tmp_path / "in.txt").chmod(0o600)
    cookies: dict[str, Any] = {"jar": True, "persist": True, "save": "out.txt"}
    rows: list[Row] = [{"case": "c", "url": f"{bin}/cookies"}]
    first = await run(tmp_path, rows, cookies={**cookies, "load": "in.txt"})
    assert first.echo("c")["cookies"] == {"lasting": "yes", "session": "only"}
    out = tmp_path / "out.txt"
    assert re.search(rf"^127\.0\.0\.1\tFALSE\t/\tFALSE\t{far}\tlasting\tyes$", out.read_text(), re.M)
    assert "#HttpOnly_127.0.0.1" in out.read_text()
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    second = await run(tmp_path, rows, cookies=cookies)
    assert second.ended.run_folder != first.ended.run_folder
    assert second.echo("c")["cookies"] == {"lasting": "yes"}
    third = await run(tmp_path, rows, cookies={"jar": True})
    assert third.echo("c")["cookies"] == {}


async def test_redirects_lead_on(tmp_path: Path, bin: str) -> None:
    """Relative, absolute and many hops; 307 keeps method and body, 302 makes a POST a GET, 303 also a PUT."""
    to = f"{bin}/anything/end"
    rows: list[Row] = [
        {"case": "relative", "url": f"{bin}/relative-redirect/3"},
        {"case": "absolute", "url": f"{bin}/absolute-redirect/3"},
        {"case": "most", "url": f"{bin}/redirect/5"},
        {"case": "more", "url": f"{bin}/redirect/6"},
        *(
            {
                "case": f"{method}-{status}",
                "method": method,
                "json": {"x": 1},
                "url": f"{bin}/redirect-to?url={to}&status_code={status}",
            }
            for method, status in (("POST", 302), ("POST", 307), ("PUT", 308), ("PUT", 303), ("PUT", 302))
        ),
        {"case": "loop", "url": f"{bin}/redirect-to?url=%2Fredirect-to%3Furl%3D%252Fredirect-to"},
        {"case": "scheme", "url": f"{bin}/redirect-to?url=file:///etc/passwd"},
    ]
    results = await run(tmp_path, rows, limits={"max_redirects": 5})
    for case in ("relative", "absolute", "most"):
        assert results.of(case)["final_url"] == results.echo(case)["url"] == f"{bin}/get"
    assert results.of("more")["reason"] == "too-many-redirects"
    for case, method, sent in (
        ("POST-302", "GET", None),
        ("POST-307", "POST", {"x": 1}),
        ("PUT-308", "PUT", {"x": 1}),
        ("PUT-303", "GET", None),
        ("PUT-302", "PUT", {"x": 1}),
    ):
        echo = results.echo(case)
        assert (echo["method"], echo["json"]) == (method, sent), case
        assert ("Content-Type" in echo["headers"]) == (sent is not None), case
        assert results.of(case)["final_url"] == to
    assert results.of("scheme")["reason"] == "blocked-scheme"


def auth(kind: str, **said: Any) -> dict[str, Any]:
    return {"x": {"type": kind, "hosts": ["127.0.0.1"], **said}}


async def test_basic_is_sent_unasked(tmp_path: Path, bin: str) -> None:
    """With the first request, so that a server that hides behind 404 lets us in; in UTF-8; a wrong one is rejected."""
    said = auth("basic", user="user", password="env:PASSWORD")
    rows: list[Row] = [
        {"case": "basic", "url": f"{bin}/basic-auth/user/pass%20word%20%C3%A9"},
        {"case": "hidden", "url": f"{bin}/hidden-basic-auth/user/pass%20word%20%C3%A9"},
        {"case": "head", "method": "HEAD", "url": f"{bin}/basic-auth/user/pass%20word%20%C3%A9"},
    ]
    results = await run(tmp_path, rows, auth=said)
    assert results.exit_code == ExitCode.OK
    assert results.echo("basic")["user"] == results.echo("hidden")["user"] == "user"
    assert {record["attempts"] for record in results.records} == {1}
    wrong = await run(tmp_path, rows, auth=auth("basic", user="user", password="env:WRONG"))
    assert wrong.ends() == {"basic": "auth-rejected", "hidden": "status-404", "head": "auth-rejected"}
    record = wrong.of("basic")
    assert (record["status"], record["attempts"]) == (401, 1)
    assert 'the server does not take this Basic credential for realm "Fake Realm"' in record["error"]
    assert "[auth.x]" in record["error"]
    assert "mistaken" not in (wrong.folder / "records.jsonl").read_text()


async def test_bearer(tmp_path: Path, bin: str) -> None:
    """The token arrives; without any section the error names what is wanted."""
    rows: list[Row] = [{"case": "bearer", "url": f"{bin}/bearer"}]
    results = await run(tmp_path, rows, auth=auth("bearer", token="env:PLAIN"))
    assert results.echo("bearer") == {"authenticated": True, "token": "passwd"}
    without = (await run(tmp_path, rows)).of("bearer")
    assert (without["reason"], without["status"], without["attempts"]) == ("status-401", 401, 1)
    assert "wants Bearer" in without["error"]
    assert "no credential of an [auth] section" in without["error"]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "none"])
async def test_digest(tmp_path: Path, bin: str, qop: str, algorithm: str) -> None:
    """Each algorithm with each qop; a body is sent again with the answer to the challenge."""
    url = f"{bin}/digest-auth/{qop}/user/passwd/{algorithm}"  # httpbin fails at any query
    rows: list[Row] = [{"case": f"{number}", "url": url} for number in range(3)]
    said = auth("digest", user="user", password="env:PLAIN")
    results = await run(tmp_path, rows, auth=said)
    assert results.exit_code == ExitCode.OK, results.records
    assert results.echo("2") == {"authenticated": True, "user": "user"}
    assert {record["attempts"] for record in results.records} == {1}
    wrong = await run(tmp_path, rows[:1], auth=auth("digest", user="user", password="env:WRONG"))
    assert (wrong.of("0")["reason"], wrong.of("0")["status"]) == ("auth-rejected", 401)
    assert "Digest" in wrong.of("0")["error"]


@pytest.mark.parametrize("workers", [1, 8])
async def test_stale_nonces_are_replaced(tmp_path: Path, bin: str, workers: int) -> None:
    """A nonce that went stale, as its cookie says, is replaced by another without being an error."""
    url = f"{bin}/digest-auth/auth/user/passwd/MD5/2"
    rows: list[Row] = [{"case": f"{number}", "url": url} for number in range(8)]
    said = auth("digest", user="user", password="env:PLAIN")
    results = await run(tmp_path, rows, auth=said, cookies={"jar": True}, limits={"workers": workers})
    assert results.exit_code == ExitCode.OK, results.records
    assert all(results.echo(row["case"])["authenticated"] for row in rows)
    assert {record["attempts"] for record in results.records} == {1}
    rounds = [
        record["request_id"].rpartition("-")[2] for record in results.records if record["request_id"].count("-") == 5
    ]
    assert len(rounds) > 1, "only the first request of a nonce is sent back"


async def test_what_the_server_wants_instead_is_named(tmp_path: Path, bin: str) -> None:
    """A section of another scheme than the server's: the error says both."""
    results = await run(
        tmp_path,
        [{"case": "d", "url": f"{bin}/digest-auth/auth/user/passwd"}, {"case": "b", "url": f"{bin}/basic-auth/u/p"}],
        auth=auth("basic", user="user", password="env:PLAIN"),
    )
    assert re.search(r"wants Digest realm \S+, this section offers Basic", results.of("d")["error"])
    results = await run(
        tmp_path,
        [{"case": "b", "url": f"{bin}/basic-auth/u/p"}],
        auth=auth("digest", user="user", password="env:PLAIN"),
    )
    assert results.ends() == {"b": "auth-rejected"}
    assert re.search(r"wants Basic realm \S+ \S+, this section offers Digest", results.of("b")["error"])


async def test_codings_are_undone_or_kept(tmp_path: Path, bin: str) -> None:
    """gzip, deflate and brotli are decoded; with decompress = false the bytes stay as they came."""
    rows: list[Row] = [
        {"case": name, "url": f"{bin}/{name}"} for name in ("gzip", "deflate", "brotli", "encoding/utf8")
    ]
    results = await run(tmp_path, rows)
    assert results.echo("gzip")["gzipped"] is True
    assert results.echo("deflate")["deflated"] is True
    assert results.echo("brotli")["brotli"] is True
    assert "∮ E⋅da = Q" in results.body("encoding/utf8").decode()
    assert results.of("encoding/utf8")["charset"] == "utf-8"
    raw = await run(tmp_path, rows, request={"decompress": False})
    data = raw.body("gzip")
    assert data[:2] == b"\x1f\x8b"
    assert orjson.loads(gzip.decompress(data))["gzipped"] is True
    assert raw.of("gzip")["sha256"] == sha256(data).hexdigest()
    only = await run(tmp_path, rows[:1], hosts={"127.0.0.1": {"request": {"decompress": False}}})
    assert only.body("gzip")[:2] == b"\x1f\x8b"


async def test_streams_arrive_whole(tmp_path: Path, bin: str) -> None:
    """Chunked, seeded, dripped and partial bodies, each with all its bytes."""
    rows: list[Row] = [
        {"case": "stream", "url": f"{bin}/stream/20"},
        {"case": "bytes", "url": f"{bin}/stream-bytes/100000?seed=1&chunk_size=777"},
        {"case": "plain", "url": f"{bin}/bytes/100000?seed=1"},
        {"case": "drip", "url": f"{bin}/drip?duration=1&numbytes=20&delay=0"},
        {"case": "range", "url": f"{bin}/range/1000", "headers": {"Range": "bytes=10-109"}},
        {"case": "whole", "url": f"{bin}/range/1000"},
        {"case": "image", "url": f"{bin}/image/png"},
        {"case": "etag", "url": f"{bin}/etag/abc"},
        {"case": "304", "url": f"{bin}/etag/abc", "headers": {"If-None-Match": '"abc"'}},
        {"case": "412", "url": f"{bin}/etag/abc", "headers": {"If-Match": '"other"'}},
    ]
    results = await run(tmp_path, rows, hosts={"127.0.0.1": {"request": {"accept_status": ["2xx", 304]}}})
    assert [orjson.loads(line)["id"] for line in results.body("stream").splitlines()] == list(range(20))
    assert len(results.body("bytes")) == 100000
    assert len(results.body("plain")) == 100000
    assert results.body("drip") == b"*" * 20
    alphabet = bytes(ord("a") + n % 26 for n in range(1000))
    assert results.body("whole") == alphabet
    assert results.body("range") == alphabet[10:110]
    assert results.of("range")["status"] == 206
    assert results.body("image")[:4] == b"\x89PNG"
    assert results.of("etag")["etag"] == "abc"
    assert (results.of("304")["outcome"], results.of("304")["status"]) == ("fetched", 304)
    assert results.ends()["412"] == "status-412"


async def test_statuses_and_delays(tmp_path: Path, bin: str) -> None:
    """503 is tried as often as the job says, a POST once; what is accepted is fetched; timeouts.read ends waiting."""
    rows: list[Row] = [
        {"case": "503", "url": f"{bin}/status/503"},
        {"case": "500-post", "method": "POST", "url": f"{bin}/status/500"},
        {"case": "418", "url": f"{bin}/status/418"},
        {"case": "404-b", "url": bin.replace("127.0.0.1", "b.test") + "/status/404"},
        {"case": "404", "url": f"{bin}/status/404"},
        {"case": "delay", "url": f"{bin}/delay/3"},
        {"case": "short", "url": f"{bin}/delay/0.2"},
    ]
    began = monotonic()
    results = await run(
        tmp_path,
        rows,
        retry={"attempts": 3, "backoff": {"initial": "10ms", "max": "20ms"}, "statuses": [500, 503]},
        timeouts={"read": "500ms"},
        breaker={"failures": 100},
        connection={"resolve": {"b.test": "127.0.0.1"}},
        hosts={"b.test": {"request": {"accept_status": [404]}}},
    )
    assert monotonic() - began < 15
    ends = results.ends()
    assert ends == {
        "503": "status-503",
        "500-post": "status-500",
        "418": "status-418",
        "404-b": "fetched",
        "404": "status-404",
        "delay": "read-timeout",
        "short": "fetched",
    }
    assert [results.of(case)["attempts"] for case in ("503", "500-post", "418", "delay")] == [3, 1, 1, 3]


async def test_a_login_page_is_no_success(tmp_path: Path, bin: str) -> None:
    """Content with status 200 that is not what the job expects: unexpected-content, said why, and no body kept."""
    rows: list[Row] = [
        {"case": "html", "url": f"{bin}/html"},
        {"case": "json", "url": f"{bin}/json"},
        {"case": "small", "url": f"{bin}/base64/e30="},
        {"case": "robots", "url": f"{bin}/robots.txt"},
    ]
    for expect, ends in (
        ({"content_type": ["application/json"]}, ("unexpected-content", "fetched", "unexpected-content")),
        ({"json": True}, ("unexpected-content", "fetched", "fetched")),
        ({"min_size": "100B"}, ("fetched", "fetched", "unexpected-content")),
        ({"not_contains": "Herman Melville"}, ("unexpected-content", "fetched", "fetched")),
        ({"contains": "slideshow"}, ("unexpected-content", "fetched", "unexpected-content")),
    ):
        results = await run(tmp_path, rows[:3], expect=expect)
        found = results.ends()
        assert (found["html"], found["json"], found["small"]) == ends, expect
        key = next(iter(expect))
        for record in results.records:
            if record["reason"]:
                assert f"expect.{key}" in record["error"]
                assert (record["status"], record["attempts"], record["body"]) == (200, 1, None)
        bodies = [file for file in (results.folder / "bodies").rglob("*") if file.is_file()]
        assert len(bodies) == sum(record["outcome"] == "fetched" for record in results.records)
    other = await run(tmp_path, rows, hosts={"127.0.0.1": {"expect": {"content_type": ["text/*"]}}})
    assert other.ends() == {
        "html": "fetched",
        "json": "unexpected-content",
        "small": "fetched",
        "robots": "fetched",
    }


async def test_a_head_has_no_body_to_be_expected(tmp_path: Path, bin: str) -> None:
    """What the job expects of bodies does not make each HEAD a failure; what it expects of heads counts."""
    rows: list[Row] = [
        {"case": "json", "method": "HEAD", "url": f"{bin}/json"},
        {"case": "html", "method": "HEAD", "url": f"{bin}/html"},
    ]
    expect = {"json": True, "min_size": "2B", "content_type": ["application/json"]}
    results = await run(tmp_path, rows, expect=expect)
    assert results.ends() == {"json": "fetched", "html": "unexpected-content"}


async def test_headers_stand_in_the_record(tmp_path: Path, bin: str) -> None:
    """headers_in_record gives those of the answer, without what it set as cookies."""
    rows: list[Row] = [{"case": "r", "url": f"{bin}/response-headers?X-Seen=1&Set-Cookie=a%3Dsecret"}]
    results = await run(
        tmp_path, rows, output={"dir": str(tmp_path / "out"), "headers_in_record": True}, cookies={"jar": True}
    )
    headers = results.of("r")["headers"]
    assert headers["x-seen"] == "1"
    assert "set-cookie" not in headers


def test_the_command_runs_a_job_file(tmp_path: Path, bin: str) -> None:
    """`crawler run` with sections, secrets by reference and rows: all fetched, exit 0, no secret in the output."""
    (tmp_path / "up.bin").write_bytes(os.urandom(300_000))
    rows = [
        {"url": "/put", "method": "PUT", "body_file": "up.bin", "case": "up"},
        {"url": "/basic-auth/me/s3cr3t-value", "case": "auth"},
        {"url": "/cookies/set?k=v", "case": "jar"},
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    (tmp_path / "secret").write_text("s3cr3t-value\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "job.toml").write_text(
        f"""
name = "e2e"
[input]
files = ["rows.jsonl"]
[request]
base_url = "{bin}/"
contact = "me@example.org"
[cookies]
jar = true
[auth.me]
type = "basic"
hosts = ["127.0.0.1"]
user = "me"
password = "file:secret"
[output]
dir = "{tmp_path}/out"
"""
    )
    command = [sys.executable, "-m", "crawler", "run", str(tmp_path / "job.toml")]
    ended = subprocess.run(command, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    records = {record["input"]["case"]: record for record in records_of(tmp_path / "out/e2e/latest")}
    assert {record["outcome"] for record in records.values()} == {"fetched"}
    echo = orjson.loads((tmp_path / "out/e2e/latest" / records["up"]["body"]).read_bytes())
    assert base64.b64decode(echo["data"].partition("base64,")[2]) == (tmp_path / "up.bin").read_bytes()
    secret = base64.b64encode(b"me:s3cr3t-value")
    echo_file = tmp_path / "out/e2e/latest" / records["up"]["body"]
    for file in [
        file for file in (tmp_path / "out").rglob("*") if file.is_file() and not file.samefile(echo_file)
    ]:  # its content in the store is the same file
        assert secret not in file.read_bytes(), file
    assert b"s3cr3t-value" not in ended.stderr.replace(b"/basic-auth/me/s3cr3t-value", b"") + ended.stdout
