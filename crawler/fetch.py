"""One attempt: a Request goes onto the wire, an Outcome comes back. Page trouble is returned, only bugs are raised.

Does: the request's headers and id, whether its host is trusted, which body is wanted, the timing. Must not know
retries, hosts' pace, what is recorded or aiohttp. Invariant: a body that ended early, or too large, never leaves as
Fetched (of a robots.txt what came counts); no header of the user's goes with a robots.txt request; after any end,
cancellation too, nothing is left open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from secrets import token_hex
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple

from crawler.capture import METHOD
from crawler.capturing import Capturing, handshake_limits
from crawler.codings import CodingError
from crawler.compose import headers_for, merged
from crawler.copies import Copies, Stored, known_headers
from crawler.diskguard import DiskGuard
from crawler.errors import Reason
from crawler.exchange import Exchange, Means, Refused
from crawler.flow import Throttle, stopped_by_watch
from crawler.history import is_of, validators
from crawler.hosts import HostRules
from crawler.known import Known
from crawler.model import Failed, Fetched, Heading, Message, Request, Timing, milliseconds
from crawler.partfile import surely
from crawler.partial import Partial, Span, Version
from crawler.ranges import range_headers
from crawler.reading import Reader
from crawler.receive import DRAINED, TOLD, Receiver
from crawler.resumption import Asked, Keeper, Resumption
from crawler.segments import Helpers
from crawler.session import Answer, Transport, TransportError
from crawler.spool import EMPTY, Keep, drop, small_body
from crawler.urls import netloc
from crawler.visiting import Reply, visit_of
from crawler.watch import Phase, Transfer, Watch

# Statuses whose body is wanted.
_ROBOTS = range(200, 300)
_NONE = range(0)
_ABOUT_RANGES = (206, 412, 416)


class FetchRules(NamedTuple):
    """What of the job a fetch needs."""

    run: str  # begins every X-Request-ID
    headers: Mapping[str, str]
    keep: Keep
    of: Callable[[str], HostRules]  # what holds for a canonical "host" or "host:port"
    named: Callable[[Request], bool]  # does the job's own input name the host at which this stands
    # Who is told of the moment when a request of a politeness key goes out, if anybody.
    paced: Callable[[str], Callable[[float], None] | None] = lambda key: None
    means: Means | None = None
    idempotent: bool = False  # POST and PATCH carry an Idempotency-Key
    reader: Reader = Reader()
    capturing: Capturing | None = None  # what WebSockets need
    keeper: Keeper | None = None  # who remembers bodies that came in part, beyond this process
    # A further connection to the request's host, now: whether there is one for it. Each lent is given back.
    lend: Callable[[Request], bool] | None = None
    give_back: Callable[[Request], None] = lambda request: None
    # Are visits to be archived: the headers that the session adds to each request.
    archived: Mapping[str, str] | None = None
    disk: DiskGuard | None = None
    copies: Copies | None = None  # where only what changed is asked for: the bodies of earlier runs


class Fetcher:
    """Makes attempts through one transport, each under the eyes of one watch.

    `throttle` is awaited with each piece of a body, for the bandwidth of the job and of the host.
    """

    def __init__(self, transport: Transport, rules: FetchRules, watch: Watch, throttle: Throttle | None = None) -> None:
        self._transport = transport
        self._rules = rules
        self._watch = watch
        self._throttle = throttle
        self._resumption = Resumption(rules.keeper)
        self._receiver = Receiver(rules.keep, throttle, self._resumption, self._sharing, rules.disk)
        self._job = {name: value for name, value in rules.headers.items() if name.lower() != "x-request-id"}

    async def __call__(self, request: Request) -> Fetched | Failed:
        """One attempt. Raises only for bugs, cancellation and a full disk (OSError of the part file)."""
        started = monotonic()
        request_id = self._id(request)
        if request.error is not None:
            return Failed(request, request_id, Reason.BAD_INPUT, request.error, None)
        timing = Timing(wall_clock())
        if request.resting is not None:
            rested = await self._rested(request, request_id, timing)
            if rested is not None:
                return rested
        capturing = self._rules.capturing if request.method == METHOD else None
        if capturing is not None and capturing.over(request):
            return Fetched(request, request_id, 101, {}, EMPTY, timing)
        host = self._rules.of(netloc(request.url))
        limits = host.timeouts if capturing is None else handshake_limits(host.timeouts)
        transfer = Transfer(request.url, limits, started, asyncio.current_task())
        transfer.endless = capturing is not None
        transfer.peer = "" if self._rules.archived is not None else None
        transfer.on_sent = self._rules.paced(request.host)
        self._watch.transfers.add(transfer)
        before = request.partial
        try:
            if before is not None:
                return await self._resumed(request, request_id, host, transfer, timing)
            return await self._attempt(request, request_id, host, transfer, timing)
        except TransportError as trouble:
            return _gained(before, Failed(request, request_id, trouble.reason, trouble.error, timing))
        except Refused as refusal:
            # Without an answer nothing was sent, save to who gives out credentials.
            sent = refusal.status is not None or refusal.reason is Reason.AUTH_UNAVAILABLE
            spent = timing if sent else None
            return Failed(request, request_id, refusal.reason, refusal.error, spent, refusal.status, wait=refusal.wait)
        except CodingError as trouble:
            return Failed(request, request_id, trouble.reason, str(trouble), timing)
        except asyncio.CancelledError:
            if not stopped_by_watch(transfer) or transfer.overdue is None:
                raise
            return _gained(before, Failed(request, request_id, *transfer.overdue, timing))
        finally:
            timing.total = milliseconds(monotonic() - started)
            self._watch.ended(transfer)

    async def _resumed(
        self, request: Request, request_id: str, host: HostRules, transfer: Transfer, timing: Timing
    ) -> Fetched | Failed:
        """An attempt that goes on with what an earlier one kept, where that is of use."""
        transfer.enter(Phase.STORE, monotonic())
        asked = await self._resumption.asked(request)
        transfer.enter(Phase.CONNECT, monotonic())
        try:
            return await self._attempt(request, request_id, host, transfer, timing, asked)
        finally:
            if asked is not None:
                await surely(asked.part.close())

    async def _attempt(
        self,
        request: Request,
        request_id: str,
        host: HostRules,
        transfer: Transfer,
        timing: Timing,
        asked: Asked | None = None,
    ) -> Fetched | Failed:
        exchange, message = None, self._message(request, host, request_id)
        known = self._asks_for_change(request) if asked is None else None
        if asked is not None:
            message = message._replace(headers=merged(message.headers, asked.headers))
        elif known is not None:
            message = message._replace(headers=merged(message.headers, validators(known, request) or {}))
        if self._rules.means is not None or request.body is not None:
            exchange = Exchange(request, host, self._rules.means or Means())
            transfer.enter(Phase.STORE, monotonic())  # tokens and digests take our own time
            message = await exchange.prepare(message)
            transfer.enter(Phase.CONNECT, monotonic())
        try:
            answer = await self._transport.send(message, transfer, timing)
        except TransportError as trouble:
            if exchange is not None:
                exchange.failed(trouble.reason)
            raise
        except asyncio.CancelledError:
            if exchange is not None and transfer.overdue is not None:
                transfer.overdue = exchange.overdue(*transfer.overdue)
            raise
        now = monotonic()
        timing.ttfb = milliseconds(now - transfer.started)
        transfer.enter(Phase.BODY, now)
        outcome = Fetched(request, request_id, answer.status, answer.headers, EMPTY, timing)
        if answer.status == 101 and request.method == METHOD:
            return await self._captured(outcome, answer, message, transfer, exchange)
        whole = False
        try:
            whole = await self._received(outcome, answer, transfer, host, exchange, asked, known)
        finally:
            if not whole:
                answer.close()
                await drop(outcome.body)
        if outcome.again:  # an answer that counts as none
            await drop(outcome.body)
        elif request.partial is not None and outcome.body is not EMPTY:
            await self._resumption.arrived(request, outcome.body)
        if self._rules.archived is not None and request.robots is None:
            accepted = outcome.status in host.accepts
            decoded = accepted and host.decompress and answer.content_encoding is not None
            cut = None if whole or accepted else "length"
            headers = tuple(answer.told.items()) if outcome.unchanged else tuple(outcome.headers.items())
            peer = transfer.peer if message.route.proxy is None else None  # else it is the proxy's
            body = EMPTY if outcome.unchanged else outcome.body
            reply = Reply(outcome.status, answer.phrase, headers, body, decoded, peer or None, cut)
            outcome.visit = visit_of(message, self._rules.archived, reply, timing.started_at)
        return outcome

    async def _captured(
        self, outcome: Fetched, answer: Answer, message: Message, transfer: Transfer, exchange: Exchange | None
    ) -> Fetched | Failed:
        """Keep what comes over a WebSocket that is open now. Raises TransportError, Refused."""
        assert self._rules.capturing is not None
        try:
            if exchange is not None:
                exchange.arrived(answer)
                exchange.judged(outcome, answer, b"")
            return await self._rules.capturing.capture(outcome, answer, message.headers, transfer, self._throttle)
        finally:
            answer.close()

    async def _received(
        self,
        outcome: Fetched,
        answer: Answer,
        transfer: Transfer,
        host: HostRules,
        exchange: Exchange | None,
        asked: Asked | None,
        known: Known | None,
    ) -> bool:
        """Read the answer into the outcome; True if its connection can be used again. Raises what an attempt may."""
        request = outcome.request
        robots = request.robots is not None
        if exchange is not None:
            outcome.cookies_changed = exchange.arrived(answer)
        if answer.status == 401:
            outcome.challenges = answer.all("WWW-Authenticate")
        if known is not None and answer.status == 304:
            whole = await self._unchanged(outcome, answer, transfer, host, known)
            if exchange is not None:
                exchange.judged(outcome, answer, b"")
            return whole
        brought = None
        if asked is not None and (answer.status in host.accepts or answer.status in _ABOUT_RANGES):
            found = await self._resumption.judged(outcome, answer, asked)
            if isinstance(found, str):
                request.warning = "; ".join(filter(None, [request.warning, found]))
                outcome.again = True
                return False
            brought = found
        start = bytearray()
        accepts = _ROBOTS if robots else _NONE if request.method == METHOD else host.accepts
        if answer.status not in accepts:
            archived = self._rules.archived is not None and not robots
            told = start if archived or (exchange is not None and exchange.reads_errors) else None
            whole = await self._receiver.drain(request, answer, transfer, told, DRAINED if archived else TOLD)
            if archived:
                outcome.body = small_body(bytes(start), self._rules.keep)
        elif robots:
            whole = await self._receiver.robots(outcome, answer, transfer)
        else:
            reader, begin = self._rules.reader, None
            wanted = reader.wanted(outcome, answer, host)
            if brought is not None:
                begin = await self._receiver.rest(outcome, answer, transfer, host, brought, wanted)
            elif answer.status == 206 and request.method == "GET" and not answer.asked("Range"):
                raise TransportError(Reason.BAD_RANGE, "a part of the body (status 206), which was not asked for")
            elif request.method != "HEAD":
                begin = await self._receiver.body(outcome, answer, transfer, host, wanted)
            reader.look(outcome, answer, host, begin)
            if host.expect is not None and host.expect.verify_format:
                transfer.enter(Phase.STORE, monotonic())
                await reader.verify(outcome)
            if reader.pages is not None and begin is not None:
                await reader.pages.read(outcome, answer, begin)
            whole = True
        if exchange is not None:
            exchange.judged(outcome, answer, bytes(start))
        return whole

    def _asks_for_change(self, request: Request) -> Known | None:
        """What is known of what a request asks for, where it is asked for only if it changed."""
        known, copies = request.known, self._rules.copies
        if known is None or copies is None or request.anew or request.robots is not None:
            return None
        return known if validators(known, request) and copies.has(known) else None

    async def _unchanged(
        self, outcome: Fetched, answer: Answer, transfer: Transfer, host: HostRules, known: Known
    ) -> bool:
        """A 304: what is known stands for the answer, its headers updated (RFC 9111 4.3.4). Where it cannot, the whole
        is asked for. Returns True if the connection can be used again.
        """
        whole = await self._receiver.drain(outcome.request, answer, transfer, None, TOLD)
        told = answer.headers.get("ETag")
        headers = known_headers(known, answer.headers)
        answer.stand_for(304, headers, known.bytes)
        outcome.headers = headers
        if not is_of(known, told) or not await self._recalled(outcome, answer, host, known):
            outcome.request.anew = outcome.again = True
        return whole

    async def _recalled(self, outcome: Fetched, head: Heading, host: HostRules, known: Known) -> bool:
        """Put the body of an earlier run into the outcome, and read it as if it had come now; False if it is gone."""
        copies, reader = self._rules.copies, self._rules.reader
        assert copies is not None
        given = await copies.give(known, outcome.request_id, reader.wanted(outcome, head, host))
        if given is None:
            return False
        outcome.body, begin = given
        outcome.unchanged = True
        reader.look(outcome, head, host, begin)
        if reader.pages is not None:
            await reader.pages.read(outcome, head, begin)
        return True

    async def _rested(self, request: Request, request_id: str, timing: Timing) -> Fetched | Failed | None:
        """A page that is not asked for now, read for what it leads to; None where it must be asked for after all."""
        known, copies = request.known, self._rules.copies
        if known is None or copies is None or not copies.has(known):
            request.resting = None
            return None
        stored = Stored(known_headers(known, {}))
        outcome = Fetched(request, request_id, 304, stored.headers, EMPTY, timing)
        try:
            if await self._recalled(outcome, stored, self._rules.of(netloc(request.url)), known):
                return outcome
        except Refused as refusal:
            return Failed(request, request_id, refusal.reason, refusal.error, None, refusal.status)
        finally:
            if outcome.sitemap is None:  # else it is read from there, and goes with the next start
                await drop(outcome.body)
                outcome.body = EMPTY
        request.resting = None
        return None

    def _sharing(self, request: Request, host: HostRules, request_id: str, answer: Answer) -> Helpers | None:
        """How a large body may be fetched over several connections; None where over one."""
        lend = self._rules.lend
        if lend is None or host.segments < 2 or request.rounds:
            return None

        async def ask(version: Version, span: Span, transfer: Transfer) -> Answer:
            message = self._message(request, host, f"{request_id}-{span.start}")
            return await self._asked(request, host, message, range_headers(version, span, span.start), transfer)

        return Helpers(host.segments, lend, self._rules.give_back, ask, self._watch, host.timeouts)

    async def _asked(
        self, request: Request, host: HostRules, message: Message, headers: Mapping[str, str], transfer: Transfer
    ) -> Answer:
        """The answer to a request for a part; all goes along as with the whole. Raises TransportError, Refused."""
        message = message._replace(headers=merged(message.headers, headers))
        exchange = Exchange(request, host, self._rules.means or Means())
        transfer.enter(Phase.STORE, monotonic())
        message = await exchange.prepare(message)
        transfer.enter(Phase.CONNECT, monotonic())
        try:
            return await self._transport.send(message, transfer, Timing(wall_clock()))
        except TransportError as trouble:
            exchange.failed(trouble.reason)
            raise

    def _message(self, request: Request, host: HostRules, request_id: str) -> Message:
        robots = request.robots is not None
        if robots:
            headers = {"X-Request-ID": request_id}
        else:
            headers = headers_for(request, self._job, host.headers, request_id)
            if self._rules.idempotent and request.method in ("POST", "PATCH"):
                headers = merged({"Idempotency-Key": f"{self._rules.run}-{request.id}"}, headers)
        method = request.method
        if method == METHOD and self._rules.capturing is not None:
            method, headers = "GET", merged(headers, self._rules.capturing.handshake())
        return Message(method, request.url, headers, trusted=self._trusted(request), bare=robots)

    def _id(self, request: Request) -> str:
        run, attempt, hops = self._rules.run, request.attempt, len(request.hops)
        if request.robots is not None:  # these have no number of their own
            return f"{run}-robots-{attempt}-{hops}-{token_hex(8)}"
        if request.captured is not None:  # attempts are counted anew after each frame
            return f"{run}-{request.id}-{attempt}-{hops}-{request.rounds}-{request.captured.frames}"
        if request.partial is not None:  # an attempt that brings more of a body is not counted
            return f"{run}-{request.id}-{attempt}-{hops}-{request.rounds}-{request.partial.size}"
        if request.missed:
            return f"{run}-{request.id}-{attempt}-{hops}-{request.rounds}-m{len(request.missed)}"
        if request.rounds:
            return f"{run}-{request.id}-{attempt}-{hops}-{request.rounds}"
        return f"{run}-{request.id}-{attempt}-{hops}"

    def _trusted(self, request: Request) -> bool:
        """Whether the job's own input names the host. A robots.txt is asked for on behalf of a page: it names none."""
        return (request.robots is None and not request.hops and not request.depth) or self._rules.named(request)


def _gained(before: Partial | None, failed: Failed) -> Failed:
    """The failure, with how much more of the body there is than before it."""
    partial = failed.request.partial
    if partial is not None and partial is not before:
        had = before.size if before is not None and before.url == partial.url else 0
        failed.gained = max(0, partial.size - had)
    return failed
