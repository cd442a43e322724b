"""A record of WARC read back from its bytes: its head as fields, its block counted and hashed, what is wrong with it.

Decides whether a record is whole and says what its head says. Must not know files or compression. Invariant: constant
memory; a record without a fault has exactly the block that its head promises, with the digests that stand there.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b32encode
from collections.abc import Mapping
from typing import Any

from crawler.cdxj import Row
from crawler.warctext import END, VERSION

_LONGEST_HEAD = 1024 * 1024  # of a record or of an HTTP message; a URL may be long
_LONGEST_HTTP = 16 * 1024 * 1024
_CONTENT_TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]*)", re.I | re.M)
_MEDIA_TYPE_END = re.compile("[; ]")
_NEEDED = ("WARC-Type", "WARC-Record-ID", "WARC-Date", "Content-Length")
_REPEATED = "warc-concurrent-to"  # the only one that may be (WARC 1.1, 5.7)
_ALGORITHMS = ("sha1", "sha256", "sha512", "md5")


def row_of(fields: Mapping[str, str], http: bytes) -> Row | None:
    """What the index tells of a record that was read back; None where it tells nothing of it."""
    kind, url, date = fields["warc-type"], fields.get("warc-target-uri"), fields["warc-date"]
    return index_row(kind, url, date, fields.get("warc-payload-digest"), http)


def index_row(kind: str, url: str | None, date: str, payload: str | None, http: bytes) -> Row | None:
    """What the index tells of a record, as pywb's indexer does; `http` begins with the head of its message."""
    if url is None or kind not in ("response", "revisit"):
        return None
    if kind == "revisit":
        return Row(url, date, "warc/revisit", None, payload)
    found = _CONTENT_TYPE.search(http)
    mime = _MEDIA_TYPE_END.split(_text(found[1]).strip(), 1)[0] if found is not None else ""
    return Row(url, date, mime or "unk", http[9:12].decode("ascii", "replace"), payload)


def _text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


class Reading:
    """One record, fed with its bytes. `fields` have names in lower case; `http` is the head of its HTTP message."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.http = b""
        self._faults: list[str] = []
        self._head = bytearray()
        self._left: int | None = None  # bytes of the block to come, once its head was read
        self._tail = b""
        self._in_http = False
        self._block: Any = None
        self._payload: Any = None

    @property
    def kind(self) -> str:
        """The WARC-Type, "" where it is unknown."""
        return self.fields.get("warc-type", "")

    def feed(self, data: bytes) -> None:
        """The next bytes of the record."""
        if self._left is None:
            self._head += data[: max(0, _LONGEST_HEAD - len(self._head))]
            end = self._head.find(END)
            if end < 0:
                return
            head, data = bytes(self._head[:end]), bytes(self._head[end + len(END) :]) + data[_LONGEST_HEAD:]
            self._read_head(head.decode("utf-8", "surrogateescape"))
        assert self._left is not None
        block, rest = data[: self._left], data[self._left :]
        self._left -= len(block)
        self._read_block(block)
        self._tail += rest[: len(END) + 1 - len(self._tail)]

    def end(self) -> list[str]:
        """No more comes; all that is wrong."""
        if self._left is None:
            whole = self._head[: len(VERSION)] == VERSION[: len(self._head)]
            return ["ends within its head" if whole else "is no record of WARC/1.1"]
        if self._left:
            return [*self._faults, f"lacks {self._left} bytes of the block that it promises"]
        if self._tail != END:
            self._faults.append("its block does not end where its Content-Length says")
        self._compare("warc-block-digest", self._block)
        if self.kind != "revisit":  # there it is that of the earlier record's payload
            self._compare("warc-payload-digest", self._payload)
        return self._faults

    def _read_head(self, head: str) -> None:
        version, *lines = head.split("\r\n")
        if version != VERSION.decode().rstrip():
            self._faults.append("is no record of WARC/1.1")
        for line in lines:
            name, colon, value = line.partition(": ")
            if not colon or not name:
                self._faults.append("has a line in its head that is no field")
            elif name.lower() in self.fields and name.lower() != _REPEATED:
                self._faults.append(f"says {name} twice")
            self.fields[name.lower()] = value
        self._faults += [f"does not say {name}" for name in _NEEDED if name.lower() not in self.fields]
        length = self.fields.get("content-length", "")
        self._left = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else 0
        self._in_http = self.fields.get("content-type", "").startswith("application/http")
        self._block = self._hash("warc-block-digest")
        self._payload = self._hash("warc-payload-digest")

    def _hash(self, field: str) -> Any:
        algorithm = self.fields.get(field, "").partition(":")[0].lower()
        return hashlib.new(algorithm, usedforsecurity=False) if algorithm in _ALGORITHMS else None

    def _read_block(self, data: bytes) -> None:
        if self._block is not None:
            self._block.update(data)
        if self._in_http:
            before = max(0, len(self.http) - len(END) + 1)
            self.http += data
            end = self.http.find(END, before)
            if end < 0 and len(self.http) <= _LONGEST_HTTP:
                return
            end = end + len(END) if end >= 0 else len(self.http)
            self.http, data, self._in_http = self.http[:end], self.http[end:], False
        if self._payload is not None:
            self._payload.update(data)

    def _compare(self, field: str, found: Any) -> None:
        """A digest that stands there and cannot be checked is a fault as well."""
        if (said := self.fields.get(field)) is None:
            return
        forms = (found.hexdigest(), b32encode(found.digest()).decode().lower()) if found is not None else ()
        if said.partition(":")[2].lower() not in forms:
            self._faults.append(f"its {field.removeprefix('warc-').replace('-', ' ')} is another than it says")
