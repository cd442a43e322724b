"""Which requests have come to their end, and how: one byte each, by id, in chunks that the checkpoint stores.

Decides nothing but the packing. Must not know SQLite or what a request is. Invariant: an id never set is waiting;
`dirty` names each chunk that changed since it was asked last.

A row is never written twice: to mark 10^7 rows one by one, scattered over a table clustered by host, would cost a
page of 4 KiB each; here a thousand neighbours in the input share one chunk.
"""

from __future__ import annotations

from collections.abc import Iterable

CHUNK = 1000  # with its number four of them fill a page of 4 KiB
WAITING, FETCHED, FAILED, SKIPPED = 0, 1, 2, 3
_KNOWN = bytes((WAITING, FETCHED, FAILED, SKIPPED))


class States:
    """The states of ids from 1 to `highest` and beyond. Raises ValueError for chunks that `dirty` never gave."""

    __slots__ = ("_bytes", "_dirty")

    def __init__(self, chunks: Iterable[tuple[int, bytes]] = (), highest: int = 0) -> None:
        self._bytes = bytearray()
        self._dirty: set[int] = set()
        for n, chunk in chunks:
            if not (0 <= n <= highest // CHUNK and isinstance(chunk, bytes) and len(chunk) == CHUNK):
                raise ValueError(f"chunk {n} of the states is not one of {highest} requests")
            if chunk.translate(None, _KNOWN):
                raise ValueError(f"chunk {n} of the states holds states that do not exist")
            self._grow((n + 1) * CHUNK)
            self._bytes[n * CHUNK : (n + 1) * CHUNK] = chunk

    def __repr__(self) -> str:
        return f"<States {self.ended} ended>"

    def __getitem__(self, id: int) -> int:
        return self._bytes[id] if id < len(self._bytes) else WAITING

    def __setitem__(self, id: int, state: int) -> None:
        if id >= len(self._bytes):
            self._grow((id // CHUNK + 1) * CHUNK)
        self._bytes[id] = state
        self._dirty.add(id // CHUNK)

    @property
    def ended(self) -> int:
        """How many do not wait; reads every byte, 2 ms for 10^7."""
        return len(self._bytes) - self._bytes.count(WAITING)

    def waiting_from(self, id: int) -> int:
        """The first id that waits, from `id` on."""
        found = self._bytes.find(WAITING, id)
        return found if found >= 0 else max(id, len(self._bytes))

    def dirty(self) -> list[tuple[int, bytes]]:
        """The chunks to store, as (number, bytes); afterwards none is."""
        chunks = [(n, bytes(self._bytes[n * CHUNK : (n + 1) * CHUNK])) for n in sorted(self._dirty)]
        self._dirty.clear()
        return chunks

    def _grow(self, size: int) -> None:
        if size > len(self._bytes):
            self._bytes.extend(bytes(size - len(self._bytes)))
