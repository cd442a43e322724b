"""The cookie jar of one run: where it begins, and how it is kept.

Does: fill the jar with what is brought along, from the run that goes on or, where the job persists it, the run before;
write it down beside each commit, and at the end. Must not know requests. Invariant: a resumed run has the cookies it
had at its last commit; a new one has no others than the job says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import time as wall_clock

from crawler.cookiefiles import load_jar, save
from crawler.cookies import Jar
from crawler.cookietext import Loaded
from crawler.errors import StorageError
from crawler.folders import JobFolder
from crawler.job import Job

log = logging.getLogger("crawler")

NAME = "cookies.json"


class JobJar:
    """The jar of a job with [cookies] jar = true; a new run begins with what is `brought` along."""

    def __init__(
        self, job: Job, base: Path, folder: JobFolder, run_folder: Path, brought: Loaded, *, resumed: bool
    ) -> None:
        self.jar = Jar()
        self._path = run_folder / NAME
        self._persisted = folder.path / NAME if job.cookies.persist else None
        self._export = base / Path(job.cookies.save).expanduser() if job.cookies.save else None
        if resumed and self._path.exists():
            self._restore(self._path)
            self._written = self.jar.changes
            return
        if self._persisted is not None and self._persisted.exists():
            self._restore(self._persisted)
            self.jar.clear_session()
        self._take(brought)
        self._written = -1  # what it begins with is written with the first commit

    def beside(self) -> Callable[[], None] | None:
        """What is to be written beside the next commit, if anything."""
        if self.jar.changes == self._written:
            return None
        self._written = self.jar.changes
        kept, now = self.jar.copy(wall_clock()), wall_clock()

        def write() -> None:
            try:
                save(self._path, kept, now)
            except OSError as error:
                raise StorageError(f"{self._path}: could not be written: {error}") from error

        return write

    def close(self) -> None:
        """Write the jar where the job wants it. Raises StorageError."""
        if write := self.beside():
            write()
        for path in filter(None, (self._persisted, self._export)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                for warning in save(path, self.jar, wall_clock()):
                    log.warning("%s", warning)
            except OSError as error:
                raise StorageError(f"{path}: could not be written: {error}") from error

    def _restore(self, path: Path) -> None:
        """A jar of ours; what is wrong with it is no reason not to run."""
        try:
            loaded = load_jar(path)
        except (OSError, ValueError) as error:
            log.warning("the cookies of the last run are left out: %s", error)
            return
        self._take(loaded)

    def _take(self, loaded: Loaded) -> None:
        for fault in loaded.faults:
            log.warning("%s", fault)
        self.jar.restore(loaded.cookies, wall_clock())
