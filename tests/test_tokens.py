"""The keeper of a token: one renewal for all who ask, in one process and in many, whatever the token endpoint does."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs

import pytest

import crawler.tokencache
import crawler.tokens
from crawler.auth.oauth2 import OAuth2
from crawler.auth.scheme import AGAIN, Answered, Draft, Step
from crawler.errors import Reason
from crawler.grants import Settings, TokenAnswer, TokenFault, TokenRequest, TokenTrouble
from crawler.tokencache import FileLock
from crawler.tokens import TokenKeeper
from crawler.tokentext import tokens_of

CLIENT = Settings("api", "client_credentials", "https://login.example/token", "me", "s3cret")
REFRESH = CLIENT._replace(grant="refresh_token", refresh_token="r0")
RNG = Random(1)


class Clock:
    """Wall seconds as the test says."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Endpoint:
    """A token endpoint: t1, t2 .. and, for refresh tokens, r1, r2 .., of which only the last is good (rotation).

    `trouble` is what it answers instead, once for each entry; it answers while `open` is set.
    """

    def __init__(self, life: float | None = 3600) -> None:
        self.life = life
        self.asked: list[dict[str, list[str]]] = []
        self.given = 0
        self.trouble: list[TokenAnswer | Exception] = []
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()

    async def __call__(self, request: TokenRequest) -> TokenAnswer:
        form = parse_qs(request.body.decode(), strict_parsing=True)
        self.asked.append(form)
        self.arrived.set()
        await self.open.wait()
        if self.trouble:
            trouble = self.trouble.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        return self.answer(form)

    def answer(self, form: dict[str, list[str]]) -> TokenAnswer:
        said: dict[str, Any] = {"token_type": "bearer", "expires_in": self.life}
        if form["grant_type"] == ["refresh_token"]:
            if form["refresh_token"] != [f"r{self.given}"]:
                return error("invalid_grant")
            said["refresh_token"] = f"r{self.given + 1}"
        self.given += 1
        return TokenAnswer(200, {}, json.dumps(said | {"access_token": f"t{self.given}"}).encode())


def error(code: str, status: int = 400) -> TokenAnswer:
    return TokenAnswer(status, {}, json.dumps({"error": code}).encode())


DOWN = TokenAnswer(500, {}, b"")


class Party:
    """One job: its scheme and its keeper."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Clock,
        cache: Path | None = None,
        settings: Settings = CLIENT,
        lock_wait: float = 30.0,
    ) -> None:
        self.clock = clock
        self.scheme = OAuth2(settings)
        self.keeper = TokenKeeper(self.scheme, endpoint, cache, clock, lock_wait=lock_wait)

    def token(self) -> str:
        """The token that is sent now."""
        assert not self.scheme.stale(self.clock())
        signed = self.scheme.sign(Draft("GET", "https://api.example/", {}), self.clock(), RNG)
        return signed.headers["Authorization"].removeprefix("Bearer ")

    async def renewed(self) -> str:
        """The token after a renewal, if one is due, that must succeed."""
        assert await self.keeper.renew() is None
        return self.token()

    async def failed(self) -> TokenFault:
        """The fault of a renewal that must fail."""
        fault = await self.keeper.renew()
        assert fault is not None
        return fault

    def refuse(self) -> None:
        """The server says 401 to the token at hand."""
        draft = Draft("GET", "https://api.example/", {})
        signed = self.scheme.sign(draft, self.clock(), RNG)
        assert self.scheme.accept(draft, signed, Answered(401, {}), self.clock()) == AGAIN


@pytest.mark.parametrize("module", [crawler.tokens, crawler.tokencache])
def test_nobody_sleeps_here(module: Any) -> None:
    """A back-off is told, not waited for; and a lock is waited for in the kernel."""
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(node, ast.Call)
    ]
    assert len(calls) > 20
    assert [call for call in calls if "sleep" in call or call.endswith("call_later")] == []


@pytest.mark.parametrize("cached", [False, True])
async def test_a_thousand_callers_cause_one_renewal(tmp_path: Path, cached: bool) -> None:
    """All of them get its result, and who comes later needs none."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock, tmp_path / "t.json" if cached else None)
    endpoint.open.clear()
    callers = [asyncio.create_task(party.keeper.renew()) for _ in range(1000)]
    await endpoint.arrived.wait()
    endpoint.open.set()
    assert await asyncio.gather(*callers) == [None] * 1000
    assert await party.keeper.renew() is None
    assert (len(endpoint.asked), party.token()) == (1, "t1")


