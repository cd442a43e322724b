"""Bearer (RFC 6750): a token that is given once and never renewed.

Decides the one header, and that a 401 means the token is no good; the server's own reason is passed on. Must not know
where the token came from. Invariant: the same header for every request; the token stands in no repr and no sentence,
not even where the server says it back.
"""

from __future__ import annotations

import re
from random import Random

from crawler.auth.scheme import FINE, Answered, Draft, Judgement, Signed, Step
from crawler.challenges import offered, parse, refusal, said

# RFC 6750 2.1 allows letters, digits and -._~+/ only, but tokens with other visible characters are about.
_TOKEN = re.compile(r"[\x21-\x7e]+\Z")


class Bearer:
    """Raises ValueError for a token that is empty or has spaces, control or non-ASCII characters."""

    name = "Bearer"
    wants: frozenset[str] = frozenset()
    reads_errors = False

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("the token is empty")
        if not _TOKEN.match(token):
            raise ValueError("the token has spaces, control or non-ASCII characters; is there a line end too many?")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._secrets = (token,)

    def __repr__(self) -> str:
        return "<Bearer>"

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The header, before any challenge."""
        return Signed(self._headers)

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """A 401 rejects the token, with the `error` and `error_description` of RFC 6750 3; all else is fine."""
        if answered.status != 401:
            return FINE
        text = refusal(answered.challenges, self.name, self._secrets)
        for challenge in offered(parse(answered.challenges), self.name)[:1]:
            reasons = (challenge.params.get("error"), challenge.params.get("error_description"))
            text = ": ".join([text, *(said(reason, self._secrets, 200) for reason in reasons if reason)])
        return Judgement(Step.REJECTED, text)
