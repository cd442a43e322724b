"""An API key: fixed headers, query parameters or cookies with every request.

Decides what is laid over a request. Must not know which hosts it is for. Invariant: a key that goes into the query is
in the signed URL alone, never in the request's own, and stands there once, even where a server's Location said it
back; no key stands in a repr or a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from types import MappingProxyType

from crawler.auth.scheme import FINE, Answered, Draft, Judgement, Signed, Step
from crawler.challenges import refusal
from crawler.tables import check_header
from crawler.urls import with_params, without_params

_NONE: Mapping[str, str] = MappingProxyType({})
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_COOKIE = re.compile(r'[^\x00-\x20",;\\\x7f-\U0010ffff]*\Z')  # RFC 6265 4.1.1


class ApiKey:
    """`prefix` goes before the value of each header ("Token "). Raises ValueError for what HTTP cannot carry, and
    where there is no key at all.
    """

    name = "API key"
    wants: frozenset[str] = frozenset()
    reads_errors = False

    def __init__(
        self,
        headers: Mapping[str, str] = _NONE,
        params: Mapping[str, str] = _NONE,
        cookies: Mapping[str, str] = _NONE,
        *,
        prefix: str = "",
    ) -> None:
        if not headers and not params and not cookies:
            raise ValueError("no header, parameter or cookie holds the key")
        for kind, pairs in (("header", headers), ("parameter", params), ("cookie", cookies)):
            for name, value in pairs.items():
                _check(kind, name, value)
        if _UNSAFE.search(prefix):
            raise ValueError("the prefix has control characters")
        if cookies and any(name.lower() == "cookie" for name in headers):
            raise ValueError("the header Cookie and cookies cannot both be given")
        self._headers = {name: prefix + value for name, value in headers.items()}
        self._params = dict(params)
        self._cookies = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._secrets = (*headers.values(), *params.values(), *cookies.values())

    def __repr__(self) -> str:
        return "<ApiKey>"

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The keys; cookies are added to those that the draft has."""
        headers = self._headers
        if self._cookies:
            others = [value for name, value in draft.headers.items() if name.lower() == "cookie" and value]
            headers = {**headers, "Cookie": "; ".join([*others, self._cookies])}
        return Signed(
            headers, with_params(without_params(draft.url, self._params), self._params) if self._params else None
        )

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """A 401 rejects the key; all else is fine."""
        if answered.status != 401:
            return FINE
        return Judgement(Step.REJECTED, refusal(answered.challenges, self.name, self._secrets))


def _check(kind: str, name: str, value: str) -> None:
    """Raise ValueError, which never shows the value."""
    if not name or _UNSAFE.search(name):
        raise ValueError(f"a {kind} has no name, or control characters in it")
    if not value:
        raise ValueError(f"the {kind} {name} has no value")
    if kind != "parameter":
        check_header(name, value)  # the name of a cookie is a token as well
    if _UNSAFE.search(value) or (kind == "cookie" and not _COOKIE.match(value)):
        raise ValueError(f"the value of the {kind} {name} has characters that HTTP does not allow")
