"""What is known of a URL from earlier runs, as one word between the checkpoint, a fetch and the end of a request.

Holds no decision but the words for what became of a URL. Invariant: `Known` is what was last fetched whole; what failed
since then does not change it.
"""

from __future__ import annotations

from typing import NamedTuple

CHANGES = ("new", "changed", "unchanged", "gone")  # what `change` says in records, in the order in which it is shown
GONE_STATUSES = (404, 410)  # by which a server says that there is nothing any more


class Known(NamedTuple):
    """The last good answer of a URL. Moments in wall seconds, sizes in bytes.

    `url` is where it came from after redirects: the validators are of that one. `body` is a path relative to the folder
    of run number `holder`, None where no file of its own holds it. Since `first`, `checks` comparisons found it changed
    `changes` times, the last at `checked`; `taken` is when the body itself was asked for. By its own word it stays as
    it is until `fresh_until`.
    """

    url: str
    holder: int
    first: float
    checked: float
    taken: float
    checks: int = 0
    changes: int = 0
    sha256: str | None = None
    bytes: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    content_type: str | None = None
    body: str | None = None
    fresh_until: float | None = None


class Sighting(NamedTuple):
    """What the end of a request says of its URL: `known` as it was before, `at` in wall seconds, `change` as in the
    record; `fetched` where there is a new answer to be known. `print_` is the request's fingerprint.
    """

    print_: int
    known: Known | None
    at: float
    change: str | None
    fetched: bool
    fresh_until: float | None = None
