"""Attempts that go on with what an earlier one kept: against a server that answers ranges rightly, wrongly, or anew."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from crawler.errors import Reason
from crawler.fetch import Fetcher, FetchRules
from crawler.hosts import HostRules
from crawler.model import Failed, Fetched, Outcome, Promised, Request
from crawler.pace import PaceLimits
from crawler.partial import Partial, Span, loads
from crawler.session import Session, SessionSettings
from crawler.spool import Keep
from crawler.watch import Limits, Watch
from tests.fakes import HOST_RULES
from tests.peers import looked_after
from tests.ranged import LONG_AGO, MIB, TODAY, Seen, ranged, reply, until

DATA = Random(1).randbytes(5 * MIB)
NEW = Random(2).randbytes(5 * MIB)
CUT = 2 * MIB + 1000
LIMITS = Limits(connect=2, read=0.3, total=20, stall=5, min_speed=1)
HOST = HOST_RULES._replace(pace=PaceLimits(1), timeouts=LIMITS, max_body=1 << 30)


class Attempts:
    """Attempts at one request, one after another, as a run makes them; each ends with nothing left open."""

    def __init__(self, folder: Path, session: Session, watch: Watch, host: HostRules) -> None:
        self.told: list[Partial | None] = []
        keep = Keep(str(folder))
        rules = FetchRules(
            "run", {}, keep, lambda _: host, lambda _: True, keeper=lambda _, kept: self.told.append(kept)
        )
        self._folder = folder
        self.watch = watch
        self._fetch = Fetcher(session, rules, watch)

    async def __call__(self, request: Request) -> Fetched | Failed:
        outcome = await self._fetch(request)
        assert not self.watch.transfers
        named = {request.partial.path} if request.partial is not None else set()
        named |= {outcome.body.part} if isinstance(outcome, Fetched) and outcome.body.part else set()
        assert {str(path) for path in self._folder.iterdir()} == named
        assert (self.told[-1] if self.told else None) == request.partial
        return outcome


@asynccontextmanager
async def attempts(folder: Path, host: HostRules = HOST) -> AsyncIterator[Attempts]:
    watch = Watch(0.02)
    async with looked_after(watch), Session(SessionSettings(4, 30, 60, {"Accept-Encoding": "gzip, br"})) as session:
        yield Attempts(folder, session, watch, host)


def once(cut: int = CUT) -> Callable[[Seen], int | None]:
    """The first answer breaks off."""
    return lambda seen: cut if seen.number == 1 else None


def whole(outcome: Outcome, data: bytes = DATA) -> bool:
    """Did the body arrive as it is."""
    assert isinstance(outcome, Fetched), outcome.error
    assert outcome.body.part is not None
    found = Path(outcome.body.part).read_bytes()
    return (found, outcome.body.size, outcome.body.sha256) == (data, len(data), sha256(data).hexdigest())


async def test_an_attempt_goes_on_where_the_last_broke_off(tmp_path: Path) -> None:
    """The rest is asked for by Range and If-Range, without a coding; what comes of it is as the 200 told."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = once()
        request = Request(1, site.url, "h")
        first = await attempt(request)
        assert isinstance(first, Failed)
        assert (first.reason, first.gained) == (Reason.TRUNCATED, CUT)
        assert request.partial is not None
        assert request.partial.spans == (Span(0, CUT),)
        second = await attempt(request)
    assert whole(second)
    assert isinstance(second, Fetched)
    assert (second.status, second.headers["content-type"], second.length_checked) == (200, "text/css", True)
    asked = site.seen[1].headers
    assert (asked["range"], asked["if-range"]) == (f"bytes={CUT}-", '"v1"')
    assert asked["accept-encoding"] == "identity"
    assert site.sent == len(DATA)
    assert [seen.headers["x-request-id"] for seen in site.seen] == ["run-1-1-0", f"run-1-1-0-0-{CUT}"]


