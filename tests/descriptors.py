"""What this process has open, as the kernel tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator


def open_files() -> Iterator[str]:
    """Where each descriptor leads: a path, or such as "socket:[1234]"."""
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # that of the listing itself
            continue


def sockets() -> int:
    """How many of these are sockets."""
    return sum(led.startswith("socket:") for led in open_files())
