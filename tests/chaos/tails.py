"""What a power cut may leave beside what is durable: as SQLite's crash VFS does, for a whole tree.

`durable` is the tree as the disk has it, `live` as the process saw it at that moment; what differs is on its way. Each
block of it may have come there, or not, or as zeros, or as noise; each new name may be there, each old one may be gone.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

_BLOCKS = (512, 4096)
_FATES = ("kept", "dropped", "zeros", "noise")


def wreck(durable: Path, live: Path, rng: Random) -> int:
    """Turn `durable` into one of the states it may be in; returns how many blocks were on their way."""
    pending = 0
    size = rng.choice(_BLOCKS)
    # Half of the time one fate for all, so that whole files come and go.
    fates = _FATES if rng.random() < 0.6 else (rng.choice(_FATES),)
    for path in sorted(_files(live)):
        target = durable / path
        if not target.exists():
            if rng.random() < 0.3:
                continue  # its name did not come so far
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        before, after = target.read_bytes(), (live / path).read_bytes()
        if before != after:
            data, blocks = _torn(before, after, size, fates, rng)
            pending += blocks
            _overwrite(target, data)
    for path in sorted(_files(durable)):
        if not (live / path).exists() and rng.random() < 0.5:
            os.unlink(durable / path)
    return pending


def _torn(before: bytes, after: bytes, size: int, fates: tuple[str, ...], rng: Random) -> tuple[bytes, int]:
    """Each block that differs meets its fate, from the first byte on that differs."""
    found, blocks = bytearray(), 0
    for at in range(0, len(after), size):
        end = min(at + size, len(after))
        old = before[at:end].ljust(end - at, b"\0")
        new = after[at:end].ljust(end - at, b"\0")
        if old == new and end <= len(before):
            found += old
            continue
        blocks += 1
        same = _alike(before[at:end], after[at:end])
        fate = rng.choice(fates)
        if fate == "dropped" and at >= len(before) and rng.random() < 0.5:
            return bytes(found), blocks  # the file ends here
        lost = end - at - same
        torn = {"kept": new[same:], "dropped": old[same:], "zeros": bytes(lost), "noise": rng.randbytes(lost)}
        found += old[:same] + torn[fate]
    if len(after) < len(before) and rng.random() < 0.5:  # a file is made shorter at once, or not yet
        found += before[len(after) :]
        blocks += 1
    return bytes(found), blocks


def _alike(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _overwrite(path: Path, data: bytes) -> None:
    """In place, since the file may have other names."""
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def _files(folder: Path) -> list[Path]:
    return [
        Path(parent, name).relative_to(folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if not Path(parent, name).is_symlink()
    ]
