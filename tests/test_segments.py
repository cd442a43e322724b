"""One large body over several connections: right whatever becomes of each, and within what the host lends."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from crawler.errors import Reason
from crawler.fetch import Fetcher, FetchRules
from crawler.hosts import HostRules
from crawler.model import Failed, Fetched, Outcome, Request
from crawler.pace import PaceLimits
from crawler.partial import Partial
from crawler.segments import Segments
from crawler.session import Session, SessionSettings
from crawler.spool import Keep
from crawler.watch import Limits, Watch
from tests.fakes import HOST_RULES
from tests.peers import looked_after
from tests.ranged import MIB, Ranged, Seen, ranged, reply, until

pytestmark = pytest.mark.slow
DATA = Random(4).randbytes(48 * MIB)
LIMITS = Limits(connect=2, read=1, total=60, stall=9, min_speed=1)
HOST = HOST_RULES._replace(pace=PaceLimits(4), timeouts=LIMITS, max_body=1 << 30, segments=4)


class Attempts:
    """Attempts at one request beside which a host lends `slots` further connections."""

    def __init__(self, folder: Path, session: Session, watch: Watch, host: HostRules) -> None:
        self.slots = 3
        self.lent = 0
        self.refused = 0
        self.told: list[Partial | None] = []
        self.spent: list[int] = []
        rules = FetchRules(
            "run",
            {},
            Keep(str(folder)),
            lambda _: host,
            lambda _: True,
            keeper=lambda _, kept: self.told.append(kept),
            lend=self._lend,
            give_back=self._give_back,
        )
        self.watch = watch
        self._fetch = Fetcher(session, rules, watch, self._spend)

    def _lend(self, request: Request) -> bool:
        if self.slots == 0:
            self.refused += 1
            return False
        self.slots -= 1
        self.lent += 1
        return True

    def _give_back(self, request: Request) -> None:
        self.slots += 1

    async def _spend(self, request: Request, size: int) -> None:
        self.spent.append(size)

    async def __call__(self, request: Request) -> Fetched | Failed:
        slots = self.slots
        try:
            return await self._fetch(request)
        finally:
            assert self.slots == slots
            assert not self.watch.transfers


@asynccontextmanager
async def attempts(folder: Path, host: HostRules = HOST) -> AsyncIterator[Attempts]:
    watch = Watch(0.02)
    async with looked_after(watch), Session(SessionSettings(16, 30, 60, {})) as session:
        yield Attempts(folder, session, watch, host)


def whole(outcome: Outcome, data: bytes = DATA) -> bool:
    assert isinstance(outcome, Fetched), outcome.error
    assert outcome.body.part is not None
    found = Path(outcome.body.part).read_bytes()
    return (found == data, outcome.body.size, outcome.body.sha256) == (True, len(data), sha256(data).hexdigest())


async def test_several_connections_bring_one_body(tmp_path: Path) -> None:
    """Each further request is for a span of the same version; all are given back, and few bytes come twice."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        outcome = await attempt(Request(1, site.url, "h"))
    assert whole(outcome)
    assert isinstance(outcome, Fetched)
    assert (outcome.status, outcome.length_checked) == (200, True)
    assert site.most_at_once == 4
    assert [seen.headers.get("if-range") for seen in site.seen[1:]] == ['"v1"'] * (len(site.seen) - 1)
    assert site.ranges[0] is None
    assert len(set(site.ranges)) == len(site.seen) == attempt.lent + 1
    assert sum(attempt.spent) <= 1.1 * len(DATA)  # what came meets the bandwidth caps, whoever brought it
    assert sum(attempt.spent) >= len(DATA)


@pytest.mark.parametrize("size", [10 * MIB + 1, 30 * MIB + 1], ids=["alone", "in segments"])
async def test_what_waits_for_a_slow_disk_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """What comes meanwhile is not written over it."""
    really = os.pwritev

    def slowly(fd: int, pieces: list[bytes], offset: int) -> int:
        slow.wait(0.03)
        return really(fd, pieces, offset)

    slow = threading.Event()
    monkeypatch.setattr(os, "pwritev", slowly)
    async with ranged(DATA[:size]) as site, attempts(tmp_path) as attempt:
        assert whole(await attempt(Request(1, site.url, "h")), DATA[:size])


