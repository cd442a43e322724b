"""What stands at each path of the demo site, as bytes.

Decides the content alone: the pages, a paged API, sitemap, robots.txt, compressed bodies and large files. Must not know
sockets, aiohttp, the clock or who asks. Invariant: each body is a pure function of its path, the same in every process
and on every machine, so that a test can compare what a crawler stored with `expected(path)`.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from random import Random
from urllib.parse import parse_qs, urlsplit

import brotli  # type: ignore[import-untyped]
import orjson

from crawler.demopages import ARTICLES, PLACES, QUALITIES, THINGS, article, index, number, pick

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ITEMS = 500
PER_PAGE = 20
MAX_PER_PAGE = 100
MAX_MIB = 1024
MAX_SLOW = 10_000  # milliseconds
MIB = 1 << 20
ORIGIN = "http://127.0.0.1:8089"

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 6, mtime=0),
    "deflate": lambda body: zlib.compress(body, 6),  # "deflate" is the zlib format (RFC 9110, section 8.4.1.2)
    "br": lambda body: brotli.compress(body, quality=5),
    "zstd": lambda body: zstd.compress(body, 3),
}


@cache
def compressed(coding: str, n: int) -> bytes:
    """Article `n` in one of CODINGS. Raises KeyError for an unknown coding or article."""
    return CODINGS[coding](article(n))


def _item(n: int) -> dict[str, object]:
    rng = Random(n + 1_000_000)
    return {
        "id": n,
        "name": f"{pick(rng, QUALITIES)} {pick(rng, THINGS).lower()}",
        "price_cents": number(rng, 100, 20_000),
        "stock": number(rng, 0, 60),
        "origin": pick(rng, PLACES),
        "article": f"/articles/{1 + (n - 1) % ARTICLES}",
    }


@cache
def item(n: int) -> bytes:
    """Item `n`, 1..ITEMS, as JSON. Raises KeyError for any other number."""
    if not 1 <= n <= ITEMS:
        raise KeyError(n)
    return orjson.dumps(_item(n))


def items_link(page: int, per_page: int) -> str | None:
    """The path of the page that follows, None after the last."""
    return f"/api/items?page={page + 1}&per_page={per_page}" if page * per_page < ITEMS else None


def items(page: int, per_page: int) -> bytes:
    """One page of the catalogue as JSON; past the end its list is empty. Raises ValueError for numbers out of range."""
    if page < 1 or not 1 <= per_page <= MAX_PER_PAGE:
        raise ValueError(f"page counts from 1, per_page goes from 1 to {MAX_PER_PAGE}")
    numbers = range((page - 1) * per_page + 1, min(page * per_page, ITEMS) + 1)
    answer = {
        "items": [_item(n) for n in numbers],
        "page": page,
        "per_page": per_page,
        "total": ITEMS,
        "next": items_link(page, per_page),
    }
    return orjson.dumps(answer)


def robots(origin: str) -> bytes:
    """robots.txt (RFC 9309): the articles and the API are open, the doors that stick are not."""
    closed = "slow status flaky limited reset truncated redirect redirect-loop redirect-to compressed/cut large stats"
    rules = "".join(f"Disallow: /{name}\n" for name in closed.split())
    return f"User-agent: *\n{rules}\nSitemap: {origin}/sitemap.xml\n".encode()


def sitemap(origin: str) -> bytes:
    """Every page of HTML, in the form of sitemaps.org 0.9 (which demands absolute URLs)."""
    paths = ["/", *(f"/articles/{n}" for n in range(1, ARTICLES + 1))]
    urls = "".join(f"<url><loc>{escape(origin + path)}</loc></url>\n" for path in paths)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    return f"{head}{urls}</urlset>\n".encode()


# One block repeated would hide a piece that was stored at the wrong place: each begins with its file and number.
_BLOCK = 256 * 1024
_NOISE = hashlib.shake_128(b"the demo site's large files").digest(_BLOCK - 16)


def large(mib: int, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes [start, stop) of the file of `mib` MiB, in pieces of at most 256 KiB; never held whole."""
    stop = mib * MIB if stop is None else stop
    while start < stop:
        block, skip = divmod(start, _BLOCK)
        piece = b"%08d%08d" % (mib, block) + _NOISE
        if skip or stop - start < _BLOCK:
            piece = piece[skip : skip + stop - start]
        yield piece
        start += len(piece)


def byte_range(header: str, size: int) -> range | None:
    """The bytes a Range header asks for (RFC 9110, section 14.1.2): empty where none of them exist, None where the
    header is to be ignored: absent, malformed, or of several ranges.
    """
    match = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _whole_file(mib: int) -> bytes | None:
    return b"".join(large(mib)) if 1 <= mib <= MAX_MIB else None


def _items_of(query: dict[str, list[str]]) -> bytes:
    return items(int(query.get("page", ["1"])[0]), int(query.get("per_page", [str(PER_PAGE)])[0]))


def slow(ms: int) -> bytes:
    """What is said after waiting for `ms` milliseconds."""
    return f"waited for {ms} ms\n".encode()


def status(code: int) -> bytes | None:
    """The body that goes with a status; None where HTTP has none (RFC 9110, section 6.4.1)."""
    return None if code in (204, 205, 304) else f"status {code}\n".encode()


def flaky(key: str) -> bytes:
    """What is said once the failures are over."""
    return f"{key} works now\n".encode()


def limited(key: str) -> bytes:
    """What is said to those who do not ask too often."""
    return f"one {key}, with pleasure\n".encode()


_PATHS: tuple[tuple[re.Pattern[str], Callable[..., bytes | None]], ...] = tuple(
    (re.compile(pattern), body)
    for pattern, body in (
        ("/", index),
        (r"/articles/(\d+)", lambda n: article(int(n))),
        (r"/api/items/(\d+)", lambda n: item(int(n))),
        (r"/slow/(\d+)", lambda ms: slow(min(int(ms), MAX_SLOW))),
        (r"/status/(2\d\d)", lambda code: status(int(code))),
        (r"/flaky/\d+/([\w.-]+)", flaky),
        (r"/limited/([\w.-]+)", limited),
        (r"/large/(\d+)\.bin", lambda mib: _whole_file(int(mib))),
        (r"/redirect/[1-9]\d*", lambda: article(1)),
        (r"/compressed/(\w+)/(\d+)", lambda coding, n: article(int(n)) if coding in CODINGS else None),
    )
)


def expected(path: str, origin: str = ORIGIN) -> bytes | None:
    """The body a faithful client ends up with for a GET of `path` (which may have a query): decoded, after all
    redirects and retries. None where there is no such body: errors, streams cut short, and what depends on the asker.
    robots.txt and the sitemap name the `origin` they are asked at.
    """
    parts = urlsplit(path)
    query = parse_qs(parts.query)
    try:
        match parts.path:
            case "/robots.txt":
                return robots(origin)
            case "/sitemap.xml":
                return sitemap(origin)
            case "/api/items":
                return _items_of(query)
            case "/redirect-to":
                return expected(query["url"][0], origin) if query["url"][0].startswith("/") else None
        for pattern, body in _PATHS:
            if match := pattern.fullmatch(parts.path):
                return body(*match.groups())
    except (KeyError, ValueError):
        return None
    return None
