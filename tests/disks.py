"""File systems of a few MiB, for tests that fill them; only root may mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Tmpfs:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: str) -> None:
        """Give it another size: "16m"."""
        _run("mount", "-o", f"remount,size={size}", str(self.path))

    def more_names(self, names: int) -> None:
        """Give it so many inodes."""
        _run("mount", "-o", f"remount,nr_inodes={names}", str(self.path))


@contextmanager
def tmpfs(path: Path, size: str, *, names: int = 0) -> Iterator[Tmpfs]:
    """A tmpfs of that size at `path`, with so many inodes (0: enough); skips where it cannot be mounted."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size}" + (f",nr_inodes={names}" if names else "")
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield Tmpfs(path)
    finally:
        _run("umount", str(path))


@contextmanager
def loop_mount(path: Path, image: Path, size: int) -> Iterator[Path]:
    """An ext4 of so many bytes in the file `image`, mounted at `path`; skips where it cannot be."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    path.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(size)
        _run("mkfs.ext4", "-q", "-F", str(image))
    if subprocess.run(["mount", "-o", "loop", str(image), str(path)], capture_output=True).returncode:
        pytest.skip("no loop device can be had here")
    try:
        yield path
    finally:
        _run("umount", str(path))


def abort(path: Path) -> None:
    """Let a mounted ext4 turn read-only, as it does after an error of its device."""
    _run("mount", "-o", "remount,abort", str(path))


def repair(image: Path) -> None:
    """Check an ext4 that is not mounted, and mend it."""
    subprocess.run(["fsck.ext4", "-p", str(image)], capture_output=True)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