async def test_what_is_not_lent_is_not_used(tmp_path: Path) -> None:
    """A host at its limit gives the body over one connection, as without this."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        attempt.slots = 0
        assert whole(await attempt(Request(1, site.url, "h")))
    assert len(site.seen) == 1
    assert attempt.refused > 0


async def test_one_slot_is_enough(tmp_path: Path) -> None:
    """The first connection's slot is used again once its answer is over."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        attempt.slots = 1
        assert whole(await attempt(Request(1, site.url, "h")))
    assert site.most_at_once == 2


@pytest.mark.parametrize(
    "change",
    [
        {"Accept-Ranges": "none"},
        {"Accept-Ranges": "x"},
        {"ETag": 'W/"v1"'},
        {"Content-Encoding": "br"},
    ],
)
async def test_only_what_can_be_shared_is(tmp_path: Path, change: dict[str, str]) -> None:
    """Where ranges are not said to be given, or would not fit together, there is one connection."""
    host = HOST._replace(decompress=False)
    async with ranged(DATA) as site, attempts(tmp_path, host) as attempt:
        site.headers |= change
        assert whole(await attempt(Request(1, site.url, "h")))
    assert (len(site.seen), attempt.lent) == (1, 0)


FAULTS: dict[str, Callable[[Ranged], None]] = {
    "refused": lambda site: setattr(site, "answer", lambda seen: reply("503 Busy") if seen.start else None),
    "no ranges": lambda site: setattr(site, "answer", lambda seen: reply("200 OK", b"other") if seen.start else None),
    "not found": lambda site: setattr(site, "answer", lambda seen: reply("404 No") if seen.start else None),
    "cut": lambda site: setattr(site, "cut", lambda seen: 3 * MIB if seen.start else None),
    "first cut": lambda site: setattr(site, "cut", lambda seen: 3 * MIB if seen.number == 2 else None),
    "bytes of others": lambda site: setattr(
        site,
        "answer",
        lambda seen: (
            reply("206 P", b"?" * MIB, Content_Range=f"bytes 0-{MIB - 1}/{len(DATA)}", ETag='"v1"')
            if seen.start
            else None
        ),
    ),
    "another version": lambda site: setattr(
        site,
        "answer",
        lambda seen: (
            reply(
                "206 P", b"?" * MIB, Content_Range=f"bytes {seen.start}-{seen.start + MIB - 1}/{len(DATA)}", ETag='"v2"'
            )
            if seen.start
            else None
        ),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_further_connection_that_fails_costs_itself_only(tmp_path: Path, fault: str) -> None:
    """What it did not bring comes over the others; no byte of another version is taken."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        FAULTS[fault](site)
        event = asyncio.Event()
        site.held = lambda seen: event if seen.start is None and len(site.seen) < 2 else None
        asyncio.get_running_loop().call_later(0.3, event.set)
        outcome, request = None, Request(1, site.url, "h")
        for _ in range(6):
            outcome = await attempt(request)
            if isinstance(outcome, Fetched) and not outcome.again:
                break
            site.answer = lambda seen: None
    assert outcome is not None
    assert whole(outcome)


async def test_failing_connections_are_not_asked_for_again_and_again(tmp_path: Path) -> None:
    """Each that fails is one less; the first answer brings all in the end."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: 0 if seen.start else None
        assert whole(await attempt(Request(1, site.url, "h")))
    assert len(site.seen) <= 4


async def test_less_than_was_asked_for_is_taken(tmp_path: Path) -> None:
    """A server may give a part of a range (RFC 9110 14.2); the rest is asked for again."""

    def some(seen: Seen) -> bytes | None:
        if seen.start is None:
            return None
        start, stop = seen.span(len(DATA))
        stop = min(stop, start + 2 * MIB)
        return reply("206 P", DATA[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(DATA)}", ETag='"v1"')

    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.answer = some
        assert whole(await attempt(Request(1, site.url, "h")))


async def test_the_end_of_the_first_ends_all(tmp_path: Path) -> None:
    """What all of them brought is kept with its gaps, and the next attempt asks for these alone."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: 2 * MIB if seen.number == 1 else None
        request = Request(1, site.url, "h")
        outcome = await attempt(request)
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.TRUNCATED
        assert request.partial is not None
        assert outcome.gained == request.partial.size >= 2 * MIB
        assert request.partial.spans[0].stop >= 2 * MIB
        kept, before, so_far = request.partial.spans, len(site.seen), sum(attempt.spent)
        assert whole(await attempt(request))
    assert request.partial is None
    assert attempt.told[-1] is None
    for seen in site.seen[before:]:
        start, _ = seen.span(len(DATA))
        assert not any(span.start <= start < span.stop for span in kept)
    assert sum(attempt.spent) - so_far <= len(DATA) - sum(span.stop - span.start for span in kept) + 4 * MIB


async def test_gaps_are_filled_one_after_another(tmp_path: Path) -> None:
    """By a host that lends nothing now: an attempt for each gap, each of which gains."""
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.cut = lambda seen: 2 * MIB if seen.number == 1 else None
        request = Request(1, site.url, "h")
        outcome = await attempt(request)
        attempt.slots = 0
        made = 0
        while isinstance(outcome, Failed):
            assert outcome.gained > 0
            outcome = await attempt(request)
            made += 1
    assert whole(outcome)
    assert made <= 6


async def test_who_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    """All connections end, all slots are given back, and what came is kept."""
    patient = HOST._replace(timeouts=LIMITS._replace(read=60, stall=60))
    async with ranged(DATA) as site, attempts(tmp_path, patient) as attempt:
        site.cut, site.hang = lambda seen: 3 * MIB, True
        request = Request(1, site.url, "h")
        task = asyncio.create_task(attempt(request))
        await until(lambda: site.sent >= 12 * MIB)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=10)
        assert done
        assert task.cancelled()
        assert attempt.slots == 3
        assert request.partial is not None
        assert attempt.told[-1] == request.partial
        site.cut = lambda seen: None
        assert whole(await attempt(request))


async def test_a_silent_helper_is_let_go(tmp_path: Path) -> None:
    """Its own watch stops it; the first answer goes on over what it left."""
    async with ranged(DATA) as site, attempts(tmp_path, HOST._replace(segments=2)) as attempt:
        site.cut, site.hang = lambda seen: 0 if seen.number == 2 else None, True
        outcome, request = None, Request(1, site.url, "h")
        for _ in range(3):
            outcome = await attempt(request)
            if isinstance(outcome, Fetched):
                break
    assert outcome is not None
    assert whole(outcome)


async def test_a_full_disk_is_a_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, whichever connection met it, and nothing is left."""
    really, count = os.pwritev, iter(range(1000))

    def full(fd: int, pieces: list[bytes], offset: int) -> int:
        if next(count) > 4:
            raise OSError(28, "No space left on device")
        return really(fd, pieces, offset)

    monkeypatch.setattr(os, "pwritev", full)
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        request = Request(1, site.url, "h")
        with pytest.raises(OSError, match="No space left"):
            await attempt(request)
    assert request.partial is None
    assert not list(tmp_path.iterdir())


async def test_a_full_disk_that_only_a_further_connection_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer has ended by then, and bytes are missing: not for want of connections."""
    really, waited, over = os.pwritev, Segments._others, asyncio.Event()

    def full(fd: int, pieces: list[bytes], offset: int) -> int:
        if over.is_set():
            raise OSError(28, "No space left on device")
        return really(fd, pieces, offset)

    async def others(self: Segments) -> None:
        over.set()
        await waited(self)

    monkeypatch.setattr(os, "pwritev", full)
    monkeypatch.setattr(Segments, "_others", others)
    async with ranged(DATA) as site, attempts(tmp_path) as attempt:
        site.held = lambda seen: over if seen.start is not None else None
        with pytest.raises(OSError, match="No space left"):
            await attempt(Request(1, site.url, "h"))
    assert not list(tmp_path.iterdir())
