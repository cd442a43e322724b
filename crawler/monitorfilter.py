"""Which records somebody wants to see.

Decides it of a line of the records. Must not know where records stand, pages or aiohttp. Invariant: a line that `may`
refuses would be refused by `wants` as well: it only looks for what the line must hold, since to parse it costs ten
times as much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from crawler.known import CHANGES

KEYS = ("outcome", "reason", "status", "change", "host", "url")
_LONGEST = 2000  # characters of a value
_OUTCOMES = ("fetched", "failed", "skipped")
_REASON = re.compile(r"[a-z0-9*?-]+\Z")
_STATUS = re.compile(r"[1-9](?:[0-9]{2}|xx)\Z")
_HOST = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#\\]*)", re.IGNORECASE)


class Wanted(NamedTuple):
    """None: any. `reason` may hold * and ?, `status` be a class such as 4xx; `host` and `url` are parts of them."""

    outcome: str | None = None
    reason: str | None = None
    status: str | None = None
    change: str | None = None
    host: str | None = None
    url: str | None = None

    def may(self, line: bytes) -> bool:
        """Can this line, as the crawler writes them, be wanted."""
        if self.outcome is not None and b'"outcome":"%b"' % self.outcome.encode() not in line:
            return False
        if self.change is not None and b'"change":"%b"' % self.change.encode() not in line:
            return False
        if self.reason is not None and not set("*?") & set(self.reason):
            return b'"reason":"%b"' % self.reason.encode() in line
        if self.status is not None:
            return b'"status":%b' % self.status.removesuffix("xx").encode() in line
        return True

    def wants(self, record: Mapping[str, Any]) -> bool:
        """Is this record wanted."""
        if self.outcome is not None and record.get("outcome") != self.outcome:
            return False
        if self.change is not None and record.get("change") != self.change:
            return False
        if self.reason is not None and not fnmatchcase(str(record.get("reason") or ""), self.reason):
            return False
        if self.status is not None:
            status = str(record.get("status") or "")
            if len(status) != 3 or not status.startswith(self.status.removesuffix("xx")):
                return False
        url = str(record.get("url") or "")
        return (self.url is None or self.url.lower() in url.lower()) and (
            self.host is None or self.host.lower() in host_of(url)
        )


def wanted(query: Mapping[str, str]) -> Wanted:
    """What a query asks for; an empty value asks for nothing. Raises ValueError: a sentence."""
    said = {key: query[key].strip() for key in KEYS if query.get(key, "").strip()}
    for key, value in said.items():
        if len(value) > _LONGEST:
            raise ValueError(f"{key} is longer than {_LONGEST} characters")
    asked = Wanted(**said)
    if asked.outcome not in (None, *_OUTCOMES):
        raise ValueError(f"outcome is one of {', '.join(_OUTCOMES)}")
    if asked.change not in (None, *CHANGES):
        raise ValueError(f"change is one of {', '.join(CHANGES)}")
    if asked.reason is not None and not _REASON.match(asked.reason):
        raise ValueError("reason is a slug such as read-timeout, or a pattern such as status-5*")
    if asked.status is not None and not _STATUS.match(asked.status):
        raise ValueError("status is a number such as 404, or a class such as 4xx")
    return asked


def host_of(url: str) -> str:
    """The host of a URL with its port, in lower case; of a text that is none, nothing."""
    found = _HOST.match(url)
    return found[1].lower() if found else ""
