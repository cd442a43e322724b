"""What may be said for one host apart: the keys of [limits] that count per host, [timeouts], [breaker], and the
patterns and overrides of [hosts."PATTERN"].

Decides which overrides are valid, with the same ranges as the sections themselves, and the one spelling of a pattern.
Must not know which host is asked, nor what wins (see `hosts`). Invariant: a pattern that was let through can match
some canonical host; what an override does not give is not in its `model_fields_set`, and not dumped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from crawler.retry import RetryPolicy
from crawler.tables import BadCell, check_header
from crawler.units import Bandwidth, Duration, Rate, Size
from crawler.urls import BadURL, parse, printable

_GLOB = re.compile(r"[a-z0-9._*?-]+\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_LONGEST = 300  # a host name has at most 253 characters (RFC 1035 2.3.4)


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    if len({name.lower() for name in value}) < len(value):
        raise ValueError("names a header twice; upper and lower case make no difference")
    try:
        for name, text in value.items():
            check_header(name, text)
    except BadCell as error:
        raise ValueError(str(error)) from None
    return value


Headers = Annotated[dict[str, str], AfterValidator(_headers)]


class _Section(BaseModel):
    """A table of the job file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PerHost(_Section):
    """The part of [limits] that counts per host."""

    per_host: int = Field(8, ge=1, le=10_000)
    rate_per_host: Rate | None = None
    burst_per_host: int = Field(1, ge=1, le=1_000_000)
    delay_per_host: Duration = Field(0.0, ge=0)
    adaptive: bool = True
    min_rate_per_host: Rate = 0.1
    bandwidth_per_host: Bandwidth | None = None
    max_body: Size = Field(1024**3, ge=1)
    robots: Literal["obey", "ignore"] = "ignore"
    crawl_delay_max: Duration = Field(60.0, ge=0)


class Timeouts(_Section):
    """[timeouts], in seconds."""

    connect: Duration = Field(5.0, gt=0)
    read: Duration = Field(15.0, gt=0)
    total: Duration = Field(300.0, gt=0)
    stall: Duration = Field(30.0, gt=0)
    min_speed: Bandwidth = 10.0


class Circuit(_Section):
    """[breaker]: when a host counts as broken, and when as dead."""

    failures: int = Field(10, ge=1, le=1_000_000)
    give_up: Duration = Field(900.0, gt=0)


class HostOverrides(PerHost):
    """[hosts."PATTERN"]: what is other for these hosts; only the keys given count."""

    retry: RetryPolicy = RetryPolicy()
    timeouts: Timeouts = Timeouts()
    breaker: Circuit = Circuit()
    headers: Headers = {}

    @field_validator("rate_per_host", "bandwidth_per_host", mode="before")
    @classmethod
    def _some_value(cls, value: object) -> object:
        if value is None:  # TOML cannot say it, and the effective job must load back
            raise ValueError("null is no limit; leave the key out, or write a high one")
        return value

    @model_serializer(mode="wrap")
    def _only_what_was_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _given(self, handler(self))


def _given(model: BaseModel, data: Mapping[str, Any]) -> dict[str, Any]:
    """A model's dump without what its author left to the defaults, tables within it as well."""
    found = {}
    for name, value in data.items():
        inner = getattr(model, name)
        if name in model.model_fields_set:
            found[name] = _given(inner, value) if isinstance(inner, BaseModel) else value
    return found


def split_port(netloc: str) -> tuple[str, str]:
    """Host and port ("" where there is none) of "host", "host:port", "[v6]:port", or a bare IPv6 address."""
    if netloc.count(":") > 1 and not netloc.startswith("["):
        return f"[{netloc}]", ""
    host, colon, port = netloc.rpartition(":")
    return (host, port) if colon and not netloc.endswith("]") else (netloc, "")


def canonical_pattern(text: str) -> str:
    """The one spelling of a pattern: lower case, IDNA, IPv6 in brackets. Raises ValueError with the nearest right one.

    A pattern is a host name in which `*` stands for any characters and `?` for one, with ":port" where only that port
    is meant.
    """
    if not text:
        raise ValueError("is empty; write a host: 'a.example' or '*.example.org'")
    if len(text) > _LONGEST:
        raise ValueError(f"is {len(text)} characters long; no host name is")
    if re.search(r"[\s/\\@#]|\A[A-Za-z][\w+.-]*:/", text):
        raise ValueError(f"is not a host{_nearest(text)}")
    host, port = split_port(text)
    if text.startswith("[") and text.endswith("]:"):
        raise ValueError(f"has an empty port; write '{text[:-1]}'")
    if host.startswith("[") and not text.startswith("["):
        raise ValueError(_address(host, f"'{printable(text)}' is not a host; an IPv6 address is written '[::1]'"))
    name = _literal(host) if host.startswith("[") or not re.search(r"[*?]", host) else _glob(host)
    return f"{name}:{_checked_port(name, port)}" if port or text.endswith(":") else name


def _nearest(text: str) -> str:
    """What was probably meant, as the end of a sentence."""
    bare = re.sub(r"\A[A-Za-z][\w+.-]*:/*", "", text.strip()) if "/" in text else text.strip()
    bare = re.split(r"[/\\#\s]", bare.lstrip("/"), maxsplit=1)[0].rpartition("@")[2]
    try:
        meant = canonical_pattern(re.sub(r":(80|443)?\Z", "", bare)) if bare and bare != text else ""
    except ValueError:
        meant = ""
    return f"; write the host only: '{meant}'" if meant else "; write the host only, such as 'a.example'"


def _literal(host: str) -> str:
    try:
        return parse(f"http://{host}/").host
    except BadURL:
        raise ValueError(
            f"'{printable(host)}' is not a host; write it like 'a.example', '*.example.org' or '[::1]'"
        ) from None


def _address(bracketed: str, otherwise: str) -> str:
    """Why an IPv6 address without brackets is refused."""
    try:
        return f"is an IPv6 address without brackets; write '{parse(f'http://{bracketed}/').host}'"
    except BadURL:
        return otherwise


def _glob(host: str) -> str:
    labels = []
    for label in host.split("."):
        if label.isascii():
            labels.append(label.lower())
        elif re.search(r"[*?]", label):
            raise ValueError(
                f"has a wildcard beside letters that IDNA encodes as a whole ('{printable(label)}'); use '*'"
            )
        else:
            labels.append(_literal(f"{label}.example").removesuffix(".example"))
    name = re.sub(r"\*+", "*", ".".join(labels))
    if not _GLOB.match(name):
        raise ValueError(f"'{printable(host)}' is not a host; only '*' and '?' are wildcards")
    return name


def _checked_port(name: str, port: str) -> int:
    if not _PORT.match(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"has no port from 1 to 65535 after the ':'; write '{name}' or '{name}:8080'")
    if int(port) in (80, 443):  # canonical URLs do not name them: the pattern would match nothing
        raise ValueError(f"names a default port, which means nothing here; write '{name}'")
    return int(port)
