"""What holds for one host: the job's sections with [hosts."PATTERN"] laid over them, key by key.

Decides which pattern gives each key, and builds the values that pace, retry, watch and fetch work with. Must not know
URLs (it is given canonical "host" or "host:port"), queues or the wire. Invariant: of all patterns that match and name
a key the most specific gives it (see `patterns`). Hosts that match the same patterns share one HostRules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from crawler.entry import LARGEST_INLINE
from crawler.expect import Expect
from crawler.job import Job
from crawler.jobconnection import CertSaid, ProxySaid, Ways
from crawler.jobrequest import accepted
from crawler.orders import Setting
from crawler.pace import PaceLimits
from crawler.patterns import Patterns
from crawler.perhost import Circuit, HostOverrides, PerHost
from crawler.retry import RetryPolicy
from crawler.watch import Limits

_REMEMBERED = 65_536

_Model = TypeVar("_Model", bound=BaseModel)
Key = tuple[str, ...]  # ("per_host",), ("retry", "backoff", "max"), ("headers", "x-token"): header names in lower case


class HostRules(NamedTuple):
    """All that holds for one host. `headers` are those of [hosts] only; `max_body` in bytes, `bandwidth` in bytes per
    second (None: any), `robots`: obey them, `crawl_delay_max` in seconds. `accepts`: the statuses that are a success;
    `expect` is None where a body may be anything. `certified`: a client certificate is named for this very host.
    `segments`: over so many connections at once a large body may come. `max_ratio`: how many times its size on the wire
    a body may be.
    """

    pace: PaceLimits
    retry: RetryPolicy
    timeouts: Limits
    headers: Mapping[str, str]
    max_body: int
    bandwidth: float | None
    robots: bool
    crawl_delay_max: float
    accepts: frozenset[int]
    decompress: bool
    expect: Expect | None
    ways: Ways
    certified: bool = False
    segments: int = 1
    max_ratio: float = 200.0


class _Given(NamedTuple):
    """One table of [hosts]: its pattern, and what it says."""

    text: str
    said: Mapping[Key, Any]


class Hosts:
    """The rules of every host of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.plain = not job.hosts  # all hosts are alike
        self._patterns = Patterns((text, _Given(text, _given(said))) for text, said in job.hosts.items())
        self._everywhere = self._rules(())
        self._shared: dict[tuple[str, ...], HostRules] = {}
        self._known: dict[str, HostRules] = {}

    def __repr__(self) -> str:
        return f"<Hosts {self._patterns!r} known={len(self._known)}>"

    def of(self, netloc: str) -> HostRules:
        """What holds for a canonical "host" or "host:port"; patterns that name a port say nothing of a bare host."""
        if self.plain:
            return self._everywhere
        rules = self._known.get(netloc)
        if rules is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
                self._shared.clear()
            rules = self._known[netloc] = self._found(netloc)
        return rules

    def pace_of(self, key: str) -> PaceLimits:
        """The pace of a politeness key: a host, a domain or an address, each without port."""
        return self.of(key).pace

    def changed(self, setting: Setting) -> Hosts:
        """The rules as if the job file had said this; a number of connections without limit is that of the workers."""
        job = self._job
        value = job.limits.workers if setting.value is None and setting.limit == "per_host" else setting.value
        if setting.host is None:
            return Hosts(job.model_copy(update={"limits": job.limits.model_copy(update={setting.limit: value})}))
        said = job.hosts.get(setting.host, HostOverrides()).model_copy(update={setting.limit: value})
        return Hosts(job.model_copy(update={"hosts": {**job.hosts, setting.host: said}}))

    def matching(self, netloc: str) -> list[str]:
        """The patterns that match, the most specific first."""
        return [pattern.text for pattern in self._patterns.matching(netloc)]

    def origins(self, netloc: str) -> list[tuple[str, str]]:
        """Which pattern gives which key, for those that some pattern gives: ("retry.attempts", "*.example.org")."""
        found: dict[Key, str] = {}
        for pattern in reversed(self._patterns.matching(netloc)):
            found.update(dict.fromkeys(pattern.said, pattern.text))
        return sorted((".".join(key), text) for key, text in found.items())

    def _found(self, netloc: str) -> HostRules:
        matching = self._patterns.matching(netloc)
        if not matching:
            return self._everywhere
        names = tuple(pattern.text for pattern in matching)
        if names not in self._shared:
            self._shared[names] = self._rules(matching)
        return self._shared[names]

    def _rules(self, matching: tuple[_Given, ...]) -> HostRules:
        given: dict[Key, Any] = {}
        for pattern in reversed(matching):
            given.update(pattern.said)
        job = self._job
        limits = _over(job.limits, given)
        timeouts = _over(job.timeouts, given, ("timeouts",))
        backoff = _over(job.retry.backoff, given, ("retry", "backoff"))
        asked, expect = _over(job.request, given, ("request",)), _over(job.expect, given, ("expect",))
        return HostRules(
            pace=_pace(limits, _over(job.breaker, given, ("breaker",))),
            retry=_over(job.retry, given, ("retry",)).model_copy(update={"backoff": backoff}),
            timeouts=Limits(timeouts.connect, timeouts.read, timeouts.total, timeouts.stall, timeouts.min_speed),
            headers=dict(pair for key, pair in given.items() if key[0] == "headers"),
            max_body=min(limits.max_body, LARGEST_INLINE) if job.output.bodies == ("inline",) else limits.max_body,
            bandwidth=limits.bandwidth_per_host,
            robots=limits.robots == "obey",
            crawl_delay_max=limits.crawl_delay_max,
            accepts=accepted(asked.accept_status),
            decompress=asked.decompress,
            expect=expect if expect != Expect() else None,
            ways=_over(job.connection, given, ("connection",)),
            certified=("connection", "client_cert") in given,
            segments=limits.segments_per_file,
            max_ratio=limits.max_ratio,
        )


def _given(model: BaseModel, above: Key = ()) -> dict[Key, Any]:
    """What a table of [hosts] says, flat; a header is told with its name as written."""
    found: dict[Key, Any] = {}
    for name in model.model_fields_set:
        value = getattr(model, name)
        if isinstance(value, BaseModel) and not isinstance(value, ProxySaid | CertSaid):  # these are values as a whole
            found.update(_given(value, (*above, name)))
        elif name == "headers":
            found.update({(name, header.lower()): (header, text) for header, text in value.items()})
        else:
            found[(*above, name)] = value
    return found


def _over(section: _Model, given: Mapping[Key, Any], above: Key = ()) -> _Model:
    """The section with those of the given keys that stand right below `above`; they were validated with their table."""
    depth = len(above)
    here = {key[-1]: value for key, value in given.items() if len(key) == depth + 1 and key[:depth] == above}
    return section.model_copy(update=here) if here else section


def _pace(limits: PerHost, breaker: Circuit) -> PaceLimits:
    slowest = limits.min_rate_per_host
    return PaceLimits(
        concurrency=limits.per_host,
        rate=limits.rate_per_host,
        burst=limits.burst_per_host,
        delay=limits.delay_per_host,
        adaptive=limits.adaptive,
        # To learn down to more than what is allowed at all would mean nothing.
        min_rate=slowest if limits.rate_per_host is None else min(slowest, limits.rate_per_host),
        break_after=breaker.failures,
        give_up=breaker.give_up,
    )
