"""What of a job each part needs: sources, defaults of rows, politeness keys, the rules of fetch and session.

Does: translate the job's sections, once, for run and plan alike. Must not open, lock or fetch anything. Invariant: a
default stands in the job model, never here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from crawler.feed import Defaults
from crawler.fetch import FetchRules
from crawler.hosts import Hosts
from crawler.identity import headers_of
from crawler.job import Job, expand
from crawler.jobfile import LoadedJob
from crawler.keys import Keys
from crawler.model import Request
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
    return open_sources(given.urls, given.files, given.column, template, loaded.base)


def defaults_of(job: Job) -> Defaults:
    """What of [request] fills the gaps of a row."""
    request = job.request
    body: bytes | None = None
    if request.json_body is not None:
        body = orjson.dumps(request.json_body)
    elif request.body is not None:
        body = request.body.encode()
    content_type = "application/json" if request.json_body is not None else None
    return Defaults(request.method, request.base_url, request.params, body, content_type)


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
    from publicsuffixlist import PublicSuffixList  # 40 ms, for who wants it

    suffixes = PublicSuffixList()

    def registrable(host: str) -> str | None:
        address = host.startswith("[") or host.replace(".", "").isdigit()
        found: str | None = None if address else suffixes.privatesuffix(host)
        return found

    return Keys(registrable)


def fetch_rules(
    job: Job, hosts: Hosts, named: Callable[[Request], bool], run: str = "plan", parts: Path | None = None
) -> FetchRules:
    """What of the job a fetch needs; bodies are kept where `parts` is given."""
    headers = headers_of(job)
    return FetchRules(
        run=run,
        headers={name: value for name, value in headers.items() if name not in harmless(headers)},
        accepts=job.request.accepted.__contains__,
        keep=Keep(str(parts) if parts is not None and job.output.bodies == "files" else None),
        of=hosts.of,
        named=named,
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


def obeys_robots(job: Job) -> bool:
    """Does the job obey the robots.txt of any host."""
    return job.limits.robots == "obey" or any(host.robots == "obey" for host in job.hosts.values())
