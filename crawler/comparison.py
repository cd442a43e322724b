"""Two runs compared, URL by URL: what is new, changed, unchanged, gone, or cannot be told.

Decides by outcome, status and sha256. Must not know files or runs. Invariant: nothing is called gone or new that was
only not looked at; a million URLs take one table of numbers, whatever their records hold.

A URL is told apart by its method. One that stands in a run several times (rows may send it other bodies) is compared as
one: it is changed where any of its contents is one that was not there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from crawler.known import GONE_STATUSES

Verdict = Literal["new", "changed", "unchanged", "gone", "unknown"]
VERDICTS: tuple[Verdict, ...] = ("new", "changed", "unchanged", "gone", "unknown")


class Kind(IntEnum):
    """What a run says of a URL."""

    ABSENT = 0
    GONE = 1  # 404 or 410
    LEFT = 2  # skipped on purpose
    NOT_DUE = 3  # known, and not looked at
    CONTENT = 4
    UNKNOWN = 5  # failed otherwise, or there is nothing to compare


class Line(NamedTuple):
    """One URL of the result."""

    verdict: Verdict
    url: str
    method: str


# By what the older run says, then the newer; None: there is nothing to tell. Contents are compared by their digests.
_BY_KIND: dict[Kind, dict[Kind, Verdict | None]] = {
    Kind.ABSENT: {Kind.GONE: None, Kind.LEFT: None, Kind.NOT_DUE: "unchanged", Kind.CONTENT: "new"},
    Kind.GONE: {Kind.GONE: None, Kind.LEFT: "unknown", Kind.NOT_DUE: "unchanged", Kind.CONTENT: "new"},
    Kind.LEFT: {Kind.GONE: "unknown", Kind.LEFT: None, Kind.NOT_DUE: "unchanged", Kind.CONTENT: "unknown"},
    Kind.NOT_DUE: {Kind.GONE: "gone", Kind.LEFT: "unknown", Kind.NOT_DUE: "unchanged", Kind.CONTENT: "unknown"},
    Kind.CONTENT: {Kind.GONE: "gone", Kind.LEFT: "unknown", Kind.NOT_DUE: "unchanged", Kind.CONTENT: "changed"},
    Kind.UNKNOWN: {Kind.GONE: "unknown", Kind.LEFT: "unknown", Kind.NOT_DUE: "unchanged", Kind.CONTENT: "unknown"},
}
# Those that the newer run does not have.
_UNMET: dict[Kind, Verdict] = {Kind.CONTENT: "gone", Kind.NOT_DUE: "gone", Kind.UNKNOWN: "unknown"}
# Of several verdicts of one URL the last of these holds.
_RANK: dict[Verdict | None, int] = {None: 0, "unchanged": 1, "gone": 2, "new": 3, "unknown": 4, "changed": 5}
_BY_RANK = {rank: verdict for verdict, rank in _RANK.items()}

# A URL in the table: three bits what the older run says, three the rank of what the newer said (0: nothing yet), one
# whether the newer has it at all; above them the digest of the content. All fits into 60 bits, Python's short integers.
_KIND, _RANKS, _MET, _DIGEST = 7, 3, 64, 7


class Comparison:
    """First all records of the older run are given to `before`, then those of the newer to `after`, then `unmet` gets
    those of the older once more. `whole`: did each of the two come to its end, so that what it lacks was not there.
    """

    def __init__(self, older_whole: bool = True, newer_whole: bool = True, unchanged: bool = False) -> None:
        self.counts: dict[Verdict, int] = dict.fromkeys(VERDICTS, 0)
        self._older_whole, self._newer_whole = older_whole, newer_whole
        self._listing_all = unchanged
        self._table: dict[int, int] = {}
        self._contents: dict[int, set[int]] = {}  # of URLs that stand several times with other contents
        self._lines: dict[str, Verdict] = {}  # by URL and method in one text, which takes half of a tuple of both

    def __repr__(self) -> str:
        return f"<Comparison of {len(self._table)} URLs, {self.counts}>"

    def before(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What the older run says."""
        table = self._table
        for record in records:
            kind = kind_of(record)
            if kind is Kind.ABSENT:
                continue
            key, digest = _key(record), _digest(record, kind)
            known = table.setdefault(key, digest << _DIGEST | kind)
            if known & _KIND != kind:
                table[key] = max(known, digest << _DIGEST | kind, key=lambda code: code & _KIND)
            elif known >> _DIGEST != digest:
                self._contents.setdefault(key, {known >> _DIGEST}).add(digest)

    def after(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What the newer run says."""
        table = self._table
        for record in records:
            kind = kind_of(record)
            if kind is Kind.ABSENT:
                continue
            key = _key(record)
            known = table.get(key, 0)
            verdict = self._verdict(key, known, record, kind)
            rank = known >> _RANKS & 7
            if not known & _MET or _RANK[verdict] > rank:
                self._count(_BY_RANK[rank], verdict, record)
                table[key] = known & ~(7 << _RANKS) | _RANK[verdict] << _RANKS | _MET

    def unmet(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What the older run had and the newer does not: its records once more."""
        table = self._table
        if all(code & _MET for code in table.values()):
            return
        for record in records:
            key = _key(record)
            known = table.get(key, _MET)
            if not known & _MET:
                table[key] = known | _MET
                verdict = _UNMET.get(Kind(known & _KIND))
                self._count(None, verdict if self._newer_whole or verdict is None else "unknown", record)

    def lines(self) -> Iterator[Line]:
        """What differs, sorted; what is unchanged, too, where it was asked for."""
        for wanted in sorted(VERDICTS):
            for place in sorted(place for place, verdict in self._lines.items() if verdict == wanted):
                url, _, method = place.rpartition("\0")
                yield Line(wanted, url, method)

    def _verdict(self, key: int, known: int, record: Mapping[str, Any], kind: Kind) -> Verdict | None:
        before = Kind(known & _KIND)
        if kind is Kind.UNKNOWN:
            return "unknown"
        if kind is not Kind.CONTENT:
            return _BY_KIND[before][kind]
        if before is Kind.CONTENT:
            digest = _digest(record, kind)
            same = digest == known >> _DIGEST or digest in self._contents.get(key, ())
            return "unchanged" if same else "changed"
        if before is Kind.NOT_DUE:  # the run before did not look: this one says itself since when it is so
            said = record.get("change")
            return said if said in VERDICTS else "unknown"
        verdict = _BY_KIND[before][kind]
        return "unknown" if verdict == "new" and not self._older_whole else verdict

    def _count(self, instead_of: Verdict | None, verdict: Verdict | None, record: Mapping[str, Any]) -> None:
        if instead_of is not None:
            self.counts[instead_of] -= 1
        if verdict is None:
            return
        self.counts[verdict] += 1
        if verdict != "unchanged" or self._listing_all:
            self._lines[f"{record.get('url') or ''}\0{record.get('method') or 'GET'}"] = verdict


def told_by_records(
    records: Iterable[Mapping[str, Any]], unchanged: bool = False
) -> tuple[list[Line], dict[Verdict, int]]:
    """What one run says itself of changes since the run before, where that is gone: sorted lines and counts."""
    counts: dict[Verdict, int] = dict.fromkeys(VERDICTS, 0)
    lines = []
    for record in records:
        verdict = record.get("change")
        if verdict is None:
            kind = kind_of(record)
            verdict = {Kind.NOT_DUE: "unchanged", Kind.UNKNOWN: "unknown"}.get(kind)
        if verdict in VERDICTS:
            counts[verdict] += 1
            if verdict != "unchanged" or unchanged:
                lines.append(Line(verdict, record.get("url") or "", record.get("method") or "GET"))
    return sorted(lines), counts


def kind_of(record: Mapping[str, Any]) -> Kind:
    """What a record says of its URL."""
    match record.get("outcome"):
        case "fetched":
            return Kind.CONTENT if record.get("sha256") else Kind.UNKNOWN
        case "failed":
            return Kind.GONE if record.get("status") in GONE_STATUSES else Kind.UNKNOWN
        case _ if record.get("reason") == "not-due":
            return Kind.NOT_DUE
        case _:  # a row that left the list is not in the run
            return Kind.ABSENT if record.get("reason") == "removed" else Kind.LEFT


def _key(record: Mapping[str, Any]) -> int:
    named = f"{record.get('method') or 'GET'} {record.get('url') or ''}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(named, digest_size=8).digest()) >> 4


def _digest(record: Mapping[str, Any], kind: Kind) -> int:
    """52 bits of the content's digest."""
    return int(record["sha256"][:13], 16) if kind is Kind.CONTENT else 0
