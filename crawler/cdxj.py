"""CDXJ, the index that replay tools look captures up in: a line per capture, sorted by its URL's SURT and its time.

Decides a line's bytes and the key of a URL. Must not know WARC records nor files. Invariant: keys are those of the
`surt` package, by which pywb and others search: host reversed, all in lower case, the query sorted, what only names a
session left out. https://specs.webrecorder.net/cdxj/0.1.0/
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import orjson

_SAFE = "!\"$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_PORTS = {"http": "80", "https": "443"}
_PLAIN = re.compile(r"(?:/[\w~-][\w.~-]*)*/?", re.A)  # a path of which nothing but letters' case can change
_WWW = re.compile(r"www\d*\.")
# Ids of sessions of ASP.NET (in the path), Java, PHP, others, classic ASP and ColdFusion (in the query).
_PATH_SESSIONS = [
    re.compile(rb"(.*/)\((?:[a-z]\([0-9a-z]{24}\))+\)/([^?]+\.aspx.*)", re.I),
    re.compile(rb"(.*/)\([0-9a-z]{24}\)/([^?]+\.aspx.*)", re.I),
]
_QUERY_SESSIONS = [
    re.compile(rb"(.*)" + name + rb"(?:&(.*))?", re.I)
    for name in (
        rb"jsessionid=[0-9a-z]{32}",
        rb"phpsessid=[0-9a-z]{32}",
        rb"sid=[0-9a-z]{32}",
        rb"aspsessionid[a-z]{8}=[a-z]{24}",
        rb"cfid=[^&]+&cftoken=[^&]+",
    )
]


class Row(NamedTuple):
    """What the index tells of a record; `date` as in WARC, `status` None for a revisit, `digest` as it stands there."""

    url: str
    date: str
    mime: str
    status: str | None
    digest: str | None


def line(row: Row, offset: int, length: int, filename: str) -> bytes:
    """The line, with its end, of a record whose member is at `offset`. All values are texts, as others write them."""
    url, date, mime, status, digest = row
    more = {"url": url, "mime": mime}
    if status is not None:
        more["status"] = status
    if digest is not None:
        more["digest"] = digest
    more |= {"length": str(length), "offset": str(offset), "filename": filename}
    moment = date[:4] + date[5:7] + date[8:10] + date[11:13] + date[14:16] + date[17:19]
    return b"%b %b %b\n" % (surt(url).encode(), moment.encode(), orjson.dumps(more))


def surt(url: str) -> str:
    """The key of a canonical http(s) URL."""
    scheme, _, rest = url.partition("#")[0].partition("://")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    key = f"{_host(scheme, authority)}){_path(slash + path)}"
    return f"{key}?{sorted_query}" if query and (sorted_query := _query(query)) else key


@lru_cache(1024)
def _host(scheme: str, authority: str) -> str:
    host, _, port = authority.rpartition("@")[2].partition(":")
    if host.startswith("["):
        host, _, port = authority.rpartition("@")[2][1:].partition("]")
        port = port.removeprefix(":")
    host = host.lower().replace("..", ".").strip(".")
    if (www := _WWW.match(host)) is not None:
        host = host[www.end() :]
    key = ",".join(reversed(host.split(".")))
    return key if port in ("", _PORTS.get(scheme)) else f"{key}:{port}"


def _path(path: str) -> str:
    """In lower case, escaped once, without empty and dotted segments, a session's id, a slash at the end."""
    if _PLAIN.fullmatch(path) is not None:
        return path.lower().removesuffix("/") or "/"
    kept: list[bytes] = []
    for last in _bare(path).split(b"/")[1:]:
        if last == b"..":
            kept = kept[:-1] if kept else [last]
        elif last != b".":
            kept.append(last)
    whole = b"/".join([*filter(None, kept[:-1]), *kept[-1:]])
    text = _escaped(b"/" + whole).lower()
    for pattern in _PATH_SESSIONS:
        if (found := pattern.fullmatch(text)) is not None:
            text = found[1] + found[2]
    return (text[:-1] if len(text) > 1 and text.endswith(b"/") else text).decode()


def _query(query: str) -> str:
    text = _escaped(_bare(query))
    for pattern in _QUERY_SESSIONS:
        if (found := pattern.fullmatch(text)) is not None:
            text = found[1] + (found[2] or b"")
    text = text.lower()
    if len(text) > 1:
        text = b"&".join(b"=".join(pair) for pair in sorted(pair.split(b"=", 1) for pair in text.split(b"&")))
    return text.decode()


def _bare(text: str) -> bytes:
    """Without any escapes, also of escapes."""
    data = text.encode("utf-8", "replace")
    while b"%" in data and (bare := unquote_to_bytes(data)) != data:
        data = bare
    return data


def _escaped(data: bytes) -> bytes:
    return quote_from_bytes(data, safe=_SAFE).encode()
