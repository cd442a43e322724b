"""A run in a process of its own, which tells what it cost: `python -m tests.measured FOLDER JOB`, JOB as JSON.

JOB has `rows`, `warm` (rows of a run before the one that is measured) and `sections`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from tests.jobs import run

MIB = 1024**2
_ROOT = Path(__file__).parent.parent


class Cost(NamedTuple):
    """What a run ended with, and cost: by case the reason and the error; bytes that it grew by at most, CPU seconds."""

    reasons: dict[str, str]
    errors: dict[str, str]
    grown: int
    cpu: float
    files: int  # bodies and parts of bodies that it left


async def measured(
    folder: Path, rows: list[dict[str, Any]], warm: list[dict[str, Any]], **sections: dict[str, Any]
) -> Cost:
    """Run it; `warm` are fetched before, so that what is loaded and kept once does not count."""
    said = orjson.dumps({"rows": rows, "warm": warm, "sections": sections}).decode()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.measured", str(folder), said), cwd=_ROOT, stdout=asyncio.subprocess.PIPE
    )
    told = (await process.communicate())[0]
    assert process.returncode == 0
    return Cost(**orjson.loads(told))


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status. (Of getrusage the peak is that of the parent process too.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


async def _main(folder: Path, said: dict[str, Any]) -> Cost:
    first, then = folder / "first", folder / "then"
    first.mkdir()
    then.mkdir()
    await run(first, said["warm"], **said["sections"])
    before, cpu = _status("VmRSS"), time.process_time()
    results = await run(then, said["rows"], **said["sections"])
    cpu = time.process_time() - cpu
    errors = {record["input"]["case"]: record["error"] or "" for record in results.records}
    left = [path for path in (then / "out").rglob("*") if path.is_file() and {"bodies", "parts"} & {*path.parts}]
    return Cost(results.ends(), errors, _status("VmHWM") - before, cpu, len(left))


if __name__ == "__main__":
    found = asyncio.run(_main(Path(sys.argv[1]), orjson.loads(sys.argv[2])))
    sys.stdout.write(orjson.dumps(found._asdict()).decode())
