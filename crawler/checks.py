"""Which digests of one body must hold, and whether they do: those that its row promises, those of its header fields.

Decides by the columns (the decoded body), Content-MD5 (RFC 1864), Digest (RFC 3230), Repr-Digest and Content-Digest
(RFC 9530). Must not know files, the wire or retries. Invariant: a field that cannot be read, or says only what we do
not understand, is passed over and never fails a body; whatever else is said must hold.

The fields speak of the body as it is coded. Servers that code on the fly send digests of what they had before: a digest
that the decoded body has is as good, since nothing that was damaged has it. Of a 206 Digest and Repr-Digest mean the
whole, Content-Digest the part; what Content-MD5 means there nobody says (RFC 7231 appendix B), so it is passed over.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Container, Iterator
from typing import TYPE_CHECKING, NamedTuple

from crawler.errors import Reason
from crawler.model import Promised
from crawler.urls import printable

if TYPE_CHECKING:
    from hashlib import _Hash

Header = Callable[[str], list[str]]  # all values of a header field
Fault = tuple[Reason, str]

_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
_NAMES = {"md5": "md5", "sha": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
# RFC 8941 3.2: a dictionary. Values that are no byte sequence are of algorithms that we do not know.
_BARE = r'(?:"(?:[^"\\]|\\.)*"|:[A-Za-z0-9+/=]*:|\([^()]*\)|[^\s,;="():]+)'
_KEY = r"[a-z*][a-z0-9_.*-]*"
_MEMBER = re.compile(rf"[ \t]*({_KEY})(?:=({_BARE}))?(?:;[ ]*{_KEY}(?:={_BARE})?)*[ \t]*(,|\Z)")


class _Expected(NamedTuple):
    """One digest that must hold. `part`: of this very message alone, though it is not the whole."""

    said_by: str
    algorithm: str
    digest: str
    part: bool = False


class Checks:
    """The checks of one body. Give each piece as it came to `raw`, and decoded to `body`, as far as they are needed."""

    def __init__(self, promised: Promised | None, expected: list[_Expected], *, coded: bool) -> None:
        self.warning: str | None = None  # what was passed over, for the record
        self._promised = promised or Promised()
        self._expected = expected
        self._coded = coded
        wanted = {said.algorithm for said in expected if not said.part}
        columns = {name for name in ("sha512", "md5") if getattr(self._promised, name) is not None}
        self._raw = _hashes(wanted) if coded else {}
        self._body = _hashes((wanted - {"sha256"}) | columns)
        self._part = _hashes({said.algorithm for said in expected if said.part})
        self._looked()

    def __repr__(self) -> str:
        return f"<Checks {[said.said_by for said in self._expected]} {self._promised}>"

    def _looked(self) -> None:
        self.needs_raw = bool(self._raw or self._part)
        self.needs_body = bool(self._body)

    def raw(self, piece: bytes | memoryview) -> None:
        """A piece of the body of this message, as it came."""
        for hash_ in self._part.values():
            hash_.update(piece)
        for hash_ in self._raw.values():
            hash_.update(piece)

    def body(self, piece: bytes | memoryview) -> None:
        """A piece of the body, decoded; one that came with an earlier message as well."""
        for hash_ in self._body.values():
            hash_.update(piece)

    def copy(self) -> Checks:
        """The checks as they stand, to go on from here twice."""
        other = Checks(self._promised, self._expected, coded=self._coded)
        other.warning = self.warning
        other._raw, other._body, other._part = map(_copied, (self._raw, self._body, self._part))
        return other

    def continued(self, header: Header, headers: Container[str]) -> Checks:
        """The checks of the whole, now that its rest comes with a 206 of these fields. Of the whole nothing is taken
        from them: what came before cannot be hashed again. The body must not be coded.
        """
        parts, warning = _said(header, headers, partial=True)
        other = self.copy()
        other._expected = [said for said in self._expected if not said.part] + [said for said in parts if said.part]
        other._part = _hashes({said.algorithm for said in parts if said.part})
        other.warning = self.warning or warning
        other._looked()
        return other

    def early(self, length: int | None) -> Fault | None:
        """Why the body cannot be the promised one: `length` in bytes is that of the whole, as it comes."""
        size = self._promised.size
        if length is None or size is None or self._coded or length == size:
            return None
        return Reason.SIZE_MISMATCH, f"the body has {length:,} bytes by its head, its row says {size:,} (size)"

    def fault(self, size: int, sha256: str) -> Fault | None:
        """What does not hold, once the body is whole: its decoded size in bytes and sha256 in hex."""
        if self._promised.size is not None and size != self._promised.size:
            error = f"the body has {size:,} bytes, its row says {self._promised.size:,} (size)"
            return Reason.SIZE_MISMATCH, error
        for name, said in zip(("sha256", "sha512", "md5"), self._promised[:3], strict=True):
            found = sha256 if name == "sha256" or said is None else self._body[name].hexdigest()
            if said is not None and found != said:
                return Reason.DIGEST_MISMATCH, f"the body's {name} is {found}, its row says {said}"
        for expected in self._expected:
            digests = self._found(expected, sha256)
            if expected.digest not in digests:
                name, said = expected.algorithm, expected.digest
                error = f"the body's {name} is {digests[0]}, its {expected.said_by} says {said}"
                return Reason.DIGEST_MISMATCH, error
        return None

    def _found(self, expected: _Expected, sha256: str) -> list[str]:
        """The digests of the body, any of which will do."""
        name = expected.algorithm
        if expected.part:
            return [self._part[name].hexdigest()]
        decoded = sha256 if name == "sha256" else self._body[name].hexdigest()
        return [self._raw[name].hexdigest(), decoded] if self._coded else [decoded]


def checks_for(
    promised: Promised | None, headers: Container[str], header: Header, *, coded: bool, partial: bool = False
) -> Checks | None:
    """The checks of a body; None where nothing is said of it, as of most.

    `headers` tells which fields there are, without case; `coded`: it is decoded on its way; `partial`: it is that of a
    206, and all that came before it will be given to `body` first.
    """
    if (
        promised is None
        and "Digest" not in headers
        and "Content-MD5" not in headers
        and "Repr-Digest" not in headers
        and "Content-Digest" not in headers
    ):
        return None
    expected, warning = _said(header, headers, partial=partial)
    if partial and coded:  # what came before is kept decoded
        expected = [said for said in expected if said.part]
    if promised is None and not expected and warning is None:
        return None
    checks = Checks(promised, expected, coded=coded)
    checks.warning = warning
    return checks


def _said(header: Header, headers: Container[str], *, partial: bool) -> tuple[list[_Expected], str | None]:
    """What the fields say, and what had to be passed over."""
    expected: list[_Expected] = []
    bad = []
    for name, read in _FIELDS.items():
        if name not in headers or (partial and name == "Content-MD5"):
            continue
        text = ", ".join(header(name))
        try:
            found = {algorithm: _digest(algorithm, value) for algorithm, value in read(text)}
        except ValueError:
            bad.append(f"{name} is malformed and was passed over: {printable(text, 100)}")
            continue
        part = partial and name == "Content-Digest"
        expected += [_Expected(name, algorithm, digest, part) for algorithm, digest in found.items()]
    return expected, "; ".join(bad) or None


def _md5(text: str) -> Iterator[tuple[str, str]]:
    yield "md5", text.strip()


def _instance(text: str) -> Iterator[tuple[str, str]]:
    """RFC 3230 4.3.2: algorithm=encoded, the algorithm without case."""
    for item in text.split(","):
        name, equals, value = item.strip().partition("=")
        if not equals and name:
            raise ValueError
        if name.lower() in _NAMES:
            yield _NAMES[name.lower()], value.strip()


def _dictionary(text: str) -> Iterator[tuple[str, str]]:
    """RFC 9530 2, 3: a dictionary of byte sequences."""
    text, at, comma = text.strip(), 0, ""
    while at < len(text) or comma:
        found = _MEMBER.match(text, at)
        if found is None:
            raise ValueError
        at, (name, value, comma) = found.end(), found.groups()
        if name in _NAMES:
            if value is None or value[:1] != ":":
                raise ValueError
            yield _NAMES[name], value[1:-1]


_FIELDS: dict[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "Content-MD5": _md5,
    "Digest": _instance,
    "Repr-Digest": _dictionary,
    "Content-Digest": _dictionary,
}


def _digest(algorithm: str, encoded: str) -> str:
    """A digest in hex. Raises ValueError."""
    bare = encoded.rstrip("=")
    data = b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    if len(data) != _SIZES[algorithm]:
        raise ValueError
    return data.hex()


def _hashes(names: set[str]) -> dict[str, _Hash]:
    return {name: hashlib.new(name, usedforsecurity=False) for name in names}


def _copied(hashes: dict[str, _Hash]) -> dict[str, _Hash]:
    return {name: hash_.copy() for name, hash_ in hashes.items()}
