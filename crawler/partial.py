"""A body that came in part and can be gone on with: which version of it, which bytes, in which file.

Decides nothing. Must not know files, headers of requests or the wire. Invariant: the bytes named by `spans` are those
of one version, and durable; whatever else stands in the file counts as not there. As text it names its file without its
folder, so that an output folder may be moved.
"""

from __future__ import annotations

import os.path
from typing import Any, NamedTuple

import orjson


class Span(NamedTuple):
    """Bytes from `start` up to, not with, `stop`."""

    start: int
    stop: int


class Version(NamedTuple):
    """One version of a body as a server named it (RFC 9110 8.8): `etag` is a strong one; `modified` alone counts where
    there is none. `total` in bytes is None where nobody said; `coding` is the Content-Encoding, since the bytes are
    kept as they came. `status` and `headers` are those of the answer that told of it, as far as they speak of the body.
    """

    etag: str | None
    modified: str | None
    total: int | None
    coding: str | None = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def validator(self) -> str:
        """As If-Range wants it (RFC 9110 13.1.5)."""
        return self.etag or self.modified or ""


class Hashed(NamedTuple):
    """The running digest (of hashlib) of a body's first `size` bytes; lives within one process."""

    digest: Any
    size: int


class Partial(NamedTuple):
    """`spans` are disjoint and in their order, with a gap between any two."""

    path: str
    url: str
    version: Version
    spans: tuple[Span, ...]
    hashed: Hashed | None = None

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(span.stop - span.start for span in self.spans)

    @property
    def name(self) -> str:
        """Of its file, without the folder."""
        return os.path.basename(self.path)

    def dumps(self) -> str:
        """As text."""
        etag, modified, total, coding, status, headers = self.version
        data = {
            "part": self.name,
            "url": self.url,
            "etag": etag,
            "modified": modified,
            "total": total,
            "coding": coding,
            "status": status,
            "headers": headers,
            "spans": [list(span) for span in self.spans],
        }
        return orjson.dumps(data).decode()


def loads(text: str, folder: str) -> Partial | None:
    """What `dumps` gave, its file in `folder`; None for a text that is none of ours, or not of this version's."""
    try:
        data = orjson.loads(text)
        spans = tuple(Span(int(start), int(stop)) for start, stop in data["spans"])
        headers = tuple((str(name), str(value)) for name, value in data["headers"])
        total = data["total"]
        version = Version(
            _text(data["etag"]),
            _text(data["modified"]),
            int(total) if total is not None else None,
            _text(data["coding"]),
            int(data["status"]),
            headers,
        )
        part, url = _text(data["part"]) or "", _text(data["url"]) or ""
    except (KeyError, TypeError, ValueError):  # orjson's own is a ValueError
        return None
    edges = [edge for span in spans for edge in span]
    sound = bool(edges) and edges == sorted(set(edges)) and edges[0] >= 0 and edges[-1] <= (version.total or edges[-1])
    if not sound or not part or os.path.basename(part) != part or part in (".", "..") or not version.validator:
        return None
    return Partial(os.path.join(folder, part), url, version, spans)


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value
