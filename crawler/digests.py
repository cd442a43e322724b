"""Digests of files that were read already, for those that are sent again.

Decides what is remembered, and for how long. Must not know files: what tells one from another, its time of change
included, is the caller's. Invariant: at most `limit` digests are held; those used longest ago go first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping


class Digests:
    """Raw digests by file and by hashlib's name."""

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[Hashable, str], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"<Digests {len(self._known)} of at most {self._limit}>"

    def of(self, file: Hashable, names: Iterable[str]) -> dict[str, bytes]:
        """Those of the names that are known."""
        found = {name: self._known[file, name] for name in names if (file, name) in self._known}
        for name in found:
            self._known.move_to_end((file, name))
        return found

    def learn(self, file: Hashable, found: Mapping[str, bytes]) -> None:
        """Remember what was computed."""
        for name, digest in found.items():
            self._known[file, name] = digest
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
