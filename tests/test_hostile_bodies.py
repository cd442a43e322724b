"""Answers made to break us, from a raw server through whole runs: each ends with its name, and costs little."""

from __future__ import annotations

import asyncio
import gzip
import random
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest

from tests.jobs import run
from tests.measured import MIB, measured
from tests.servers import Answer, Asked, RawSite, raw_site, reply

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.slow

GB = 1000**3
GROWN = 64 * MIB  # bytes of memory that a hostile body may cost
PLACES = 20
PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "br": ("br", lambda data: brotli.compress(data, quality=4)),
    "zstd": ("zstd", zstd.compress),
    "deflate": ("deflate", zlib.compress),
    "gzip-in-gzip": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
}
FINE = reply(body=b"fine")


def by_path(answers: dict[str, bytes | Callable[[], AsyncIterator[bytes]]]) -> Answer:
    """A site that gives each path its answer, and any other a fine one."""

    def answer(asked: Asked) -> bytes | AsyncIterator[bytes]:
        found = answers.get(asked.path, FINE)
        return found if isinstance(found, bytes) else found()

    return answer


def rows_of(site: RawSite, *paths: str) -> list[dict[str, Any]]:
    """A row for each path, whose case is its name without the slash."""
    return [{"url": site.url(path), "case": path.removeprefix("/")} for path in paths]


