"""Records of WARC 1.1 (ISO 28500:2017) as bytes: their heads, and the heads of the HTTP messages inside them.

Decides what an archive tells and what it keeps secret. Must not know files, compression or the checkpoint. Invariant:
whatever a server or a job said, no line of a head can be ended by it, and the HTTP head agrees with the body that is
stored: lengths and codings that no longer hold are kept under X-Archive-Orig-, as replay tools have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha1
from typing import NamedTuple
from urllib.parse import quote
from uuid import NAMESPACE_URL

from crawler.model import Record, Visit

VERSION = b"WARC/1.1\r\n"
END = b"\r\n\r\n"
FIELDS = "application/warc-fields"
REQUEST = "application/http; msgtype=request"
RESPONSE = "application/http; msgtype=response"
SAME_PAYLOAD = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
ORIGINAL = "X-Archive-Orig-"

_STARS = "***"
_CUT = "…"
_SECRET_SENT = frozenset({"authorization", "proxy-authorization", "cookie"})
_SECRET_GOT = frozenset({"set-cookie"})
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_ENDS = re.compile(r"[\r\n\0]+")
_NOT_IN_NAMES = re.compile(r"[\0- :\x7f]")
_NOT_IN_URIS = re.compile(r"[^!-~]")
_SQUEEZED = re.compile(
    r"image/(?!svg|bmp|x-ms-bmp|x-icon|vnd.microsoft.icon)|video/|audio/(?!.*wav)|font/woff"
    r"|application/(zip|gzip|x-(gzip|7z-compressed|bzip2?|xz|rar)|zstd|epub|java-archive|vnd\.(openxml|oasis|rar))",
    re.I,
)


class Hiding(NamedTuple):
    """What is left out: whatever `hide` finds in a text, and credentials and cookies by the names of their headers."""

    hide: Callable[[str], str]
    keep_secrets: bool = False

    def lines(self, headers: Sequence[tuple[str, str]], secret: frozenset[str]) -> str:
        """Header lines, each with its end."""
        made = [(_name(name), value) for name, value in headers]
        if not self.keep_secrets:
            made = [(name, _STARS if name.lower() in secret else value) for name, value in made]
        text = "".join([f"{name}: {value}\r\n" for name, value in made])
        if text.count("\n") != len(made) or text.count("\r") != len(made) or "\0" in text:
            text = "".join([f"{name}: {_one_line(value)}\r\n" for name, value in made])
        return self.hide(text)


@lru_cache(maxsize=1024)
def _name(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name) or "_"


def record_id(run: str, id: int, visit: int, kind: str) -> str:
    """A WARC-Record-ID: the same again when a request is fetched again after a kill (UUID version 5, RFC 9562)."""
    name = f"{run}/{id}/{visit}/{kind}".encode()
    made = bytearray(sha1(NAMESPACE_URL.bytes + name, usedforsecurity=False).digest())
    made[6] = made[6] & 0x0F | 0x50
    made[8] = made[8] & 0x3F | 0x80
    text = made.hex()
    return f"<urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}>"


@lru_cache(maxsize=8)
def _second(wall: int) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def date(wall: float) -> str:
    """A WARC-Date with microseconds; a wall second since the epoch."""
    microseconds = int(wall * 1_000_000)
    return f"{_second(microseconds // 1_000_000)}{microseconds % 1_000_000:06d}Z"


def digest(sha256: str) -> str:
    """A digest as it stands in WARC and CDXJ; `sha256` in hex, so that it is the text that stands in records too.

    SHA-256 and not the customary SHA-1: that of the payload is known already, so that a capture is hashed once and not
    twice; warcio, FastWARC and pywb verify either.
    """
    return f"sha256:{sha256}"


def target(url: str, hide: Callable[[str], str]) -> str:
    """A URL as it stands in a WARC-Target-URI: all of it visible ASCII."""
    url = hide(url)
    if _NOT_IN_URIS.search(url) is None:
        return url
    return _NOT_IN_URIS.sub(lambda found: quote(found[0], safe="", errors="replace"), url)


def head(kind: str, id: str, date: str, more: Iterable[tuple[str, str | None]], length: int) -> bytes:
    """The head of a record, up to its block of `length` bytes; of `more` those that are None are left out."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in more if value is not None])
    return (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Record-ID: {id}\r\nWARC-Date: {date}\r\n"
        f"{lines}Content-Length: {length}\r\n\r\n"
    ).encode()


