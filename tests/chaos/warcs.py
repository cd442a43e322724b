"""WARC files by a strict reader of our own, since the usual ones pass files that were cut, and by FastWARC and warcio.

Strict: each gzip member to its end with its CRC, one record a member, Content-Length exact, an empty line twice behind.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.site import Page

_FILE = re.compile(r"(warc/)?[\w.-]+\.(warc\.gz|cdxj)\Z")


class Member(NamedTuple):
    """One record: where its gzip member lies, its header by lower-case names, its block."""

    offset: int
    length: int
    header: dict[str, str]
    block: bytes


def owns(path: Path) -> bool:
    """Is this a file of ours."""
    return _FILE.match(str(path)) is not None


def members(data: bytes) -> Iterator[Member]:
    """The records of a file. Raises ValueError where anything of it is not whole."""
    at = 0
    while at < len(data):
        inflater = zlib.decompressobj(wbits=31)
        try:
            text = inflater.decompress(data[at:])
        except zlib.error as error:
            raise ValueError(f"at {at}: {error}") from None
        if not inflater.eof:
            raise ValueError(f"at {at}: the member is cut")
        length = len(data) - at - len(inflater.unused_data)
        header, block = _record(text, at)
        yield Member(at, length, header, block)
        at += length


def _record(text: bytes, at: int) -> tuple[dict[str, str], bytes]:
    head, separator, rest = text.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    if not separator or not lines[0].startswith("WARC/1."):
        raise ValueError(f"at {at}: no WARC header")
    header = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    block, behind = rest[:-4], rest[-4:]
    if behind != b"\r\n\r\n" or len(block) != int(header["content-length"]):
        raise ValueError(f"at {at}: the block is not as long as said")
    return header, block


def judge(folder: Path, records: Sequence[dict[str, Any]]) -> list[str]:
    """The faults of the WARC files of a run that came to its end."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    places: Counter[Place] = Counter()
    for path in _files(folder):
        name = str(path.relative_to(folder))
        try:
            found = list(members(path.read_bytes()))
        except ValueError as error:
            faults.append(f"{name}: {error}")
            continue
        answers = [one for one in found if one.header["warc-type"] in _ANSWERS]
        counts.update(one.header["warc-target-uri"] for one in answers)
        here = [(one.header["warc-target-uri"], path.name, one.offset, one.length) for one in answers]
        places.update(here)
        faults += _judge_index(path.with_name(path.name.removesuffix(".warc.gz") + ".cdxj"), Counter(here))
        if not found or found[0].header["warc-type"] != "warcinfo":
            faults.append(f"{name}: does not begin with a warcinfo")
        for reader, seen in (("FastWARC", _fastwarc(path)), ("warcio", _warcio(path))):
            if seen != len(found):
                faults.append(f"{name}: {reader} sees {seen} of {len(found)} records")
    answered = Counter[str]()
    for record in records:
        if record["status"] is not None:
            answered.update({record["url"], record["final_url"]})
    faults += [f"WARC: {url} is missing" for url in (answered - counts)]
    faults += _judge_index(folder / "warc/index.cdxj", places)
    faults += [f"WARC: {url} stands there {n} times too often" for url, n in (counts - answered).items()]
    return faults


_ANSWERS = ("response", "revisit")
Place = tuple[str, str, int, int]  # URL, file, offset, length


def _judge_index(path: Path, places: Counter[Place]) -> Iterator[str]:
    """A CDXJ names each answer once, where it is, in the order of its bytes, which is what readers search in."""
    if not path.exists():
        yield f"{path.name}: is not there"
        return
    lines = path.read_bytes().splitlines()
    if lines != sorted(lines):
        yield f"{path.name}: is not sorted"
    said = [json.loads(line.split(b" ", 2)[2]) for line in lines]
    named = Counter((one["url"], one["filename"], int(one["offset"]), int(one["length"])) for one in said)
    yield from (f"{path.name}: {place[0]} is missing" for place in places - named)
    yield from (f"{path.name}: {place[0]} is named too often, or at a wrong place" for place in named - places)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.warc.gz"))


def spot(folder: Path, place: dict[str, Any], page: Page) -> str | None:
    """What is wrong with the record at a place, which is to be the answer of this page, or a revisit of its content.

    None where all is right.
    """
    path = folder / place["file"]
    if not path.is_file():
        return f"{place['file']} is not there"
    with path.open("rb") as file:
        file.seek(place["offset"])
        data = file.read(place["length"])
    try:
        [one] = members(data)
    except ValueError as error:
        return f"{place['file']}: {error}"
    if one.header["warc-type"] not in _ANSWERS or one.header["warc-target-uri"] != page.final_url:
        return f"{place['file']}: a {one.header['warc-type']} of {one.header.get('warc-target-uri')} stands there"
    if one.header["warc-type"] == "revisit":
        digest = one.header["warc-payload-digest"]
        return None if digest == f"sha256:{page.sha256}" else f"{place['file']}: a revisit of {digest} stands there"
    body = _payload(one.block)
    if body is None or sha256(body).hexdigest() != page.sha256:
        return f"{place['file']}: its payload is not the page"
    return None


def _payload(block: bytes) -> bytes | None:
    """The body of an HTTP message, decoded where the message says that it is coded."""
    head, separator, body = block.partition(b"\r\n\r\n")
    if not separator:
        return None
    if re.search(rb"^content-encoding:\s*gzip\s*$", head, re.I | re.M):
        try:
            return zlib.decompress(body, wbits=31)
        except zlib.error:
            return None
    return body


def _fastwarc(path: Path) -> int:
    from fastwarc.warc import ArchiveIterator

    with path.open("rb") as file:
        return sum(1 for _ in ArchiveIterator(file))


def _warcio(path: Path) -> int:
    from warcio.archiveiterator import ArchiveIterator  # type: ignore[import-untyped]

    with io.BytesIO(path.read_bytes()) as file:
        return sum(1 for _ in ArchiveIterator(file, check_digests="raise"))
