"""Canonical URLs by the WHATWG standard (can-ada), and what may not be one.

Decides the one spelling of a URL, its host (the politeness key) and whether it can be asked for at all. Must not know
where a URL came from. Invariant: `parse(parse(x).href)` changes nothing; a Url is http or https, has a host, no
userinfo and no fragment.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_plus, urlsplit

import can_ada

MAX_LENGTH = 16 * 1024
# What the WHATWG parser would silently drop or encode, though in a list it is always a mistake.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"  # the last ones are tags: they show nothing
)
_WEBSOCKET = re.compile(r"\s*ws(s?):", re.IGNORECASE)
# Of `//user:password@`, and of `http:user:password@` or `user:password@` where the text begins so.
_USERINFO = re.compile(r"(\A\s*[^\s/\\?#@:]+:[/\\]*|[/\\]{2})[^/\\?#]+@")


class BadURL(ValueError):
    """Not a URL that can be fetched; the text is a sentence."""


class BlockedScheme(BadURL):
    """A URL, but neither http nor https."""


class Url(NamedTuple):
    """A canonical URL: its text without fragment, its hostname (no port), its scheme (no colon)."""

    href: str
    host: str
    scheme: str


def parse(text: str, *, base: str | None = None) -> Url:
    """The canonical form of an input's URL, resolved against `base`. Raises BadURL, BlockedScheme."""
    url = _parsed(text, base)
    if url.username or url.password:
        raise BadURL("has credentials in the URL; they would end up in every log and record")
    return _url(url, text)


def join(base: str, location: str) -> Url:
    """Where a Location or link leads from `base`; userinfo is dropped. Raises BadURL, BlockedScheme."""
    url = _parsed(location, base)
    if url.username or url.password:
        url.username = ""
        url.password = ""
    return _url(url, location)


def with_params(href: str, params: Mapping[str, object]) -> str:
    """`href` with query parameters appended (application/x-www-form-urlencoded; lists repeat the name)."""
    pairs = []
    for name, value in params.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            pairs.append(f"{quote_plus(name)}={quote_plus(_text(item))}")
    if not pairs:
        return href
    head, hash_, fragment = href.partition("#")
    separator = "" if head.endswith(("?", "&")) else "&" if "?" in head else "?"
    return head + separator + "&".join(pairs) + hash_ + fragment


def over_http(text: str) -> str | None:
    """The http(s) URL at which a ws(s) URL is asked for (RFC 6455 4.1); None for any other text."""
    found = _WEBSOCKET.match(text)
    return f"http{found[1]}:{text[found.end() :]}" if found else None


def as_websocket(href: str) -> str:
    """The ws(s) URL that is asked for at a canonical http(s) URL."""
    return "ws" + href.removeprefix("http")


def without_params(href: str, names: Container[str]) -> str:
    """`href` without the query parameters of these names, decoded; all others stay as they are spelled."""
    head, mark, query = href.partition("?")
    if not mark:
        return href
    kept = [pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) not in names]
    return f"{head}?{'&'.join(kept)}" if kept else head


def origin(href: str) -> tuple[str, str]:
    """Scheme and host with port of a canonical URL: what credentials are bound to."""
    parts = urlsplit(href)
    return parts.scheme, parts.netloc


def netloc(href: str) -> str:
    """Host, and port where it is not the default one, of a canonical http(s) URL; "" of what is none."""
    start = 8 if href[4:5] == "s" else 7
    end = href.find("/", start)
    return href[start:end] if end > 0 else ""


def hostname(href: str) -> str:
    """The host of a canonical http(s) URL, without its port."""
    host, colon, port = netloc(href).rpartition(":")
    return host if colon and port.isdigit() else netloc(href)


def has_userinfo(text: str) -> bool:
    """Does a Location or link name a user, perhaps with a password."""
    return "@" in text and _USERINFO.search(text) is not None


def printable(text: str, limit: int = 200) -> str:
    """Text fit for a terminal, log or record, cut to `limit`: userinfo of URLs is masked, before the cut could hide its
    end; control, direction and lone surrogate characters are escaped.
    """
    if "@" in text:
        text = _USERINFO.sub(r"\1***@", text)
    cut = text if len(text) <= limit else text[:limit] + "…"
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), cut)


def _parsed(text: str, base: str | None) -> can_ada.URL:
    if len(text) > MAX_LENGTH:
        raise BadURL(f"is {len(text)} characters long, at most {MAX_LENGTH} are taken")
    if _CONTROL.search(text):
        raise BadURL(f"has control characters: '{printable(text)}'")
    if not text or text.isspace():
        raise BadURL("is empty")
    try:
        return can_ada.parse(base) + text if base is not None else can_ada.parse(text)
    except (ValueError, TypeError):  # TypeError: lone surrogates
        raise BadURL(_why(text)) from None


def _why(text: str) -> str:
    shown = printable(text)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) and not re.match(r"[^/:]+:\d+(/|$)", text):
        return f"'{shown}' is not a URL"
    return f"'{shown}' has no scheme; did you mean 'https://{shown.lstrip('/')}'?"


def _url(url: can_ada.URL, text: str) -> Url:
    scheme = url.protocol[:-1]
    if scheme != "https" and scheme != "http":
        if "." in scheme or scheme == "localhost":  # example.org:80/a parses as a scheme
            raise BadURL(f"'{printable(text)}' has no scheme; did you mean 'https://{printable(text)}'?")
        raise BlockedScheme(f"'{printable(text)}' is a {scheme}: URL; only http and https are fetched")
    href: str = url.href
    if "#" in href:
        href = href[: href.index("#")]
    if len(href) > MAX_LENGTH:
        raise BadURL(f"is {len(href)} characters long once encoded, at most {MAX_LENGTH} are taken")
    return Url(href, url.hostname, scheme)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