async def test_a_thousand_callers_get_one_fault() -> None:
    """And the endpoint is asked once."""
    endpoint = Endpoint()
    endpoint.trouble = [DOWN] * 1000
    party = Party(endpoint, Clock())
    faults = await asyncio.gather(*(party.keeper.renew() for _ in range(1000)))
    assert len(set(faults)) == 1
    assert faults[0] == TokenFault(
        Reason.AUTH_UNAVAILABLE, "[auth.api] the token endpoint login.example answered 500", 1.0
    )
    assert len(endpoint.asked) == 1


async def test_a_thousand_workers_meeting_a_401_cause_one_renewal_and_lose_nothing() -> None:
    """A server that counts, and whose tokens are revoked or end: each request ends well, sent twice at the most."""
    endpoint, clock = Endpoint(life=60), Clock()
    party = Party(endpoint, clock)
    revoked = 0

    async def request(together: asyncio.Barrier) -> int:
        """How often it was sent until it was answered with 200."""
        for round in range(2):
            if party.scheme.stale(clock()):
                assert await party.keeper.renew() is None
            draft = Draft("GET", "https://api.example/", {}, round=round)
            signed = party.scheme.sign(draft, clock(), RNG)
            if round == 0:
                await together.wait()  # all are on their way with the same token
            status = 200 if int(signed.headers["Authorization"].removeprefix("Bearer t")) > revoked else 401
            step = party.scheme.accept(draft, signed, Answered(status, {}), clock()).step
            if step is not Step.AGAIN:
                assert (step, status) == (Step.FINE, 200)
                return round + 1
        raise AssertionError("refused twice")

    async def wave() -> set[int]:
        together = asyncio.Barrier(1000)
        return set(await asyncio.gather(*(request(together) for _ in range(1000))))

    assert (await wave(), len(endpoint.asked)) == ({1}, 1)
    revoked = endpoint.given  # nothing but a 401 tells
    assert (await wave(), len(endpoint.asked)) == ({2}, 2)
    clock.now += 60
    assert (await wave(), len(endpoint.asked)) == ({1}, 3)


async def test_who_is_cancelled_does_not_cancel_the_others() -> None:
    """Not even the first, who began it; and when all are gone it still ends, with a token."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock)
    endpoint.open.clear()
    callers = [asyncio.create_task(party.keeper.renew()) for _ in range(10)]
    await endpoint.arrived.wait()
    for caller in callers[:9]:
        caller.cancel()
    assert [type(end) for end in await asyncio.gather(*callers[:9], return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 9
    endpoint.open.set()
    assert await callers[9] is None
    party.refuse()
    endpoint.open.clear()
    endpoint.arrived.clear()
    alone = asyncio.create_task(party.keeper.renew())
    await endpoint.arrived.wait()
    alone.cancel()
    await asyncio.wait([alone])
    endpoint.open.set()
    await party.keeper.close()
    assert (len(endpoint.asked), party.token()) == (2, "t2")


async def test_a_fault_of_the_endpoint_backs_off() -> None:
    """1, 2, 4 .. 60 s in which it is not asked, and the fault is told at once with what is left; then all is well."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock)
    for number, wait in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
        endpoint.trouble = [DOWN]
        fault = await party.failed()
        assert (len(endpoint.asked), fault.retry_in) == (number, wait)
        clock.now += wait - 0.5
        again = await party.failed()
        assert (len(endpoint.asked), again) == (number, fault._replace(retry_in=0.5))
        clock.now += 0.5
    assert await party.renewed() == "t1"
    party.refuse()
    endpoint.trouble = [DOWN]
    assert (await party.failed()).retry_in == 1.0


