"""What a job needs from outside before its first request: secrets, credentials, ways, the cookies it brings along.

Does: resolve every reference once, build what signs and routes, read the job's own cookies. Must not fetch anything.
Invariant: all that is missing is told at once, before anything is created; from then on no log shows a secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crawler import logs
from crawler.authenticate import Authenticator
from crawler.cookiefiles import load_jar
from crawler.cookies import Jar
from crawler.cookietext import Loaded
from crawler.errors import JobError
from crawler.exchange import Means
from crawler.hosts import Hosts
from crawler.job import Job
from crawler.jobconnection import Ways
from crawler.jobfile import LoadedJob
from crawler.jobsecrets import references_of
from crawler.masking import Mask
from crawler.proxytext import proxies_from
from crawler.references import Resolver
from crawler.routing import Routing, proxy_of, tls_of
from crawler.session import Session
from crawler.targets import Target, target_of
from crawler.tls import faults
from crawler.tokencall import TokenCall
from crawler.watch import Watch

_NAMES = {"user", "client_id", "key_id", "access_key"}  # they may be referred to, but are no secrets

if TYPE_CHECKING:
    from crawler.credentials import Credentials


class Given(NamedTuple):
    """What was found outside the job file."""

    mask: Mask
    credentials: Credentials | None
    routing: Routing
    routed: bool  # does any request need another way than the direct one
    cookies: Loaded  # what the job's own file brings along
    target: Target | None  # where finished files are uploaded
    warnings: tuple[str, ...]  # what a person should know of how the job runs

    def means(self, session: Session, watch: Watch, hosts: Hosts, jar: Jar | None) -> Means | None:
        """What goes along with the requests of one run; None where nothing does."""
        auth = None
        if self.credentials is not None:
            call = TokenCall(session, watch, hosts.of, self.routing)
            auth = Authenticator(self.credentials.sections(call))
        if auth is None and not self.routed and jar is None:
            return None
        return Means(jar, auth, self.routing if self.routed else None)


def given(loaded: LoadedJob, resolver: Resolver | None = None) -> Given:
    """All that a job needs from outside; `resolver` has been asked for some of it, perhaps. Raises JobError, with
    everything that is missing.
    """
    job, base = loaded.job, loaded.base.absolute()
    named = references_of(job)
    values = (resolver or Resolver(base)).resolve_all(named)
    known = {reference: values[where] for where, reference in named.items()}
    mask = Mask(values[where] for where in named if where.rpartition(".")[2] not in _NAMES)
    logs.mask_with(mask)

    def absolute(path: str) -> str:
        return str(base / Path(path).expanduser())

    environment = proxies_from(os.environ) if job.connection.trust_env else None
    for password in environment.passwords if environment is not None else ():
        mask.add(password)
    routing = Routing(known.__getitem__, absolute, job.connection.proxy_rotate, environment)
    problems = [*_faults(job, known, absolute)]
    brought = Loaded([], [])
    try:
        if job.cookies.load:
            brought = load_jar(Path(absolute(job.cookies.load)))
    except (OSError, ValueError) as error:
        problems.append(f"cookies.load: {error}")
    credentials = None
    try:
        if job.auth:
            from crawler.credentials import Credentials  # all schemes; most jobs need none

            credentials = Credentials(job, base, known.__getitem__, mask)
    except JobError as error:
        problems += error.problems
    target = None
    try:
        if "parquet" in job.output.records:
            from crawler.parquetrows import check_available

            check_available()
        if job.output.upload is not None:
            target = target_of(job.output.upload, known.__getitem__, env_proxies=job.connection.trust_env)
    except JobError as error:
        problems += error.problems
    if problems:
        raise JobError(*problems)
    routed = environment is not None or any(_special(ways) for _, ways in _ways(job))
    warnings = tuple(
        f"{where}.verify = false: anybody on the way can read and change what is sent and received"
        for where, ways in _said(job)
        if "verify" in ways.model_fields_set and not ways.verify
    )
    return Given(mask, credentials, routing, routed, brought, target, warnings)


def _said(job: Job) -> Iterator[tuple[str, Ways]]:
    """Each [connection] of the job as it was written, with the key it stands at."""
    yield "connection", job.connection
    for pattern, said in job.hosts.items():
        if "connection" in said.model_fields_set:
            yield f'hosts."{pattern}".connection', said.connection


def _ways(job: Job) -> Iterator[tuple[str, Ways]]:
    """The same, a host's laid over the job's."""
    for where, ways in _said(job):
        given = {name: getattr(ways, name) for name in ways.model_fields_set}
        yield where, job.connection.model_copy(update=given)


def _faults(job: Job, known: dict[str, str], absolute: Callable[[str], str]) -> Iterator[str]:
    """What is wrong with the files and proxies that ways need."""
    for where, ways in _ways(job):
        try:
            for said in ways.proxies:
                proxy_of(said, known.__getitem__)
        except ValueError as error:
            yield f"{where}.proxy: {error}"
        if fault := faults(tls_of(ways, known.__getitem__, absolute)):
            yield f"{where}: {fault}"
        if ways.proxies and ways.unix_socket:
            yield f"{where}: has both proxy and unix_socket; one way leads to a host"


def _special(ways: Ways) -> bool:
    """Is this another way than the one that is taken where nothing is said."""
    usual = Ways()
    return any(getattr(ways, name) != getattr(usual, name) for name in Ways.model_fields)