def places(size: int) -> list[int]:
    """Twenty places to cut: the last bytes, where checksums stand, the first, and any between."""
    chosen = {1, 2, size - 1, size - 2, size - 4, size - 8, size // 2}
    rng = random.Random(size)
    while len(chosen) < PLACES:
        chosen.add(rng.randrange(1, size))
    return sorted(chosen)


# -- cut short --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20_000, 2 * MIB], ids=["in memory", "in a file"])
async def test_a_content_that_was_cut_is_never_taken_for_whole(tmp_path: Path, size: int) -> None:
    """Cut at 20 places each, with the right Content-Length: all are told by their end, and nothing of them is kept."""
    body = random.Random(1).randbytes(size // 2).hex().encode()
    answers: dict[str, bytes | Callable[[], AsyncIterator[bytes]]] = {}
    for name, (coding, pack) in PACK.items():
        packed = pack(body)
        answers[f"/{name}/whole"] = reply(body=packed, headers={"Content-Encoding": coding})
        for place in places(len(packed)):
            answers[f"/{name}/{place}"] = reply(body=packed[:place], headers={"Content-Encoding": coding})
    async with raw_site(by_path(answers)) as site:
        results = await run(tmp_path, rows_of(site, *answers))
    ends = Counter((case.split("/")[0], end) for case, end in results.ends().items())
    assert ends == {(name, end): n for name in PACK for end, n in (("bad-encoding", PLACES), ("fetched", 1))}
    caught = sum(n for (name, end), n in ends.items() if end == "bad-encoding" and name != "gzip-in-gzip")
    print(f"cut contents caught: {caught} of {(len(PACK) - 1) * PLACES}")
    for name in PACK:
        assert results.body(f"{name}/whole") == body
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [path for path in files if path.suffix == ".part"] == []
    assert len([path for path in files if "bodies" in path.parts]) == 1  # of the whole ones, which are all alike


# -- bombs ------------------------------------------------------------------------------------------------------------


def gzip_bomb() -> bytes:
    """10 MB that expand to 10 GB: a block of zeros that stands for itself, again and again."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * (10 * GB // MIB) + packer.flush()


def brotli_bomb() -> bytes:
    packer = brotli.Compressor(quality=5)
    pieces = [packer.process(bytes(64 * MIB)) for _ in range(10 * GB // (64 * MIB))]
    return b"".join(pieces) + bytes(packer.finish())


def zstd_bomb() -> bytes:
    return bytes(zstd.compress(bytes(256 * MIB))) * (10 * GB // (256 * MIB))


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", gzip_bomb),
    "br": ("br", brotli_bomb),
    "zstd": ("zstd", zstd_bomb),
    "gzip-in-gzip": ("gzip, gzip", lambda: gzip.compress(gzip_bomb(), 1)),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_costs_little(tmp_path: Path, name: str) -> None:
    """10 MB, or less, that expand to 10 GB: too-large, within 64 MiB of memory and 2 s of CPU."""
    coding, make = BOMBS[name]
    bomb = reply(body=make(), headers={"Content-Encoding": coding})
    warm = reply(body=PACK[name][1](random.Random(1).randbytes(MIB)), headers={"Content-Encoding": coding})
    async with raw_site(by_path({"/bomb": bomb, "/warm": warm})) as site:
        cost = await measured(tmp_path, rows_of(site, "/bomb"), rows_of(site, "/warm"))
    print(f"{name}: {len(bomb):,} bytes, {cost.grown / MIB:.1f} MiB, {cost.cpu:.2f} s")
    assert cost.reasons == {"bomb": "too-large"}
    assert "expands to more than 200 times" in cost.errors["bomb"]
    assert cost.grown < GROWN
    assert cost.cpu < 2.0
    assert cost.files == 0


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_bounded_where_its_ratio_is_allowed(tmp_path: Path, name: str) -> None:
    """With `max_ratio` out of the way `max_body` holds, at the same memory."""
    coding, make = BOMBS[name]
    bomb = reply(body=make(), headers={"Content-Encoding": coding})
    warm = reply(body=PACK[name][1](random.Random(1).randbytes(MIB)), headers={"Content-Encoding": coding})
    limits = {"max_ratio": 1_000_000, "max_body": "256MiB"}
    async with raw_site(by_path({"/bomb": bomb, "/warm": warm})) as site:
        cost = await measured(tmp_path, rows_of(site, "/bomb"), rows_of(site, "/warm"), limits=limits)
    print(f"{name}: {cost.grown / MIB:.1f} MiB, {cost.cpu:.2f} s")
    assert cost.reasons == {"bomb": "too-large"}
    assert f"larger than {256 * MIB:,} bytes" in cost.errors["bomb"]
    assert cost.grown < GROWN
    assert cost.files == 0


async def test_a_page_of_blanks_is_no_bomb(tmp_path: Path) -> None:
    """The ratio counts from the first MiB on; one host may be granted more than the others."""
    blanks = reply(body=gzip.compress(b" " * 900_000), headers={"Content-Encoding": "gzip"})
    table = reply(body=gzip.compress(b" " * 9_000_000), headers={"Content-Encoding": "gzip"})
    async with raw_site(by_path({"/blanks": blanks, "/table": table}), addresses=["127.0.0.1", "127.0.0.2"]) as site:
        rows = [*rows_of(site, "/blanks", "/table"), {"url": site.url("/table", "127.0.0.2"), "case": "granted"}]
        results = await run(tmp_path, rows, hosts={"127.0.0.2": {"max_ratio": 2000}})
    assert results.ends() == {"blanks": "fetched", "table": "too-large", "granted": "fetched"}
    assert len(results.body("granted")) == 9_000_000


# -- without end, and of the wrong length -----------------------------------------------------------------------------


async def endless_body() -> AsyncIterator[bytes]:
    """A chunked body that goes on as long as somebody reads."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    while True:
        yield piece


async def endless_zeros() -> AsyncIterator[bytes]:
    """A gzip content, then zeros for ever, which mean nothing."""
    yield b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"page")
    while True:
        yield bytes(0x10000)


async def endless_extension() -> AsyncIterator[bytes]:
    """A chunk whose extension does not end."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x="
    while True:
        yield b"y" * 0x10000


async def trailers() -> AsyncIterator[bytes]:
    """A whole body, then 100,000 trailers."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    for first in range(0, 100_000, 1000):
        yield b"".join(b"X-Trailer-%d: %d\r\n" % (n, n) for n in range(first, first + 1000))
    yield b"\r\n"


async def late_trailers() -> AsyncIterator[bytes]:
    """The same, when the body has been read already."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    await asyncio.sleep(0.1)
    yield b"0\r\n" + b"X-Trailer: x\r\n" * 100_000


async def endless_trailers() -> AsyncIterator[bytes]:
    """A whole body, then trailers for ever."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    while True:
        yield b"X-Trailer: x\r\n" * 1000


async def one_header() -> AsyncIterator[bytes]:
    """A header of 1 MB."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\nok"


async def endless_header() -> AsyncIterator[bytes]:
    """A header that does not end."""
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while True:
        yield b"x" * 0x10000


async def many_headers() -> AsyncIterator[bytes]:
    """100,000 headers."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
    yield b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(100_000))
    yield b"\r\nok"


async def endless_hints() -> AsyncIterator[bytes]:
    """Early hints (103) and nothing else."""
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n" * 100


async def endless_status() -> AsyncIterator[bytes]:
    """A reason phrase that does not end."""
    yield b"HTTP/1.1 200 "
    while True:
        yield b"O" * 0x10000