async def test_retry_after_is_respected() -> None:
    """Where it is longer than the back-off."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock)
    endpoint.trouble = [TokenAnswer(429, {"Retry-After": "120"}, b""), TokenAnswer(503, {"Retry-After": "1"}, b"")]
    assert (await party.failed()).retry_in == 120.0
    clock.now += 119
    await party.failed()
    assert len(endpoint.asked) == 1
    clock.now += 1
    assert (await party.failed()).retry_in == 2.0
    assert len(endpoint.asked) == 2


async def test_a_clock_that_is_set_back_ends_the_back_off() -> None:
    """No wait above its cap (a day otherwise)."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock)
    endpoint.trouble = [DOWN]
    await party.failed()
    clock.now -= 86400
    assert await party.renewed() == "t1"


async def test_trouble_on_the_way_is_unavailable() -> None:
    """Named by its own words, and tried again after the back-off."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock)
    endpoint.trouble = [TokenTrouble("does not answer within 10 s")]
    assert await party.failed() == TokenFault(
        Reason.AUTH_UNAVAILABLE, "[auth.api] the token endpoint login.example does not answer within 10 s", 1.0
    )
    clock.now += 1
    assert await party.renewed() == "t1"


async def test_a_bug_in_ask_reaches_everybody_and_is_not_kept(tmp_path: Path) -> None:
    """It is no fault of the endpoint; the lock is free afterwards."""
    endpoint = Endpoint()
    party = Party(endpoint, Clock(), tmp_path / "t.json")
    endpoint.trouble = [ZeroDivisionError("bug")]
    ends = await asyncio.gather(*(party.keeper.renew() for _ in range(3)), return_exceptions=True)
    assert [type(end) for end in ends] == [ZeroDivisionError] * 3
    assert await party.renewed() == "t1"


async def test_a_rejection_is_final() -> None:
    """However long one waits the endpoint is not asked again."""
    endpoint, clock = Endpoint(), Clock()
    party = Party(endpoint, clock)
    endpoint.trouble = [error("invalid_client", 401)]
    fault = await party.failed()
    assert (fault.reason, fault.retry_in) == (Reason.AUTH_REJECTED, None)
    assert "invalid_client" in fault.error
    clock.now += 1e6
    assert await party.failed() == fault
    assert len(endpoint.asked) == 1


async def test_a_token_that_is_still_good_serves_while_the_endpoint_is_down() -> None:
    """Within the skew a failed renewal is no fault; the endpoint is asked as often as the back-off allows."""
    endpoint, clock = Endpoint(life=100), Clock()
    party = Party(endpoint, clock)
    await party.renewed()
    endpoint.trouble = [DOWN] * 100
    clock.now += 70
    for _ in range(29):
        assert await party.renewed() == "t1"
        clock.now += 1
    assert len(endpoint.asked) == 1 + 5
    clock.now += 1
    assert (await party.failed()).reason is Reason.AUTH_UNAVAILABLE


@pytest.mark.parametrize("settings", [CLIENT, REFRESH])
async def test_jobs_that_share_a_cache_ask_once_an_expiry(tmp_path: Path, settings: Settings) -> None:
    """Ten jobs, by turns first: one request each time, all have the same token, and no old refresh token is sent."""
    endpoint, clock = Endpoint(life=60), Clock()
    parties = [Party(endpoint, clock, tmp_path / "t.json", settings) for _ in range(10)]
    for number in range(1, 6):
        tokens = await asyncio.gather(*(party.renewed() for party in parties))
        assert tokens == [f"t{number}"] * 10
        assert len(endpoint.asked) == number
        parties = parties[3:] + parties[:3]
        clock.now += 60
    assert [form.get("refresh_token") for form in endpoint.asked] == [
        [f"r{number}"] if settings is REFRESH else None for number in range(5)
    ]


async def test_a_later_run_goes_on_with_the_cached_token(tmp_path: Path) -> None:
    """While it is good nobody is asked; afterwards its rotated refresh token is used, not the job's spent one."""
    endpoint, clock = Endpoint(life=60), Clock()
    assert await Party(endpoint, clock, tmp_path / "t.json", REFRESH).renewed() == "t1"
    assert await Party(endpoint, clock, tmp_path / "t.json", REFRESH).renewed() == "t1"
    clock.now += 1e6
    assert await Party(endpoint, clock, tmp_path / "t.json", REFRESH).renewed() == "t2"
    assert [form["refresh_token"] for form in endpoint.asked] == [["r0"], ["r1"]]


