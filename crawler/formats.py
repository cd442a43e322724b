"""Is the end of a file there: what a server cut at its source has the right length, and fails only when it is opened.

Decides the kind of a file by its first bytes, whatever its name or type, and looks whether it is whole as far as its
own structure tells. Must not know files: `read(offset, length)` gives bytes as os.pread does, fewer at the end.
Invariant: what is of no known kind passes; memory is bounded whatever the file says of itself; bytes behind a proper
end are no fault, since tools put signatures and thumbnails there. Of a gzip each byte is decoded, of all others a walk
over headers is enough. How images end stands in imageends.py.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from struct import unpack

from crawler.imageends import gif, jpeg, png, riff
from crawler.windows import Cut, Endless, Read, Window

_PIECE = 256 * 1024
# A gzip that unpacks to more than both, times its size and bytes, is not looked at further: it is made to take long.
_RATIO, _MUCH = 100, 1024**3
_EOCD = 22  # bytes of zip's end of central directory, without its comment
_ZIP64 = 20  # bytes of the locator before it
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_ZSTD = 0xFD2FB528


def fault_of(read: Read, size: int) -> str | None:
    """Why a file of so many bytes is cut or damaged, in words: "is a zip, and ..."; None where nothing shows.

    May take long: call it in a thread. What `read` raises passes.
    """
    start = read(0, 16)
    for name, magic, check in _KINDS:
        if magic.match(start):
            window = Window(read, size)
            try:
                check(window)
            except Cut as cut:
                return f"is a {name}, and {cut}"
            except Endless:
                return None
            return None
    return None


def _gzip(file: Window) -> None:
    """RFC 1952: members up to the end, each with its CRC; zeros may follow."""
    at, most = 0, max(_RATIO * file.size, _MUCH)
    while at < file.size and most > 0:
        head = file.read(at, 2)
        if at and not b"\x1f\x8b".startswith(head):
            return
        decode = zlib.decompressobj(31)
        while not decode.eof:
            piece = file.read(at, _PIECE)
            if not piece:
                raise Cut("ends within a member")
            most -= _inflated(decode, piece)
            at += len(piece)
            if most <= 0:
                return
        at -= len(decode.unused_data)


def _inflated(decode: zlib._Decompress, piece: bytes) -> int:
    """Bytes that came of a piece."""
    try:
        size = 0
        while True:
            came = len(decode.decompress(piece, _PIECE))
            size, piece = size + came, decode.unconsumed_tail
            if decode.eof or (not piece and came < _PIECE):  # else more of what was fed is on its way
                return size
    except zlib.error as error:
        raise Cut(f"is damaged: {error}") from None


def _zip(file: Window) -> None:
    """APPNOTE 4.3: the end of the central directory, and the directory right before it."""
    tail_at = max(0, file.size - _EOCD - 0xFFFF)
    tail = file.read(tail_at, file.size - tail_at)
    at = len(tail)
    while (at := tail.rfind(b"PK\5\6", 0, at + 3 if at < len(tail) else None)) >= 0:
        if len(tail) - at >= _EOCD and at + _EOCD + unpack("<H", tail[at + 20 : at + 22])[0] <= len(tail):
            break
    if at < 0:
        raise Cut("its central directory has no end")
    entries, length, offset = unpack("<HII", tail[at + 10 : at + 20])
    end = tail_at + at
    if entries == 0xFFFF or length == 0xFFFFFFFF or offset == 0xFFFFFFFF:
        locator = file.read(end - _ZIP64, _ZIP64) if end >= _ZIP64 else b""
        if locator[:4] == b"PK\6\7":
            end = unpack("<Q", locator[8:16])[0]
            head = file.need(end, 56, "its zip64 directory has no end")
            if head[:4] != b"PK\6\6":
                raise Cut("its zip64 directory has no end")
            entries, length, offset = unpack("<QQQ", head[32:56])
    if offset + length > end:
        raise Cut("its central directory is not where its end says")
    if entries and file.read(offset, 4) != b"PK\1\2":
        raise Cut("its central directory is not where its end says")


def _pdf(file: Window) -> None:
    """ISO 32000-1 7.5.5 and H.3: %%EOF in the last 1,024 bytes; a linearized one tells its length (F.2)."""
    start, tail_at = file.read(0, 1024), max(0, file.size - 1024)
    tail = file.read(tail_at, 1024)
    end = tail.rfind(b"%%EOF")
    if end < 0:
        raise Cut("has no %%EOF at its end")
    if re.search(rb"\d+ \d+ obj\b", tail[end:]):
        raise Cut("has no %%EOF behind its last update")
    said = re.search(rb"/Linearized.{0,200}?/L\s+(\d{1,18})", start, re.DOTALL)
    if said and int(said[1]) > file.size:
        raise Cut(f"has {file.size:,} bytes, {int(said[1]):,} by its own word")


def _zstd(file: Window) -> None:
    """RFC 8878 3.1: frames, each with its blocks up to the last, and its checksum."""
    at = 0
    while at < file.size:
        if at and len(file.read(at, 4)) < 4:
            raise Cut("ends within the head of a frame")
        magic = unpack("<I", file.need(at, 4, "ends within the head of a frame"))[0]
        if magic in _SKIPPABLE:
            at = file.past(at + 8 + unpack("<I", file.need(at + 4, 4, "ends within a frame"))[0], "ends within a frame")
        elif magic == _ZSTD:
            at = _frame(file, at + 4)
        else:
            return


def _frame(file: Window, at: int) -> int:
    """The offset behind a frame whose magic number ends at `at`."""
    descriptor = file.need(at, 1, "ends within the head of a frame")[0]
    content, single = descriptor >> 6, descriptor >> 5 & 1
    at += 1 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[content]
    while True:
        head = int.from_bytes(file.need(at, 3, "ends within a frame"), "little")
        last, kind, length = head & 1, head >> 1 & 3, head >> 3
        at = file.past(at + 3 + (1 if kind == 1 else length), "ends within a block")
        if last:
            return file.past(at + (4 if descriptor >> 2 & 1 else 0), "ends before its checksum")


def _xz(file: Window) -> None:
    """The .xz format 2.1.2: a footer with its CRC, padding of zeros behind it, the index where the footer says."""
    end = file.size
    while end >= 4 and file.read(end - 4, 4) == b"\0\0\0\0":
        file.step()
        end -= 4
    footer = file.read(end - 12, 12) if end >= 24 else b""
    if footer[10:] != b"YZ" or zlib.crc32(footer[4:10]) != unpack("<I", footer[:4])[0]:
        raise Cut("has no footer")
    index = end - 12 - 4 * (unpack("<I", footer[4:8])[0] + 1)
    if index < 12 or file.read(index, 1) != b"\0":
        raise Cut("has no index where its footer says")


def _bz2(file: Window) -> None:
    """The end-of-stream mark, 48 bits, and 32 of a CRC, up to 7 bits before the end of the file."""
    tail = int.from_bytes(file.read(max(0, file.size - 11), 11), "big")
    if all(tail >> 32 + pad & 0xFFFFFFFFFFFF != 0x177245385090 for pad in range(8)):
        raise Cut("has no end-of-stream mark")


def _parquet(file: Window) -> None:
    """A footer, its length and the magic number at the end."""
    tail = file.read(max(0, file.size - 8), 8)
    if file.size < 12 or tail[4:] != b"PAR1":
        raise Cut("has no footer")
    if unpack("<I", tail[:4])[0] + 12 > file.size:
        raise Cut("has not the footer that its end speaks of")


_KINDS: list[tuple[str, re.Pattern[bytes], Callable[[Window], None]]] = [
    (name, re.compile(magic, re.DOTALL), check)
    for name, magic, check in (
        ("gzip", rb"\x1f\x8b\x08", _gzip),
        ("zip", rb"PK(\x03\x04|\x05\x06)", _zip),
        ("PDF", rb"%PDF-", _pdf),
        ("PNG", rb"\x89PNG\r\n\x1a\n", png),
        ("JPEG", rb"\xff\xd8\xff", jpeg),
        ("GIF", rb"GIF8[79]a", gif),
        ("RIFF file", rb"RIFF....(WEBP|WAVE|AVI )", riff),
        ("zstd file", rb"\x28\xb5\x2f\xfd", _zstd),
        ("xz file", rb"\xfd7zXZ\x00", _xz),
        ("bzip2 file", rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", _bz2),
        ("Parquet file", rb"PAR1", _parquet),
    )
]
