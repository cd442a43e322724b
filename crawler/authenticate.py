"""Which credential goes along with a request, and what becomes of it: the schemes of auth/, bound to hosts.

Does: choose the section by host, ask for what a scheme needs (a token, keys) before it signs, hear what the answer
says. Must not know how any scheme signs, or the wire. Invariant: a credential goes only to a URL that its own hosts
match, never down from an https input to http, and over plain http to another machine only where the job says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from time import time as wall_clock
from typing import NamedTuple

from crawler.addresses import in_the_open
from crawler.auth.scheme import Answered, Draft, Judgement, Scheme, Signed, Step, Unsignable
from crawler.errors import Reason
from crawler.model import Request
from crawler.patterns import Patterns, split_port
from crawler.redirect import exposed
from crawler.urls import netloc

# Rejections in a row, with no answer that was none between them, after which a host is not asked with it any more.
_ENOUGH = 3
_REMEMBERED = 65_536  # hosts
# A request is sent back no more often, whatever its scheme says.
_ROUNDS = 4


class Fault(NamedTuple):
    """No credential is to be had, or it may not go there; `retry_in`: seconds until there may be one, where known."""

    reason: Reason
    error: str
    retry_in: float | None = None


class Section(NamedTuple):
    """One [auth.NAME]: its scheme, the patterns it is bound to, how to get what the scheme needs anew, and how to let
    that come to its end.
    """

    name: str
    scheme: Scheme
    hosts: Sequence[str]
    allow_insecure: bool = False
    renew: Callable[[], Awaitable[Fault | None]] | None = None
    close: Callable[[], Awaitable[None]] | None = None

    def __repr__(self) -> str:
        return f"<Section {self.name} {self.scheme.name}>"


class Used(NamedTuple):
    """A credential that went along: what it signed, and how."""

    section: Section
    draft: Draft
    signed: Signed


class Authenticator:
    """All credentials of a job. `clock` gives wall seconds."""

    def __init__(self, sections: Sequence[Section], clock: Callable[[], float] = wall_clock) -> None:
        bound = [(pattern, section) for section in sections for pattern in section.hosts]
        self._bound = Patterns(bound)
        self._bound_to_ports = Patterns(pair for pair in bound if split_port(pair[0])[1])
        self._known: dict[str, Section | None] = {}
        self.sections = sections
        self._clock = clock
        self._rng = Random()
        self._rejected: dict[tuple[str, str], int] = {}

    async def close(self) -> None:
        """Let what is being fetched come to its end: a refresh token that was sent may be used up by it."""
        for section in self.sections:
            if section.close is not None:
                await section.close()

    def section(self, request: Request) -> Section | Fault | None:
        """The credential for the hop at which a request stands; None where none is bound to it."""
        url, section = request.url, self.bound(request)
        if section is None:
            return None
        if url.startswith("http://"):
            if request.seed.startswith("https://"):
                return None  # what was asked for in private is not answered for in the open
            if not section.allow_insecure and in_the_open(url):
                return Fault(
                    Reason.AUTH_INSECURE,
                    f"the credentials of [auth.{section.name}] do not go over plain http; "
                    "use https, or say allow_insecure = true there",
                )
        return section

    def bound(self, request: Request) -> Section | None:
        """The section whose hosts match, whether its credential may go there or not. A hop to another port of the same
        host finds those alone that name the port.
        """
        place = netloc(request.url)
        if request.foreign and exposed(request.url, request.seed):
            return next(iter(self._bound_to_ports.matching(place)), None)
        if place not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[place] = next(iter(self._bound.matching(place)), None)
        return self._known[place]

    async def sign(self, section: Section, draft: Draft) -> Used | Fault:
        """The credential for a draft, asked for first where the scheme has none that is good any more."""
        if section.scheme.stale(self._clock()):
            fault = await section.renew() if section.renew is not None else None
            if fault is not None:
                return fault
            if section.scheme.stale(self._clock()):
                error = f"[auth.{section.name}]: what was given is not good for long enough"
                return Fault(Reason.AUTH_UNAVAILABLE, error)
        try:
            return Used(section, draft, section.scheme.sign(draft, self._clock(), self._rng))
        except Unsignable as error:
            return Fault(Reason.AUTH_REJECTED, f"[auth.{section.name}]: {error}")

    def heard(self, used: Used, answered: Answered) -> Judgement:
        """What an answer means for the credential that went along."""
        section, draft, signed = used
        try:
            judgement = section.scheme.accept(draft, signed, answered, self._clock())
        except Unsignable as trouble:
            judgement = Judgement(Step.REJECTED, str(trouble))
        key = (section.name, netloc(draft.url))
        if judgement.step is Step.FINE:
            if answered.status < 400:
                self._rejected.pop(key, None)
            return judgement
        if judgement.step is Step.AGAIN and draft.round < _ROUNDS:
            return judgement
        step = Step.CLOCK if judgement.step is Step.CLOCK else Step.REJECTED
        if step is Step.REJECTED:
            self._rejected[key] = self._rejected.get(key, 0) + 1
        error = judgement.error or f"{section.scheme.name} was refused again and again"
        return Judgement(step, f"[auth.{section.name}]: {error}")

    def barred(self, request: Request) -> str | None:
        """Why a request is not worth sending: its host has refused the same credential again and again."""
        if not self._rejected:
            return None
        section = self.section(request)
        if not isinstance(section, Section) or self._rejected.get((section.name, netloc(request.url)), 0) < _ENOUGH:
            return None
        place = netloc(request.url)
        return f"{place} rejected [auth.{section.name}] {_ENOUGH} times in a row and is not asked any more"