async def test_a_new_refresh_token_in_the_job_is_used(tmp_path: Path) -> None:
    """Rather than what descends from the old one."""
    endpoint, clock = Endpoint(life=60), Clock()
    await Party(endpoint, clock, tmp_path / "t.json", REFRESH).renewed()
    fresh = Party(endpoint, clock, tmp_path / "t.json", REFRESH._replace(refresh_token="r1"))
    assert await fresh.renewed() == "t2"


async def test_a_401_takes_the_token_another_job_has_renewed(tmp_path: Path) -> None:
    """A revocation that hits all jobs costs one request."""
    endpoint, clock = Endpoint(), Clock()
    parties = [Party(endpoint, clock, tmp_path / "t.json", REFRESH) for _ in range(5)]
    for party in parties:
        await party.renewed()
    for party in parties:
        party.refuse()
    assert [await party.renewed() for party in parties] == ["t2"] * 5
    assert len(endpoint.asked) == 2


async def test_a_fault_ends_when_another_job_has_a_token(tmp_path: Path) -> None:
    """Back-off and rejection alike: the changed cache is looked at, at once, and the endpoint is left alone."""
    for trouble in (DOWN, error("invalid_client")):
        endpoint, clock = Endpoint(), Clock()
        cache = tmp_path / f"{trouble.status}.json"
        unlucky, lucky = Party(endpoint, clock, cache), Party(endpoint, clock, cache)
        endpoint.trouble = [trouble]
        fault = await unlucky.failed()
        assert await unlucky.failed() == fault
        await lucky.renewed()
        assert await unlucky.renewed() == "t1"
        assert len(endpoint.asked) == 2


async def test_a_rejection_ends_when_another_job_has_a_refresh_token(tmp_path: Path) -> None:
    """Though the token beside it has ended meanwhile: the endpoint is asked with the new one."""
    endpoint, clock, cache = Endpoint(life=60), Clock(), tmp_path / "t.json"
    unlucky, lucky = Party(endpoint, clock, cache, REFRESH), Party(endpoint, clock, cache, REFRESH)
    endpoint.trouble = [error("invalid_client")]
    await unlucky.failed()
    await lucky.renewed()
    clock.now += 60
    assert await unlucky.renewed() == "t2"


async def test_a_fault_that_stands_is_told_without_the_lock(tmp_path: Path) -> None:
    """10,000 requests that meet it do not wait for other jobs."""
    endpoint, clock, cache = Endpoint(life=60), Clock(), tmp_path / "t.json"
    party = Party(endpoint, clock, cache)
    await party.renewed()
    clock.now += 60
    endpoint.trouble = [DOWN]
    fault = await party.failed()
    lock = FileLock(tmp_path / "t.json.lock")
    assert await asyncio.wait_for(party.failed(), 20) == fault
    lock.release()


async def test_a_rejection_stands_when_the_cache_changes_for_others(tmp_path: Path) -> None:
    """A token of another section is none of ours."""
    endpoint, clock = Endpoint(), Clock()
    cache = tmp_path / "t.json"
    ours, other = Party(endpoint, clock, cache), Party(endpoint, clock, cache, CLIENT._replace(scope="x"))
    endpoint.trouble = [error("invalid_scope")]
    fault = await ours.failed()
    for number in range(2, 5):
        await other.renewed()
        assert await ours.failed() == fault
        assert len(endpoint.asked) == number
        other.refuse()


