"""Basic (RFC 7617): a user and a password with every request.

Decides the one header, and that a 401 means the credential is no good, since nothing about it can change. Must not
know which hosts it is for. Invariant: the same header for every request; neither the user nor the password stands in
a repr or a sentence.
"""

from __future__ import annotations

import re
from base64 import b64encode
from random import Random

from crawler.auth.scheme import FINE, Answered, Draft, Judgement, Signed, Step
from crawler.challenges import refusal

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Basic:
    """`user` and `password` go out as UTF-8 (RFC 7617 2.1). Raises ValueError for a user with a colon, and for control
    characters in either.
    """

    name = "Basic"
    wants: frozenset[str] = frozenset()
    reads_errors = False

    def __init__(self, user: str, password: str) -> None:
        if ":" in user:
            raise ValueError("the user has a colon, which Basic cannot send (RFC 7617 2)")
        for what, text in (("user", user), ("password", password)):
            if _CONTROL.search(text):
                raise ValueError(f"the {what} has control characters, which Basic does not allow (RFC 7617 2)")
        token = b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}"}
        self._secrets = (token, password)

    def __repr__(self) -> str:
        return "<Basic>"

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The header, before any challenge (RFC 7617 2.2)."""
        return Signed(self._headers)

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """A 401 rejects the credential; all else is fine."""
        if answered.status != 401:
            return FINE
        return Judgement(Step.REJECTED, refusal(answered.challenges, self.name, self._secrets))
