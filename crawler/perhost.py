"""What may be said for one host apart: the keys of [limits] that count per host, [timeouts], [breaker], and the
overrides of [hosts."PATTERN"].

Decides which overrides are valid, with the same ranges as the sections themselves. Must not know which host is asked,
nor what wins (see `hosts`). Invariant: what an override does not give is not in its `model_fields_set`, and not dumped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from crawler.expect import Expect
from crawler.headertext import Headers
from crawler.jobconnection import Ways
from crawler.jobrequest import RequestSaid
from crawler.retry import RetryPolicy
from crawler.units import Bandwidth, Duration, Rate, Size


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
    max_ratio: float = Field(200.0, ge=1, le=1_000_000)
    segments_per_file: int = Field(1, ge=1, le=16)
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
    request: RequestSaid = RequestSaid()
    connection: Ways = Ways()
    expect: Expect = Expect()

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
    """A model's dump, by name or alias, without what its author left to the defaults, tables within it as well."""
    found = {}
    for name, field in type(model).model_fields.items():
        if name in model.model_fields_set:
            inner, key = getattr(model, name), name if name in data else field.alias or name
            found[key] = _given(inner, data[key]) if isinstance(inner, BaseModel) else data[key]
    return found
