"""What a server asks for: WWW-Authenticate lines (RFC 9110 11.3, 11.6.1) as Challenges, and words for people.

Decides where one challenge ends and the next begins, and how "wants Digest, this section offers Basic" is said. Must
not know any scheme's meaning nor the credentials. Invariant: whatever a server sends, nothing raises, the time is
linear in the text, at most LIMIT challenges are kept, and what is said is short and printable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crawler.urls import printable

LIMIT = 20  # challenges of one answer
_SHOWN = 4  # challenges named in a sentence

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAM = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*+)"?|({_TOKEN}))', re.S)
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|\Z)")
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9\-._~+/]+=*)(?=[ \t]*(?:,|\Z))")
_GAP = re.compile(r"[ \t,]*")
_JUNK = re.compile(r"[^,]*")
_ESCAPE = re.compile(r"\\(.)", re.S)


class Challenge(NamedTuple):
    """One offer of a server. `scheme` as it was spelled; names of `params` in lower case, values unquoted."""

    scheme: str
    params: dict[str, str]
    token68: str = ""

    def named(self, scheme: str) -> bool:
        """Is it this scheme (schemes compare without case)."""
        return self.scheme.lower() == scheme.lower()


def parse(lines: Iterable[str]) -> list[Challenge]:
    """All challenges of all lines, in their order. What is none is passed over; of a repeated parameter the first
    counts. Never raises.
    """
    found: list[Challenge] = []
    for line in lines:
        _read(line, found)
    return found[:LIMIT]


def offered(challenges: Iterable[Challenge], scheme: str) -> list[Challenge]:
    """Those of one scheme."""
    return [challenge for challenge in challenges if challenge.named(scheme)]


def wanted(challenges: Sequence[Challenge], secrets: Sequence[str] = ()) -> str:
    """How people name what the server wants: `Digest realm "x"`, `Basic or Bearer`; "" where it names nothing.

    `secrets` are masked in it: a server may tell us our own words.
    """
    names = list(dict.fromkeys(_named(challenge, secrets) for challenge in challenges))
    if len(names) > _SHOWN:
        return f"{', '.join(names[:_SHOWN])} or another of {len(names)}"
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def refusal(lines: Iterable[str], offers: str, secrets: Sequence[str] = ()) -> str:
    """The sentence for a 401 with these WWW-Authenticate lines, in answer to a credential of the scheme `offers`."""
    challenges = parse(lines)
    same = offered(challenges, offers)
    if same:
        realm = same[0].params.get("realm")
        where = f' for realm "{said(realm, secrets)}"' if realm else ""
        return f"the server does not take this {offers} credential{where}"
    if challenges:
        return f"the server wants {wanted(challenges, secrets)}, this section offers {offers}"
    return f"the server does not take this {offers} credential, and does not say what it wants"


def said(text: str, secrets: Sequence[str] = (), limit: int = 60) -> str:
    """A server's text fit for a sentence: secrets masked before the cut could hide their end, printable, bounded."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    return printable(text, limit)


def _named(challenge: Challenge, secrets: Sequence[str]) -> str:
    realm = challenge.params.get("realm")
    scheme = said(challenge.scheme, secrets, 30)
    return f'{scheme} realm "{said(realm, secrets)}"' if realm else scheme


def _read(line: str, found: list[Challenge]) -> None:
    """Add the challenges of one line to `found`."""
    place = _GAP.match(line).end()  # type: ignore[union-attr]  # matches the empty text as well
    apart = True  # a new challenge may begin: the line does, or a comma came before
    current: Challenge | None = None
    while place < len(line) and len(found) < LIMIT:
        if current is not None and not current.token68 and (param := _PARAM.match(line, place)):
            quoted = param[2]
            value = param[3] if quoted is None else _ESCAPE.sub(r"\1", quoted)
            current.params.setdefault(param[1].lower(), value)
            place = param.end()
        elif apart and (scheme := _SCHEME.match(line, place)):
            place = scheme.end()
            token68 = _TOKEN68.match(line, place)
            current = Challenge(scheme[1], {}, token68[1] if token68 else "")
            found.append(current)
            place = token68.end() if token68 else place
        else:
            place = _JUNK.match(line, place).end()  # type: ignore[union-attr]
        gap = _GAP.match(line, place)
        apart = gap is not None and "," in gap[0]
        place = gap.end() if gap else place
