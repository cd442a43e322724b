"""Bodies that came in part: what is kept of an attempt that broke off, and how the next one goes on with it.

Does: keep or discard the part of a body, tell the keeper of it, ask for the rest and judge what comes. Must not know
how bodies are read, retries or the checkpoint. Invariant: a request's `partial` is what its row says, so that whatever
is kept can be found after a kill, and no file is there that nobody names; a part of another version is never used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import NamedTuple, Protocol

from multidict import CIMultiDict

from crawler.errors import Reason
from crawler.model import Body, Fetched, Request
from crawler.partfile import PartFile, Synced, forget, reopen, surely
from crawler.partial import Partial, Span, Version
from crawler.ranges import (
    Head,
    all_there,
    continued,
    missing,
    range_headers,
    version_of,
    whole_headers,
)
from crawler.session import Answer, TransportError

# Told of each partial as soon as it is durable, and of None when that of the request is of no more use.
Keeper = Callable[[Request, Partial | None], None]
# By these an answer broke off. What came before is good.
_BROKE_OFF = {Reason.TRUNCATED, Reason.CONNECTION_RESET, Reason.READ_TIMEOUT}


class Arriving(Protocol):
    """A body on its way in that can be kept as it is, or given up."""

    async def keep(self, url: str, version: Version) -> Partial | None: ...

    async def discard(self) -> None: ...


class Asked(NamedTuple):
    """The rest of a partial, as it was asked for: a span, or (None) all from `start` on. `part` is open."""

    partial: Partial
    part: PartFile
    span: Span | None
    start: int

    @property
    def headers(self) -> dict[str, str]:
        """What the request needs beside its own headers."""
        return range_headers(self.partial.version, self.span, self.start)


class Brought(NamedTuple):
    """What an answer brings: `span` of a body of this version; None where all was there already."""

    span: Span | None
    version: Version
    part: PartFile


class Resumption:
    """All bodies of a run that come in part."""

    def __init__(self, keeper: Keeper | None) -> None:
        self._keeper = keeper

    def part_name(self, request_id: str) -> str:
        """A name that no file had before, not even of this very request before a kill: a row may still name that."""
        return f"{request_id}-{token_hex(4)}"

    def synced(self, request: Request, path: str, version: Version) -> Synced | None:
        """Whom to tell of what is durable, if anybody."""
        url, keeper = request.url, self._keeper
        if keeper is None:
            return None

        def tell(spans: tuple[Span, ...]) -> None:
            request.partial = Partial(path, url, version, spans)
            keeper(request, request.partial)

        return tell

    async def broke_off(
        self, request: Request, body: Arriving, version: Version | None, trouble: BaseException
    ) -> None:
        """Keep what came of a body before the trouble, or discard it; comes to its end whatever happens."""
        await surely(self._broke_off(request, body, version, trouble))

    async def _broke_off(
        self, request: Request, body: Arriving, version: Version | None, trouble: BaseException
    ) -> None:
        off = isinstance(trouble, asyncio.CancelledError)
        off = off or (isinstance(trouble, TransportError) and trouble.reason in _BROKE_OFF)
        partial = None
        if off and version is not None:
            try:
                partial = await body.keep(request.url, version)
            except OSError:  # the disk is full, or worse: then nothing of it is trusted
                partial = None
        if partial is None:
            await body.discard()
            self._no_more(request)
            return
        request.partial = partial
        if self._keeper is not None:
            self._keeper(request, partial)

    async def drop(self, request: Request) -> None:
        """The partial of a request, if it has one, is of no more use."""
        partial = request.partial
        if partial is not None:
            await surely(forget(partial))
            self._no_more(request)

    async def arrived(self, request: Request, body: Body) -> None:
        """The body is whole; a file that is the body's now stays."""
        if request.partial is not None and request.partial.path == body.part:
            self._no_more(request)
        else:
            await self.drop(request)

    async def asked(self, request: Request) -> Asked | None:
        """What to ask for so as to go on; None where there is nothing to go on with here."""
        partial = request.partial
        if partial is None or partial.url != request.url or not resumable(request) or request.robots is not None:
            return None
        part = await reopen(partial)
        if part is None:
            await self.drop(request)
            return None
        version = partial.version
        part.on_sync = self.synced(request, part.path, version)
        if version.total is None:
            return Asked(partial, part, None, partial.spans[-1].stop)
        gaps = missing(partial.spans, version.total)
        start = gaps[0].start if gaps else version.total
        to_the_end = not gaps or gaps[0].stop == version.total
        return Asked(partial, part, None if to_the_end else gaps[0], start)

    async def judged(self, outcome: Fetched, answer: Answer, asked: Asked) -> Brought | str | None:
        """What a success, a 412 or a 416 brings of what was asked for; why it brings nothing, and the next attempt
        begins anew; None where the answer is the body anew. The outcome and the answer then stand for the whole.
        """
        request, head = outcome.request, head_of(answer)
        if answer.status not in (206, 412, 416):
            await surely(asked.part.close())
            await self.drop(request)
            answer.whole = True
            return None
        why = f"status {answer.status}"
        brought = None
        version = asked.partial.version
        if answer.status == 206:
            found = continued(version, asked.span, asked.start, head)
            if isinstance(found, str):
                why = found
            else:
                version = version._replace(total=found.total)
                brought = Brought(found.span, version, asked.part)
        elif answer.status == 416 and all_there(asked.partial, head):
            brought = Brought(None, version._replace(total=asked.partial.size), asked.part)
        if brought is None:
            await surely(asked.part.close())
            await self.drop(request)
            request.ranges = False
            return f"the server was asked to go on at byte {asked.start} and answered wrongly ({why}): anew"
        headers: Mapping[str, str] = CIMultiDict(whole_headers(version, answer.headers))
        answer.stand_for(version.status, headers, brought.version.total)
        outcome.status, outcome.headers = version.status, headers
        return brought

    def _no_more(self, request: Request) -> None:
        if request.partial is not None:
            if self._keeper is not None:  # it stands at the request still, since its URL may be another
                self._keeper(request, None)
            request.partial = None


def resumable(request: Request) -> bool:
    """May parts of this request's body be asked for."""
    return request.method == "GET" and request.body is None and request.ranges


def head_of(answer: Answer) -> Head:
    """What tells which bytes an answer brings."""
    return Head(answer.status, answer.headers, answer.all("Content-Range"), answer.length, answer.content_encoding)


def version_by(request: Request, answer: Answer) -> Version | None:
    """The version that a whole answer is of, if its body can be gone on with."""
    ranged = answer.asked("Range") and not answer.whole  # by the user
    return version_of(head_of(answer)) if resumable(request) and not ranged else None
