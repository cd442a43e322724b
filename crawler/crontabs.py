"""The user's crontab and systemd's user units, as files of other programs.

Does: read and replace the crontab by `crontab`, write and remove unit files. Must not know what stands in them.
Invariant: a crontab is replaced as a whole by the program that owns it, or not at all; a unit file that is not ours is
untouched.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

from crawler.durable import make_folder, replace
from crawler.errors import StorageError
from crawler.unittext import MARK
from crawler.urls import printable

_LIMIT = 30.0  # seconds that `crontab` may take


def read_crontab() -> str:
    """The user's crontab, "" where there is none; what is no UTF-8 comes back as it is. Raises StorageError."""
    done = _crontab(["-l"], None)
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "surrogateescape")
    said = _said(done)
    if "no crontab for" in said.lower():
        return ""
    raise StorageError(f"crontab -l: {said}")


def write_crontab(text: str) -> None:
    """Put another crontab in place of the user's. Raises StorageError, with what `crontab` said of it."""
    done = _crontab(["-"], text.encode("utf-8", "surrogateescape"))
    if done.returncode != 0:
        raise StorageError(f"crontab -: {_said(done)}; nothing was changed")


def _crontab(arguments: list[str], given: bytes | None) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}  # its words are looked at
    try:
        return subprocess.run(
            ["crontab", *arguments],
            input=given if given is not None else b"",
            capture_output=True,
            env=environment,
            timeout=_LIMIT,
            check=False,
        )
    except FileNotFoundError:
        raise StorageError("crontab: there is no such program; install cron, or use --systemd") from None
    except subprocess.TimeoutExpired:
        raise StorageError(f"crontab: no answer after {_LIMIT:g} s") from None
    except OSError as error:
        raise StorageError(f"crontab: cannot be started: {error.strerror}") from None


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stderr or done.stdout).decode("utf-8", "replace").strip()
    return printable(" ".join(said.split()), 300) if said else f"exit status {done.returncode}"


def unit_folder() -> Path:
    """Where systemd looks for the user's own units (systemd.unit(5))."""
    config = os.environ.get("XDG_CONFIG_HOME")
    return (Path(config) if config else Path.home() / ".config") / "systemd" / "user"


def write_unit(path: Path, text: str, source: str) -> bool:
    """Write a unit of the job file `source`; False where it stands there already. Raises StorageError."""
    before = _unit(path, source)
    if before == text:
        return False
    try:
        make_folder(path.parent)
        replace(path, text.encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error
    return True


def remove_unit(path: Path, source: str) -> bool:
    """Remove a unit of the job file `source`; False where there is none. Raises StorageError."""
    if _unit(path, source) is None:
        return False
    try:
        path.unlink()
    except OSError as error:
        raise StorageError(f"{path}: cannot be removed: {error.strerror}") from error
    with suppress(OSError):  # "enabled" is a link to it
        (path.parent / "timers.target.wants" / path.name).unlink()
    return True


def _unit(path: Path, source: str) -> str | None:
    """The text of a unit of ours. Raises StorageError where it is somebody else's."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    if text.split("\n", 1)[0] != f"{MARK}{source}":
        raise StorageError(f"{path}: was not written for {source}; remove it, or give the job another name")
    return text
