"""`python -m benchmarks [NAME...] [--quick | --full]`: figures as ratios from one run; times drift, ratios hold."""

from __future__ import annotations

import argparse
import os
import platform
from importlib import import_module
from importlib.metadata import version

from benchmarks.table import show

NAMES = (
    *("startup", "cpu", "signing", "body", "outputs", "crawl"),
    *("fairness", "simnet", "longlist", "hugelist", "endless", "bigreport", "watched"),
)


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    chosen = parser.parse_args()
    # Children are measured from their start: they must find their bytecode, as an installed program does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    versions = " ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "orjson"))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
    for name in chosen.names or NAMES:
        show(import_module(f"benchmarks.{name}").run(quick=chosen.quick, full=chosen.full))


if __name__ == "__main__":
    main()