async def huge_length() -> AsyncIterator[bytes]:
    """It promises 10^15 bytes, and gives some."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\n"
    while True:
        yield bytes(0x10000)


HOSTILE: dict[str, tuple[Callable[[], AsyncIterator[bytes]], set[str]]] = {
    "endless-body": (endless_body, {"too-large"}),
    "endless-zeros": (endless_zeros, {"too-large"}),
    "endless-extension": (endless_extension, {"read-timeout"}),
    "trailers": (trailers, {"bad-response"}),
    "late-trailers": (late_trailers, {"bad-response"}),
    "endless-trailers": (endless_trailers, {"bad-response"}),
    "one-header": (one_header, {"bad-response"}),
    "endless-header": (endless_header, {"bad-response"}),
    "many-headers": (many_headers, {"bad-response"}),
    "endless-hints": (endless_hints, {"read-timeout", "total-timeout"}),
    "endless-status": (endless_status, {"bad-response"}),
    "huge-length": (huge_length, {"too-large"}),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_does_not_end_ends_here(tmp_path: Path, name: str) -> None:
    """By its own reason, within 64 MiB; others of the same run are fetched meanwhile."""
    answer, reasons = HOSTILE[name]
    others = [f"/fine{n}" for n in range(50)]
    async with raw_site(by_path({"/hostile": answer})) as site:
        cost = await measured(
            tmp_path,
            rows_of(site, "/hostile", *others),
            rows_of(site, "/warm"),
            limits={"max_body": "64MiB"},
            timeouts={"read": "2s", "total": "4s"},
            retry={"attempts": 1},
        )
    print(f"{name}: {cost.reasons['hostile']}, {cost.grown / MIB:.1f} MiB, {cost.cpu:.2f} s: {cost.errors['hostile']}")
    assert cost.reasons.pop("hostile") in reasons
    assert cost.grown < GROWN
    assert Counter(cost.reasons.values()) == {"fetched": 50}
    assert cost.files == 1  # of the others, which are all alike


async def test_a_length_beyond_the_limit_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    """The header alone says it."""
    async with raw_site(by_path({"/huge": huge_length})) as site:
        results = await run(tmp_path, rows_of(site, "/huge"))
    assert "Content-Length is 1000000000000000 bytes" in results.of("huge")["error"]


async def test_a_body_longer_than_its_length_harms_nobody(tmp_path: Path) -> None:
    """What belongs to it is kept; what follows is taken for no answer to the next request."""
    poison = reply(body=b"right") + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    async with raw_site(by_path({"/long": poison})) as site:
        paths = [f"/{n}" for n in range(20)]
        rows = rows_of(site, *(path for n in paths for path in (n, "/long")))
        for number, row in enumerate(rows):
            row["case"] = str(number)
        results = await run(tmp_path, rows, limits={"per_host": 1})
    bodies = [results.body(str(number)) for number in range(40)]
    assert bodies == [b"fine", b"right"] * 20


async def test_a_body_shorter_than_its_length_is_truncated(tmp_path: Path) -> None:
    """Of a small and of a large one nothing is kept."""
    cut: dict[str, bytes | Callable[[], AsyncIterator[bytes]]] = {}
    for name, size, came in (("small", 1000, 999), ("large", 3 * MIB, 3 * MIB - 1), ("empty", 10, 0)):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
        cut[f"/{name}"] = lambda whole=head + bytes(came): _once(whole)  # type: ignore[misc]
    async with raw_site(by_path(cut)) as site:
        results = await run(tmp_path, rows_of(site, *cut), retry={"attempts": 2, "backoff": {"initial": "10ms"}})
    assert results.ends() == dict.fromkeys(("small", "large", "empty"), "truncated")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and {"bodies", "parts"} & {*path.parts}]
    assert files == []


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("size", "count", "end"), [(60_000, 1, "fetched"), (20, 250, "fetched"), (20, 300, "bad-response")]
)
async def test_long_honest_heads_pass(tmp_path: Path, size: int, count: int, end: str) -> None:
    """64 KiB a header and 256 headers are allowed, for there are sites that need them."""
    headers: dict[str, object] = {f"X-{n}": "x" * size for n in range(count)}
    async with raw_site(by_path({"/head": reply(headers=headers)})) as site:
        results = await run(tmp_path, rows_of(site, "/head"))
    assert results.ends() == {"head": end}
