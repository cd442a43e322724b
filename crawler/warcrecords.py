"""The records of a capture: of each visit its answer and its request, and one of metadata; and the warcinfo of a file.

Decides which record says what. Must not know files, compression or digests of what is not in memory. Invariant: all
ids follow from the run, the request and the visit's number, so that a request that is fetched again after a kill has
the same ones; a record of a capture names the answer that it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from crawler import __version__, warctext
from crawler.model import Body, Record, Visit
from crawler.warctext import Hiding

_EMPTY = sha256(b"").hexdigest()
Pair = tuple[str, str | None]


class Refers(NamedTuple):
    """An earlier record that a revisit leads to: its WARC-Target-URI and its WARC-Date."""

    url: str
    date: str


class WarcRecord(NamedTuple):
    """A record but for the digest of its block, which is `block` and the body behind it. `url` is its target's.

    `payload` is the digest that it tells, None for none.
    """

    kind: str
    id: str
    url: str | None
    date: str
    more: Sequence[Pair]
    payload: str | None
    block: bytes
    body: Body | None = None

    def head(self, digest: str) -> bytes:
        """The head; `digest` in hex is that of the whole block."""
        pairs = [("WARC-Target-URI", self.url), *self.more, ("WARC-Payload-Digest", self.payload)]
        length = len(self.block) + (self.body.size if self.body is not None else 0)
        digests = ("WARC-Block-Digest", warctext.digest(digest))
        return warctext.head(self.kind, self.id, self.date, [*pairs, digests], length)


class Capture:
    """Visit number `n` (from 0) of request `id`; `run` names the run among all runs of all jobs."""

    def __init__(self, run: str, id: int, n: int, visit: Visit, hiding: Hiding) -> None:
        self._visit = kept(visit)
        self._hiding = hiding
        self._key = run, id, n
        self._answer_id = warctext.record_id(run, id, n, "response")
        # What a revisit of this very answer says.
        self.itself = Refers(warctext.target(visit.url, hiding.hide), warctext.date(visit.at))

    def response(self) -> WarcRecord:
        """The answer, with its body."""
        visit = self._visit
        block = warctext.response_head(visit, self._hiding)
        truncated = [("WARC-Truncated", visit.truncated)] if visit.truncated is not None else []
        return self._answer("response", truncated, visit.body.sha256, block)._replace(body=visit.body)

    def revisit(self, profile: str, refers: Refers) -> WarcRecord:
        """The answer, whose payload stands in the record that `refers` tells (WARC 1.1, 6.7)."""
        told: list[Pair] = [
            ("WARC-Profile", profile),
            ("WARC-Refers-To-Target-URI", refers.url),
            ("WARC-Refers-To-Date", refers.date),
        ]
        if profile == warctext.NOT_MODIFIED:  # its headers are of that payload, whose digest nobody told us
            return self._answer("revisit", told, None, warctext.unmodified_head(self._visit, self._hiding))
        block = warctext.response_head(self._visit, self._hiding)
        return self._answer("revisit", told, self._visit.body.sha256, block)

    def _answer(self, kind: str, told: Sequence[Pair], payload: str | None, block: bytes) -> WarcRecord:
        more = [("WARC-IP-Address", self._visit.address), ("Content-Type", warctext.RESPONSE), *told]
        digest = warctext.digest(payload) if payload is not None else None
        return WarcRecord(kind, self._answer_id, *self.itself, more, digest, block)

    def request(self) -> WarcRecord:
        """What was sent."""
        content, cut = warctext.request_content(self._visit, self._hiding)
        payload = warctext.digest(sha256(content).hexdigest()) if content else None
        more: list[Pair] = [
            ("WARC-IP-Address", self._visit.address),
            ("Content-Type", warctext.REQUEST),
            ("WARC-Concurrent-To", self._answer_id),
            ("WARC-Truncated", "length" if cut else None),
        ]
        block = warctext.request_head(self._visit, self._hiding) + content
        return WarcRecord("request", warctext.record_id(*self._key, "request"), *self.itself, more, payload, block)

    def metadata(self, record: Record, via: str | None) -> WarcRecord:
        """What the records tell of the request that ended with this visit; `via` is the URL that led to it."""
        block = warctext.metadata(record, via, self._hiding.hide)
        more = [("Content-Type", warctext.FIELDS), ("WARC-Concurrent-To", self._answer_id)]
        return WarcRecord("metadata", warctext.record_id(*self._key, "metadata"), *self.itself, more, None, block)


class About(NamedTuple):
    """What a warcinfo tells of the run; `robots` is how robots.txt is obeyed."""

    job: str
    run: str
    robots: str | None = None


def warcinfo(about: About, file: str, at: float, hiding: Hiding) -> WarcRecord:
    """What the file named `file` is; `at` is the wall second of its first visit."""
    pairs = (
        ("software", f"crawler/{__version__}"),
        ("format", "WARC File Format 1.1"),
        ("conformsTo", "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"),
        ("robots", about.robots),
        ("isPartOf", about.job),
        ("run", about.run),
    )
    more = [("WARC-Filename", file), ("Content-Type", warctext.FIELDS)]
    block = warctext.fields(pairs, hiding.hide)
    id = warctext.record_id(f"{about.job}/{about.run}", 0, 0, file)
    return WarcRecord("warcinfo", id, None, warctext.date(at), more, None, block)


def kept(visit: Visit) -> Visit:
    """The visit with a body that can be read: of one that was only counted, nothing is there."""
    body = visit.body
    if body.data is not None or body.part is not None:
        return visit
    truncated = visit.truncated or ("unspecified" if body.size else None)
    return visit._replace(body=Body(0, _EMPTY, b""), truncated=truncated)
