"""The job: what to fetch, how, and where results go, as frozen models that do the work themselves.

Decides what a job may say, and the defaults (which stand here and nowhere else). Must not read files. Invariant: a
Job that exists is valid, and every key of it works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cached_property
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

from crawler.addresses import parse_pins
from crawler.names import check_layout
from crawler.perhost import Circuit, Headers, HostOverrides, PerHost, Timeouts, canonical_pattern, split_port
from crawler.places import dotted
from crawler.retry import RetryPolicy
from crawler.statuses import span_of
from crawler.tables import METHODS
from crawler.units import Bandwidth, Duration, Rate, Size
from crawler.urls import BadURL, parse, printable

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_RANGE = re.compile(r"([0-9]{1,18})\.\.([0-9]{1,18})(?:\s+step\s+([0-9]{1,18}))?\Z")
_FIELD = re.compile(r"\{([^{}]*)\}")
_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+\Z")

_MAX_VARIABLES = 20

Scalar = str | int | float | bool


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _method(value: str) -> str:
    if value.upper() not in METHODS:
        raise ValueError(f"'{value}' is not one of {', '.join(METHODS)}")
    return value.upper()


def _statuses(value: list[str]) -> list[str]:
    for text in value:
        span = span_of(text)
        if span is None or (text.endswith("xx") and not 100 <= span[0] < 600):
            raise ValueError(f"'{text}' is no status; write it like '200', '2xx' or '200-299'")
    return value


def _texts(value: object) -> object:
    return [str(item) if isinstance(item, int) else item for item in value] if isinstance(value, list) else value


def values(said: str | list[Scalar]) -> Iterator[str]:
    """What a variable stands for: "1..500", "001..500" (padded), "0..100 step 10", or a list."""
    if not isinstance(said, str):
        yield from (str(item) for item in said)
        return
    match = _RANGE.match(said)
    if not match or (match[3] and not int(match[3])):
        raise ValueError(f"'{said}' is not a range; write it like '1..500', '0..100 step 10', or as a list")
    width = len(match[1]) if match[1].startswith("0") else 0
    yield from (str(number).zfill(width) for number in range(int(match[1]), int(match[2]) + 1, int(match[3] or 1)))


def expand(template: str, variables: Mapping[str, str | list[Scalar]]) -> Iterator[str]:
    """Every URL of a template, the last variable turning fastest. Names are looked up, nothing is evaluated."""
    return _chosen(template, variables, list(variables), {})


def _chosen(
    template: str, variables: Mapping[str, str | list[Scalar]], names: list[str], known: Mapping[str, str]
) -> Iterator[str]:
    if not names:
        yield _FIELD.sub(lambda field: known[field[1]], template)
        return
    for value in values(variables[names[0]]):  # not itertools.product: it would hold every value of a range
        yield from _chosen(template, variables, names[1:], {**known, names[0]: value})


class Input(_Section):
    """[input]: one or more sources."""

    urls: list[str] = []
    files: list[str] = []
    column: str = Field("url", min_length=1)
    template: str | None = None
    vars: dict[str, str | list[Scalar]] = {}
    dedupe: bool = True

    @model_validator(mode="after")
    def _has_input(self) -> Input:
        if not (self.urls or self.files or self.template):
            raise ValueError("the job has no input: give urls, files or a template")
        if self.template is not None:
            _check_template(self.template, self.vars)
        elif self.vars:
            raise ValueError("vars without a template do nothing; give template as well")
        if self.files.count("-") > 1:
            raise ValueError("stdin ('-') can be read only once")
        return self


def _check_template(template: str, variables: Mapping[str, str | list[Scalar]]) -> None:
    if len(variables) > _MAX_VARIABLES:
        raise ValueError(f"vars has {len(variables)} variables; at most {_MAX_VARIABLES} are taken")
    used = set(_FIELD.findall(template))
    for name in sorted(used - set(variables)):
        near = get_close_matches(name, variables, 1)
        raise ValueError(
            f"template uses {{{name}}}, which vars does not have" + (f"; did you mean '{near[0]}'?" if near else "")
        )
    for name in variables:
        if name not in used:
            raise ValueError(f"vars.{name} is not used in the template")
        if next(values(variables[name]), None) is None:
            raise ValueError(f"vars.{name} stands for nothing")


class RequestDefaults(_Section):
    """[request]: defaults of every request."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    method: Annotated[str, AfterValidator(_method)] = "GET"
    base_url: str | None = None
    contact: str | None = None
    headers: Headers = {}
    params: dict[str, Scalar | list[Scalar]] = {}
    json_body: Any = Field(None, alias="json")
    body: str | None = None
    accept_status: Annotated[list[str], BeforeValidator(_texts), AfterValidator(_statuses)] = ["2xx"]

    @field_validator("base_url")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        try:
            return parse(value).href if value is not None else None
        except BadURL as error:
            raise ValueError(str(error)) from None

    @field_validator("contact")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is None or _MAIL.match(value):
            return value
        try:
            found = parse(value).href
        except BadURL:
            found = "()"
        if re.search(r"[()]", found):  # they would end the comment of the User-Agent (RFC 9110 5.6.5)
            raise ValueError(
                f"'{printable(value)}' is no e-mail address or http(s) URL, such as 'https://a.example/bot'"
            )
        return found

    @model_validator(mode="after")
    def _one_body(self) -> RequestDefaults:
        if self.json_body is not None and self.body is not None:
            raise ValueError("has both json and body; one request has one body")
        return self

    @cached_property
    def accepted(self) -> frozenset[int]:
        """Every status that is a success."""
        spans = [span for text in self.accept_status if (span := span_of(text)) is not None]
        return frozenset(status for first, last in spans for status in range(first, last + 1))

    def accepts(self, status: int) -> bool:
        """Is this status a success."""
        return status in self.accepted


class Limits(PerHost):
    """[limits]: how much at once, how fast, how large."""

    workers: int = Field(64, ge=1, le=10_000)
    rate: Rate | None = None
    bandwidth: Bandwidth | None = None
    max_redirects: int = Field(20, ge=0, le=100)
    politeness: Literal["host", "domain", "ip"] = "host"
    memory: Size | None = Field(None, ge=1024**2)


def _pins(value: dict[str, str]) -> dict[str, str]:
    parse_pins(value)
    return value


class Connection(_Section):
    """[connection]: the pool, names and addresses."""

    keepalive: Duration = Field(30.0, ge=0)
    dns_ttl: Duration = Field(60.0, ge=0)
    resolve: Annotated[dict[str, str], AfterValidator(_pins)] = {}
    allow_private: bool = False


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


Pattern = Annotated[str, AfterValidator(canonical_pattern)]


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
        content = [path for path in differing if path[0] in ("request", "output") or path[2:3] == ("headers",)]
        return [*map(dotted, content)], [dotted(path) for path in differing if path not in content]


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
