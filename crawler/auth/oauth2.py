"""OAuth 2 with bearer tokens (RFC 6749, 6750): client credentials and refresh tokens, rotating ones too.

Decides when the token is to be renewed, and what a 401 means. Must not know sockets, files or locks: `now` is wall
seconds, and TokenKeeper (tokens.py) asks, waits and stores. Invariant: the generation of the token only grows; a token
that was just given is usable at least once; no repr, mark or sentence shows a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import NamedTuple

from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step
from crawler.errors import Reason
from crawler.grants import Settings, TokenAnswer, TokenFault, TokenRequest, masked, read, request, unavailable
from crawler.tokentext import Token, text_of, tokens_of

_SLACK = 60.0  # seconds that the clock may be set back before a token of the future counts as old
_ROUNDS = 3  # a request that keeps meeting renewals is sent back no more often
_MAX_CHALLENGE = 4096
_PARAMETER = r'(?:^|[\s,]){}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))'
_ERROR = re.compile(_PARAMETER.format("error"), re.IGNORECASE)
_DESCRIPTION = re.compile(_PARAMETER.format("error_description"), re.IGNORECASE)
_SCHEME = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)")


class Pause(NamedTuple):
    """From `since` until `until`, wall seconds; a clock that is set back ends it."""

    since: float
    until: float

    def holds(self, now: float) -> bool:
        """Is it still going on."""
        return self.since <= now < self.until


NO_PAUSE = Pause(0.0, 0.0)


def wait_after(failures: int) -> float:
    """Seconds until the next try after so many failures in a row, from 1: 1, 2, 4 .. 60."""
    return min(60.0, 2.0 ** min(failures - 1, 10))


class OAuth2:
    """The scheme of one section; see `scheme.Scheme`.

    A 401 has the token renewed, once for a generation. Where that does not help, further 401s are the end of their
    requests for a while that doubles (1 s .. 60 s): the server may refuse what is asked for rather than the token.
    """

    name = "OAuth 2"
    wants: frozenset[str] = frozenset()
    reads_errors = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._token: Token | None = None
        self._refused = -1  # the generation that a 401 spoke against
        self._vain = 0  # renewals in a row that did not help against a 401
        self._vain_generation = -1  # the last of them
        self._hold = NO_PAUSE
        self._postponed = NO_PAUSE

    def __repr__(self) -> str:
        return f"<OAuth2 {self.settings.section} {self._token}>"

    @property
    def generation(self) -> int:
        """Of the token at hand; 0 before the first."""
        return self._token.generation if self._token else 0

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of the token at hand must not be shown."""
        token = self._token
        return tuple(filter(None, (token.access, token.refresh))) if token else ()

    def stale(self, now: float) -> bool:
        """See Scheme: there is no token, it was refused, or ends soon (while renewals are postponed: has ended)."""
        token = self._token
        if token is None or token.generation == self._refused or now < token.obtained_at - _SLACK:
            return True
        if token.expires_at is None:
            return False
        if self._postponed.holds(now):
            return now >= token.expires_at
        return now >= token.expires_at - min(self.settings.skew, (token.expires_at - token.obtained_at) / 2)

    def postpone(self, span: Pause) -> None:
        """The endpoint is not to be asked meanwhile: a token that has not ended yet serves on."""
        self._postponed = span

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """See Scheme; RFC 6750 2.1."""
        assert self._token is not None, "signed while stale"
        return Signed({"Authorization": f"Bearer {self._token.access}"}, mark=self._token.generation)

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """See Scheme. A 401 to an older token, or a request's first one, is AGAIN; then REJECTED."""
        current = signed.mark == self.generation
        if answered.status != 401:
            if answered.status < 400 and draft.round and current:
                self._vain = 0  # the renewal did help
            return FINE
        if not current and draft.round < _ROUNDS:
            return AGAIN  # somebody renewed meanwhile
        if draft.round == 0 and (self._refused == self.generation or not self._hold.holds(now)):
            self._refused = self.generation
            return AGAIN
        if draft.round and current and self._vain_generation != self.generation:
            self._vain += 1
            self._vain_generation = self.generation
            self._hold = Pause(now, now + wait_after(self._vain))
        return Judgement(Step.REJECTED, self._why(signed, answered.challenges))

    def renewal(self) -> TokenRequest:
        """What to send to the token endpoint now."""
        return request(self.settings, self._refresh())

    def renewed(self, answer: TokenAnswer, now: float) -> TokenFault | None:
        """Take the answer to the `renewal`: None where it holds a token, which is the next generation."""
        got = read(self.settings, self._refresh(), answer, now)
        if isinstance(got, TokenFault):
            return got
        expires_at = None if got.life is None else now + got.life
        refresh = got.refresh or (self._token.refresh if self._token else None)
        self._token = Token(got.access, expires_at, refresh, now, self.generation + 1)
        self._postponed = NO_PAUSE
        return None

    def unanswered(self, trouble: str) -> TokenFault:
        """The fault where the endpoint could not be asked; `trouble` goes on from its name."""
        return unavailable(self.settings, masked(self.settings, trouble, self._refresh()))

    def locked_out(self, path: str) -> TokenFault:
        """The fault where another process does not give the lock of the cache at `path` back."""
        held = f"{path}.lock is held by another process, which may be using the refresh token"
        return TokenFault(Reason.AUTH_UNAVAILABLE, self.settings.sentence(held))

    def to_cache(self, known: bytes) -> bytes:
        """The cache's new text: `known`, which is the old one or junk, with this section's token laid over it."""
        tokens = tokens_of(known)
        if self._token is not None:
            tokens[self._key()] = self._token
        return text_of(tokens)

    def from_cache(self, text: bytes) -> bool:
        """Take the token that another process left in the cache, if it is newer than ours: was it taken."""
        token = tokens_of(text).get(self._key())
        if token is None or token.generation <= self.generation:
            return False
        self._token = token
        self._postponed = NO_PAUSE
        return True

    def _refresh(self) -> str | None:
        rotated = self._token.refresh if self._token else None
        return rotated or self.settings.refresh_token

    def _key(self) -> str:
        """Whose token it is. The job's refresh token is part of it: who puts in a new one wants that one used."""
        mine = self.settings
        parts = [mine.token_url, mine.client_id, mine.scope, mine.audience, mine.grant, sorted(mine.extra)]
        if mine.grant == "refresh_token":
            parts.append(mine.refresh_token)
        return sha256(json.dumps(parts).encode()).hexdigest()

    def _why(self, signed: Signed, challenges: Sequence[str]) -> str:
        text = ", ".join(challenges)[:_MAX_CHALLENGE]
        told = [found[1] or found[2] for pattern in (_ERROR, _DESCRIPTION) if (found := pattern.search(text))]
        if told:
            why = f": {': '.join(told)}"
        else:
            wanted = sorted({found[1] for line in challenges if (found := _SCHEME.match(line))})
            bearer = any(scheme.lower() == "bearer" for scheme in wanted)
            why = f"; it wants {', '.join(wanted)}, the job offers a bearer token" if wanted and not bearer else ""
        access = signed.headers["Authorization"].removeprefix("Bearer ")
        return masked(self.settings, self.settings.sentence(f"the server refuses the token{why}"), access)
