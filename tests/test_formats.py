"""Whole files pass, and those that were cut do not, kind by kind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from struct import pack

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from crawler.formats import fault_of

NOISE = Random(1).randbytes(70_000)
TEXT = b"".join(b"line %d of a text\n" % n for n in range(3000))


def fault(data: bytes) -> str | None:
    return fault_of(lambda at, length: data[at : at + length], len(data))


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"".join(b"\0" + NOISE[n * 300 : n * 300 + 300] for n in range(100)))
    parts = [chunk(b"IDAT", pixels[at : at + 8192]) for at in range(0, len(pixels), 8192)]
    head = chunk(b"IHDR", pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IEND", b"")


def segment(kind: int, data: bytes) -> bytes:
    return b"\xff" + bytes([kind]) + pack(">H", len(data) + 2) + data


def jpeg() -> bytes:
    """Two scans with stuffing and restarts, and a thumbnail with its own end."""
    thumbnail = b"\xff\xd8" + segment(0xDB, b"x" * 64) + b"\xff\xd9"
    coded = NOISE.replace(b"\xff", b"\xff\x00")
    scan = segment(0xDA, b"\x01\x01\x00\x00\x3f\x00") + coded[:30_000] + b"\xff\xd0" + coded[30_000:66_000]
    head = segment(0xE1, b"Exif\0\0" + thumbnail) + segment(0xDB, b"q" * 65) + b"\xff" + segment(0xC2, b"frame")
    return b"\xff\xd8" + head + scan + segment(0xC4, b"table") + scan + b"\xff\xd9"


def gif() -> bytes:
    blocks = b"".join(bytes([len(part)]) + part for part in (NOISE[at : at + 255] for at in range(0, 20_000, 255)))
    image = b"\x2c" + pack("<HHHHB", 0, 0, 10, 10, 0x81) + b"\0" * 12 + b"\x08" + blocks + b"\0"
    head = b"GIF89a" + pack("<HHBBB", 10, 10, 0x80, 0, 0) + b"\0" * 6
    return head + b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00" + image * 2 + b"\x3b"


def pdf(*, updates: int = 0) -> bytes:
    stream = b"2 0 obj\n<</Length %d>>\nstream\n%s\nendstream\nendobj\n" % (len(NOISE), NOISE)
    text = b"%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\n" + stream
    end = b"xref\n0 1\n0000000000 65535 f \ntrailer\n<</Size 3/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    text += end % len(text)
    for n in range(updates):
        text += b"%d 0 obj\n%s\nendobj\n" % (n + 3, b"(note)" * 100)
        text += end % len(text)
    return text


def linear_pdf() -> bytes:
    """With an end of its own near its start, as the first page has one."""
    first = b"%%PDF-1.7\n1 0 obj\n<</Linearized 1/L %010d/O 3>>\nendobj\nstartxref\n0\n%%%%EOF\n"
    rest = pdf()[9:]
    return first % (len(first % 0) + len(rest)) + rest


def zip_(*, comment: bytes = b"", stored: bytes = b"", zip64: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", NOISE)
        archive.writestr("b.txt", TEXT)
        if stored:
            archive.writestr(zipfile.ZipInfo("c.zip"), stored)
        archive.comment = comment
    data = file.getvalue()
    if zip64:  # as writers that do not know sizes before make it of any archive
        at = data.rindex(b"PK\5\6")
        entries, length, offset = 2, at - data.index(b"PK\1\2"), data.index(b"PK\1\2")
        end = b"PK\6\6" + pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, length, offset)
        locator = b"PK\6\7" + pack("<IQI", 0, at, 1)
        data = data[:at] + end + locator + b"PK\5\6" + b"\0" * 4 + b"\xff" * 12 + b"\0\0"
    return data


def webp() -> bytes:
    return b"RIFF" + pack("<I", 4 + 8 + 30_000) + b"WEBPVP8 " + pack("<I", 30_000) + NOISE[:30_000]


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(5000)), "t": [str(n * n) for n in range(5000)]}), file)
    return file.getvalue()


def frames() -> bytes:
    skippable = pack("<II", 0x184D2A53, 100) + b"x" * 100
    checked = zstd.compress(NOISE, options={zstd.CompressionParameter.checksum_flag: 1})
    return zstd.compress(b"\0" * 500_000) + skippable + checked


MADE: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(NOISE) + gzip.compress(TEXT),
    "zip": zip_,
    "zip with a comment": lambda: zip_(comment=b"PK\5\6 is how an end begins" * 100),
    "zip64": lambda: zip_(zip64=True),
    "zip in a zip": lambda: zip_(stored=zip_()),
    "pdf": pdf,
    "pdf with updates": lambda: pdf(updates=3),
    "linear pdf": linear_pdf,
    "png": png,
    "jpeg": jpeg,
    "gif": gif,
    "webp": webp,
    "zstd": frames,
    "xz": lambda: lzma.compress(NOISE + TEXT),
    "bz2": lambda: bz2.compress(NOISE),
    "parquet": parquet,
}
FILES = {name: made() for name, made in MADE.items()}


def cuts(data: bytes) -> list[int]:
    """Twenty lengths that a file may be cut to: near its ends and in between."""
    size = len(data)
    return [20, 24, 100, *(size * n // 13 for n in range(1, 13)), size - 100, size - 30, size - 9, size - 2, size - 1]


@pytest.mark.parametrize("name", FILES)
def test_whole_files_pass(name: str) -> None:
    """Each kind, with all that its format allows."""
    assert fault(FILES[name]) is None


@pytest.mark.parametrize("name", FILES)
def test_cut_files_are_told(name: str) -> None:
    """At twenty places each; where the cut leaves a whole member or update, that is a whole file."""
    data = FILES[name]
    whole = {len(gzip.compress(NOISE))} if name == "gzip" else set()
    passed = [length for length in cuts(data) if length not in whole and fault(data[:length]) is None]
    assert len(cuts(data)) == 20
    # A newline behind %%EOF may be missing, unless the file says how long it is.
    assert passed == ([len(data) - 1] if name.startswith("pdf") else [])


def test_the_sentence_says_what_and_why() -> None:
    """It goes on after the body."""
    assert fault(FILES["zip"][:-1]) == "is a zip, and its central directory has no end"
    assert fault(FILES["webp"][:-1]) == "is a RIFF file, and has 30,019 bytes, 30,020 by its own word"


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("zip in a zip", "bz2", "parquet")])
def test_bytes_behind_the_end_are_no_fault(name: str) -> None:
    """Zeros behind a proper end are common: tapes and cameras write them."""
    assert fault(FILES[name] + b"\0" * 20) is None


@pytest.mark.parametrize("name", ["gzip", "jpeg", "png", "gif"])
def test_a_trailer_behind_the_end_is_no_fault(name: str) -> None:
    """Signatures, films in photographs."""
    assert fault(FILES[name] + b"SEFT" + NOISE) is None


def test_a_zip_that_ends_within_a_nested_one() -> None:
    """The end of the inner archive is not taken for that of the outer one."""
    data, inner = FILES["zip in a zip"], FILES["zip"]
    assert fault(data[: data.index(inner) + len(inner)]) is not None


def test_a_pdf_cut_within_an_update() -> None:
    """The %%EOF of the version before it stands near the end, and counts for nothing."""
    data = pdf(updates=1)
    for extra in (30, 300, 600):
        assert fault(data[: data.index(b"%%EOF") + 6 + extra]) is not None
    assert fault(data[: data.index(b"%%EOF") + 6]) is None


def test_damage_in_a_gzip_is_told() -> None:
    """Each byte is decoded, and each member has a CRC."""
    data = bytearray(gzip.compress(TEXT))
    data[-6] ^= 1
    assert "is damaged" in (fault(bytes(data)) or "")


def test_unknown_kinds_pass() -> None:
    """A kind without an end, a text, nothing at all; and a format that only shares its first letters."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    for data in (
        b"",
        b"x",
        b"<html>",
        file.getvalue()[:700],
        b"PK",
        b"RIFF1234XXXX",
        b"BZh9 is a text",
        b"\x1f\x8b\x00",
    ):
        assert fault(data) is None


