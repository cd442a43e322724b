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
from typing import NamedTuple, Protocol

from crawler.codings import CodingError
from crawler.errors import Reason
from crawler.hosts import HostRules
from crawler.model import Failed, Fetched, Message, Request, Timing, milliseconds
from crawler.receive import Receiver, Throttle, stopped_by_watch
from crawler.redirect import harmless
from crawler.session import Answer, TransportError
from crawler.spool import EMPTY, Keep
from crawler.urls import netloc
from crawler.watch import Phase, Transfer, Watch


class Transport(Protocol):
    """The seam to the wire; `session.Session` fills it."""

    async def send(self, message: Message, transfer: Transfer, timing: Timing) -> Answer: ...


class FetchRules(NamedTuple):
    """What of the job a fetch needs."""

    run: str  # begins every X-Request-ID
    headers: Mapping[str, str]
    accepts: Callable[[int], bool]  # is this status a success, whose body is kept
    keep: Keep
    of: Callable[[str], HostRules]  # what holds for a canonical "host" or "host:port"
    named: Callable[[Request], bool]  # does the job's own input name the host at which this stands
    # Who is told of the moment when a request of a politeness key goes out, if anybody.
    paced: Callable[[str], Callable[[float], None] | None] = lambda key: None


class Fetcher:
    """Makes attempts through one transport, each under the eyes of one watch.

    `throttle` is awaited with each piece of a body, for the bandwidth of the job and of the host.
    """

    def __init__(self, transport: Transport, rules: FetchRules, watch: Watch, throttle: Throttle | None = None) -> None:
        self._transport = transport
        self._rules = rules
        self._watch = watch
        self._receiver = Receiver(rules.keep, throttle)
        self._job = {name: value for name, value in rules.headers.items() if name.lower() != "x-request-id"}

    async def __call__(self, request: Request) -> Fetched | Failed:
        """One attempt. Raises only for bugs, cancellation and a full disk (OSError of the part file)."""
        started = monotonic()
        request_id = self._id(request)
        if request.error is not None:
            return Failed(request, request_id, Reason.BAD_INPUT, request.error, None)
        timing = Timing(wall_clock())
        host = self._rules.of(netloc(request.url))
        transfer = Transfer(request.url, host.timeouts, started, asyncio.current_task())
        transfer.on_sent = self._rules.paced(request.host)
        self._watch.transfers.add(transfer)
        try:
            return await self._attempt(request, request_id, host, transfer, timing)
        except TransportError as trouble:
            return Failed(request, request_id, trouble.reason, trouble.error, timing)
        except CodingError as trouble:
            return Failed(request, request_id, trouble.reason, str(trouble), timing)
        except asyncio.CancelledError:
            if not stopped_by_watch(transfer) or transfer.overdue is None:
                raise
            return Failed(request, request_id, *transfer.overdue, timing)
        finally:
            timing.total = milliseconds(monotonic() - started)
            self._watch.transfers.discard(transfer)

    async def _attempt(
        self, request: Request, request_id: str, host: HostRules, transfer: Transfer, timing: Timing
    ) -> Fetched | Failed:
        robots = request.robots is not None
        headers = {"X-Request-ID": request_id} if robots else self._headers(request, host, request_id)
        trusted = self._trusted(request)
        message = Message(request.method, request.url, headers, request.body, trusted=trusted, bare=robots)
        answer = await self._transport.send(message, transfer, timing)
        now = monotonic()
        timing.ttfb = milliseconds(now - transfer.started)
        transfer.enter(Phase.BODY, now)
        outcome = Fetched(request, request_id, answer.status, answer.headers, EMPTY, timing)
        whole = False
        try:
            if not (200 <= answer.status < 300 if robots else self._rules.accepts(answer.status)):
                whole = await self._receiver.drain(request, answer, transfer)
            elif robots:
                whole = await self._receiver.robots(outcome, answer, transfer)
            else:
                if request.method != "HEAD":
                    await self._receiver.body(outcome, answer, transfer, host.max_body)
                whole = True
        finally:
            if not whole:
                answer.close()
        return outcome

    def _id(self, request: Request) -> str:
        run, attempt, hops = self._rules.run, request.attempt, len(request.hops)
        if request.robots is not None:  # these have no number of their own
            return f"{run}-robots-{attempt}-{hops}-{token_hex(8)}"
        return f"{run}-{request.id}-{attempt}-{hops}"

    def _trusted(self, request: Request) -> bool:
        """Whether the job's own input names the host. A robots.txt is asked for on behalf of a page: it names none."""
        return (request.robots is None and not request.hops) or self._rules.named(request)

    def _headers(self, request: Request, host: HostRules, request_id: str) -> dict[str, str]:
        """The job's, then those for this host alone, then the row's; what may be a credential stays with its origin."""
        job, row = self._job, request.headers
        if not (row or host.headers or request.foreign):
            return {**job, "X-Request-ID": request_id}
        if request.foreign:
            job, row = harmless(job), harmless(row or {})
        return _merged(job, host.headers, row or {}, {"X-Request-ID": request_id})


def _merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """The layers laid over each other; names compare without case, and the last spelling stands."""
    found = {name.lower(): (name, value) for layer in layers for name, value in layer.items()}
    return dict(found.values())
