"""What the benchmarks fetch: generated pages behind nginx, a list of their URLs, a job over it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.servers import Nginx


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that nginx may read, removed at the end."""
    with TemporaryDirectory(prefix="crawler-bench-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def make_pages(root: Path, count: int, size: int = 1024) -> list[str]:
    """`count` files of `size` bytes, all different; their URL paths."""
    paths = []
    for number in range(count):
        place = root / str(number % 100)
        if number < 100:
            place.mkdir(parents=True)
        (place / f"{number}.html").write_bytes((f"page {number} ".encode() * size)[:size])
        paths.append(f"/{number % 100}/{number}.html")
    return paths


def write_job(where: Path, name: str, urls: Sequence[str], settings: str) -> list[str]:
    """A list and a job over it; the command that runs it."""
    (where / f"{name}.txt").write_text("".join(f"{url}\n" for url in urls))
    job = where / f"{name}.toml"
    job.write_text(f'name = "{name}"\n[input]\nfiles = ["{name}.txt"]\n{settings}\n')
    return [sys.executable, "-m", "crawler", "run", str(job), "--quiet", "--set", "run.again=all"]


__all__ = ["Nginx", "folder", "make_pages", "write_job"]
