"""Finished files on any file system that fsspec knows: gs://, abfs://, sftp://, smb://, file:// and others.

Does: write under a temporary name and move it, blocking. Must not know runs or retries. Invariant: a file counts as
sent only when the file system says that it has the right size under its own name; an exception of a library is told by
its type and, where the system gave it, its errno, since its text may hold what it was called with.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from crawler.cargo import Abandoned, Cargo
from crawler.parcels import Trouble, Undelivered

_STATUSES = {
    **dict.fromkeys((401, 403), Trouble.AUTH),
    404: Trouble.NO_TARGET,
    **dict.fromkeys((429, 503), Trouble.BUSY),
    **dict.fromkeys((408, 504), Trouble.TIMEOUT),
}
# Of paramiko, google-auth, azure-core and smbprotocol, whose classes are nobody's children.
_AUTH = ("Authentication", "Credential", "RefreshError", "LogonFailure", "AccessDenied", "BadHostKey", "Forbidden")


class FileSystemTarget:
    """A folder of a file system, named by a URL; `options` are given to it."""

    def __init__(self, to: str, options: Mapping[str, str]) -> None:
        """Raises ImportError, ValueError: its package is missing, or nothing knows this kind of URL."""
        from fsspec.core import get_filesystem_class  # type: ignore[import-untyped]

        self._to = to
        self._options = dict(options)
        get_filesystem_class(to.partition("://")[0])

    def __repr__(self) -> str:
        return f"<FileSystemTarget {self._to.partition('://')[0]}>"

    def send(self, key: str, cargo: Cargo, *, before: bool) -> None:
        """See targets.Target; what may be there is written anew, since only its bytes could tell what it is."""
        try:
            self._send(key, cargo)
        except (Undelivered, Abandoned):
            raise
        except Exception as error:  # each file system raises what its own library does
            raise _undelivered(error) from None

    def close(self) -> None:
        """File systems close their connections by themselves."""

    def _send(self, key: str, cargo: Cargo) -> None:
        from fsspec.core import url_to_fs

        # fsspec keeps one for each thread: ftplib and others are not made for several.
        fs, root = url_to_fs(self._to, **self._options, use_listings_cache=False)
        path = f"{root.rstrip('/')}/{key}"
        if fs.async_impl:  # an object store: an object appears when it is whole, and a move would be a copy
            _write(fs, path, cargo)
        else:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            _write_and_move(fs, path, cargo)
        size = fs.info(path)["size"]
        if size != cargo.size:
            raise Undelivered(Trouble.MISMATCH, f"the target has {size} bytes of the {cargo.size} that were sent")


def _write(fs: Any, path: str, cargo: Cargo) -> None:
    with fs.open(path, "wb") as file:
        for piece in cargo.pieces(0, cargo.size):
            file.write(piece)


def _write_and_move(fs: Any, path: str, cargo: Cargo) -> None:
    temporary = f"{path}.{cargo.sha256[:8]}.uploading"
    try:
        _write(fs, temporary, cargo)
        try:
            fs.mv(temporary, path)
        except NotImplementedError:
            _write(fs, path, cargo)
            fs.rm_file(temporary)
        except FileExistsError:
            fs.rm_file(path)
            fs.mv(temporary, path)
    except BaseException:
        _remove(fs, temporary)
        raise


def _remove(fs: Any, path: str) -> None:
    with suppress(Exception):  # it may never have been there, or the target is gone: what went wrong before counts
        fs.rm_file(path)


def _undelivered(error: Exception) -> Undelivered:
    name = type(error).__name__
    status = next(
        (number for key in ("status", "code", "status_code") if type(number := getattr(error, key, None)) is int), 0
    )
    if status:
        fallback = Trouble.REFUSED if 400 <= status < 500 else Trouble.FAILED
        return Undelivered(_STATUSES.get(status, fallback), f"the target answers {status} ({name})")
    why = f"{name}: {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else name
    if isinstance(error, PermissionError) or any(word in name for word in _AUTH):
        return Undelivered(Trouble.AUTH, f"the target gives no right to write there ({why})")
    if isinstance(error, TimeoutError):
        return Undelivered(Trouble.TIMEOUT, f"the target did not answer in time ({why})")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Undelivered(Trouble.NO_TARGET, f"there is no such place ({why})")
    if isinstance(error, (ConnectionError, socket.gaierror, EOFError)) or "Connect" in name or "SSH" in name:
        return Undelivered(Trouble.CONNECTION, f"no connection to the target ({why})")
    return Undelivered(Trouble.FAILED, f"the target failed ({why})")
