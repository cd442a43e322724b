"""Files on fsspec's file systems: whole under their own name or not at all, and faults by their kind."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry, register_implementation

from crawler.cargo import Abandoned, Cargo, opened
from crawler.fstarget import FileSystemTarget
from crawler.parcels import Parcel, Trouble, Undelivered

CONTENT = bytes(range(256)) * 5000
KEY = "job/run/bodies/ä b.bin"
_NAMES = itertools.count()


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Does what a test says in place of the step that it names."""

    faults: dict[str, Any] = {}  # noqa: RUF012
    calls: list[str] = []  # noqa: RUF012
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.replace("faulty://", "memory://"))
        return stripped

    def _does(self, step: str, *given: Any, **more: Any) -> Any:
        self.calls.append(step)
        if isinstance(said := self.faults.get(step), BaseException):
            raise said
        return getattr(super(), step)(*given, **more)

    def open(self, *given: Any, **more: Any) -> Any:
        return self._does("open", *given, **more)

    def makedirs(self, *given: Any, **more: Any) -> Any:
        return self._does("makedirs", *given, **more)

    def mv(self, *given: Any, **more: Any) -> Any:
        return self._does("mv", *given, **more)

    def info(self, *given: Any, **more: Any) -> Any:
        return self._does("info", *given, **more) | self.faults.get("size", {})


@pytest.fixture
def root() -> Iterator[str]:
    """A folder of its own in the memory of this process."""
    name = f"/uploads{next(_NAMES)}"
    register_implementation("faulty", Faulty, clobber=True)
    Faulty.faults, Faulty.calls = {}, []
    yield name
    MemoryFileSystem.store.clear()
    _registry.pop("faulty")


@pytest.fixture
def cargo(tmp_path: Path) -> Iterator[Cargo]:
    (tmp_path / "cargo").write_bytes(CONTENT)
    with opened(tmp_path / "cargo", Parcel(1, "run", "x", len(CONTENT)), lambda: False) as found:
        yield found


def files(root: str) -> dict[str, bytes]:
    return {path.removeprefix(f"{root}/"): file.getvalue() for path, file in MemoryFileSystem.store.items()}


def told(root: str, cargo: Cargo, **faults: Any) -> Undelivered:
    Faulty.faults = faults
    with pytest.raises(Undelivered) as caught:
        FileSystemTarget(f"faulty://{root}", {}).send(KEY, cargo, before=False)
    assert "hidden" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("times", [1, 2])
def test_a_folder_gets_the_file_and_nothing_else(tmp_path: Path, cargo: Cargo, times: int) -> None:
    """Folders are made; once more it is replaced; no temporary name is left."""
    target = FileSystemTarget(f"file://{tmp_path}/up", {})
    for before in range(times):
        target.send(KEY, cargo, before=bool(before))
    assert [path for path in (tmp_path / "up").rglob("*") if path.is_file()] == [tmp_path / "up" / KEY]
    assert (tmp_path / "up" / KEY).read_bytes() == CONTENT


def test_any_file_system_will_do(root: str, cargo: Cargo) -> None:
    """Written under another name, then moved."""
    FileSystemTarget(f"faulty://{root}", {}).send(KEY, cargo, before=False)
    assert files(root) == {KEY: CONTENT}
    assert Faulty.calls.index("open") < Faulty.calls.index("mv") < Faulty.calls.index("info")


def test_without_moves_it_is_written_directly(root: str, cargo: Cargo) -> None:
    """Where a file system says that it has none."""
    Faulty.faults = {"mv": NotImplementedError()}
    FileSystemTarget(f"faulty://{root}", {}).send(KEY, cargo, before=False)
    assert files(root) == {KEY: CONTENT}


def test_object_stores_are_written_directly(root: str, cargo: Cargo, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object appears whole; a move would be a copy, and a folder might be a bucket."""
    monkeypatch.setattr(Faulty, "async_impl", True)
    FileSystemTarget(f"faulty://{root}", {}).send(KEY, cargo, before=False)
    assert files(root) == {KEY: CONTENT}
    assert {"mv", "makedirs"}.isdisjoint(Faulty.calls)


def test_a_move_that_fails_leaves_no_temporary_name(root: str, cargo: Cargo) -> None:
    """And no file under its own."""
    assert told(root, cargo, mv=OSError(errno.EIO, "hidden")).trouble is Trouble.FAILED
    assert files(root) == {}


def test_the_size_is_looked_at(root: str, cargo: Cargo) -> None:
    """Less than was sent is a failure."""
    assert told(root, cargo, size={"size": 17}).trouble is Trouble.MISMATCH


class HttpError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__("hidden")
        self.code = code


class AuthenticationException(Exception):
    """As paramiko's is called."""


class SSHException(Exception):
    """As paramiko's is called."""


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (PermissionError(errno.EACCES, "hidden", "hidden"), Trouble.AUTH),
        (HttpError(403), Trouble.AUTH),
        (AuthenticationException("hidden"), Trouble.AUTH),
        (HttpError(404), Trouble.NO_TARGET),
        (FileNotFoundError("hidden"), Trouble.NO_TARGET),
        (HttpError(503), Trouble.BUSY),
        (HttpError(500), Trouble.FAILED),
        (HttpError(400), Trouble.REFUSED),
        (TimeoutError("hidden"), Trouble.TIMEOUT),
        (ConnectionResetError("hidden"), Trouble.CONNECTION),
        (SSHException("hidden"), Trouble.CONNECTION),
        (RuntimeError("hidden"), Trouble.FAILED),
    ],
)
def test_each_fault_has_its_kind(root: str, cargo: Cargo, error: Exception, trouble: Trouble) -> None:
    """By type, errno and status; its text, which may hold anything, is not shown."""
    assert told(root, cargo, open=error).trouble is trouble


def test_who_is_abandoned_leaves_nothing(root: str, tmp_path: Path) -> None:
    """Half a file goes."""
    (tmp_path / "f").write_bytes(CONTENT)
    asked = itertools.count()
    parcel = Parcel(1, "run", "x", len(CONTENT))
    with opened(tmp_path / "f", parcel, lambda: next(asked) >= 3) as cargo, pytest.raises(Abandoned):
        FileSystemTarget(f"faulty://{root}", {}).send(KEY, cargo, before=False)
    assert "open" in Faulty.calls
    assert files(root) == {}


def test_what_nothing_knows_is_said_at_once() -> None:
    """Before anything is fetched."""
    with pytest.raises(ValueError, match="nosuch"):
        FileSystemTarget("nosuch://x", {})