@pytest.mark.parametrize("how", ["reset", "hang", "chunked", "dated"])
async def test_however_it_breaks_off(tmp_path: Path, how: str) -> None:
    """In silence, without a length, or with a date for a validator: no byte is fetched twice."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut, site.hang, site.chunked = once(), how == "hang", how == "chunked"
        if how == "dated":
            site.headers = {"Last-Modified": LONG_AGO}
        request = Request(1, site.url, "h")
        first = await attempt(request)
        assert isinstance(first, Failed)
        assert first.reason is (Reason.READ_TIMEOUT if how == "hang" else Reason.TRUNCATED)
        assert whole(await attempt(request))
    assert site.ranges == [None, f"bytes={CUT}-"]
    assert site.sent == len(DATA)


async def test_many_cuts_cost_no_byte(tmp_path: Path) -> None:
    """Each attempt gains; the digest goes on from attempt to attempt."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: MIB + 7
        request = Request(1, site.url, "h")
        outcome = await attempt(request)
        while isinstance(outcome, Failed):
            assert outcome.gained == MIB + 7
            assert request.partial is not None
            assert request.partial.hashed is not None
            assert request.partial.hashed.size == request.partial.size
            outcome = await attempt(request)
    assert whole(outcome)
    assert site.sent == len(DATA)


@pytest.mark.parametrize("moved", [False, True])
async def test_another_process_goes_on(tmp_path: Path, moved: bool) -> None:
    """By the text alone; what stands in the file beyond the durable bytes is dropped, wherever the folder is now."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    async with ranged(DATA) as site:
        site.cut = once()
        async with attempts(old) as attempt:
            request = Request(1, site.url, "h")
            await attempt(request)
            assert request.partial is not None
            text = request.partial.dumps()
            path = Path(request.partial.path)
            path.write_bytes(path.read_bytes() + b"never synced")
        folder = old.rename(new) if moved else old
        async with attempts(folder) as attempt:
            request = Request(1, site.url, "h")
            request.partial = loads(text, str(folder))
            attempt.told.append(request.partial)
            assert whole(await attempt(request))
    assert site.sent == len(DATA)


@pytest.mark.parametrize("damage", ["gone", "short", "link", "folder"])
async def test_a_part_that_is_not_what_it_was_is_fetched_anew(tmp_path: Path, damage: str) -> None:
    """No range is asked for, and nothing planted is written to."""
    victim = tmp_path / "victim"
    victim.write_bytes(DATA)
    parts = tmp_path / "parts"
    parts.mkdir()
    async with ranged(DATA) as site, attempts(parts) as attempt:
        site.cut = once()
        request = Request(1, site.url, "h")
        await attempt(request)
        assert request.partial is not None
        path = Path(request.partial.path)
        if damage == "short":
            os.truncate(path, CUT - 1)
        else:
            path.unlink()
        if damage == "link":
            path.symlink_to(victim)
        if damage == "folder":
            request.partial = request.partial._replace(path=str(tmp_path))
        assert whole(await attempt(request))
    assert site.ranges == [None, None]
    assert victim.read_bytes() == DATA


# -- answers to a range ------------------------------------------------------------------------------------------------


async def test_a_changed_body_comes_anew(tmp_path: Path) -> None:
    """The validator is another one, so the server answers 200: that very answer is the body."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = once()
        request = Request(1, site.url, "h")
        await attempt(request)
        site.data, site.headers["ETag"] = NEW, '"v2"'
        outcome = await attempt(request)
    assert whole(outcome, NEW)
    assert len(site.seen) == 2
    assert isinstance(outcome, Fetched)
    assert outcome.headers["ETag"] == '"v2"'


