"""How many files this process has open, and may have.

Does: ask the kernel; raise the soft limit towards the hard one where more are needed, which is what that is for. Must
not know who needs them. Invariant: never raises an exception; what cannot be told is none; the limit is never lowered.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress

_UNLIMITED = 1 << 30
_NONE_LEFT = (errno.EMFILE, errno.ENFILE)


_DEEP = 10  # causes that are looked at; some errors are, by way of others, their own cause


class OutOfFiles(OSError):
    """A socket could not be opened, for too many files are; its request is to be made again. No fault of its server."""


def out_of_files(error: BaseException) -> bool:
    """Does an error, or what caused it, say that no more files can be opened; also where it joins several texts."""
    found: BaseException | None = error
    for _ in range(_DEEP):
        if isinstance(found, OSError) and (found.errno in _NONE_LEFT or f"[Errno {errno.EMFILE}]" in str(found)):
            return True
        found = found.__cause__ if found is not None else None
    return False


def open_files() -> int:
    """How many are open now, 0 where /proc does not say."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # listing them opens one
    except OSError:
        return 0


def files_left() -> int:
    """How many more may be opened, by the limit as it is."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (_UNLIMITED if soft == resource.RLIM_INFINITY else soft) - open_files()


def raised_limit(wanted: int) -> int:
    """How many may be open, after the soft limit was raised to what is wanted, as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _UNLIMITED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return soft
