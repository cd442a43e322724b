"""netrc: Basic by the host of the URL, from the entries of a netrc file (one "machine" each, and perhaps a "default").

Decides whose user and password go to a host. Must not know the file: the standard library's netrc.netrc reads it, and
`entries_of` takes its `hosts`. Invariant: a host gets its own entry or the default, whatever else stands in the URL; a
host that has neither gets nothing; no password stands in a repr or a sentence.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from random import Random

from crawler.auth.scheme import FINE, Answered, Draft, Judgement, Signed, Step
from crawler.challenges import refusal
from crawler.urls import hostname, printable

Login = tuple[str, str]  # user, password

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def entries_of(hosts: Mapping[str, tuple[str | None, str | None, str | None]]) -> tuple[dict[str, Login], Login | None]:
    """The arguments of Netrc from the `hosts` of netrc.netrc: (login, account, password) by machine, "default" being
    the one for all others.
    """
    entries = {machine: (login or "", password or "") for machine, (login, _, password) in hosts.items()}
    default = entries.pop("default", None)
    return entries, default


class Netrc:
    """`entries` by hostname without port. Raises ValueError, naming the host, for a user with a colon and for control
    characters.
    """

    name = "Basic"
    wants: frozenset[str] = frozenset()
    reads_errors = False

    def __init__(self, entries: Mapping[str, Login], default: Login | None = None) -> None:
        self._tokens = {_key(host): _tokens(host, login) for host, login in entries.items()}
        self._default = None if default is None else _tokens("default", default)

    def __repr__(self) -> str:
        return f"<Netrc hosts={len(self._tokens)}>"

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The header of the URL's host; none where it has no entry."""
        tokens = self._tokens.get(_key(hostname(draft.url)), self._default)
        return Signed({} if tokens is None else {"Authorization": f"Basic {tokens[0]}"})

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """A 401 rejects the entry that was sent; all else is fine."""
        tokens = self._tokens.get(_key(hostname(draft.url)), self._default)
        if answered.status != 401 or tokens is None:
            return FINE
        return Judgement(Step.REJECTED, refusal(answered.challenges, self.name, tokens))


def _key(host: str) -> str:
    return host.lower().strip("[]")  # IPv6 has brackets in a URL, and none in a netrc


def _tokens(host: str, login: Login) -> tuple[str, str]:
    """What is sent, and the password itself: neither may be said."""
    user, password = login
    if ":" in user:
        raise ValueError(f"the user of {printable(host, 60)} has a colon, which Basic cannot send (RFC 7617 2)")
    if _CONTROL.search(user + password):
        raise ValueError(f"the entry of {printable(host, 60)} has control characters, which Basic does not allow")
    return b64encode(f"{user}:{password}".encode()).decode(), password
