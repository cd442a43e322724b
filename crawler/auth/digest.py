"""Digest (RFC 7616, and RFC 2069 where a server offers no qop): an answer to a challenge instead of the password.

Decides which challenge is answered and how, and what a 401 means for it. Must not know which hosts it is for.
Invariant: a challenge is answered at the origin it came from, never at another; with one nonce no count is used
twice; neither user nor password stands in a repr or a sentence.

The first request to an origin goes without: its 401 teaches the challenge, and one nonce then serves all requests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from crawler.auth.digestanswer import Answer, Question, authorization, chosen, question_of, within
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step
from crawler.challenges import Challenge, offered, parse, refusal, said
from crawler.urls import origin

ORIGINS = 1000  # whose challenges are kept; an origin that had to go is asked anew
_ROUNDS = 2  # how often one request is sent again for a challenge that should have been the last
_STALE_ROUNDS = 4  # for a stale nonce or another realm: many requests at once wear them out

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Used(NamedTuple):
    """What a request was signed with: the mark of a Signed. `nonce` is "" where it went without."""

    realm: str = ""
    nonce: str = ""


class _Learned:
    """The question of an origin, how often its nonce was used, and whether the server took an answer to it."""

    __slots__ = ("cnonce", "count", "proven", "question")

    def __init__(self, question: Question, *, proven: bool = False) -> None:
        self.question = question
        self.count = 0
        self.cnonce = ""
        self.proven = proven


class Digest:
    """`user` and `password` are taken as UTF-8. Raises ValueError for control characters in either."""

    name = "Digest"
    reads_errors = False

    def __init__(self, user: str, password: str) -> None:
        for what, text in (("user", user), ("password", password)):
            if _CONTROL.search(text):
                raise ValueError(f"the {what} has control characters, which Digest does not allow")
        self._user = user
        self._password = password
        self._learned: dict[tuple[str, str], _Learned] = {}
        self._wants: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"<Digest origins={len(self._learned)}>"

    @property
    def wants(self) -> frozenset[str]:
        """Grows when a server wants auth-int and nothing else."""
        return self._wants

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The answer to what the origin asked last; nothing where it did not ask yet, or not for this URL."""
        learned = self._learned.get(origin(draft.url))
        if learned is None or not within(draft.url, learned.question.domain):
            return Signed({}, mark=Used())
        question = learned.question
        if question.qop == "auth-int" and question.hash not in draft.digests:
            return Signed({}, mark=Used())  # drafted before it was wanted; the 401 brings it back
        learned.count += 1
        if not (learned.cnonce and question.session):  # RFC 7616 3.4.2: one cnonce for a session
            learned.cnonce = f"{rng.getrandbits(128):032x}"
        uri = draft.url[draft.url.index("/", len("https://")) :]
        body = draft.digests.get(question.hash, b"")
        answer = Answer(draft.method, uri, learned.count, learned.cnonce, body)
        header = authorization(question, self._user, self._password, answer)
        return Signed({"Authorization": header}, mark=Used(question.realm, question.nonce))

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """A 401 teaches (AGAIN), or rejects where it answers a signed request and is not merely stale."""
        used = signed.mark if isinstance(signed.mark, Used) else Used()
        here = origin(draft.url)
        if answered.status != 401:
            self._went_well(here, used, answered)
            return FINE
        challenges = parse(answered.challenges)
        question = chosen(challenges, draft.url)
        if question is None:
            return Judgement(Step.REJECTED, self._refusal(challenges, answered.challenges))
        if self._learns(here, used, question):
            self._learn(here, question)
        elif not self._renewed(here, used):
            self._forget(here, used)
            return Judgement(Step.REJECTED, self._refusal(challenges, answered.challenges))
        passing = used.nonce and (question.stale or used.realm != question.realm)
        if draft.round < (_STALE_ROUNDS if passing else _ROUNDS):
            return AGAIN
        return Judgement(Step.REJECTED, self._refusal(challenges, answered.challenges))

    def _learns(self, here: tuple[str, str], used: Used, question: Question) -> bool:
        """Is the question new, so that it is to be answered from now on."""
        learned = self._learned.get(here)
        if learned is None:
            return not used.nonce or question.stale
        if (learned.question.realm, learned.question.domain) != (question.realm, question.domain):
            return True
        if learned.question.nonce != used.nonce:
            return False  # another request learned meanwhile: one nonce serves all
        # Some servers let a nonce expire and do not say stale: what was taken before was no wrong password.
        return question.stale or (learned.proven and question.nonce != used.nonce)

    def _renewed(self, here: tuple[str, str], used: Used) -> bool:
        """Was another nonce learned since the request was signed."""
        learned = self._learned.get(here)
        return learned is not None and learned.question.nonce != used.nonce

    def _learn(self, here: tuple[str, str], question: Question) -> None:
        old = self._learned.pop(here, None)
        new = _Learned(question)
        if old is not None and old.question.nonce == question.nonce:
            new.count, new.cnonce = old.count, old.cnonce
        self._learned[here] = new
        if len(self._learned) > ORIGINS:
            del self._learned[next(iter(self._learned))]
        if question.qop == "auth-int":
            self._wants |= {question.hash}

    def _forget(self, here: tuple[str, str], used: Used) -> None:
        """A nonce that was never taken is not used again: the next request asks for another."""
        learned = self._learned.get(here)
        if learned is not None and learned.question.nonce == used.nonce:
            del self._learned[here]

    def _went_well(self, here: tuple[str, str], used: Used, answered: Answered) -> None:
        learned = self._learned.get(here)
        if answered.status >= 400 or learned is None or not used.nonce or learned.question.nonce != used.nonce:
            return
        learned.proven = True
        following = _next_nonce(answered)
        if following and not learned.question.session:  # RFC 7616 3.5
            self._learned[here] = _Learned(learned.question._replace(nonce=following), proven=True)

    def _refusal(self, challenges: Sequence[Challenge], lines: Sequence[str]) -> str:
        secrets = (self._password,)
        asked = offered(challenges, self.name)
        if asked and not any(question_of(challenge, "") for challenge in asked):
            params = asked[0].params
            parts = [f"{name} {said(params[name], secrets)}" for name in ("algorithm", "qop") if name in params]
            return f"the server wants Digest in a form that is not known here ({', '.join(parts) or 'no nonce'})"
        return refusal(lines, self.name, secrets)


def _next_nonce(answered: Answered) -> str:
    """The nextnonce of Authentication-Info, "" without one that can be used."""
    line = answered.headers.get("Authentication-Info")
    if not line:
        return ""
    params = next((one.params for one in parse([f"Digest {line}"])), {})
    nonce = params.get("nextnonce", "")
    return nonce if question_of(Challenge("Digest", {"nonce": nonce}), "") else ""