async def test_a_cache_that_cannot_be_had_does_not_stop_the_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A token is had all the same, and one warning names the path."""
    (tmp_path / "file").write_text("")
    endpoint, clock = Endpoint(life=60), Clock()
    party = Party(endpoint, clock, tmp_path / "file" / "t.json", REFRESH)
    for number in range(1, 4):
        assert await party.renewed() == f"t{number}"
        clock.now += 60
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(tmp_path / "file" / "t.json") in caplog.text


async def test_a_cache_that_others_can_read_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its token is not taken; the new one stands in a file of the owner's alone."""
    endpoint, clock, cache = Endpoint(), Clock(), tmp_path / "t.json"
    await Party(endpoint, clock, cache).renewed()
    cache.chmod(0o644)
    assert await Party(endpoint, clock, cache).renewed() == "t2"
    assert cache.stat().st_mode & 0o777 == 0o600
    assert await Party(endpoint, clock, cache).renewed() == "t2"
    assert len(caplog.records) == 1


async def test_a_hung_holder_of_the_lock_stops_refresh_tokens_alone(tmp_path: Path) -> None:
    """Client credentials go on without writing; a refresh token that the other may be using up is not sent."""
    endpoint, clock, cache = Endpoint(), Clock(), tmp_path / "t.json"
    lock = FileLock(tmp_path / "t.json.lock")
    assert await Party(endpoint, clock, cache, lock_wait=0.01).renewed() == "t1"
    assert not cache.exists()
    fault = await Party(endpoint, clock, cache, REFRESH, lock_wait=0.01).failed()
    assert fault.reason is Reason.AUTH_UNAVAILABLE
    assert f"{cache}.lock is held by another process" in fault.error
    assert len(endpoint.asked) == 1
    endpoint.given = 0
    lock.release()
    assert await Party(endpoint, clock, cache, REFRESH).renewed() == "t1"


async def test_a_keeper_that_is_closed_ends_its_renewal(tmp_path: Path) -> None:
    """The refresh token that was sent is used up, so the answer is waited for and kept."""
    endpoint, clock, cache = Endpoint(), Clock(), tmp_path / "t.json"
    party = Party(endpoint, clock, cache, REFRESH)
    endpoint.open.clear()
    caller = asyncio.create_task(party.keeper.renew())
    await endpoint.arrived.wait()
    caller.cancel()
    closing = asyncio.create_task(party.keeper.close())
    endpoint.open.set()
    await closing
    await party.keeper.close()
    assert [token.refresh for token in tokens_of(cache.read_bytes()).values()] == ["r1"]
    assert await Party(endpoint, clock, cache, REFRESH).renewed() == "t1"


def test_a_token_that_came_is_kept_though_all_is_cancelled(tmp_path: Path) -> None:
    """Everything is stopped while the new token waits for a thread to write it: it is written, and the lock is free."""
    cache, gate = tmp_path / "t.json", threading.Event()

    async def main() -> None:
        loop, endpoint, answered = asyncio.get_running_loop(), Endpoint(), asyncio.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))

        async def ask(request: TokenRequest) -> TokenAnswer:
            loop.run_in_executor(None, gate.wait, 20)  # the only thread is busy from now on
            answered.set()
            return await endpoint(request)

        scheme = OAuth2(REFRESH)
        keeper = TokenKeeper(scheme, ask, cache, Clock())
        caller = asyncio.create_task(keeper.renew())
        await answered.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert caller.cancelled()
        assert scheme.generation == 1
        assert not cache.exists()
        gate.set()

    asyncio.run(main())
    assert [token.refresh for token in tokens_of(cache.read_bytes()).values()] == ["r1"]
    FileLock(tmp_path / "t.json.lock").release()


async def test_no_repr_shows_a_secret(tmp_path: Path) -> None:
    """The keeper tells its state alone."""
    party = Party(Endpoint(), Clock(), tmp_path / "t.json", REFRESH)
    await party.renewed()
    shown = repr([party.keeper, party.scheme])
    assert not any(word in shown for word in ("t1", "r0", "r1", "s3cret"))


