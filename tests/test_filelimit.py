"""How many files are open, and may be."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from crawler.filelimit import open_files, out_of_files


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the kernel tells it nowhere")
def test_open_files_are_counted(tmp_path: Path) -> None:
    """Three more when three more are open."""
    before = open_files()
    files = [(tmp_path / str(number)).open("wb") for number in range(3)]
    assert open_files() == before + 3
    for file in files:
        file.close()
    assert open_files() == before


@pytest.mark.parametrize(
    ("wanted", "limit"),
    [(10, 64), (64, 64), (65, 65), (512, 512), (513, 512)],
    ids=["less", "same", "more", "hard", "above"],
)
def test_the_soft_limit_is_raised_as_far_as_it_may(wanted: int, limit: int) -> None:
    """In a process of its own, begun with 64 of the 512 that it may have; never lowered."""
    code = (
        "import resource; from crawler.filelimit import raised_limit; "
        f"print(raised_limit({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=lower, check=True)
    assert done.stdout == f"{limit} {limit} 512\n"


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENFILE, "Too many open files in system"), True),
        (OSError("Multiple exceptions: [Errno 24] Too many open files, [Errno 111] refused"), True),
        (_caused(RuntimeError("a proxy fault"), OSError(errno.EMFILE, "Too many open files")), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (_caused(RuntimeError("a"), ValueError("[Errno 24]")), False),
        (ValueError("[Errno 24]"), False),
    ],
)
def test_an_error_says_whether_files_ran_out(error: Exception, expected: bool) -> None:
    """By its number, by the texts it joins, or by what caused it."""
    assert out_of_files(error) is expected


def test_an_error_that_is_its_own_cause_is_looked_at_once() -> None:
    """As some of TLS are, which are raised again from what they led to."""
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    assert not out_of_files(first)
