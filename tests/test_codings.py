"""Content codings: whole or refused, bounded whatever comes."""

from __future__ import annotations

import gzip
import math
import random
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable, Iterator

import brotli
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.codings import ACCEPT_ENCODING, MAX_MEMBERS, CodingError, Decoder, decoder
from crawler.errors import Reason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
BIG = 1 << 30


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def packed_gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


# name of the case -> (Content-Encoding, how to make it)
PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", packed_gzip),
    "x-gzip": ("X-GZIP", packed_gzip),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=4)),
    "zstd": ("zstd", zstd.compress),
    "gzip, gzip": ("gzip, gzip", lambda data: packed_gzip(packed_gzip(data))),
    "gzip, br": ("gzip , br", lambda data: brotli.compress(packed_gzip(data), quality=4)),
    "zstd, deflate": ("identity,zstd,,deflate", lambda data: zlib.compress(zstd.compress(data))),
}
PAGE = b"".join(b"<li><a href='/item/%d'>%x</a>\n" % (n, n * n * 2654435761) for n in range(2000))


def make(encoding: str, max_size: int = BIG, max_ratio: float = 200.0) -> Decoder:
    found = decoder(encoding, max_size, max_ratio)
    assert found is not None
    return found


def decode(encoding: str, chunks: Iterable[bytes], **limits: float) -> tuple[bytes, str | None]:
    """The whole way of a body; returns it with the warning."""
    machine = make(encoding, **limits)  # type: ignore[arg-type]
    body = b"".join(piece for chunk in chunks for piece in machine.feed(chunk))
    machine.finish()
    return body, machine.warning


