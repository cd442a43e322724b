"""The text of a token cache: JSON that holds one Token for each key.

Decides what in such a file is a token and what is junk. Must not know files, nor how a key is made. Invariant: reading
back what was written gives the same tokens; a text of any other origin gives none, and never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeGuard

import orjson

from crawler.grants import MAX_TOKEN, header_safe

_ENTRIES = 64  # tokens kept, the latest ones
_MAX_GENERATION = 2**53


class Token(NamedTuple):
    """What the endpoint gave; moments are wall seconds. No `expires_at`: good until a 401. `refresh` is None as long as
    the job's own refresh token stands. `generation` counts over all processes that share a cache.
    """

    access: str
    expires_at: float | None
    refresh: str | None
    obtained_at: float
    generation: int

    def __repr__(self) -> str:
        return f"<Token generation={self.generation} expires_at={self.expires_at}>"


def is_cache(text: bytes) -> bool:
    """Is this the text of a cache, whosever tokens it holds."""
    return _said(text) is not None


def tokens_of(text: bytes) -> dict[str, Token]:
    """The tokens by key; what is none of ours is left out."""
    return {key: token for key, said in (_said(text) or {}).items() if (token := _token(said)) is not None}


def text_of(tokens: Mapping[str, Token]) -> bytes:
    """The text that `tokens_of` reads; of very many tokens the latest."""
    latest = sorted(tokens.items(), key=lambda item: item[1].obtained_at)[-_ENTRIES:]
    return orjson.dumps({"tokens": {key: _entry(token) for key, token in latest}}) + b"\n"


def _said(text: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(text)
    except ValueError:
        return None
    tokens = said.get("tokens") if isinstance(said, dict) else None
    return tokens if isinstance(tokens, dict) else None


def _entry(token: Token) -> dict[str, Any]:
    return {
        "access_token": token.access,
        "expires_at": token.expires_at,
        "refresh_token": token.refresh,
        "obtained_at": token.obtained_at,
        "generation": token.generation,
    }


def _token(said: object) -> Token | None:
    if not isinstance(said, dict):
        return None
    access, refresh, generation = said.get("access_token"), said.get("refresh_token"), said.get("generation")
    expires_at, obtained_at = said.get("expires_at"), said.get("obtained_at")
    if not isinstance(access, str) or len(access) > MAX_TOKEN or not header_safe(access):
        return None
    if not (refresh is None or (isinstance(refresh, str) and 0 < len(refresh) <= MAX_TOKEN)):
        return None
    if type(generation) is not int or not 0 < generation < _MAX_GENERATION:
        return None
    if not _is_moment(obtained_at) or not (expires_at is None or _is_moment(expires_at)):
        return None
    return Token(access, expires_at, refresh, obtained_at, generation)


def _is_moment(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