async def test_a_server_that_gives_no_ranges_is_no_gain(tmp_path: Path) -> None:
    """Each answer is taken from its start; an attempt that comes no further than the one before counts."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: {1: CUT, 2: CUT, 3: CUT + MIB}.get(seen.number)
        site.know_no_ranges()
        request = Request(1, site.url, "h")
        gained = []
        for _ in range(3):
            outcome = await attempt(request)
            assert isinstance(outcome, Failed)
            gained.append(outcome.gained)
        assert whole(await attempt(request))
    assert gained == [CUT, 0, MIB]


REST = DATA[CUT:]
RIGHT = {"Content_Range": f"bytes {CUT}-{len(DATA) - 1}/{len(DATA)}", "ETag": '"v1"'}


@pytest.mark.parametrize(
    "wrong",
    [
        reply("206 P", REST, **{**RIGHT, "Content_Range": f"bytes {CUT - 1}-{len(DATA) - 2}/{len(DATA)}"}),
        reply("206 P", REST[1:], **{**RIGHT, "Content_Range": f"bytes {CUT + 1}-{len(DATA) - 1}/{len(DATA)}"}),
        reply("206 P", DATA, **{**RIGHT, "Content_Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}),
        reply("206 P", REST, **{**RIGHT, "Content_Range": f"bytes {CUT}-{len(DATA) - 1}/{len(DATA) + 1}"}),
        reply("206 P", REST, **{**RIGHT, "Content_Range": f"bytes {CUT}-{len(DATA) - 1}/*"}),
        reply("206 P", REST, **{**RIGHT, "ETag": '"v2"'}),
        reply("206 P", REST, **{**RIGHT, "ETag": 'W/"v1"'}),
        reply("206 P", REST, Content_Range=RIGHT["Content_Range"]),
        reply("206 P", REST, ETag='"v1"'),
        reply("206 P", REST, ETag='"v1"', Content_Type="multipart/byteranges; boundary=x"),
        reply("206 P", REST, **RIGHT, Content_Encoding="gzip"),
        reply("412 Precondition Failed"),
        reply("416 No", Content_Range=f"bytes */{len(DATA)}"),
        reply("416 No"),
    ],
    ids=[
        *("one early", "one late", "all", "other total", "no total", "other ETag", "weak ETag", "no ETag"),
        *("no Content-Range", "multipart", "coded", "412", "416", "bare 416"),
    ],
)
async def test_a_wrong_answer_to_a_range_leads_to_the_start(tmp_path: Path, wrong: bytes) -> None:
    """Nothing of it is kept; it is asked again at once, without counting, as a whole and never again in parts."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: CUT if seen.number in (1, 3) else None
        site.answer = lambda seen: wrong if seen.start is not None else None
        request = Request(1, site.url, "h")
        await attempt(request)
        outcome = await attempt(request)
        assert isinstance(outcome, Fetched)
        assert outcome.again
        assert request.warning is not None
        assert f"go on at byte {CUT}" in request.warning
        assert request.partial is None
        assert isinstance(await attempt(request), Failed)
        assert whole(await attempt(request))
    assert site.ranges == [None, f"bytes={CUT}-", None, None]


async def test_a_part_that_nobody_asked_for_is_refused(tmp_path: Path) -> None:
    """It is not taken for the body; who asks for a range himself gets it."""
    answer = reply("206 P", b"abc", Content_Range="bytes 0-2/10", ETag='"v1"')
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.answer = lambda seen: answer
        outcome = await attempt(Request(1, site.url, "h"))
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.BAD_RANGE
        outcome = await attempt(Request(2, site.url, "h", headers={"range": "bytes=0-2"}))
        assert isinstance(outcome, Fetched)
        assert (outcome.status, outcome.body.data) == (206, b"abc")


async def test_other_answers_keep_the_part(tmp_path: Path) -> None:
    """A 503 says nothing of the body: the attempt after it goes on."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = once()
        site.answer = lambda seen: reply("503 Busy", b"later") if seen.number == 2 else None
        request = Request(1, site.url, "h")
        await attempt(request)
        outcome = await attempt(request)
        assert isinstance(outcome, Fetched)
        assert outcome.status == 503
        assert whole(await attempt(request))
    assert site.ranges == [None, f"bytes={CUT}-", f"bytes={CUT}-"]


# -- what is not kept --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"ETag": 'W/"v1"'},
        {"Last-Modified": TODAY},
        {"ETag": '"v1"', "Accept-Ranges": "none"},
    ],
)
async def test_without_a_strong_validator_nothing_is_kept(tmp_path: Path, headers: dict[str, str]) -> None:
    """The next attempt begins at the start."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut, site.headers = once(), headers
        request = Request(1, site.url, "h")
        outcome = await attempt(request)
        assert isinstance(outcome, Failed)
        assert (outcome.gained, request.partial) == (0, None)
        assert whole(await attempt(request))
    assert site.ranges == [None, None]


async def test_a_little_is_not_kept(tmp_path: Path) -> None:
    """Less than a MiB is fetched again."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = once(MIB - 1)
        request = Request(1, site.url, "h")
        outcome = await attempt(request)
        assert isinstance(outcome, Failed)
        assert (outcome.gained, request.partial) == (0, None)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_only_what_is_asked_for_plainly_is_kept(tmp_path: Path, method: str) -> None:
    """Not the answer to a POST, nor to who asks for ranges himself."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: CUT
        headers = {"RANGE": "bytes=0-"} if method == "GET" else None
        site.know_no_ranges()
        request = Request(1, site.url, "h", method=method, headers=headers)
        assert isinstance(await attempt(request), Failed)
        assert request.partial is None


