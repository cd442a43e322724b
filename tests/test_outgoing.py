"""Bodies on their way out: their length, digests and pieces, at constant memory, and files that change meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.digests import Digests
from crawler.memory import resident
from crawler.model import Content, Field, FileBody, Multipart, Sending
from crawler.outgoing import Framed, UploadUnreadable, open_content
from tests.descriptors import open_files

BIG = 700_001  # several pieces, and a rest
NONE: frozenset[str] = frozenset()
BOTH = frozenset({"sha256", "md5"})


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(BIG))
    return path


async def sent(body: bytes | Sending | None) -> bytes:
    assert body is not None
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body.pieces()])


def sending(body: bytes | Sending | None) -> Sending:
    assert body is not None
    assert not isinstance(body, bytes)
    return body


def digests(data: bytes) -> dict[str, bytes]:
    return {"sha256": hashlib.sha256(data).digest(), "md5": hashlib.md5(data).digest()}


@pytest.mark.parametrize("body", [None, b"", b"abc"])
async def test_bytes_go_as_they_are(body: bytes | None) -> None:
    """Their digests are those of the bytes, or of nothing where there is no body."""
    found = await open_content(body, BOTH)
    assert found == (body, len(body or b""), digests(body or b""), {})


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 256 * 1024, 512 * 1024, BIG])
async def test_a_file_goes_out_as_it_is(tmp_path: Path, size: int) -> None:
    """Small and large, to the byte, as often as it is asked for; length and digests are those of the content."""
    path, data = tmp_path / "a.json", os.urandom(size)
    path.write_bytes(data)
    found = await open_content(FileBody(str(path)), BOTH)
    assert (found.length, found.digests) == (size, digests(data))
    assert found.headers == {"Content-Type": "application/json"}
    assert [await sent(found.body), await sent(found.body)] == [data, data]
    assert (await open_content(FileBody(str(path)), NONE, typed=True)).headers == {}


@pytest.mark.slow
async def test_a_large_file_is_never_held(tmp_path: Path) -> None:
    """200 MB go through, digest included, while this process grows by less than 20 MB."""
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 200_000_000)
    before = peak = resident()
    found = await open_content(FileBody(str(path)), frozenset({"sha256"}))
    total = 0
    async for piece in sending(found.body).pieces():
        total += len(piece)
        peak = max(peak, resident())
    assert total == found.length == 200_000_000
    assert peak - before < 20_000_000


@asynccontextmanager
async def form_server(seen: list[Any]) -> AsyncIterator[str]:
    """Reads each form with aiohttp's server and adds its Content-Length and fields to `seen`."""

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.content_length)
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            seen.append((part.name, part.filename, part.headers.get("Content-Type"), bytes(await part.read())))
        return web.Response()

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("large", [False, True])
async def test_a_multipart_arrives(big: Path, tmp_path: Path, large: bool) -> None:
    """A real server finds fields and files under the length that was said; the digests are of all that is sent."""
    small = tmp_path / "ü.txt"
    small.write_bytes(b"--\r\n")
    fields = [Field("a", "1"), Field("f", path=str(small)), Field("a", "ü")]
    expected = [("a", None, None, b"1"), ("f", "ü.txt", "text/plain", b"--\r\n"), ("a", None, None, "ü".encode())]
    if large:
        fields.insert(1, Field("big", None, str(big), "x.bin", "image/x"))
        expected.insert(1, ("big", "x.bin", "image/x", big.read_bytes()))
    found = await open_content(Multipart(tuple(fields)), BOTH)
    assert isinstance(found.body, bytes) != large
    assert found.digests == digests(await sent(found.body))
    seen: list[Any] = []
    async with form_server(seen) as url, aiohttp.ClientSession() as session:
        data = found.body if isinstance(found.body, bytes) else sending(found.body).pieces()
        headers = {**found.headers, "Content-Length": str(found.length)}
        async with session.post(url, data=data, headers=headers) as answer:
            assert answer.status == 200
    assert seen == [found.length, *expected]


async def test_each_attempt_has_a_boundary_of_its_own() -> None:
    """One that stands in a text is not taken, and no two bodies share one."""
    content = Multipart((Field("x", "--aaaa"),))
    types = {(await open_content(content, NONE)).headers["Content-Type"] for _ in range(9)}
    assert len(types) == 9
    found = await open_content(content, NONE, draw=iter(["aaaa", "bbbb"]).__next__)
    assert found.headers == {"Content-Type": "multipart/form-data; boundary=bbbb"}
    assert (await sent(found.body)).endswith(b"--aaaa\r\n--bbbb--\r\n")


def gone(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(gone, "cannot be read: No such file"), (folder, "is no regular file"), (pipe, "is no regular file")],
)
@pytest.mark.parametrize("kind", ["file", "multipart"])
async def test_what_is_no_file_is_told(big: Path, kind: str, spoil: Callable[[Path], None], said: str) -> None:
    """A sentence names the path; a pipe is not opened, which would wait for its writer."""
    spoil(big)
    content: Content = FileBody(str(big)) if kind == "file" else Multipart((Field("a", path=str(big)),))
    with pytest.raises(UploadUnreadable, match=said) as caught:
        await open_content(content, BOTH)
    assert str(big) in str(caught.value)


@pytest.mark.parametrize("path", ["/proc/self/mem", "a\0b", "x" * 5000])
async def test_odd_paths_are_told(path: str) -> None:
    """What the system itself refuses ends the same way."""
    with pytest.raises(UploadUnreadable):
        await sent((await open_content(FileBody(path), NONE)).body)


