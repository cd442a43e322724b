"""A body on its way in: counted, hashed and kept, in memory or in a part file, and gone when it is not wanted."""

from __future__ import annotations

import asyncio
import os
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.spool import SMALL, Keep, Spool

MIB = 1024 * 1024


async def received(spool: Spool, pieces: list[bytes]) -> None:
    for piece in pieces:
        if spool.take(piece):
            await spool.drain()


@pytest.mark.slow
@settings(max_examples=25)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 1000, SMALL - 1, SMALL, SMALL + 1, MIB, 3 * MIB // 2]), max_size=5),
    kept=st.booleans(),
)
def test_a_body_is_what_was_received(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], kept: bool) -> None:
    """In whatever pieces they come, size and digest are those of all bytes, and so is what is kept of them."""
    folder = tmp_path_factory.mktemp("parts")
    pieces = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
    whole = b"".join(pieces)

    async def spooled() -> None:
        spool = Spool(Keep(str(folder) if kept else None), "x")
        await received(spool, pieces)
        body = await spool.finish()
        assert (body.size, body.sha256) == (len(whole), sha256(whole).hexdigest())
        if not kept:
            assert (body.data, body.part) == (None, None)
        elif len(whole) < SMALL:
            assert (body.data, body.part) == (whole, None)
        else:
            assert (body.data, body.part) == (None, str(folder / "x.part"))
            assert (folder / "x.part").read_bytes() == whole

    asyncio.run(spooled())
    assert os.listdir(folder) == (["x.part"] if kept and len(whole) >= SMALL else [])


@pytest.mark.parametrize("size", [10, SMALL, 3 * MIB])
@pytest.mark.parametrize("finished", [False, True])
async def test_a_discarded_body_leaves_no_file(tmp_path: Path, size: int, finished: bool) -> None:
    """After `discard` no part is left, at whatever point it comes, and a second one does no harm."""
    spool = Spool(Keep(str(tmp_path)), "x")
    await received(spool, [b"x" * size])
    if finished:
        await spool.finish()
    await spool.discard()
    await spool.discard()
    assert os.listdir(tmp_path) == []


async def test_memory_is_bounded(tmp_path: Path) -> None:
    """Nobody is asked to hold more than a chunk and a piece: `take` asks for a drain in time."""
    spool = Spool(Keep(str(tmp_path)), "x")
    held = most = 0
    for _ in range(160):
        held += 65_536
        most = max(most, held)
        if spool.take(b"x" * 65_536):
            await spool.drain()
            held = 0
    assert most <= MIB + 65_536
    await spool.discard()


async def test_a_part_of_that_name_is_not_overwritten(tmp_path: Path) -> None:
    """A file or link planted under the part's name is an OSError and stays as it is, also after `discard`."""
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "x.part").symlink_to(tmp_path / "victim")
    spool = Spool(Keep(str(tmp_path)), "x")
    spool.take(b"x" * SMALL)
    with pytest.raises(FileExistsError):
        await spool.drain()
    await spool.discard()
    assert sorted(os.listdir(tmp_path)) == ["victim", "x.part"]
    assert (tmp_path / "victim").read_bytes() == b"precious"


async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """An error of a write that overlapped with the next bytes reaches the caller at the latest with `finish`."""
    spool = Spool(Keep(str(tmp_path)), "x")
    spool.take(b"x" * SMALL)
    opened = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        return opened("/dev/full", os.O_WRONLY) if str(path).endswith(".part") else opened(path, flags, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", full)
        await spool.drain()
    with pytest.raises(OSError, match="No space left"):
        await spool.finish()
    await spool.discard()


async def test_a_cancel_while_the_part_is_made_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a slow disk makes after the attempt was cancelled is closed and removed all the same."""
    opening, go_on = threading.Event(), threading.Event()
    opened = os.open

    def slow(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".part"):
            opening.set()
            assert go_on.wait(10)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", slow)
    spool = Spool(Keep(str(tmp_path)), "x")
    spool.take(b"x" * SMALL)
    draining = asyncio.create_task(spool.drain())
    await asyncio.to_thread(opening.wait, 10)
    draining.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await draining
    await spool.discard()
    assert os.listdir(tmp_path) == []