def chopped(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def refused(encoding: str, chunks: Iterable[bytes], reason: Reason = Reason.BAD_ENCODING, **limits: float) -> str:
    with pytest.raises(CodingError) as caught:
        decode(encoding, chunks, **limits)
    assert caught.value.reason is reason
    return str(caught.value)


@pytest.mark.parametrize("encoding", [None, "", "identity", " Identity ", "identity, identity", ","])
def test_identity(encoding: str | None) -> None:
    """No coding needs no decoder."""
    assert decoder(encoding, BIG) is None


def test_offer() -> None:
    """Each coding that we offer is one that we decode."""
    for coding in ACCEPT_ENCODING.split(","):
        assert make(coding).warning is None


@pytest.mark.parametrize(
    ("encoding", "sentence"),
    [
        ("foo", "the content coding 'foo' is unknown"),
        ("gzip, compress", "the content coding 'compress' is unknown"),
        ("none", "the content coding 'none' is unknown"),
        ("gz\x1b[2Jip\u202e", r"the content coding 'gz\x1b[2jip\u202e' is unknown"),
        ("x" * 9000, f"the content coding '{'x' * 40}' is unknown"),
        ("gzip, gzip, gzip", "3 codings are nested, at most 2 are decoded"),
        ("gzip," * 6, "6 codings are nested, at most 2 are decoded"),
    ],
)
def test_unknown(encoding: str, sentence: str) -> None:
    """A coding that nobody knows, or too many of them, is named; nothing is handed on undecoded."""
    with pytest.raises(CodingError) as caught:
        decoder(encoding, BIG)
    assert caught.value.reason is Reason.BAD_ENCODING
    assert str(caught.value) == sentence


@pytest.mark.parametrize("case", PACK)
@given(data=st.binary(max_size=3000), times=st.integers(1, 400), size=st.integers(1, 5000))
def test_round_trip(case: str, data: bytes, times: int, size: int) -> None:
    """Any content comes back the same, however the wire cuts it into chunks."""
    encoding, pack = PACK[case]
    content = data * times
    coded = pack(content)
    chunks = chopped(coded, size) if size < len(coded) else [coded]
    assert decode(encoding, [b"", *chunks, b""], max_ratio=math.inf) == (content, None)


@pytest.mark.parametrize("case", PACK)
def test_large_round_trip(case: str) -> None:
    """A body of many pieces comes back the same, in pieces that are neither empty nor above 1 MiB."""
    encoding, pack = PACK[case]
    blocks = random.Random(7)
    content = b"".join(blocks.randbytes(blocks.randrange(20_000)) + bytes(blocks.randrange(90_000)) for _ in range(99))
    machine = make(encoding)
    pieces = list(machine.feed(pack(content)))
    machine.finish()
    assert b"".join(pieces) == content
    assert len(pieces) > 3
    assert all(0 < len(piece) <= MIB for piece in pieces)


@pytest.mark.parametrize("size", [MIB // 2, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1])
@pytest.mark.parametrize("case", PACK)
def test_piece_edges(case: str, size: int) -> None:
    """Nothing stays behind in a decoder whose output just fills a piece."""
    encoding, pack = PACK[case]
    content = bytes(size)
    assert decode(encoding, [pack(content)], max_ratio=math.inf)[0] == content


@pytest.mark.parametrize("cut", range(20))
@pytest.mark.parametrize("case", PACK)
def test_cut(case: str, cut: int) -> None:
    """A stream cut short at any of 20 places is refused, though every client takes it for whole."""
    encoding, pack = PACK[case]
    coded = pack(PAGE)
    place = len(coded) - 1 if cut == 0 else random.Random(cut).randrange(1, len(coded))
    assert refused(encoding, [coded[:place]]).endswith("content ended early")


@pytest.mark.parametrize("case", PACK)
@given(data=st.binary(min_size=1, max_size=500), place=st.integers(0))
def test_cut_anywhere(case: str, data: bytes, place: int) -> None:
    """Whatever the content, a proper part of its stream is refused."""
    encoding, pack = PACK[case]
    coded = pack(data)
    assert refused(encoding, [coded[: 1 + place % (len(coded) - 1)]]).endswith("content ended early")


@pytest.mark.parametrize("case", PACK)
def test_empty_body(case: str) -> None:
    """A body of no bytes is whole, whatever it is labelled."""
    assert decode(PACK[case][0], []) == (b"", None)
    assert decode(PACK[case][0], [b"", b""]) == (b"", None)


@pytest.mark.parametrize("case", PACK)
def test_empty_content(case: str) -> None:
    """A stream of no content is whole."""
    encoding, pack = PACK[case]
    assert decode(encoding, [pack(b"")]) == (b"", None)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_plain_text(encoding: str) -> None:
    """Plain text that is labelled as coded is refused."""
    assert f"the {encoding} content is damaged" in refused(encoding, [b"<html>not coded at all</html>"])


def content_or_reason(encoding: str, coded: bytes) -> bytes | Reason:
    try:
        return decode(encoding, [coded])[0]
    except CodingError as error:
        return error.reason


def told_by_gzip(coded: bytes) -> bytes | Reason:
    try:
        return gzip.decompress(coded)
    except (OSError, EOFError, zlib.error):
        return Reason.BAD_ENCODING


@given(bit=st.integers(0))
@example(8_465_574_523_025)
def test_bit_flip(bit: int) -> None:
    """One flipped bit of a gzip stream never yields other content. It may change nothing: in the header, and behind it
    where another reader finds the content whole as well, as in a distance that leads to the same text.
    """
    coded = bytearray(packed_gzip(PAGE))
    bit %= len(coded) * 8
    coded[bit // 8] ^= 1 << bit % 8
    allowed = [Reason.BAD_ENCODING, PAGE] if bit // 8 < 10 else [told_by_gzip(bytes(coded))]
    assert content_or_reason("gzip", bytes(coded)) in allowed


@pytest.mark.parametrize("byte", range(1, 9))
def test_gzip_trailer(byte: int) -> None:
    """A wrong CRC or length at the end of gzip is refused."""
    coded = bytearray(packed_gzip(PAGE))
    coded[-byte] ^= 1
    assert "damaged" in refused("gzip", [bytes(coded)])


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("case", ["gzip", "deflate", "raw deflate", "zstd"])
def test_zeros_after_the_end(case: str, size: int) -> None:
    """Zeros after the end are padding."""
    encoding, pack = PACK[case]
    assert decode(encoding, chopped(pack(PAGE) + bytes(99), size)) == (PAGE, None)


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("case", ["gzip", "deflate", "raw deflate", "zstd"])
def test_garbage_after_the_end(case: str, size: int) -> None:
    """Anything else after the end is left out, and said."""
    encoding, pack = PACK[case]
    garbage = b"<!-- \x1f\x8b cached -->"
    coded = pack(PAGE) + bytes(5) + garbage
    warning = f"{len(garbage)} bytes after the end of the {encoding} content were left out"
    assert decode(encoding, chopped(coded, size)) == (PAGE, warning)


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("tail", [b"\0", b"garbage"])
def test_brotli_after_the_end(tail: bytes, size: int) -> None:
    """Brotli cannot tell where its stream ended within a chunk, so bytes after it are refused, however chunked."""
    assert "the br content is damaged" in refused("br", chopped(PACK["br"][1](PAGE) + tail, size))


@pytest.mark.parametrize("case", ["gzip", "zstd"])
@given(
    parts=st.lists(st.binary(max_size=200), min_size=1, max_size=9), zeros=st.integers(0, 3), size=st.integers(1, 99)
)
def test_members(case: str, parts: list[bytes], zeros: int, size: int) -> None:
    """Members or frames one after another are one body, padded with zeros or not."""
    encoding, pack = PACK[case]
    coded = b"".join(pack(part) + bytes(zeros) for part in parts)
    assert decode(encoding, chopped(coded, size)) == (b"".join(parts), None)


@pytest.mark.parametrize("kept", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("case", ["gzip", "zstd"])
def test_second_member_cut(case: str, kept: int) -> None:
    """A cut in the head of a later member is a cut, not garbage."""
    encoding, pack = PACK[case]
    coded = pack(PAGE) + pack(PAGE)[:kept]
    assert refused(encoding, [coded]).endswith("ended early")
    assert refused(encoding, chopped(coded, 1)).endswith("ended early")


@pytest.mark.parametrize("case", ["gzip", "zstd"])
def test_too_many_members(case: str) -> None:
    """As many members as allowed are decoded, one more is refused."""
    encoding, pack = PACK[case]
    one = pack(b"a")
    assert decode(encoding, [one * MAX_MEMBERS])[0] == b"a" * MAX_MEMBERS
    assert "more than 1,024 members" in refused(encoding, [one * (MAX_MEMBERS + 1)])


def test_zstd_skippable_frame() -> None:
    """A skippable zstd frame (RFC 8878, section 3.1.2) holds no content, wherever it stands."""
    skip = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"xyz"
    coded = skip + zstd.compress(b"one") + skip + zstd.compress(b"two") + skip
    for size in (1, 3, 999):
        assert decode("zstd", chopped(coded, size)) == (b"onetwo", None)


def test_zstd_window() -> None:
    """A zstd window above 8 MiB (RFC 9659) is refused before its memory is taken."""
    coded = zstd.compress(bytes(20 * MIB), options={zstd.CompressionParameter.window_log: 24})
    assert "damaged" in refused("zstd", [coded])


Feeder = Callable[[bytes], bytes]

# Each of these gives out what it has at every megabyte or so, so that a bomb need not be made whole.
LAZY: dict[str, Callable[[], Feeder]] = {
    "gzip": lambda: zlib.compressobj(wbits=31).compress,
    "deflate": lambda: zlib.compressobj().compress,
    "br": lambda: brotli.Compressor(quality=5).process,
    "zstd": lambda: zstd.ZstdCompressor().compress,
}
NESTED = ["gzip, gzip", "gzip, br", "zstd, deflate"]
BOMBS = [*LAZY, *NESTED]


def bomb(case: str) -> Iterator[bytes]:
    """The chunks of a body that decodes to 10 GB of zeros; single codings are made as they are read."""
    if case in NESTED:
        inner, outer = case.split(", ")
        yield from chopped(PACK[outer][1](PACK[inner][1](bytes(10 * MIB)) * 1000), 30_000)
        return
    pack = LAZY[case]()
    for _ in range(10_000):
        yield pack(bytes(MIB))


class Sink:
    """Takes what a decoder hands out, and keeps only the sizes."""

    def __init__(self) -> None:
        self.got = 0
        self.largest = 0
        self.cpu = 0.0

    def drain(self, machine: Decoder, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            began = time.process_time()
            for piece in machine.feed(chunk):
                self.got += len(piece)
                self.largest = max(self.largest, len(piece))
            self.cpu += time.process_time() - began


@pytest.mark.parametrize("case", BOMBS)
def test_bomb(case: str) -> None:
    """A bomb is refused by its ratio within 64 MiB and 2 s of CPU."""
    sink = Sink()
    chunks = bomb(case) if case in LAZY else iter(list(bomb(case)))
    tracemalloc.start()
    try:
        with pytest.raises(CodingError, match="expands to more than 200 times its size") as caught:
            sink.drain(make(case), chunks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason is Reason.TOO_LARGE
    assert sink.largest <= MIB
    assert sink.got < 16 * MIB
    assert peak < 64 * MIB
    assert sink.cpu < 2


@pytest.mark.parametrize("case", BOMBS)
def test_bomb_by_size(case: str) -> None:
    """Without a bound on the ratio, the size bounds it."""
    sink = Sink()
    with pytest.raises(CodingError, match="the decoded body is larger than 20,971,520 bytes") as caught:
        sink.drain(make(case, 20 * MIB, math.inf), bomb(case))
    assert caught.value.reason is Reason.TOO_LARGE
    assert sink.largest <= MIB
    assert 19 * MIB <= sink.got <= 20 * MIB


@pytest.mark.parametrize("case", PACK)
def test_size_bound(case: str) -> None:
    """The largest content allowed passes, one byte more does not."""
    encoding, pack = PACK[case]
    assert decode(encoding, [pack(PAGE)], max_size=len(PAGE))[0] == PAGE
    said = refused(encoding, [pack(PAGE)], Reason.TOO_LARGE, max_size=len(PAGE) - 1)
    assert said == f"the decoded body is larger than {len(PAGE) - 1:,} bytes"


def test_ratio_is_free_at_first() -> None:
    """A small body may shrink by any ratio; beyond 1 MiB the bound counts, and can be moved."""
    assert decode("gzip", [packed_gzip(bytes(MIB))])[0] == bytes(MIB)
    coded = packed_gzip(bytes(MIB + 1))
    said = refused("gzip", [coded], Reason.TOO_LARGE)
    assert said == "the gzip content expands to more than 200 times its size"
    assert len(decode("gzip", [coded], max_ratio=1100)[0]) == MIB + 1


EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"  # raw deflate that holds nothing and is not the last


@pytest.mark.parametrize(
    ("encoding", "chunks"),
    [("deflate", [EMPTY_BLOCK * MIB] * 2), ("gzip", [packed_gzip(PAGE), b"garbage" * MIB])],
    ids=["nothing", "garbage"],
)
def test_endless_input(encoding: str, chunks: list[bytes]) -> None:
    """Input that decodes to nothing is bounded too."""
    said = refused(encoding, chunks, Reason.TOO_LARGE, max_size=5 * MIB)
    assert said == "the decoded body is larger than 5,242,880 bytes"


def test_endless_inner_input() -> None:
    """What lies between two codings is bounded though it decodes to nothing."""
    coded = packed_gzip(EMPTY_BLOCK * 2 * MIB)
    said = refused("deflate, gzip", [coded], Reason.TOO_LARGE, max_size=5 * MIB, max_ratio=math.inf)
    assert said == "the decoded body is larger than 5,242,880 bytes"
