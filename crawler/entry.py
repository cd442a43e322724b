"""The words of outputs: one end on its way there (its record, its body, what went over the wire), and how safe it is.

Decides nothing. Must not know files, formats or the checkpoint. Invariant: a sink reads what stands here and says
where it put the body; nobody else changes an Entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from crawler.model import Body, Record, Visit

LARGEST_INLINE = 16 * 1024 * 1024  # bytes of a body that stands in its record; it is whole in memory then


class Sync(Enum):
    """When outputs are made durable: with each commit; when a file is closed; or when the system sees fit."""

    COMMIT = "commit"
    CLOSE = "close"
    NEVER = "never"


class Spot(NamedTuple):
    """Where something lies: a file, as a path relative to the run's folder, and which bytes of it."""

    file: str
    offset: int
    length: int


class Entry:
    """`visits` are empty where nothing is archived; `file`, `warc` and `tar` are told by the sinks that wrote there."""

    __slots__ = ("body", "file", "filename", "new", "record", "tar", "visits", "warc")

    def __init__(
        self, record: Record, body: Body | None, filename: str | None = None, visits: Sequence[Visit] = ()
    ) -> None:
        self.record = record
        self.body = body  # None where there is none to keep
        self.filename = filename  # the row's own wish
        self.visits = visits
        self.file: str | None = None  # path relative to the run's folder
        self.new = False  # the file was made for it; else another has the same body
        self.warc: Spot | None = None  # the response record
        self.tar: Spot | None = None  # the member's header and data
