"""crawler: a batch fetcher and crawler that never loses its place.

As a library: `open` a job as a run and iterate over its records, `crawl` a site with a function for its pages, or
`fetch_all` some URLs in one call.
"""

from __future__ import annotations

import typing as _typing

if _typing.TYPE_CHECKING:
    from crawler.errors import BusyError, CrawlerError, ExitCode, JobError, StorageError
    from crawler.fetchall import Result, fetch_all
    from crawler.library import Run, crawl, open
    from crawler.model import Record
    from crawler.page import Fields, Follow, Page

__version__ = "0.1.0"
__all__ = [
    "BusyError",
    "CrawlerError",
    "ExitCode",
    "Fields",
    "Follow",
    "JobError",
    "Page",
    "Record",
    "Result",
    "Run",
    "StorageError",
    "__version__",
    "crawl",
    "fetch_all",
    "open",
]

# Where each stands: loaded when it is first asked for (PEP 562), since all of it takes half a second.
_HOMES = {
    **dict.fromkeys(("BusyError", "CrawlerError", "ExitCode", "JobError", "StorageError"), "crawler.errors"),
    **dict.fromkeys(("Result", "fetch_all"), "crawler.fetchall"),
    **dict.fromkeys(("Run", "crawl", "open"), "crawler.library"),
    **dict.fromkeys(("Fields", "Follow", "Page"), "crawler.page"),
    "Record": "crawler.model",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
