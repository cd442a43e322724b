"""Lines of plain, .gz and .zst files, in bounded memory whatever stands in the file.

Does: open a file by its suffix, split it into lines, cut over-long ones. Must not know what a line means.
Invariant: at most one piece of a line (LIMIT) is held; a damaged or cut archive yields the lines before the damage,
then raises DamagedInput.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

LIMIT = 64 * 1024
_BUFFER = 256 * 1024
COMPRESSED = (".gz", ".zst")


class DamagedInput(Exception):
    """A compressed input ended early or is not what its name says; the text is a sentence."""


@contextmanager
def opened(path: Path | None) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed by its suffix; None is stdin. Raises OSError."""
    if path is None:
        yield sys.stdin.buffer
    elif path.suffix == ".gz":
        with gzip.open(path, "rb") as file:
            yield cast(BinaryIO, file)
    elif path.suffix == ".zst":
        with _open_zst(path) as file:
            yield file
    else:
        with open(path, "rb", buffering=_BUFFER) as file:
            yield file


def _open_zst(path: Path) -> BinaryIO:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return cast(BinaryIO, zstd.open(path, "rb"))


def lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Each line without its end, and whether it was cut at LIMIT. Raises DamagedInput."""
    while True:
        line = guarded_readline(file, LIMIT + 2)
        if not line:
            return
        if line.endswith(b"\n"):
            yield line.rstrip(b"\r\n"), False
        elif len(line) <= LIMIT:
            yield line, False
        else:
            while True:  # the rest of it is passed over, a piece at a time
                rest = guarded_readline(file, _BUFFER)
                if not rest or rest.endswith(b"\n"):
                    break
            yield line[:LIMIT], True


def guarded_readline(file: BinaryIO, limit: int) -> bytes:
    """One `readline`; damage of an archive as DamagedInput."""
    try:
        return file.readline(limit)
    except EOFError:
        raise DamagedInput("the compressed file ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DamagedInput(f"the compressed file is damaged: {error}") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise DamagedInput(f"the compressed file is damaged: {error}") from None
