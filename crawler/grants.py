"""The token endpoint of OAuth 2 (RFC 6749): what it is sent, and what its answer means.

Decides by the settings of one section and one answer. Must not know what tokens are used for, nor how the endpoint is
asked; `now` is wall seconds. Invariant: no sentence and no repr shows a token or secret, also where a server repeats
it; what cannot stand in a header never becomes a token.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, quote_plus, urlencode

import orjson

from crawler.errors import Reason
from crawler.retry import retry_after
from crawler.urls import netloc, printable

MAX_ANSWER = 2**20  # bytes of an answer's body
MAX_TOKEN = 32 * 1024  # characters; a header is at most 64 KiB
MAX_RETRY_AFTER = 3600.0  # seconds
_MAX_LIFE = 10 * 365 * 86400.0  # seconds
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+", re.ASCII)
_SECONDS = re.compile(r"\s*\d{1,18}(?:\.\d{0,9})?\s*", re.ASCII)
# RFC 6749 5.2, RFC 8707 2: the same request would only be refused again.
_FINAL = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)


class Settings(NamedTuple):
    """One [auth.NAME] section; `section` is that name. `skew`: seconds before its end that a token is renewed, never
    more than half of its life. `client_auth`: how the secret is sent (2.3.1). `extra`: further form parameters; those
    of the protocol win.
    """

    section: str
    grant: Literal["client_credentials", "refresh_token"]
    token_url: str  # canonical
    client_id: str
    client_secret: str | None = None
    refresh_token: str | None = None
    scope: str | None = None
    audience: str | None = None
    extra: tuple[tuple[str, str], ...] = ()
    client_auth: Literal["basic", "body"] = "basic"
    skew: float = 30.0

    def __repr__(self) -> str:
        return f"<Settings {self.section} {self.grant}>"

    def sentence(self, text: str) -> str:
        """An error as people read it, beginning with the section."""
        return f"[auth.{self.section}] {text}"


class TokenRequest(NamedTuple):
    """A POST to the token endpoint; the body is form-encoded."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return "<TokenRequest>"


class TokenAnswer(NamedTuple):
    """Header names compare without case. A body of more than MAX_ANSWER bytes may be cut once it is longer than that.
    Redirects are not followed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<TokenAnswer {self.status}>"


class TokenTrouble(Exception):
    """The endpoint could not be asked, or did not answer whole; the text goes on from "the token endpoint HOST"."""


class TokenFault(NamedTuple):
    """No token: AUTH_REJECTED (asking again is of no use), or AUTH_UNAVAILABLE, not to be asked again for `retry_in`
    seconds, where that is known. `error` is a sentence that names the section.
    """

    reason: Reason
    error: str
    retry_in: float | None = None


class Granted(NamedTuple):
    """What a good answer holds. `life` in seconds, None: unknown. `refresh`: the refresh token from now on, if any."""

    access: str
    life: float | None
    refresh: str | None

    def __repr__(self) -> str:
        return f"<Granted life={self.life}>"


def request(settings: Settings, refresh: str | None) -> TokenRequest:
    """What to send to the token endpoint (RFC 6749 4.4.2, 6); `refresh` is the refresh token that is good now."""
    form = dict(settings.extra) | {"grant_type": settings.grant}
    if settings.grant == "refresh_token":
        form["refresh_token"] = refresh or ""
    if settings.scope:
        form["scope"] = settings.scope
    if settings.audience:
        form["audience"] = settings.audience
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if settings.client_secret is not None and settings.client_auth == "basic":
        headers["Authorization"] = f"Basic {_basic(settings.client_id, settings.client_secret)}"
    else:
        form["client_id"] = settings.client_id
        if settings.client_secret is not None:
            form["client_secret"] = settings.client_secret
    return TokenRequest(settings.token_url, headers, urlencode(form, errors="surrogateescape").encode())


def read(settings: Settings, refresh: str | None, answer: TokenAnswer, now: float) -> Granted | TokenFault:
    """What the endpoint's answer means; `refresh` is the refresh token that was sent."""
    said = _object(answer.body)
    access = said.get("access_token")
    if not 200 <= answer.status < 300 or not isinstance(access, str) or not access:
        return _refusal(settings, refresh, answer, said, now)
    kind = said.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return unavailable(settings, "gave a token that is no bearer token")
    if len(access) > MAX_TOKEN or not header_safe(access):
        return unavailable(settings, "gave a token that cannot stand in a header")
    rotated = said.get("refresh_token")
    usable = isinstance(rotated, str) and 0 < len(rotated) <= MAX_TOKEN
    return Granted(access, _life(said.get("expires_in")), rotated if usable else None)


def unavailable(settings: Settings, trouble: str, retry_in: float | None = None) -> TokenFault:
    """The endpoint is of no use now; `trouble` goes on from its name."""
    sentence = settings.sentence(f"the token endpoint {netloc(settings.token_url)} {trouble}")
    return TokenFault(Reason.AUTH_UNAVAILABLE, sentence, retry_in)


def header_safe(token: str) -> bool:
    """May it stand in an Authorization header: visible ASCII alone."""
    return _HEADER_SAFE.fullmatch(token) is not None


def masked(settings: Settings, text: str, *tokens: str | None) -> str:
    """A server's or library's text, printable, with *** for each of the section's secrets and `tokens`, also where
    they stand percent-encoded or in base64.
    """
    secrets = {value for value in (settings.client_secret, settings.refresh_token, *tokens) if value}
    forms = set(secrets)
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogateescape")
        forms |= {quote(raw, safe=""), quote(raw), quote_plus(raw), b64encode(raw).decode().rstrip("=")}
    if settings.client_secret:
        forms.add(_basic(settings.client_id, settings.client_secret).rstrip("="))
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "***")
    return printable(text)


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749 2.3.1: both are form-encoded before they are put together."""
    pair = f"{quote_plus(client_id, errors='surrogateescape')}:{quote_plus(secret, errors='surrogateescape')}"
    return b64encode(pair.encode()).decode()


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer; empty for everything else."""
    if len(body) > MAX_ANSWER:
        return {}
    try:
        said = orjson.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _life(value: object) -> float | None:
    """Seconds by `expires_in`. Nothing usable, and what is not above 0 (some send that for "never"): None."""
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return None
    return float(min(value, _MAX_LIFE))


def _refusal(
    settings: Settings, refresh: str | None, answer: TokenAnswer, said: Mapping[str, Any], now: float
) -> TokenFault:
    """What an answer without a token means."""
    error, description = (said.get(name) for name in ("error", "error_description"))
    told = ": ".join(part for part in (error, description) if isinstance(part, str) and part)
    transient = answer.status == 429 or answer.status >= 500
    if not transient and (answer.status == 401 or (isinstance(error, str) and error in _FINAL)):
        told = masked(settings, told, refresh) or "answered 401"
        return TokenFault(
            Reason.AUTH_REJECTED, settings.sentence(f"{netloc(settings.token_url)} gives no token: {told}")
        )
    wait = None
    if answer.status in (429, 503):
        wait = retry_after(answer.headers.get("Retry-After"), answer.headers.get("Date"), now)
    if told:
        trouble = f"answered {answer.status}: {masked(settings, told, refresh)}"
    elif 200 <= answer.status < 300:
        size = len(answer.body)
        what = f"with more than {MAX_ANSWER} bytes" if size > MAX_ANSWER else "without an access token"
        trouble = f"answered {answer.status} {what}"
    else:
        trouble = f"answered {answer.status}"
    return unavailable(settings, trouble, None if wait is None else min(wait, MAX_RETRY_AFTER))