# A job that has its token renewed when it is told the time, and says before that it is about to.
JOB = """\
import asyncio, sys
from pathlib import Path
from random import Random
from urllib.parse import urlsplit
from crawler.auth.oauth2 import OAuth2
from crawler.auth.scheme import Draft
from crawler.grants import Settings, TokenAnswer
from crawler.tokens import TokenKeeper

url, cache = sys.argv[1:]
now = 0.0

async def ask(request):
    parts = urlsplit(request.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = "".join(f"{name}: {value}\\r\\n" for name, value in request.headers.items())
    start = f"POST {parts.path} HTTP/1.0\\r\\nContent-Length: {len(request.body)}\\r\\n{head}\\r\\n"
    writer.write(start.encode() + request.body)
    head, _, body = (await reader.read()).partition(b"\\r\\n\\r\\n")
    writer.close()
    return TokenAnswer(int(head.split()[1]), {}, body)

async def main():
    global now
    scheme = OAuth2(Settings("api", "refresh_token", url, "me", "s3cret", refresh_token="r0"))
    keeper = TokenKeeper(scheme, ask, Path(cache), lambda: now)
    for line in iter(sys.stdin.readline, ""):
        now = float(line)
        print("asking", flush=True)
        fault = await keeper.renew()
        sign = lambda: scheme.sign(Draft("GET", "http://x/", {}), now, Random(1)).headers["Authorization"]
        print(fault.error if fault else sign(), flush=True)

asyncio.run(main())
"""


class TokenServer:
    """An Endpoint behind HTTP, which takes up a request once `ready` is set, and forgets one whose sender is `gone`."""

    def __init__(self) -> None:
        self.endpoint = Endpoint(life=60)
        self.ready = asyncio.Event()
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        body = await reader.readexactly(int(head.partition("content-length: ")[2].split()[0]))
        self.arrived.set()
        waits = [asyncio.create_task(self.ready.wait()), asyncio.create_task(reader.read(1))]
        _, others = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if not self.ready.is_set():
            self.gone.set()
            return writer.close()
        answer = await self.endpoint(TokenRequest("", {}, body))
        writer.write(b"HTTP/1.0 %d X\r\n\r\n" % answer.status + answer.body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def token_server() -> AsyncIterator[TokenServer]:
    site = TokenServer()
    async with await asyncio.start_server(site.serve, "127.0.0.1", 0) as server:
        site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
        yield site


@asynccontextmanager
async def jobs(count: int, *arguments: str) -> AsyncIterator[list[Process]]:
    command = (sys.executable, "-c", JOB, *arguments)
    processes = [await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def tell(job: Process, now: float) -> None:
    assert job.stdin is not None
    job.stdin.write(f"{now}\n".encode())


async def said(job: Process) -> str:
    assert job.stdout is not None
    return (await asyncio.wait_for(job.stdout.readline(), 20)).decode().rstrip("\n")


@pytest.mark.slow
async def test_processes_that_share_a_cache_ask_once_an_expiry(tmp_path: Path) -> None:
    """Three processes renewing at the same time over ten expiries, by rotating refresh tokens: none is used twice."""
    async with token_server() as site, jobs(3, site.url, str(tmp_path / "t.json")) as processes:
        for number in range(1, 11):
            site.ready.clear()
            for job in processes:
                tell(job, 1_700_000_000.0 + number * 60)
            assert [await said(job) for job in processes] == ["asking"] * 3
            site.ready.set()  # not before all of them are at it
            assert [await said(job) for job in processes] == [f"Bearer t{number}"] * 3
        assert [form["refresh_token"] for form in site.endpoint.asked] == [[f"r{number}"] for number in range(10)]


@pytest.mark.slow
async def test_a_process_killed_in_a_renewal_frees_the_others(tmp_path: Path) -> None:
    """Its lock ends with it (kill -9), and the next one renews, with the refresh token that is good."""
    async with token_server() as site, jobs(2, site.url, str(tmp_path / "t.json")) as (first, second):
        site.ready.set()
        tell(first, 1_700_000_000.0)
        assert [await said(first), await said(first)] == ["asking", "Bearer t1"]
        site.ready.clear()
        site.arrived.clear()
        tell(first, 1_700_000_060.0)
        await site.arrived.wait()
        tell(second, 1_700_000_060.0)
        assert await said(second) == "asking"
        first.kill()
        await site.gone.wait()
        site.ready.set()
        assert await said(second) == "Bearer t2"
        assert [form["refresh_token"] for form in site.endpoint.asked] == [["r0"], ["r1"]]
