"""File systems in files: made, mounted, and frozen as a power cut would find them. Only root may mount.

What a process wrote and nobody synced is in the kernel's memory alone; it is not in the image, nor in a copy of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

_MIB = 1024 * 1024
# By kind: bytes of the image, how it is made, how it is mounted: nothing is written back for as long as a run takes.
_KINDS = {
    "ext4": (192, ("mkfs.ext4", "-q", "-F", "-N", "16384"), "loop,noatime,commit=600,noinit_itable"),
    "xfs": (320, ("mkfs.xfs", "-q", "-f"), "loop,noatime"),
    "btrfs": (160, ("mkfs.btrfs", "-q", "-f"), "loop,noatime,commit=300"),
}
_ASLEEP = "SIZXt"  # states of a thread that makes no call, and can make none while its tracer is stopped


def missing(kind: str) -> str | None:
    """Why there can be no such file system here; None where there can."""
    if os.geteuid() != 0:
        return "only root may mount"
    program = _KINDS[kind][1][0]
    if shutil.which(program) is None:
        return f"{program} is not installed"
    if f"\t{kind}\n" not in Path("/proc/filesystems").read_text():
        return f"this kernel knows no {kind}"
    return None


def quick_folder(folder: Path) -> Path:
    """Where images lie: in memory, where there is room, so that a sync costs nothing."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 4096 * _MIB else folder


def make(kind: str, image: Path) -> None:
    """A new file system in a new file."""
    size, command, _ = _KINDS[kind]
    with image.open("wb") as file:
        file.truncate(size * _MIB)
    _run(*command, str(image))


@contextmanager
def mounted(kind: str, image: Path, at: Path) -> Iterator[Path]:
    """The file system of an image at a folder; what is still written then is written back in the end."""
    at.mkdir(exist_ok=True)
    _run("mount", "-t", kind, "-o", _KINDS[kind][2], str(image), str(at))
    try:
        yield at
    finally:
        _unmount(at)


def copy(image: Path, to: Path) -> None:
    """What the device holds now, in another image."""
    _run("cp", "--sparse=always", str(image), str(to))


@contextmanager
def frozen(process: subprocess.Popen[bytes], *, traced: bool) -> Iterator[None]:
    """The process stands still, no call under way; where strace traces it, `process` is strace, and holds it.

    Raises ProcessLookupError where it is over.
    """
    pid = int(child_of(process)) if traced else process.pid
    os.kill(process.pid, signal.SIGSTOP)
    try:
        _await_rest(pid, _ASLEEP if traced else "TtZX")
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def child_of(process: subprocess.Popen[bytes]) -> str:
    """The process that strace traces. Raises ProcessLookupError where there is none."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except FileNotFoundError:
        children = []
    if not children:
        raise ProcessLookupError(process.pid)
    return children[0]


def _await_rest(pid: int, states: str) -> None:
    """Until all threads are in one of these states, at two looks. Raises ProcessLookupError, TimeoutError."""
    calm, patience = 0, monotonic() + 20
    while calm < 2:
        try:
            stats = [Path(f"{task.path}/stat").read_text() for task in os.scandir(f"/proc/{pid}/task")]
        except (FileNotFoundError, ProcessLookupError):
            raise ProcessLookupError(pid) from None
        found = {stat.rpartition(") ")[2][0] for stat in stats}
        if found <= {"Z", "X"}:
            raise ProcessLookupError(pid)
        calm = calm + 1 if found <= set(states) else 0
        if monotonic() > patience:
            raise TimeoutError(f"threads are in states {found}")
        sleep(0.002)


def _unmount(at: Path) -> None:
    for _ in range(50):
        if subprocess.run(["umount", str(at)], capture_output=True).returncode == 0:
            return
        sleep(0.1)
    _run("umount", "--lazy", str(at))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
