"""What the package shows to others."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import crawler


def test_what_is_public_exists_and_is_said() -> None:
    """Every name in __all__ is there, and there is no public name besides them and the modules."""
    code = "import crawler; print(*sorted(name for name in vars(crawler) if not name.startswith('_')))"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert all(hasattr(crawler, name) for name in crawler.__all__)
    assert set(names) - {"annotations"} <= set(crawler.__all__)


def test_the_package_alone_is_cheap() -> None:
    """What is public is loaded when it is asked for; there is nothing else to be had."""
    code = "import sys, crawler; print(*(name for name in sys.modules if name.startswith('crawler.')), *dir(crawler))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(crawler.__all__) <= set(said)
    assert [name for name in said if name.startswith("crawler.")] == []
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = crawler.nothing_of_ours


def test_the_version_is_that_of_the_package() -> None:
    """The number in the code and the one in setup.cfg are changed together."""
    setup = ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    assert crawler.__version__ == setup["metadata"]["version"]
