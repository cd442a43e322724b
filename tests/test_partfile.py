"""The file of a body: written in any order, hashed in the right one, and only what is there counts."""

from __future__ import annotations

import asyncio
import os
import threading
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crawler.partfile
from crawler.partfile import PartFile, create, forget, reopen, surely
from crawler.partial import Partial, Span, Version

MIB = 1024 * 1024
VERSION = Version('"v1"', None, None)
DATA = Random(3).randbytes(3 * MIB)


async def written(part: PartFile, *spans: tuple[int, int]) -> None:
    """These bytes of DATA, one after another."""
    for start, stop in spans:
        await part.done(part.write(start, [DATA[start:stop]]))


@settings(max_examples=40)
@given(
    st.randoms(use_true_random=False), st.lists(st.integers(1, len(DATA) - 1), max_size=12, unique=True), st.booleans()
)
def test_the_digest_is_that_of_all_bytes_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, rng: Random, cuts: list[int], wait: bool
) -> None:
    """However they are cut and in whatever order they are written; who listens hears each once, in order."""
    folder = tmp_path_factory.mktemp("parts")
    edges = [0, *sorted(cuts), len(DATA)]
    spans = [Span(*edge) for edge in pairwise(edges)]
    rng.shuffle(spans)
    heard = sha256()

    async def work() -> None:
        part = await create(str(folder / "x.part"), heard.update)
        for start, stop in spans:
            middle = rng.randint(start, stop)
            writing = part.write(start, [DATA[start:middle], DATA[middle:stop]])
            if wait:
                await part.done(writing)
        assert await part.digest() == sha256(DATA).hexdigest() == heard.hexdigest()
        assert part.spans == (Span(0, len(DATA)),)
        assert await part.start(10) == DATA[:10]
        await part.close()
        await part.close()

    asyncio.run(work())
    assert (folder / "x.part").read_bytes() == DATA


async def test_it_is_gone_on_with(tmp_path: Path) -> None:
    """By the next one who opens it: only what is not hashed yet is, and nothing is lost."""
    part = await create(str(tmp_path / "x.part"))
    await written(part, (0, MIB), (2 * MIB, 2 * MIB + 5))
    partial = await part.keep("http://a.test/", VERSION)
    assert partial is not None
    assert partial.spans == (Span(0, MIB), Span(2 * MIB, 2 * MIB + 5))
    assert partial.hashed is not None
    assert partial.hashed.size == MIB
    for known in (partial, partial._replace(hashed=None)):
        again = await reopen(known)
        assert again is not None
        await written(again, (MIB, 2 * MIB), (2 * MIB + 5, 3 * MIB))
        assert await again.digest() == sha256(DATA).hexdigest()
        await again.close()
    assert partial.hashed.digest.digest() == sha256(DATA[:MIB]).digest()  # another attempt does not change it


async def test_a_little_is_not_kept(tmp_path: Path) -> None:
    """Then it is for `discard`, which leaves no file, also a second time."""
    part = await create(str(tmp_path / "x.part"))
    await written(part, (0, MIB - 1))
    assert await part.keep("http://a.test/", VERSION) is None
    await part.discard()
    await part.discard()
    assert not list(tmp_path.iterdir())


async def test_what_is_durable_is_told_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was there when the sync began, and not before it returned; the name is made durable as well."""
    monkeypatch.setattr(crawler.partfile, "_SYNC_EVERY", MIB)
    going, synced, order = threading.Event(), [], list[str]()
    really, folder_synced = os.fdatasync, list[str]()

    def slow(fd: int) -> None:
        assert going.wait(10)
        really(fd)
        order.append("synced")

    monkeypatch.setattr(os, "fdatasync", slow)
    monkeypatch.setattr(crawler.partfile, "sync_folder", folder_synced.append)
    part = await create(str(tmp_path / "x.part"))

    def tell(spans: tuple[Span, ...]) -> None:
        order.append("told")
        synced.append(spans)

    part.on_sync = tell
    await written(part, (0, MIB), (MIB, MIB + 10))
    assert not synced
    going.set()
    await part.settled()
    assert synced == [(Span(0, MIB),)]
    assert order == ["synced", "told"]
    assert await part.sync() == (Span(0, MIB + 10),)
    assert folder_synced == [str(tmp_path)]
    await part.close()


async def test_a_fault_is_told_to_whoever_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: what was not written does not count, nothing more is hashed, and nothing is kept."""
    part = await create(str(tmp_path / "x.part"))
    await written(part, (0, MIB))
    full, really = os.open("/dev/full", os.O_WRONLY), os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, offset: really(full, pieces, offset))
    with pytest.raises(OSError, match="No space left"):
        await written(part, (MIB, 2 * MIB))
    os.close(full)
    with pytest.raises(OSError, match="No space left"):
        await part.keep("http://a.test/", VERSION)
    assert part.spans == (Span(0, MIB),)
    await part.discard()
    assert not list(tmp_path.iterdir())