async def test_a_coded_body_is_kept_only_as_it_came(tmp_path: Path) -> None:
    """What was decoded cannot be gone on with; without request.decompress the coded bytes are the body."""
    for decompress in (True, False):
        folder = tmp_path / str(decompress)
        folder.mkdir()
        host = HOST._replace(decompress=decompress)
        async with ranged(DATA) as site, attempts(folder, host) as attempt:
            site.cut = once()
            site.headers["Content-Encoding"] = "br"
            request = Request(1, site.url, "h")
            await attempt(request)
            assert (request.partial is not None) == (not decompress)
            if request.partial is not None:
                assert whole(await attempt(request))
                assert site.seen[1].headers["accept-encoding"] == "gzip, br"


async def test_what_was_promised_is_still_held(tmp_path: Path) -> None:
    """A digest that does not fit the whole throws all of it away."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = once()
        request = Request(1, site.url, "h", promised=Promised(sha256="0" * 64))
        await attempt(request)
        outcome = await attempt(request)
        assert isinstance(outcome, Failed)
        assert (outcome.reason, request.partial, outcome.gained) == (Reason.DIGEST_MISMATCH, None, 0)
        await attempt(request)
    assert site.ranges == [None, f"bytes={CUT}-", None]


async def test_the_whole_is_measured(tmp_path: Path) -> None:
    """limits.max_body holds for all bytes together."""
    async with ranged(DATA) as site:
        site.cut = once()
        site.chunked = True
        async with attempts(tmp_path) as attempt:
            request = Request(1, site.url, "h")
            await attempt(request)
            kept = request.partial
        async with attempts(tmp_path, HOST._replace(max_body=CUT + 1)) as attempt:
            attempt.told.append(kept)
            outcome = await attempt(request)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, request.partial) == (Reason.TOO_LARGE, None)


async def test_a_part_belongs_to_its_url(tmp_path: Path) -> None:
    """At another one it is not used; when a large body comes from there it is dropped."""
    async with ranged(DATA) as site, ranged(NEW) as other, attempts(tmp_path) as attempt:
        site.cut = once()
        request = Request(1, site.url, "h")
        await attempt(request)
        request.url = other.url
        assert whole(await attempt(request), NEW)
    assert other.ranges == [None]


async def test_the_part_of_another_url_is_not_left_behind(tmp_path: Path) -> None:
    """A request keeps one part: that of the body that came last."""
    async with ranged(DATA) as site, ranged(NEW) as other, attempts(tmp_path) as attempt:
        site.cut, other.cut = once(), once()
        request = Request(1, site.url, "h")
        await attempt(request)
        request.url = other.url
        outcome = await attempt(request)
        assert isinstance(outcome, Failed)
        assert outcome.gained == CUT
        assert whole(await attempt(request), NEW)
    assert other.ranges == [None, f"bytes={CUT}-"]


async def test_a_small_body_in_its_place_drops_it(tmp_path: Path) -> None:
    """The body is another by now; its file is left behind by nobody."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = once()
        request = Request(1, site.url, "h")
        await attempt(request)
        site.data, site.headers["ETag"] = b"small", '"v2"'
        outcome = await attempt(request)
    assert isinstance(outcome, Fetched)
    assert outcome.body.data == b"small"


# -- stops -------------------------------------------------------------------------------------------------------------


async def test_who_is_cancelled_keeps_what_came(tmp_path: Path) -> None:
    """A stopped run loses nothing: the part is durable and told before the task ends, also if it is cancelled twice."""
    async with ranged(DATA) as site, attempts(tmp_path, HOST._replace(timeouts=LIMITS._replace(read=9))) as attempt:
        site.cut, site.hang = once(), True
        request = Request(1, site.url, "h")
        task = asyncio.create_task(attempt(request))
        await until(lambda: any(transfer.bytes == CUT for transfer in attempt.watch.transfers))
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert request.partial is not None
        assert attempt.told[-1] == request.partial
        assert request.partial.spans == (Span(0, CUT),)
        assert Path(request.partial.path).read_bytes() == DATA[:CUT]
        assert whole(await attempt(request))
    assert site.sent == len(DATA)


async def test_a_stall_goes_on_as_well(tmp_path: Path) -> None:
    """Too slow is no reason to begin anew."""
    host = HOST._replace(timeouts=LIMITS._replace(read=9, stall=0.2, min_speed=1e9))
    async with ranged(DATA) as site, attempts(tmp_path, host) as attempt:
        site.cut, site.hang = once(), True
        request = Request(1, site.url, "h")
        outcome = await attempt(request)
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.gained) == (Reason.STALL, CUT)
        assert whole(await attempt(request))