def request_head(visit: Visit, hiding: Hiding) -> bytes:
    """The request line and headers as they were sent, secrets apart."""
    path = "/" + visit.url.partition("#")[0].partition("://")[2].partition("/")[2]
    method = _NOT_IN_NAMES.sub("_", visit.method)
    line = f"{method} {target(path, hiding.hide)} HTTP/1.1\r\n"
    return _bytes(f"{line}{hiding.lines(visit.sent, _SECRET_SENT)}\r\n")


def request_content(visit: Visit, hiding: Hiding) -> tuple[bytes, bool]:
    """The content sent without secrets, and whether it is not all of it."""
    content = visit.content or b""
    said = [value for name, value in visit.sent if name.lower() == "content-length"]
    cut = bool(said) and said[-1].isdecimal() and int(said[-1]) > len(content)
    if not content:
        return b"", cut
    text = content.decode("utf-8", "surrogateescape")
    shown = text + _CUT if cut else text  # so that the head of a secret at the cut is seen as one
    hidden = hiding.hide(shown)
    return (content if hidden == shown else _bytes(hidden.removesuffix(_CUT) if cut else hidden)), cut


def response_head(visit: Visit, hiding: Hiding) -> bytes:
    """The status line and headers as they came, secrets apart; what is wrong of the body kept is under other names.

    That is what frames a chunked body, which is kept without its frames, and the coding of one that is kept decoded.
    """
    size = str(visit.body.size)
    names = [name.lower() for name, _ in visit.headers]
    true = not visit.decoded and "transfer-encoding" not in names
    true = true and all(
        value.strip() == size for name, (_, value) in zip(names, visit.headers, strict=True) if name == "content-length"
    )
    if true:
        return _answer(visit, visit.headers, hiding, "")
    wrong = _FRAMING | {"content-encoding"} if visit.decoded else _FRAMING
    kept = [
        (ORIGINAL + said, value) if name in wrong else (said, value)
        for name, (said, value) in zip(names, visit.headers, strict=True)
    ]
    return _answer(visit, kept, hiding, f"Content-Length: {size}\r\n")


def unmodified_head(visit: Visit, hiding: Hiding) -> bytes:
    """The head of a 304 that leads to an earlier record: its headers are that one's, its length as well."""
    return _answer(visit, visit.headers, hiding, "")


def _answer(visit: Visit, headers: Sequence[tuple[str, str]], hiding: Hiding, length: str) -> bytes:
    line = f"HTTP/1.1 {visit.status:03d} {hiding.hide(_one_line(visit.phrase))}\r\n"
    return _bytes(f"{line}{hiding.lines(headers, _SECRET_GOT)}{length}\r\n")


def squeezed(visit: Visit) -> bool:
    """Is the body compressed already, by what its headers say."""
    for name, value in visit.headers:
        said = name.lower()
        if said == "content-type" and _SQUEEZED.match(value.strip()) is not None:
            return True
        if said == "content-encoding" and not visit.decoded and value.strip().lower() != "identity":
            return True
    return False


def metadata(record: Record, via: str | None, hide: Callable[[str], str]) -> bytes:
    """The fields of a metadata record (WARC 1.1, 6.6): how it went, as far as the records tell it.

    As warc-fields and not as JSON, which indexers would take for another capture of the URL.
    """
    elapsed = record.elapsed_ms
    return fields(
        (
            ("via", via),
            ("fetchTimeMs", str(round(elapsed.total)) if elapsed is not None else None),
            ("id", str(record.id)),
            ("requestId", record.request_id),
            ("place", record.place),
            ("outcome", record.outcome),
            ("reason", record.reason),
            ("attempts", str(record.attempts)),
            ("sha256", record.sha256),
            ("warning", record.warning),
            ("error", record.error),
        ),
        hide,
    )


def fields(pairs: Iterable[tuple[str, str | None]], hide: Callable[[str], str]) -> bytes:
    """A block of warc-fields; those that are None are left out."""
    return _bytes(hide("".join(f"{name}: {_one_line(value)}\r\n" for name, value in pairs if value is not None)))


def _one_line(text: str) -> str:
    return _ENDS.sub(" ", text) if _ENDS.search(text) is not None else text


def _bytes(text: str) -> bytes:
    """Bytes that were not UTF-8 came as lone surrogates, and are themselves again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