async def test_a_failed_sync_vouches_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised, as any fault, and nobody is told."""
    monkeypatch.setattr(crawler.partfile, "_SYNC_EVERY", MIB)

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    part, told = await create(str(tmp_path / "x.part")), list[tuple[Span, ...]]()
    part.on_sync = told.append
    part.write(0, [DATA[:MIB]])
    with pytest.raises(OSError, match="Input/output error"):
        await part.settled()
    await part.discard()
    assert not told


async def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kernel may make them; and no more pieces than it takes are given to it at once."""
    really = os.pwritev

    def short(fd: int, pieces: list[bytes], offset: int) -> int:
        assert len(pieces) <= 1024
        return really(fd, [b"".join(pieces)[:1000]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    part = await create(str(tmp_path / "x.part"))
    await part.done(part.write(0, [DATA[at : at + 1] for at in range(5000)]))
    assert await part.digest() == sha256(DATA[:5000]).hexdigest()
    await part.close()
    assert (tmp_path / "x.part").read_bytes() == DATA[:5000]


async def test_a_file_is_not_closed_under_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor that was given to somebody else meanwhile would get our bytes."""
    going, really, order = threading.Event(), os.pwritev, list[str]()
    closing = os.close

    def slow(fd: int, pieces: list[bytes], offset: int) -> int:
        assert going.wait(10)
        order.append("written")
        return really(fd, pieces, offset)

    part = await create(str(tmp_path / "x.part"))
    monkeypatch.setattr(os, "pwritev", slow)

    def close(fd: int) -> None:
        order.append("closed")
        closing(fd)

    monkeypatch.setattr(os, "close", close)
    part.write(0, [b"x"])
    discarding = asyncio.create_task(surely(part.discard()))
    await asyncio.sleep(0)
    discarding.cancel()
    await asyncio.sleep(0)
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await discarding
    assert order == ["written", "closed"]
    assert not list(tmp_path.iterdir())


async def test_surely_comes_to_its_end(tmp_path: Path) -> None:
    """However often it is cancelled; afterwards it is so, and a result or fault is as without it."""
    going, done = asyncio.Event(), list[int]()

    async def work() -> int:
        await going.wait()
        done.append(1)
        return 7

    task = asyncio.create_task(surely(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]
    assert await surely(work()) == 7


async def test_what_is_no_part_is_not_opened(tmp_path: Path) -> None:
    """A folder, a link, a pipe, a file that is too short: none is waited for, and none changed."""
    path = tmp_path / "x.part"
    partial = Partial(str(path), "http://a.test/", VERSION, (Span(0, 10),))
    assert await reopen(partial) is None
    path.write_bytes(b"123456789")
    assert await reopen(partial) is None
    assert path.read_bytes() == b"123456789"
    path.unlink()
    os.mkfifo(path)
    assert await reopen(partial) is None
    path.unlink()
    (tmp_path / "victim").write_bytes(b"x" * 20)
    path.symlink_to(tmp_path / "victim")
    assert await reopen(partial) is None
    await forget(partial)
    await forget(partial)
    assert os.listdir(tmp_path) == ["victim"]
    assert (tmp_path / "victim").stat().st_size == 20


async def test_what_lies_beyond_is_cut_off(tmp_path: Path) -> None:
    """Bytes that nobody vouched for do not come back when the body grows over them."""
    path = tmp_path / "x.part"
    path.write_bytes(DATA[:MIB] + b"?" * 100)
    part = await reopen(Partial(str(path), "http://a.test/", VERSION, (Span(0, MIB),)))
    assert part is not None
    assert path.stat().st_size == MIB
    assert await part.digest() == sha256(DATA[:MIB]).hexdigest()
    await part.close()


async def test_too_many_open_files_are_not_its_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attempt may find it as it is."""

    def exhausted(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", exhausted)
    with pytest.raises(OSError, match="Too many"):
        await reopen(Partial(str(tmp_path / "x.part"), "http://a.test/", VERSION, (Span(0, 10),)))
