"""Runs a job by the library and says of each record that was given out, at once, in a file outside of the job's folder.

Called as `python driver.py JOB ACKNOWLEDGED`; a line there is a URL that somebody has taken for done. Ends like the
command: 0, 1 where inputs failed, 4 for trouble with the disk.
"""

from __future__ import annotations

import asyncio
import os
import sys

import crawler


async def main(job: str, acknowledged: str) -> int:
    """Run the job to its end."""
    fd = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    async with crawler.open(job) as run:
        async for record in run:
            os.write(fd, record.url.encode() + b"\n")
    os.close(fd)
    assert run.ended is not None
    return int(run.ended.exit_code)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(*sys.argv[1:])))
    except crawler.StorageError as error:
        print(error, file=sys.stderr)
        sys.exit(4)