def test_a_file_is_read_here_and_there(tmp_path: Path) -> None:
    """Through os.pread as well, and never more than a window of it at a time."""
    for name, data in FILES.items():
        path = tmp_path / "file"
        path.write_bytes(data)
        fd = os.open(path, os.O_RDONLY)
        asked: list[int] = []

        def read(at: int, length: int, fd: int = fd, asked: list[int] = asked) -> bytes:
            asked.append(length)
            return os.pread(fd, length, at)

        try:
            assert fault_of(read, len(data)) is None, name
            assert fault_of(read, len(data) - 3) is not None or "pdf" in name
        finally:
            os.close(fd)
        assert max(asked) <= 256 * 1024


@pytest.mark.slow
def test_what_has_no_end_is_not_looked_at_for_ever() -> None:
    """A bomb, and a file of nothing but headers, are given up unjudged."""
    member = gzip.compress(b"\0" * 20_000_000)
    assert fault((member * 60)[:-1]) is None
    assert fault((member * 3)[:-1]) is not None
    blocks = b"\x28\xb5\x2f\xfd\x00\x58" + b"\0\0\0" * 1_100_000
    assert fault(blocks) is None
    assert fault(blocks[:2_000_000]) is not None


@given(st.sampled_from(sorted(FILES)), st.data())
def test_nothing_raises(name: str, data: st.DataObject) -> None:
    """Whatever stands behind the first bytes."""
    noise = data.draw(st.binary(max_size=200))
    keep = data.draw(st.integers(4, 60))
    found = fault(FILES[name][:keep] + noise)
    assert found is None or found.startswith("is a ")
