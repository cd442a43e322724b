"""One attempt: a Request goes onto the wire, an Outcome comes back. Page trouble is returned, only bugs are raised.

Does: the request's headers and id, the body through decoder and spool, the length and digest checks, the timing.
Must not know retries, hosts' pace, what is recorded or aiohttp. Invariant: every byte counted was decoded whole; a
body that ended early, or too large, never leaves as Fetched; after any end, cancellation too, nothing is left open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from time import time as wall_clock
from typing import NamedTuple, Protocol

from crawler.codings import CodingError, Decoder, decoder
from crawler.errors import Reason
from crawler.model import Failed, Fetched, Request, Timing
from crawler.redirect import harmless
from crawler.session import Answer, TransportError
from crawler.spool import EMPTY, SMALL, Keep, Spool, small_body
from crawler.watch import Limits, Phase, Transfer, Watch

# Answers whose body nobody wants (errors, redirects) are read up to this, so that the connection can be used again.
_DRAIN = 64 * 1024


class Transport(Protocol):
    """The seam to the wire; `session.Session` fills it."""

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, transfer: Transfer, timing: Timing
    ) -> Answer: ...


class FetchRules(NamedTuple):
    """What of the job a fetch needs."""

    run: str  # begins every X-Request-ID
    headers: Mapping[str, str]
    accepts: Callable[[int], bool]  # is this status a success, whose body is kept
    max_body: int  # bytes after decoding
    limits: Limits
    keep: Keep


class Fetcher:
    """Makes attempts through one transport, each under the eyes of one watch.

    `throttle` is awaited with the size of each piece of a body, for the job's bandwidth.
    """

    def __init__(
        self,
        transport: Transport,
        rules: FetchRules,
        watch: Watch,
        throttle: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._transport = transport
        self._rules = rules
        self._watch = watch
        self._throttle = throttle

    async def __call__(self, request: Request) -> Fetched | Failed:
        """One attempt. Raises only for bugs, cancellation and a full disk (OSError of the part file)."""
        started = monotonic()
        timing = Timing(wall_clock())
        request_id = f"{self._rules.run}-{request.id}-{request.attempt}-{len(request.hops)}"
        if request.error is not None:
            return Failed(request, request_id, Reason.BAD_INPUT, request.error, timing)
        transfer = Transfer(request.url, self._rules.limits, started, asyncio.current_task())
        self._watch.transfers.add(transfer)
        try:
            return await self._attempt(request, request_id, transfer, timing)
        except TransportError as trouble:
            return Failed(request, request_id, trouble.reason, trouble.error, timing)
        except CodingError as trouble:
            return Failed(request, request_id, trouble.reason, str(trouble), timing)
        except asyncio.CancelledError:
            if transfer.overdue is None:
                raise
            task = asyncio.current_task()
            assert task is not None
            if task.uncancel() > 0:  # somebody else wants this task to end as well
                raise
            return Failed(request, request_id, transfer.overdue[0], transfer.overdue[1], timing)
        finally:
            timing.total = round((monotonic() - started) * 1000, 2)
            self._watch.transfers.discard(transfer)

    async def _attempt(self, request: Request, request_id: str, transfer: Transfer, timing: Timing) -> Fetched | Failed:
        rules = self._rules
        headers = {**rules.headers, **(request.headers or {}), "X-Request-ID": request_id}
        if request.foreign:
            headers = {**harmless(headers), "X-Request-ID": request_id}
        answer = await self._transport.send(request.method, request.url, headers, request.body, transfer, timing)
        now = monotonic()
        timing.ttfb = round((now - transfer.started) * 1000, 2)
        transfer.enter(Phase.BODY, now)
        outcome = Fetched(request, request_id, answer.status, answer.headers, EMPTY, timing)
        whole = False
        try:
            if not rules.accepts(answer.status):
                whole = await _drain(answer)
                return outcome
            if request.method != "HEAD":
                await self._body(outcome, answer, transfer)
            whole = True
        finally:
            if not whole:
                answer.close()
        return outcome

    async def _body(self, outcome: Fetched, answer: Answer, transfer: Transfer) -> None:
        """Put the decoded body, whole, into the outcome. Raises TransportError, CodingError, OSError."""
        limit = self._rules.max_body
        coding, length = answer.content_encoding, answer.length
        outcome.length_checked = answer.length_checked
        if length is not None and length > limit:
            raise TransportError(Reason.TOO_LARGE, f"Content-Length is {length} bytes, limits.max_body is {limit}")
        if coding is None and length is not None and length <= SMALL and self._throttle is None:
            data = await answer.read()
            while len(data) < length:  # a body that ends early raises; a 204 has none, whatever it declares
                transfer.received(len(data) - transfer.bytes, monotonic())
                if not (piece := await answer.read()):
                    break
                data += piece
            outcome.body = small_body(data, self._rules.keep)
            _verify(outcome)
            return
        decode = decoder(coding, limit) if coding else None
        spool = Spool(self._rules.keep, outcome.request_id)
        try:
            await self._receive(answer, spool, decode, transfer)
            outcome.body = await spool.finish()
            outcome.warning = decode.warning if decode else None
            _verify(outcome)
        except BaseException:
            await spool.discard()
            raise

    async def _receive(self, answer: Answer, spool: Spool, decode: Decoder | None, transfer: Transfer) -> None:
        limit = self._rules.max_body
        while piece := await answer.read():
            transfer.received(len(piece), monotonic())
            if self._throttle is not None:
                await self._pause(self._throttle(len(piece)), transfer)
            for data in decode.feed(piece) if decode else (piece,):
                full = spool.take(data)
                if spool.size > limit:
                    raise TransportError(Reason.TOO_LARGE, f"the body is larger than limits.max_body ({limit} bytes)")
                if full:
                    await self._pause(spool.drain(), transfer)
        if decode:
            decode.finish()

    async def _pause(self, own_work: Awaitable[object], transfer: Transfer) -> None:
        """Wait for our own disk or limits, which is no fault of the server's."""
        transfer.enter(Phase.STORE, monotonic())
        await own_work
        transfer.enter(Phase.BODY, monotonic())


def _verify(outcome: Fetched) -> None:
    """Raise TransportError where the body is not the one that its row promises."""
    wanted = outcome.request.sha256
    if wanted is not None and outcome.body.sha256 != wanted:
        error = f"the body's sha256 is {outcome.body.sha256}, its row says {wanted}"
        raise TransportError(Reason.DIGEST_MISMATCH, error)


async def _drain(answer: Answer) -> bool:
    """Read a body that nobody wants, so that its connection can serve again; False when it is too long for that."""
    size = 0
    try:
        while piece := await answer.read():
            size += len(piece)
            if size > _DRAIN:
                return False
    except TransportError:
        return False  # the status stands; the connection does not
    return True
