"""The crawl of a job, put together: what pages are read by, and which of their links are followed.

Does: load the user's functions, restore scope and traps from the checkpoint. Must not decide about links. Invariant: a
job without [crawl], [extract] and sitemaps has none of it, and pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from crawler.callables import PageFunction, faults, load
from crawler.canon import Canon
from crawler.checkpoint import Checkpoint
from crawler.discovery import NAMED, TRAPS, Discovery
from crawler.errors import JobError
from crawler.extraction import Extraction
from crawler.feed import Defaults, request_of
from crawler.identity import user_agent
from crawler.job import Job
from crawler.jobfile import LoadedJob
from crawler.keys import Keys
from crawler.ledger import Ledger
from crawler.model import Request
from crawler.pages import Pages
from crawler.parts import registrable_of
from crawler.records import Fault
from crawler.robotstext import product_token
from crawler.scope import Scope
from crawler.tally import Tally
from crawler.traps import Traps


class Functions(NamedTuple):
    """What [extract] looks for, its functions loaded."""

    extraction: Extraction | None = None
    page: PageFunction | None = None


def functions_of(loaded: LoadedJob, given: Callable[..., object] | None = None) -> Functions:
    """`given` is a program's own. Raises JobError with every function that cannot be loaded."""
    said = loaded.job.extract
    own = PageFunction(given, getattr(given, "__qualname__", "page"), choosing=True) if given is not None else None
    if said is None:
        return Functions(None, own)
    if own is not None and said.function is not None:
        raise JobError("extract.function: the program gives a function for each page as well; one is enough")
    problems = [f"extract.{key}: {fault}" for key, fault in faults(said.functions, loaded.base)]
    if problems:
        raise JobError(*problems)
    found = {key: load(target, loaded.base) for key, target in said.functions.items()}
    page = PageFunction(found.pop("function"), said.function) if said.function is not None else None
    return Functions(Extraction(said, found) if said.fields else None, own or page)


class Crawling(NamedTuple):
    """What follows links, and what reads pages."""

    discovery: Discovery
    pages: Pages


def crawling_of(
    job: Job, checkpoint: Checkpoint, keys: Keys, defaults: Defaults, tally: Tally, functions: Functions
) -> Crawling | None:
    """As the checkpoint knew it; None where no page is looked into."""
    said = job.discovers
    if said is None:
        return None
    places = checkpoint.places()
    named = [place.removeprefix(NAMED) for place in places if place.startswith(NAMED)]
    scope = Scope(said, registrable_of(job), [place for place in places if not place.startswith(NAMED)])
    traps = Traps(said.traps) if said.traps.on else None
    if traps is not None and (text := checkpoint.sink_states().get(TRAPS)) is not None:
        traps.loads(text)
    canon = Canon(said)
    discovery = Discovery(said, scope, traps, keys.key_of, tally.links, named, lambda row: request_of(row, 0, defaults))
    discovery.requests = checkpoint.last_id()
    if said.max_pages_per_host is not None:
        for host, pages in checkpoint.pages_by_host(shared=not keys.plain).items():
            discovery.of_host(host, pages)
    discovery.seen.update(checkpoint.claims())
    token = product_token(user_agent(job))
    pages_of = Pages(
        said.kinds,
        token,
        canon,
        discovery.follows,
        discovery.compares,
        said.json_links,
        functions.extraction,
        functions.page,
        job.output.keeps_bodies,
    )
    return Crawling(discovery, pages_of)


def astray_of(discovery: Discovery, ledger: Ledger) -> Callable[[Request, str], Fault | None]:
    """Why a redirect is not followed; what it adds to the scope is remembered."""

    def astray(request: Request, href: str) -> Fault | None:
        fault, places = discovery.hop(request, href)
        if places:
            ledger.places(places)
        return fault

    return astray
