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
from crawler.jobinput import Input
from crawler.jobrequest import RequestDefaults
from crawler.names import check_layout
from crawler.paging import Paging
from crawler.patterns import Pattern, canonical_pattern, split_port
from crawler.perhost import Circuit, HostOverrides, PerHost, Timeouts
from crawler.places import dotted
from crawler.retry import RetryPolicy
from crawler.units import Bandwidth, Rate, Size
from crawler.urls import printable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_AUTH_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}\Z")


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


class Output(_Section):
    """[output]: where results go."""

    dir: str = Field("output", min_length=1)
    records: Literal["jsonl"] = "jsonl"
    bodies: Literal["files", "none"] = "files"
    layout: str = "hash"
    headers_in_record: bool = False

    @field_validator("dir")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError(f"'{printable(value)}' cannot name a folder")
        return value

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, value: str) -> str:
        check_layout(value)
        return value


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
    websocket: WebSocket = WebSocket()
    auth: dict[AuthName, Auth] = {}
    output: Output = Output()
    hosts: Annotated[dict[Pattern, HostOverrides], BeforeValidator(_distinct)] = {}

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
        for said in (self.request, *(host.request for host in self.hosts.values())):
            if not said.decompress and (looked_into or any(host.expect.needs_body for host in self.hosts.values())):
                raise ValueError(
                    "decompress = false keeps bodies as they came; expect and paging cannot look into them"
                )
        return self

    def to_data(self) -> dict[str, Any]:
        """The effective job as plain data, units as text."""
        return self.model_dump(mode="json", by_alias=True)

    def changes(self, old: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """Keys that differ from an older job's data: those that say what is fetched and written, and all others."""
        with suppress(ValidationError):  # keys that are newer than the data have their defaults in both
            old = Job.model_validate(old).to_data()
        differing = sorted(_differences(old, self.to_data()))
        # Inputs are compared by their content, not by how the job names them.
        differing = [path for path in differing if path[0] != "input" and path != ("output", "dir")]
        content = [path for path in differing if _is_content(path)]
        return [*map(dotted, content)], [dotted(path) for path in differing if path not in content]


def _is_content(path: tuple[str, ...]) -> bool:
    """Does a key say what is fetched or written; credentials and cookies say only who asks."""
    of_hosts = path[0] == "hosts" and path[2:3] in (("headers",), ("request",), ("expect",))
    return of_hosts or path[0] in ("request", "paging", "expect", "output")


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
