"""[request] and [hosts."X".request]: what is asked for, by what method, with which body, and what counts as success.

Decides what may be said. Must not know rows, or how a body is encoded. Invariant: one request has one body; what a host
says apart is validated like what the job says.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from crawler.bodytext import BODIES, cookies_of, fields_of, pairs_of, path_of
from crawler.headertext import Headers
from crawler.jobinput import Scalar
from crawler.statuses import span_of
from crawler.tables import METHODS
from crawler.urls import BadURL, parse, printable

_MAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+\Z")


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


def _form(value: dict[str, Any]) -> dict[str, Any]:
    pairs_of("form", value)
    return value


def _multipart(value: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    fields_of(value)
    return value


def _cookies(value: dict[str, str]) -> dict[str, str]:
    cookies_of(value)
    return value


Method = Annotated[str, AfterValidator(_method)]
Statuses = Annotated[list[str], BeforeValidator(_texts), AfterValidator(_statuses)]


class RequestSaid(BaseModel):
    """What both the job and a host may say."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    method: Method | None = None
    params: dict[str, Scalar | list[Scalar]] = {}
    json_body: Any = Field(None, alias="json")
    form: Annotated[dict[str, Any], AfterValidator(_form)] | None = None
    multipart: Annotated[dict[str, Any] | list[dict[str, Any]], AfterValidator(_multipart)] | None = None
    body: str | None = None
    body_file: Annotated[str, AfterValidator(path_of)] | None = None
    cookies: Annotated[dict[str, str], AfterValidator(_cookies)] = {}
    accept_status: Statuses = ["2xx"]
    decompress: bool = True

    @model_validator(mode="after")
    def _one_body(self) -> RequestSaid:
        said = [self.json_body, self.form, self.multipart, self.body, self.body_file]
        named = [name for name, value in zip(BODIES, said, strict=True) if value is not None]
        if len(named) > 1:
            raise ValueError(f"has both {named[0]} and {named[1]}; one request has one body")
        return self


def accepted(texts: list[str]) -> frozenset[int]:
    """Every status that "2xx", "200", "200-299" stand for."""
    spans = [span for text in texts if (span := span_of(text)) is not None]
    return frozenset(status for first, last in spans for status in range(first, last + 1))


class RequestDefaults(RequestSaid):
    """[request]: defaults of every request."""

    base_url: str | None = None
    contact: str | None = None
    headers: Headers = {}
    idempotency_key: bool = False

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
