"""The words of uploading: a Parcel is a finished file that waits to be sent, a Trouble why it did not arrive.

Decides what each Trouble leads to. Must not know targets, files or the checkpoint. Invariant: every Trouble has a row
in COURSES (a test holds it); slugs are stable, since people grep for them; no sentence holds a secret.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Parcel(NamedTuple):
    """A file that will not change any more. `name` is its path relative to the folder of its `run`; `sha256` is in hex.

    `n` counts from 1 in the order of commits; `attempts` were made already; `before`: it may have arrived.
    """

    n: int
    run: str
    name: str
    size: int
    sha256: str | None = None
    attempts: int = 0
    before: bool = False


class Thing(NamedTuple):
    """What a commit adds: a file of the run, `size` in bytes; `sha256` in hex where it is known."""

    name: str
    size: int
    sha256: str | None = None


class Delivered(NamedTuple):
    """A parcel arrived."""

    parcel: Parcel


class Undeliverable(NamedTuple):
    """A parcel is not tried again in this start; it stays waiting. `error` begins with the slug of the trouble."""

    parcel: Parcel
    error: str


class Counts(NamedTuple):
    """Files that arrived and their bytes, files that wait, and files that were tried in vain. No file counts twice."""

    done: int = 0
    waiting: int = 0
    failed: int = 0
    bytes: int = 0

    @property
    def left(self) -> int:
        """Files that are not there yet."""
        return self.waiting + self.failed


class Trouble(Enum):
    """Why a parcel did not arrive. The value is the slug in summaries and logs."""

    AUTH = "upload-auth"  # the target does not take our credentials, or gives us no right
    CLOCK = "upload-clock"  # our clock and the target's differ too much for a signature
    NO_TARGET = "upload-no-target"  # no such bucket, no such folder
    REFUSED = "upload-refused"  # the target does not take this one
    BUSY = "upload-busy"  # 429, 503, SlowDown
    CONNECTION = "upload-connection"
    TIMEOUT = "upload-timeout"
    FAILED = "upload-failed"  # the target's own fault
    MISMATCH = "upload-mismatch"  # what the target has is not what was sent
    GONE = "upload-gone"  # the local file is gone, or is another one


class Course(NamedTuple):
    """What follows: `tries` caps the attempts (None: as many as the job allows); does it speak against the target."""

    tries: int | None
    of_target: bool

    @property
    def refusal(self) -> bool:
        """The target answers, and means it."""
        return self.tries is not None and self.of_target


_MEANT = Course(2, True)  # once more when others have arrived in the meantime
_LATER = Course(None, True)

COURSES: dict[Trouble, Course] = {
    Trouble.AUTH: _MEANT,
    Trouble.CLOCK: _MEANT,
    Trouble.NO_TARGET: _MEANT,
    Trouble.REFUSED: Course(1, True),
    Trouble.BUSY: _LATER,
    Trouble.CONNECTION: _LATER,
    Trouble.TIMEOUT: _LATER,
    Trouble.FAILED: _LATER,
    Trouble.MISMATCH: _LATER,
    Trouble.GONE: Course(1, False),
}


class Undelivered(Exception):
    """A parcel did not arrive; the text is a sentence for people."""

    def __init__(self, trouble: Trouble, why: str) -> None:
        super().__init__(f"{trouble.value}: {why}")
        self.trouble = trouble
