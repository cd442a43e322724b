"""The memory that this process holds."""

from __future__ import annotations

import builtins
import io
import re
from pathlib import Path

import pytest

from crawler import memory as module
from crawler.memory import resident

STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.exists(), reason="the kernel tells it nowhere")
def test_it_is_what_the_kernel_says() -> None:
    """Within a few MB of VmRSS, which the kernel counts somewhat differently."""
    said = re.search(r"^VmRSS:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    assert said is not None
    assert abs(resident() - int(said[1]) * 1024) < 8 << 20


@pytest.mark.skipif(not STATUS.exists(), reason="the kernel tells it nowhere")
def test_memory_that_is_taken_is_seen() -> None:
    """64 MB that were written to make it grow by as much."""
    before = resident()
    taken = bytearray(64 << 20)
    taken[::4096] = b"x" * len(taken[::4096])
    assert resident() - before > 48 << 20
    del taken


@pytest.mark.parametrize("text", [b"", b"12", b"x y z", b"1 -"])
def test_what_cannot_be_read_is_none(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statm of another form counts as 0."""
    monkeypatch.setattr(builtins, "open", lambda *_: io.BytesIO(text))
    assert resident() == 0


def test_where_there_is_no_proc_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems, and jails without /proc."""

    def missing(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", missing)
    assert resident() == 0


def test_the_guard_says_when_it_is_too_much_and_when_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit it is full, and stays so until a tenth of it is free; each change is told once."""
    levels = iter([99, 100, 101, 95, 90, 89, 95, 100])
    monkeypatch.setattr(module, "resident", lambda: next(levels))
    guard = module.MemoryGuard(100)
    assert [(guard.look(), guard.full) for _ in range(8)] == [
        *[(False, False)] * 2,
        (True, True),
        *[(False, True)] * 2,
        (True, False),
        *[(False, False)] * 2,
    ]


def test_without_a_limit_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pays for what nobody asked for."""
    monkeypatch.delattr(module, "resident")
    assert not module.MemoryGuard(None).look()
