"""What is asked about a request before it is queued, and before it is sent.

Does: hold the gates of one run together. Must not know the wire or the frontier. Invariant: robots.txt itself, and rows
that are no requests, are never barred for a credential.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from crawler.admission import Admission
from crawler.keys import Keys
from crawler.model import Request


class Gates(NamedTuple):
    """`barred` says why a credential is not worth another try, if it is not."""

    keys: Keys
    admission: Admission
    address_of: Callable[[str], Awaitable[str | None]]  # the first address of a host, where that is its politeness key
    barred: Callable[[Request], str | None] | None = None

    def bars(self, request: Request) -> str | None:
        """Why the credential of a request is not worth another try, if it has one."""
        if self.barred is None or request.robots is not None or request.error is not None:
            return None
        return self.barred(request)
