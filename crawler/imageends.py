"""Where images end: PNG, JPEG, GIF, and what lies in RIFF (WebP).

Decides by a walk over their chunks, segments and blocks, so that a thumbnail within is not taken for the end. Must not
know files or what to do with a cut one. Invariant: bytes behind the end are no fault; each step moves on.
"""

from __future__ import annotations

import re
import zlib
from struct import unpack

from crawler.windows import Cut, Window

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in what is coded 0 is stuffing, D0 to D7 are restarts
_SCAN = 64 * 1024


def png(file: Window) -> None:
    """PNG (third edition) 5.3: chunks up to IEND, which has its CRC."""
    at = 8
    while True:
        head = file.need(at, 8, "ends before its IEND")
        length, kind = unpack(">I", head[:4])[0], head[4:]
        if kind == b"IEND":
            crc = file.need(at + 8 + length, 4, "ends within its IEND")
            if length or unpack(">I", crc)[0] != zlib.crc32(kind):
                raise Cut("its IEND is damaged")
            return
        at = file.past(at + 12 + length, "ends within a chunk")


def jpeg(file: Window) -> None:
    """ITU T.81 B.1.1: segments with their lengths, coded data behind each SOS, up to EOI."""
    at = 2
    while True:
        marker = file.need(at, 2, "ends before its EOI")
        kind = marker[1]
        if marker[0] != 0xFF:
            raise Cut("has no marker where a segment ends")
        if kind == 0xFF:  # fill bytes
            at += 1
        elif kind == 0xD9:
            return
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:  # these stand alone
            at += 2
        else:
            length = unpack(">H", file.need(at + 2, 2, "ends within a segment"))[0]
            at = file.past(at + 2 + max(length, 2), "ends within a segment")
            if kind == 0xDA:
                at = _scanned(file, at)


def _scanned(file: Window, at: int) -> int:
    """The offset of the first marker behind coded data."""
    while piece := file.read(at, _SCAN):
        if found := _MARKER.search(piece):
            return at + found.start()
        at += max(1, len(piece) - 1)  # its last byte may begin a marker
        if len(piece) == 1:
            break
    raise Cut("ends before its EOI")


def gif(file: Window) -> None:
    """GIF89a 15 to 27: blocks up to the trailer."""
    flags = file.need(10, 1, "ends within its head")[0]
    at = 13 + _table(flags)
    while True:
        kind = file.need(at, 1, "ends before its trailer")
        if kind == b"\x3b":
            return
        if kind == b"\x2c":
            flags = file.need(at + 9, 1, "ends within an image")[0]
            at = _sub_blocks(file, at + 11 + _table(flags))
        elif kind == b"\x21":
            at = _sub_blocks(file, at + 2)
        else:
            raise Cut(f"has a block of no known kind (0x{kind.hex()})")


def _table(flags: int) -> int:
    """Bytes of a color table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _sub_blocks(file: Window, at: int) -> int:
    while length := file.need(at, 1, "ends within a block")[0]:
        at += 1 + length
    return at + 1


def riff(file: Window) -> None:
    """The length that the head tells; one that was written as it came tells none."""
    length = unpack("<I", file.need(4, 4, "ends within its head"))[0]
    if length not in (0, 0xFFFFFFFF) and 8 + length > file.size:
        raise Cut(f"has {file.size:,} bytes, {8 + length:,} by its own word")
