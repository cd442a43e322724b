"""What of a job each part needs: sources, defaults of rows, politeness keys, the rules of fetch and session.

Does: translate the job's sections, once, for run and plan alike. Must not open, lock or fetch anything. Invariant: a
default stands in the job model, never here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache, reduce
from pathlib import Path

from crawler.bodytext import content_of, fields_of, pairs_of
from crawler.feed import Defaults, Said, over
from crawler.fetch import FetchRules
from crawler.hosts import Hosts
from crawler.identity import headers_of
from crawler.job import Job
from crawler.jobfile import LoadedJob
from crawler.jobinput import expand
from crawler.jobrequest import RequestSaid
from crawler.keys import Keys
from crawler.model import Request
from crawler.pages import Pages
from crawler.patterns import Patterns
from crawler.reading import Reader
from crawler.redirect import harmless
from crawler.session import SessionSettings
from crawler.sources import Source, open_sources
from crawler.spool import Keep


def sources_of(loaded: LoadedJob) -> list[Source]:
    """The sources of a job, in the order in which they are read."""
    given = loaded.job.input
    template = None
    if given.template is not None:
        text, variables = given.template, given.vars
        template = (f"{text} {variables}", lambda: expand(text, variables))
    return open_sources(given.urls, given.files, given.column, template, loaded.base, sitemaps=given.sitemaps)


def defaults_of(loaded: LoadedJob) -> Defaults:
    """What of [request] fills the gaps of a row, for all hosts and for some apart."""
    job, base = loaded.job, str(loaded.base.absolute())
    headers = job.request.headers
    of = None
    if any("request" in said.model_fields_set for said in job.hosts.values()):
        patterns = Patterns((text, _said(said.request, said.headers, base)) for text, said in job.hosts.items())

        @lru_cache(maxsize=65_536)  # asked for each row
        def of(netloc: str) -> Said:
            return reduce(over, reversed(patterns.matching(netloc)), Said())

    return Defaults(_said(job.request, headers, base), job.request.base_url, base, of, job.websocket.messages)


def _said(request: RequestSaid, headers: Mapping[str, str], base: str) -> Said:
    body, content_type = content_of(
        json=request.json_body,
        form=pairs_of("form", request.form) if request.form is not None else None,
        multipart=fields_of(request.multipart) if request.multipart is not None else None,
        body=request.body,
        body_file=request.body_file,
        base=base,
    )
    return Said(
        method=request.method,
        params=request.params,
        body=body,
        content_type=content_type,
        cookies=request.cookies,
        typed=any(name.lower() == "content-type" for name in headers),
    )


def shortest_timeout(job: Job) -> float:
    """The shortest timeout of any host, in seconds: so often must transfers be looked at."""
    return min(_timeouts(job))


def _timeouts(job: Job) -> Iterator[float]:
    given = job.timeouts
    yield from (given.connect, given.read, given.total)
    for host in job.hosts.values():
        yield from (host.timeouts.connect, host.timeouts.read, host.timeouts.total)


def longest_crawl_delay(job: Job) -> float:
    """The longest Crawl-delay that any host is granted, in seconds."""
    return max(job.limits.crawl_delay_max, *(host.crawl_delay_max for host in job.hosts.values()), 0.0)


def keys_of(job: Job) -> Keys:
    """What shares a pace in this job."""
    if job.limits.politeness != "domain":
        return Keys(by_address=job.limits.politeness == "ip")
    return Keys(_registrable())


def registrable_of(job: Job) -> Callable[[str], str | None]:
    """The domain of a host as the job's scope needs it: where no domain is asked for, nothing is loaded."""
    return _registrable() if job.crawl is not None and job.crawl.scope == "domain" else lambda host: None


@cache
def _registrable() -> Callable[[str], str | None]:
    """The domain of a host by the public suffix list; None where it has none."""
    from publicsuffixlist import PublicSuffixList  # 40 ms, for who wants it

    suffixes = PublicSuffixList()

    def registrable(host: str) -> str | None:
        address = host.startswith("[") or host.replace(".", "").isdigit()
        found: str | None = None if address else suffixes.privatesuffix(host)
        return found

    return registrable


def fetch_rules(
    job: Job,
    hosts: Hosts,
    named: Callable[[Request], bool],
    run: str = "plan",
    parts: Path | None = None,
    pages: Pages | None = None,
) -> FetchRules:
    """What of the job a fetch needs; bodies are kept where `parts` is given, and read by `pages`."""
    headers = headers_of(job)
    paged = Patterns((pattern, True) for pattern in job.paging.hosts or ["*"]) if job.paging is not None else None
    return FetchRules(
        run=run,
        headers={name: value for name, value in headers.items() if name not in harmless(headers)},
        keep=Keep(str(parts) if parts is not None and job.output.keeps_bodies else None),
        of=hosts.of,
        named=named,
        idempotent=job.request.idempotency_key,
        archived=harmless(headers) if parts is not None and "warc" in job.output.bodies else None,
        reader=Reader(job.paging, paged or Patterns([("*", True)]), pages),
    )


def session_settings(job: Job) -> SessionSettings:
    """What of the job the connection pool needs."""
    connection = job.connection
    return SessionSettings(
        job.limits.workers,
        connection.keepalive,
        connection.dns_ttl,
        harmless(headers_of(job)),
        pins=connection.resolve,
        allow_private=connection.allow_private,
    )


def longest_wait(job: Job) -> float:
    """Seconds that a request waits for its next attempt at most."""
    policies = [job.retry, *(host.retry for host in job.hosts.values())]
    return max(max(policy.retry_after_max, policy.backoff.max) for policy in policies)


def obeys_robots(job: Job) -> bool:
    """Does the job obey the robots.txt of any host."""
    return job.limits.robots == "obey" or any(host.robots == "obey" for host in job.hosts.values())
