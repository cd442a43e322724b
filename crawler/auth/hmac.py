"""HMAC signing (RFC 2104) by the user's own templates: what is signed, and where the signature goes.

Decides the text that is signed, the headers and parameters that carry it, and what a refusal means for the clock. Must
not know any API. Invariant: templates that cannot work are refused before any request; a parameter stands in the
signed URL once, and never in the request's own; the key stands in no repr and no sentence.

A server whose Date says that our clock is wrong is answered once more by its own clock (as botocore does).
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from crawler.auth.hmactemplate import TIMES, Facts, Template
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step
from crawler.challenges import refusal
from crawler.tables import check_header
from crawler.urls import origin, with_params, without_params

SKEW = 300.0  # seconds between two clocks that servers commonly tolerate
_ORIGINS = 1000  # whose clock is remembered
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

Algorithm = Literal["sha256", "sha512"]
Encoding = Literal["hex", "base64", "base64url"]
Timestamp = Literal["unix", "unix_ms", "iso8601", "iso8601_ms", "http"]

_ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda data: b64encode(data).decode(),
    "base64url": lambda data: urlsafe_b64encode(data).decode().rstrip("="),
}


class Settings(NamedTuple):
    """How an API is signed for. `string` is the template of the text that is signed; `headers` and `params` are
    templates by name, where `{signature}` stands as well; those without it are part of what is signed. See
    hmactemplate for the fields. `timestamp` is the form of `{timestamp}`, `body_encoding` that of the body's hash.
    """

    key: bytes
    string: str
    headers: Mapping[str, str]
    params: Mapping[str, str] = MappingProxyType({})
    key_id: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    timestamp: Timestamp = "unix"
    body_encoding: Literal["hex", "base64"] = "hex"

    def __repr__(self) -> str:
        return f"<Settings {self.algorithm} {self.encoding} headers={sorted(self.headers)}>"


def key_of(text: str, form: Literal["text", "base64", "hex"] = "text") -> bytes:
    """The bytes of a key as it was given. Raises ValueError, which never shows it."""
    try:
        if form == "text":
            return text.encode()
        return bytes.fromhex(text) if form == "hex" else b64decode(text.strip(), validate=True)
    except ValueError:
        pass  # raised below: this exception may hold the key
    raise ValueError(f"the key is not {'UTF-8' if form == 'text' else form}")


class Hmac:
    """Signs by its settings. Raises ValueError for settings that cannot work; it never shows the key."""

    name = "HMAC"
    reads_errors = False

    def __init__(self, settings: Settings) -> None:
        _check(settings)
        self._settings = settings
        self._string = Template(settings.string)
        self._headers = {name: Template(text) for name, text in settings.headers.items()}
        self._params = {name: Template(text) for name, text in settings.params.items()}
        carriers = (*self._headers.values(), *self._params.values())
        self._check_uses(carriers)
        uses = frozenset[str]().union(self._string.uses, *(one.uses for one in carriers))
        self._timed = not uses.isdisjoint({"timestamp", *TIMES})
        self.wants = frozenset[str]().union(*(one.digests(settings.algorithm) for one in (self._string, *carriers)))
        self._skews: dict[tuple[str, str], float] = {}  # seconds that a server's clock is ahead of ours

    def __repr__(self) -> str:
        return f"<Hmac {self._settings.algorithm}>"

    def stale(self, now: float) -> bool:
        """Never."""
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """The headers, and the URL where parameters are added."""
        settings = self._settings
        skew = self._skews.get(origin(draft.url), 0.0)
        headers = {name.lower(): value for name, value in draft.headers.items()}
        facts = Facts(
            draft,
            without_params(draft.url, self._params),
            headers,
            now + skew,
            f"{rng.getrandbits(128):032x}",
            settings.timestamp,
            settings.key_id,
            settings.algorithm,
            settings.body_encoding,
        )
        added = {name: one.fill(facts) for name, one in self._params.items() if "signature" not in one.uses}
        facts = facts._replace(url=with_params(facts.url, added))
        sent = {name: one.fill(facts) for name, one in self._headers.items() if "signature" not in one.uses}
        facts = facts._replace(headers={**headers, **{name.lower(): value for name, value in sent.items()}})
        text = self._string.fill(facts).encode("utf-8", "surrogateescape")
        signature = hmac.digest(settings.key, text, settings.algorithm)
        facts = facts._replace(signature=_ENCODINGS[settings.encoding](signature))
        sent |= {name: one.fill(facts) for name, one in self._headers.items() if "signature" in one.uses}
        carried = {name: one.fill(facts) for name, one in self._params.items() if "signature" in one.uses}
        return Signed(sent, with_params(facts.url, carried) if self._params else None, mark=skew)

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """A 401 or 403 whose Date is more than SKEW seconds off is tried once by the server's clock (AGAIN), then
        CLOCK; without such a gap a 401 rejects the key, and a 403 is the server's own word.
        """
        if answered.status not in (401, 403):
            return FINE
        used = signed.mark if isinstance(signed.mark, float) else 0.0
        date = _date(answered) if self._timed else None
        gap = used if date is None else date - now
        far = f"the server's clock is {abs(gap):.0f} s {'ahead of' if gap > 0 else 'behind'} ours"
        if abs(gap - used) > SKEW:
            if draft.round:
                return Judgement(Step.CLOCK, far)
            self._remember(origin(draft.url), gap)
            return AGAIN
        if answered.status == 403:
            return FINE
        if abs(gap) > SKEW:
            return Judgement(Step.CLOCK, f"{far}, and a signature by its clock is refused as well")
        return Judgement(Step.REJECTED, refusal(answered.challenges, self.name, (self._settings.key_id,)))

    def _remember(self, here: tuple[str, str], gap: float) -> None:
        self._skews[here] = gap
        if len(self._skews) > _ORIGINS:
            del self._skews[next(iter(self._skews))]

    def _check_uses(self, carriers: tuple[Template, ...]) -> None:
        if "signature" in self._string.uses:
            raise ValueError("{signature} stands in the text that is signed")
        if not any("signature" in one.uses for one in carriers):
            raise ValueError("no header and no parameter carries {signature}")
        if not self._settings.key_id and any("key_id" in one.uses for one in (self._string, *carriers)):
            raise ValueError("{key_id} is used, but there is no key_id")
        for name, one in self._headers.items():
            if "signature" in one.uses and f"header:{name.lower()}" in self._string.uses:
                raise ValueError(f"the text that is signed holds the header {name}, which carries the signature")


def _check(settings: Settings) -> None:
    """Raise ValueError for what is no choice, or could not be sent."""
    if not settings.key:
        raise ValueError("the key is empty")
    for what, given, choices in (
        ("algorithm", settings.algorithm, get_args(Algorithm)),
        ("encoding", settings.encoding, get_args(Encoding)),
        ("timestamp", settings.timestamp, get_args(Timestamp)),
        ("body_encoding", settings.body_encoding, ("hex", "base64")),
    ):
        if given not in choices:
            raise ValueError(f"{what} {given[:30]!r} is not one of {', '.join(choices)}")
    if _UNSAFE.search(settings.key_id):
        raise ValueError("the key_id has control characters")
    for name, text in settings.headers.items():
        check_header(name, text)
    for name, text in (*settings.headers.items(), *settings.params.items()):
        if not name or _UNSAFE.search(name) or _UNSAFE.search(text):
            raise ValueError(f"the template of {name[:60]!r} has characters that HTTP does not allow")


def _date(answered: Answered) -> float | None:
    """Wall seconds of the server's clock, None where it does not tell."""
    try:
        moment = parsedate_to_datetime(answered.headers.get("Date", "")[:64])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