async def test_a_file_of_unknown_size_is_not_sent_as_empty() -> None:
    """The kernel's own files say size 0 and have content."""
    with pytest.raises(UploadUnreadable, match="changed"):
        await open_content(FileBody("/proc/self/status"), NONE)


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def cut(path: Path) -> None:
    os.truncate(path, BIG - 100_000)


def cut_and_regrow(path: Path) -> None:
    os.truncate(path, 300_000)
    os.truncate(path, BIG)


def rewrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(0, 10**18))


def replace(path: Path) -> None:
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(bytes(BIG))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [grow, cut, cut_and_regrow, rewrite, replace, gone])
@pytest.mark.parametrize("moment", ["before", "between"])
async def test_a_file_that_changed_is_never_sent_whole(big: Path, change: Callable[[Path], None], moment: str) -> None:
    """After its digest was taken, and after its first piece too: fewer bytes than promised go out, and it is told."""
    os.utime(big, ns=(0, 10**17))
    found = await open_content(FileBody(str(big)), BOTH)
    if moment == "before":
        change(big)
    pieces = sending(found.body).pieces()
    count = 0
    if moment == "between":
        count = len(await anext(pieces))
        change(big)
    if moment == "between" and change in (gone, replace):  # the opened file is the one that was looked at
        assert count + len(b"".join([piece async for piece in pieces])) == BIG
        return
    with pytest.raises(UploadUnreadable):  # noqa: PT012
        async for piece in pieces:
            count += len(piece)
    assert count < found.length


async def test_a_file_is_hashed_once_until_it_changes(big: Path) -> None:
    """What has the size, time and inode of before is not read again; another digest of it, or a changed file, is."""
    known, content, first = Digests(), FileBody(str(big)), big.read_bytes()
    os.utime(big, ns=(0, 10**17))
    sha256 = frozenset({"sha256"})
    assert (await open_content(content, sha256, known=known)).digests == {"sha256": digests(first)["sha256"]}
    big.write_bytes(bytes(BIG))
    os.utime(big, ns=(0, 10**17))  # nobody could tell, but by reading it
    second = digests(bytes(BIG))
    assert (await open_content(content, BOTH, known=known)).digests == {**second, "sha256": digests(first)["sha256"]}
    os.utime(big, ns=(0, 10**18))
    assert (await open_content(content, BOTH, known=known)).digests == second


async def test_only_files_that_go_alone_are_remembered(big: Path) -> None:
    """A multipart is another body each time."""
    known = Digests()
    await open_content(Multipart((Field("a", path=str(big)),)), BOTH, known=known)
    assert len(known) == 0


async def test_a_body_that_is_given_up_leaves_nothing_open(big: Path) -> None:
    """Closing the pieces after the first closes the file, framed or not."""
    for content in (FileBody(str(big)), Multipart((Field("a", path=str(big)),))):
        body = sending((await open_content(content, NONE)).body)
        for each in (body, Framed(body, Chunked(), 1000)):
            pieces: Any = each.pieces()
            await anext(pieces)
            await anext(pieces)
            assert str(big) in open_files()
            await pieces.aclose()
            assert str(big) not in open_files()


class Chunked:
    """A framing whose pieces are numbered: each begins with its number and its length."""

    def __init__(self) -> None:
        self.number = 0

    def length(self, total: int) -> int:
        return total + 12 * (-(-total // 1000) + 1)

    def frame(self, data: bytes) -> bytes:
        self.number += 1
        return b"%06d%06d" % (self.number, len(data)) + data


class Pieces:
    """A body that comes in pieces as they were given."""

    def __init__(self, given: list[bytes]) -> None:
        self.given = given
        self.length = sum(map(len, given))

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.given:
            yield piece


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(st.lists(st.integers(0, 3500), max_size=6), st.booleans())
async def test_a_framed_body_has_pieces_of_one_size(sizes: list[int], held: bool) -> None:
    """However it comes, it is cut anew: whole pieces, a rest, the end, each framed once; sent again, it is the same."""
    given_ = [os.urandom(size) for size in sizes]
    data = b"".join(given_)
    framed = Framed(data if held else Pieces(given_), Chunked(), 1000)
    expected = Chunked()
    pieces = [data[start : start + 1000] for start in range(0, len(data), 1000)] + [b""]
    for _ in range(2):
        found = [piece async for piece in framed.pieces()]
        assert sum(map(len, found)) == framed.length
        expected.number = 0
        assert found == [expected.frame(piece) for piece in pieces]


async def test_a_framed_file_that_changed_has_no_end(big: Path) -> None:
    """The last frame says that all is there: it is not given."""
    framed = Framed(sending((await open_content(FileBody(str(big)), NONE)).body), Chunked(), 1000)
    pieces = framed.pieces()
    found = [await anext(pieces)]
    cut(big)
    with pytest.raises(UploadUnreadable):  # noqa: PT012
        async for piece in pieces:
            found.append(piece)
    assert len(found) > 1
    assert all(piece[6:12] == b"001000" for piece in found)


async def test_a_repr_shows_no_content(big: Path) -> None:
    """How much, and in how many parts; nothing of what."""
    body = sending((await open_content(Multipart((Field("a", "secret"), Field("b", path=str(big)))), NONE)).body)
    assert "secret" not in repr(body) + repr(Framed(body, Chunked(), 1000))
    assert str(body.length) in repr(body)
