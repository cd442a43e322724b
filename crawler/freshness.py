"""How long an answer stays as it is by its own word: Cache-Control, Expires, Age (RFC 9111).

Decides by headers alone, as a private cache does. Must not know the clock: `now` is wall seconds. Invariant: what is
unclear, or forbids it, is not fresh; a lifetime that is longer than a year counts as one (RFC 9111 1.2.2 lets it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from crawler.retry import http_date

_YEAR = 366 * 86400.0
_DIRECTIVE = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?\s*(?:,|\Z)')


def fresh_until(headers: Mapping[str, str], now: float) -> float | None:
    """The wall second until which an answer that came at `now` need not be asked for again; None where not at all.

    RFC 9111 4.2.1: max-age before Expires; s-maxage is for shared caches. No heuristic (4.2.2): who said nothing is
    asked. `no-store`, `no-cache` and `Vary: *` mean that it must be asked for each time.
    """
    said = _directives(headers.get("Cache-Control") or "")
    if said is None or "no-store" in said or "no-cache" in said or (headers.get("Vary") or "").strip() == "*":
        return None
    lifetime = _lifetime(said, headers, now)
    if lifetime is None:
        return None
    left = min(lifetime, _YEAR) - _age(headers, now)
    return now + left if left > 0 else None


def _lifetime(said: Mapping[str, str], headers: Mapping[str, str], now: float) -> float | None:
    if "max-age" in said:
        text = said["max-age"]
        return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else None
    expires = http_date(headers.get("Expires") or "")
    if expires is None:  # "0" and the like mean that it is stale already
        return None
    sent = http_date(headers.get("Date") or "")
    return expires - (sent if sent is not None else now)


def _age(headers: Mapping[str, str], now: float) -> float:
    """Seconds that it lay in caches on the way (RFC 9111 4.2.3), by their word or by its date."""
    text = (headers.get("Age") or "").strip()
    told = float(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0.0
    sent = http_date(headers.get("Date") or "")
    # A server's clock that is behind ours makes an answer look older than it is: then it is asked for once too often.
    return max(told, now - sent if sent is not None else 0.0)


def _directives(text: str) -> dict[str, str] | None:
    """By lower-case name, the first of several; None where the header cannot be read."""
    found: dict[str, str] = {}
    at = 0
    if len(text) > 4096:
        return None
    while at < len(text):
        match = _DIRECTIVE.match(text, at)
        if match is None:
            if text[at] in " \t,":
                at += 1
                continue
            return None
        found.setdefault(match[1].lower(), match[2] or match[3] or "")
        at = match.end()
    return found
