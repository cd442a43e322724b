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
from crawler.errors import Reason
from crawler.exchange import Exchange, Means, Refused
from crawler.hosts import HostRules
from crawler.model import Failed, Fetched, Message, Request, Timing, milliseconds
from crawler.reading import Reader
from crawler.receive import Receiver, Throttle, stopped_by_watch
from crawler.session import Answer, Transport, TransportError
from crawler.spool import EMPTY, Keep, drop
from crawler.urls import netloc
from crawler.watch import Phase, Transfer, Watch

# Statuses whose body is wanted.
_ROBOTS = range(200, 300)
_NONE = range(0)


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


class Fetcher:
    """Makes attempts through one transport, each under the eyes of one watch.

    `throttle` is awaited with each piece of a body, for the bandwidth of the job and of the host.
    """

    def __init__(self, transport: Transport, rules: FetchRules, watch: Watch, throttle: Throttle | None = None) -> None:
        self._transport = transport
        self._rules = rules
        self._watch = watch
        self._throttle = throttle
        self._receiver = Receiver(rules.keep, throttle)
        self._job = {name: value for name, value in rules.headers.items() if name.lower() != "x-request-id"}

    async def __call__(self, request: Request) -> Fetched | Failed:
        """One attempt. Raises only for bugs, cancellation and a full disk (OSError of the part file)."""
        started = monotonic()
        request_id = self._id(request)
        if request.error is not None:
            return Failed(request, request_id, Reason.BAD_INPUT, request.error, None)
        timing = Timing(wall_clock())
        capturing = self._rules.capturing if request.method == METHOD else None
        if capturing is not None and capturing.over(request):
            return Fetched(request, request_id, 101, {}, EMPTY, timing)
        host = self._rules.of(netloc(request.url))
        limits = host.timeouts if capturing is None else handshake_limits(host.timeouts)
        transfer = Transfer(request.url, limits, started, asyncio.current_task())
        transfer.endless = capturing is not None
        transfer.on_sent = self._rules.paced(request.host)
        self._watch.transfers.add(transfer)
        try:
            return await self._attempt(request, request_id, host, transfer, timing)
        except TransportError as trouble:
            return Failed(request, request_id, trouble.reason, trouble.error, timing)
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
            return Failed(request, request_id, *transfer.overdue, timing)
        finally:
            timing.total = milliseconds(monotonic() - started)
            self._watch.ended(transfer)

    async def _attempt(
        self, request: Request, request_id: str, host: HostRules, transfer: Transfer, timing: Timing
    ) -> Fetched | Failed:
        exchange, message = None, self._message(request, host, request_id)
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
            whole = await self._received(outcome, answer, transfer, host, exchange)
        finally:
            if not whole:
                answer.close()
                await drop(outcome.body)
        if outcome.again:  # an answer that counts as none
            await drop(outcome.body)
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
        self, outcome: Fetched, answer: Answer, transfer: Transfer, host: HostRules, exchange: Exchange | None
    ) -> bool:
        """Read the answer into the outcome; True if its connection can be used again. Raises what an attempt may."""
        request = outcome.request
        robots = request.robots is not None
        if exchange is not None:
            outcome.cookies_changed = exchange.arrived(answer)
        if answer.status == 401:
            outcome.challenges = answer.all("WWW-Authenticate")
        start = bytearray()
        accepts = _ROBOTS if robots else _NONE if request.method == METHOD else host.accepts
        if answer.status not in accepts:
            told = start if exchange is not None and exchange.reads_errors else None
            whole = await self._receiver.drain(request, answer, transfer, told)
        elif robots:
            whole = await self._receiver.robots(outcome, answer, transfer)
        else:
            reader, begin = self._rules.reader, None
            wanted = reader.wanted(outcome, answer, host)
            if request.method != "HEAD":
                begin = await self._receiver.body(outcome, answer, transfer, host, wanted)
            reader.look(outcome, answer, host, begin)
            whole = True
        if exchange is not None:
            exchange.judged(outcome, answer, bytes(start))
        return whole

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
        if request.rounds:
            return f"{run}-{request.id}-{attempt}-{hops}-{request.rounds}"
        return f"{run}-{request.id}-{attempt}-{hops}"

    def _trusted(self, request: Request) -> bool:
        """Whether the job's own input names the host. A robots.txt is asked for on behalf of a page: it names none."""
        return (request.robots is None and not request.hops) or self._rules.named(request)
