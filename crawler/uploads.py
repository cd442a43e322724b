"""The uploads of one run: what its commits add is sent beside the crawl, and what is left when it ends is waited for.

Does: put shipper, ledger and checkpoint together. Must not know targets or when a file is finished. Invariant: a run
whose uploads are not all done does not end well, and what is left waits for the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from time import monotonic

from crawler.dock import Dock
from crawler.folders import JobFolder
from crawler.jobupload import Upload
from crawler.ledger import Ledger
from crawler.parcels import Counts, Parcel
from crawler.shipping import Errands, Shipper
from crawler.targets import Target

_COMMITS = 0.7  # seconds between two commits of what arrived
_STOPPED = 5.0  # seconds that a run waits for its uploads when it was told to stop


class Uploads:
    """Must be made in a running loop; `counts` as the checkpoint has them."""

    def __init__(self, said: Upload, target: Target, folder: JobFolder, ledger: Ledger, counts: Counts) -> None:
        self._ledger = ledger
        self._counts = counts

        def key(parcel: Parcel) -> str:
            return f"{folder.path.name}/{parcel.run}/{parcel.name}"

        errands = Errands(lambda parcel: folder.run(parcel.run) / parcel.name, key, ledger.to_ship, ledger.shipped)
        dock = Dock(said.parallel, said.attempts, said.backoff, probing=counts.failed > 0)
        self._shipper = Shipper(target, dock, errands, counts, said.parallel, Random())
        ledger.more = self._shipper.more
        self._shipper.start()

    @property
    def counts(self) -> Counts:
        """How far they were when this process began, or when `finish` ended; by what is committed."""
        return self._counts

    @property
    def trouble(self) -> str | None:
        """Why something is left, as far as is known."""
        return str(self._shipper.trouble) if self.counts.left and self._shipper.trouble is not None else None

    async def finish(self, stopping: Callable[[], bool]) -> None:
        """Wait for what is left while any of it arrives; not for long once the run is `stopping`."""
        waiting = asyncio.create_task(self._shipper.finish())
        deadline: float | None = None
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_COMMITS)
            await self._ledger.commit()
            if deadline is None and stopping():
                deadline = monotonic() + _STOPPED
            if deadline is not None and monotonic() >= deadline:
                waiting.cancel()
        if not waiting.cancelled():
            waiting.result()
        await self._ledger.commit()
        self._counts = await self._ledger.uploads()

    async def close(self) -> None:
        """Stop."""
        await self._shipper.close()
