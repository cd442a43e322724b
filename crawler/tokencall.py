"""One call to a token endpoint, over the same pools, ways and timeouts as all else.

Does: send the form, read a bounded answer. Must not know what a token is, or when one is due. Invariant: nothing but
the form itself goes along (no cookie, no credential of another section, no header of the job but its User-Agent);
redirects are not followed, since the form holds a secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from time import time as wall_clock

from crawler.flow import stopped_by_watch
from crawler.grants import MAX_ANSWER, TokenAnswer, TokenRequest, TokenTrouble
from crawler.hosts import HostRules
from crawler.model import Message, Timing
from crawler.routing import Routing
from crawler.session import Transport, TransportError
from crawler.urls import netloc
from crawler.watch import Phase, Transfer, Watch

# Seconds: other jobs that wait for the same cache take a longer one for hung.
_LONGEST = 25.0


class TokenCall:
    """Asks token endpoints; `of` gives what holds for a canonical "host" or "host:port"."""

    def __init__(self, transport: Transport, watch: Watch, of: Callable[[str], HostRules], routing: Routing) -> None:
        self._transport = transport
        self._watch = watch
        self._of = of
        self._routing = routing

    async def __call__(self, asked: TokenRequest) -> TokenAnswer:
        """The answer to one request. Raises TokenTrouble."""
        host = self._of(netloc(asked.url))
        limits = host.timeouts._replace(total=min(host.timeouts.total, _LONGEST))
        transfer = Transfer(asked.url, limits, monotonic(), asyncio.current_task())
        self._watch.transfers.add(transfer)
        try:
            # The watch may be asleep: while a run ends, and in `crawler plan`, nobody looks.
            async with asyncio.timeout(limits.total):
                return await self._asked(asked, host, transfer)
        except TimeoutError:
            raise TokenTrouble(_told(f"not finished after {limits.total:g} s")) from None
        except TransportError as trouble:
            raise TokenTrouble(_told(trouble.error)) from None
        except asyncio.CancelledError:
            if not stopped_by_watch(transfer) or transfer.overdue is None:
                raise
            raise TokenTrouble(_told(transfer.overdue[1])) from None
        finally:
            self._watch.ended(transfer)

    async def _asked(self, asked: TokenRequest, host: HostRules, transfer: Transfer) -> TokenAnswer:
        route = self._routing.route(asked.url, host.ways, monotonic())
        headers = {**asked.headers, "Accept-Encoding": "identity"}
        message = Message("POST", asked.url, headers, asked.body, trusted=True, bare=True, route=route)
        answer = await self._transport.send(message, transfer, Timing(wall_clock()))
        transfer.enter(Phase.BODY, monotonic())
        body, whole = bytearray(), False
        try:
            while piece := await answer.read():
                transfer.received(len(piece), monotonic())
                body += piece
                if len(body) > MAX_ANSWER:
                    break
            else:
                whole = True
        finally:
            if not whole:
                answer.close()
        return TokenAnswer(answer.status, answer.headers, bytes(body))


def _told(error: str) -> str:
    """As a TokenTrouble has it: it goes on from the name of the endpoint."""
    return f"gave no token: {error}"
