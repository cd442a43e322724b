"""Cookie files: the jar of a job from run to run, and the cookies.txt that people bring along and take away.

Does: reading with a bound, and replacing a file as a whole, readable by its owner alone. Must not know the job or what
a cookie may be. Invariant: nothing of a cookie stands in a warning; a reader sees the old file or the new one, and
nobody else ever sees either; what lies under the name of the target is replaced, never followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from crawler.cookies import Jar
from crawler.cookietext import Loaded, dump_json, dump_netscape, load
from crawler.durable import sync_folder

MAX_SIZE = 16 * 1024 * 1024  # bytes


def load_jar(path: Path) -> Loaded:
    """The cookies of a file in either format, for `Jar.restore`; its `faults` are warnings that name the file.

    Raises OSError where it cannot be read, ValueError (a sentence that names it) where it is no jar; in the case of a
    jar of our own, say so and go on without it.
    """
    with open(path, "rb", opener=_at_once) as file:
        status = os.fstat(file.fileno())
        if not S_ISREG(status.st_mode):
            raise ValueError(f"{path}: is not a regular file")
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise ValueError(f"{path}: has more than {MAX_SIZE >> 20} MiB, which is no cookie jar")
    try:
        loaded = load(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    warnings = [f"{path}: left out: {fault}" for fault in loaded.faults]
    if status.st_mode & 0o077:
        warnings.append(f"{path}: others may read or write it (mode {status.st_mode & 0o777:04o}); make it 0600")
    return Loaded(loaded.cookies, warnings)


def save(path: Path, jar: Jar, now: float) -> Sequence[str]:
    """Put the jar's cookies that are not expired at `now` (wall seconds) under `path`, durably, mode 0600.

    A name in .txt makes it a cookies.txt, any other our JSON. Returns warnings about cookies that a cookies.txt cannot
    hold. Raises OSError; then the old file still stands.
    """
    cookies = jar.cookies(now)
    if path.suffix.lower() == ".txt":
        data, faults = dump_netscape(cookies)
    else:
        data, faults = dump_json(cookies), []
    _replace(path, data)
    return [f"{path}: left out: {fault}" for fault in faults]


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes to must not hold us up


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)
