"""The job: what to fetch, how, and where results go, as frozen models that do the work themselves.

Decides what a job may say, and the defaults (which stand here and nowhere else). Must not read files. Invariant: a
Job that exists is valid, and every key of it works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from crawler.capture import WebSocket
from crawler.expect import Expect
from crawler.jobauth import Auth
from crawler.jobconnection import Connection
from crawler.jobcrawl import Crawl, Traps
from crawler.jobextract import Extract
from crawler.jobinput import Input
from crawler.joboutput import Output
from crawler.jobrequest import RequestDefaults
from crawler.jobrun import Metrics, Run
from crawler.links import Kind
from crawler.paging import Paging
from crawler.patterns import Pattern, canonical_pattern, split_port
from crawler.perhost import Circuit, HostOverrides, PerHost, Timeouts
from crawler.places import dotted
from crawler.retry import RetryPolicy
from crawler.units import Bandwidth, Rate, Size
from crawler.urls import printable

# A list of sitemaps is a list of what they name; a function that asks for more is its own scope.
SITEMAPS_ALONE = Crawl(follow=(Kind.SITEMAP,), scope="any", traps=Traps(on=False))
NO_LINKS = Crawl(follow=(), scope="any", traps=Traps(on=False))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_AUTH_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}\Z")
# What a start does, and whom it tells, is its own; inputs are compared by what is in them.
_NO_CONTENT = ("input", "run", "metrics")
# Of [output]: who ran out of room, say, must be able to change these and go on.
_HOW = frozenset({"min_free", "min_free_percent", "part_rows", "segment_size", "sync", "wait_for_room"})


def _auth_name(value: str) -> str:
    if not _AUTH_NAME.match(value):
        raise ValueError("is no name for credentials; use letters, digits, '_' and '-'")
    return value


AuthName = Annotated[str, AfterValidator(_auth_name)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(PerHost):
    """[limits]: how much at once, how fast, how large."""

    workers: int = Field(64, ge=1, le=10_000)
    rate: Rate | None = None
    bandwidth: Bandwidth | None = None
    max_redirects: int = Field(20, ge=0, le=100)
    politeness: Literal["host", "domain", "ip"] = "host"
    memory: Size | None = Field(None, ge=1024**2)


class Cookies(_Section):
    """[cookies]: what servers set."""

    jar: bool = False
    persist: bool = False
    load: str | None = None
    save: str | None = None

    @model_validator(mode="after")
    def _has_jar(self) -> Cookies:
        if not self.jar and (self.persist or self.load or self.save):
            raise ValueError("there is no jar; say jar = true as well")
        return self


def _distinct(value: object) -> object:
    seen: dict[str, str] = {}
    for said in value if isinstance(value, dict) else ():
        try:
            name = canonical_pattern(said) if isinstance(said, str) else ""
        except ValueError:
            continue
        if name in seen:
            raise ValueError(f"'{printable(said)}' is the same as '{printable(seen[name])}'; make one table of them")
        seen[name] = said
    return value


# What a host's pace is made of; it has one for all its ports.
PACED = {"per_host", "rate_per_host", "burst_per_host", "delay_per_host", "adaptive", "min_rate_per_host", "breaker"}


class Job(_Section):
    """A whole job."""

    name: str
    input: Input
    request: RequestDefaults = RequestDefaults()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    retry: RetryPolicy = RetryPolicy()
    breaker: Circuit = Circuit()
    connection: Connection = Connection()
    cookies: Cookies = Cookies()
    expect: Expect = Expect()
    paging: Paging | None = None
    crawl: Crawl | None = None
    extract: Extract | None = None
    websocket: WebSocket = WebSocket()
    auth: dict[AuthName, Auth] = {}
    output: Output = Output()
    run: Run = Run()
    metrics: Metrics = Metrics()
    hosts: Annotated[dict[Pattern, HostOverrides], BeforeValidator(_distinct)] = {}

    @model_validator(mode="before")
    @classmethod
    def _crawls_obey(cls, data: Any) -> Any:
        """Who follows links comes where nobody sent for them: robots.txt is obeyed, unless the job says otherwise."""
        if not isinstance(data, dict) or data.get("crawl") is None or not isinstance(data.get("limits", {}), dict):
            return data
        return {**data, "limits": {"robots": "obey", **data.get("limits", {})}}

    @field_validator("name")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError(
                f"'{value}' cannot name a folder; use letters, digits, '.', '_' and '-', a letter or digit first"
            )
        return value

    @field_validator("hosts")
    @classmethod
    def _pace_is_of_all_ports(cls, value: dict[str, HostOverrides]) -> dict[str, HostOverrides]:
        for pattern, overrides in value.items():
            host, port = split_port(pattern)
            paced = sorted(PACED & overrides.model_fields_set) if port else []
            if paced:
                raise ValueError(f"'{pattern}' names a port, but {paced[0]} is of all ports together; write '{host}'")
        return value

    @model_validator(mode="after")
    def _bodies_can_be_read(self) -> Job:
        looked_into = (self.paging is not None and self.paging.needs_body) or self.expect.needs_body
        looked_into = looked_into or self.discovers is not None or self.extract is not None
        for said in (self.request, *(host.request for host in self.hosts.values())):
            if not said.decompress and (looked_into or any(host.expect.needs_body for host in self.hosts.values())):
                raise ValueError(
                    "decompress = false keeps bodies as they came; "
                    "expect, paging, crawl and extract cannot look into them"
                )
        return self

    @model_validator(mode="after")
    def _formats_can_be_verified(self) -> Job:
        asked = self.expect.verify_format or any(host.expect.verify_format for host in self.hosts.values())
        if asked and not self.output.keeps_bodies:
            raise ValueError('expect.verify_format looks into bodies that are kept; output.bodies = "none" keeps none')
        return self

    @property
    def discovers(self) -> Crawl | None:
        """How pages are read, if they are: of lists the links of sitemaps are followed, and what functions ask for."""
        if self.crawl is None and self.input.sitemaps:
            return SITEMAPS_ALONE
        return NO_LINKS if self.crawl is None and self.extract is not None else self.crawl

    def to_data(self) -> dict[str, Any]:
        """The effective job as plain data, units as text."""
        return self.model_dump(mode="json", by_alias=True)

    def changes(self, old: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Keys that differ from an older job's data: those that say what is fetched and written, and all others."""
        with suppress(ValidationError):  # keys that are newer than the data have their defaults in both
            old = Job.model_validate(old).to_data()
        differing = sorted(_differences(old, self.to_data()))
        differing = [path for path in differing if path[0] not in _NO_CONTENT and path != ("output", "dir")]
        content = [path for path in differing if _is_content(path)]
        return [*map(dotted, content)], [dotted(path) for path in differing if path not in content]


def _is_content(path: tuple[str, ...]) -> bool:
    """Does a key say what is fetched or written; credentials and cookies say only who asks."""
    of_hosts = path[0] == "hosts" and path[2:3] in (("headers",), ("request",), ("expect",))
    if path[0] == "output":
        return not _is_only_how(path[1:])
    return of_hosts or path[0] in ("request", "paging", "expect", "crawl", "extract")


def _is_only_how(path: tuple[str, ...]) -> bool:
    """Does a key of [output] say only how its files are written or sent, and nothing of what is in them."""
    return path[0] in _HOW or (path[0] == "upload" and len(path) > 1 and path[1] not in ("to", "what"))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for key in {*old, *new}:
        path, mine, theirs = (*above, key), new.get(key), old.get(key)
        if path[0] == "hosts" and isinstance(mine or theirs, dict):  # a pattern may be new, or gone, as a whole
            mine, theirs = mine or {}, theirs or {}
        if isinstance(mine, dict) and isinstance(theirs, dict):
            yield from _differences(theirs, mine, path)
        elif mine != theirs:
            yield path
