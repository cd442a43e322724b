"""What a Digest challenge asks, and the text that answers it: the computation of RFC 7616 (and RFC 2069) alone.

Decides which of several challenges is the one to answer, and the value of Authorization. Must not know which nonce was
used before, nor what follows from an answer. Invariant: the same arguments give the same text; what a server says is
quoted, bounded and free of control characters before it is sent back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple
from urllib.parse import quote

from crawler.challenges import Challenge, offered
from crawler.urls import BadURL, join

# The strongest first: those of RFC 7616 6.1, and SHA-512, which some servers offer all the same.
_HASHES = {"SHA-512-256": "sha512_256", "SHA-512": "sha512", "SHA-256": "sha256", "MD5": "md5"}
_STRENGTH = [name for name in _HASHES.values() if name in hashlib.algorithms_available]
_ASCII = re.compile(r"[\x20-\x7e]*\Z")
_ECHOED = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{0,4096}\Z")  # what of a challenge we are ready to send back


class Question(NamedTuple):
    """A challenge that can be answered. `algorithm` as the server spelled it, "" where it named none; `hash` by
    hashlib's name; `qop` is "auth", "auth-int" or "" (RFC 2069). `domain`: URLs under which it holds, none for all
    of the origin. `stale`: the answer before it was right, its nonce only too old.
    """

    realm: str
    nonce: str
    algorithm: str = ""
    hash: str = "md5"
    session: bool = False  # a -sess algorithm
    qop: str = ""
    opaque: str | None = None
    userhash: bool = False
    utf8: bool = False
    domain: tuple[str, ...] = ()
    stale: bool = False


class Answer(NamedTuple):
    """What is signed, and how often (`nc`) its nonce was used by then. `uri` as it stands in the request line; `body`
    is the digest of the body (auth-int).
    """

    method: str
    uri: str
    nc: int
    cnonce: str
    body: bytes = b""


def chosen(challenges: Sequence[Challenge], url: str) -> Question | None:
    """The Digest challenge to be answered: the one with the strongest hash, of these the first; None without any."""
    questions = [found for one in offered(challenges, "Digest") if (found := question_of(one, url)) is not None]
    return min(questions, key=lambda question: _STRENGTH.index(question.hash), default=None)


def authorization(question: Question, user: str, password: str, answer: Answer) -> str:
    """The value of Authorization (RFC 7616 3.4)."""
    realm, nonce, cnonce, qop = question.realm, question.nonce, answer.cnonce, question.qop
    count = f"{answer.nc:08x}"

    def digest(text: str) -> str:
        return hashlib.new(question.hash, text.encode(), usedforsecurity=False).hexdigest()

    secret = digest(f"{user}:{realm}:{password}")
    if question.session:
        secret = digest(f"{secret}:{nonce}:{cnonce}")
    asked = digest(f"{answer.method}:{answer.uri}" + (f":{answer.body.hex()}" if qop == "auth-int" else ""))
    middle = f"{nonce}:{count}:{cnonce}:{qop}" if qop else nonce
    fields = [
        _username(question, user, digest),
        f"realm={_quoted(realm)}",
        f"nonce={_quoted(nonce)}",
        f"uri={_quoted(answer.uri)}",
        f'response="{digest(f"{secret}:{middle}:{asked}")}"',
    ]
    if question.algorithm:
        fields.append(f"algorithm={question.algorithm}")
    if question.opaque is not None:
        fields.append(f"opaque={_quoted(question.opaque)}")
    if qop:
        fields += [f"qop={qop}", f"nc={count}"]
    if qop or question.session:
        fields.append(f'cnonce="{cnonce}"')
    if question.userhash:
        fields.append("userhash=true")
    return "Digest " + ", ".join(fields)


def question_of(challenge: Challenge, url: str) -> Question | None:
    """What a Digest challenge in answer to a request of `url` asks; None where it is in a form that is not known."""
    params = challenge.params
    algorithm = params.get("algorithm", "")
    name, session = algorithm.upper() or "MD5", algorithm.upper().endswith("-SESS")
    known = _HASHES.get(name.removesuffix("-SESS"))
    offers = [one.strip().lower() for one in params["qop"].split(",")] if params.get("qop") else [""]
    qop = next((one for one in ("auth", "auth-int", "") if one in offers), None)
    realm, nonce, opaque = params.get("realm", ""), params.get("nonce", ""), params.get("opaque")
    if known not in _STRENGTH or qop is None or not nonce:
        return None
    if not all(_ECHOED.match(text) for text in (realm, nonce, opaque or "")):
        return None
    return Question(
        realm,
        nonce,
        algorithm,
        known,
        session,
        qop,
        opaque,
        params.get("userhash", "").lower() == "true",
        params.get("charset", "").lower() == "utf-8",
        _domain(params.get("domain", ""), url),
        params.get("stale", "").lower() == "true",
    )


def within(url: str, domain: Collection[str]) -> bool:
    """Is the URL in the protection space of a question (RFC 7616 3.3)."""
    return not domain or any(url.startswith(prefix) for prefix in domain)


def _domain(text: str, url: str) -> tuple[str, ...]:
    """The URLs of a `domain`, none where they leave out the very URL that was asked for. Those of other origins do no
    harm, since a question is kept for its own.
    """
    found = []
    for one in text.split()[:20]:
        try:
            found.append(join(url, one).href)
        except BadURL:
            continue
    return tuple(found) if within(url, found) else ()


def _username(question: Question, user: str, digest: Callable[[str], str]) -> str:
    if question.userhash:
        return f'username="{digest(f"{user}:{question.realm}")}"'
    if question.utf8 and not _ASCII.match(user):
        return f"username*=UTF-8''{quote(user, safe='')}"  # RFC 7616 3.4, RFC 8187
    return f"username={_quoted(user)}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
