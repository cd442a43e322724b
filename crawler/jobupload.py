"""[output.upload]: where finished files are copied to, which of them, and by whose right.

Decides what may be said. Must not know a secret's value, botocore or fsspec. Invariant: every secret is a reference;
what has no effect at the kind of target that is named is refused; nothing goes to another machine in the open unasked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from crawler.addresses import in_the_open
from crawler.jobauth import check_aws_keys
from crawler.retry import Backoff
from crawler.secretrefs import Reference, check_reference, is_reference
from crawler.units import Duration
from crawler.urls import BadURL, parse, printable

Kind = Literal["bodies", "segments", "records"]

_TO = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)\Z", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}\Z")
_SECRET = re.compile(
    r"passw|passphrase|secret|token|credential|account_key|connection_string|api_?key|private_?key", re.I
)
_OF_S3 = ("endpoint", "region", "profile", "access_key", "secret_key", "session_token")
# Can be read only, or are layers over another file system, whose own options could hold anything.
_NO_TARGET = re.compile(
    "https?|data|dir|zip|tar|libarchive|cached|(block|file|simple)cache|reference|generic|git|github|gist"
    "|async_?wrapper"
)
_OPEN = frozenset({"ftp"})  # sends its password as it is


def _several(value: object) -> object:
    """One kind may be written without brackets."""
    return [value] if isinstance(value, str) else value


class Upload(BaseModel):
    """[output.upload]; `timeout` is how long the target may be silent, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key: str | None = None
    secret_key: Reference | None = None
    session_token: Reference | None = None
    options: dict[str, str] = {}
    what: Annotated[tuple[Kind, ...], BeforeValidator(_several)] = ("bodies", "segments", "records")
    parallel: int = Field(4, ge=1, le=64)
    attempts: int = Field(5, ge=1, le=1000)
    backoff: Backoff = Backoff()
    timeout: Duration = Field(60.0, gt=0)
    allow_insecure: bool = False

    @field_validator("to")
    @classmethod
    def _target(cls, value: str) -> str:
        match = _TO.match(value)
        if not match or not value.isprintable():
            raise ValueError(
                "is no target; write it like 's3://bucket/prefix', 'gs://bucket/prefix' or 'file:///folder'"
            )
        scheme, rest = match.groups()
        if _NO_TARGET.fullmatch(scheme):
            raise ValueError(f"nothing can be uploaded by {scheme}://")
        place, _, path = rest.partition("/")
        if ":" in place.rpartition("@")[0]:
            raise ValueError("has a password in it; say it in options, as a reference")
        if {".", "..", ""} & set(path.strip("/").split("/") if path.strip("/") else ()):
            raise ValueError(f"'{printable(path)}' has an empty part, '.' or '..' in it")
        if scheme == "s3" and not _BUCKET.match(place):
            raise ValueError(f"'{printable(place)}' cannot name a bucket; write it like 's3://bucket/prefix'")
        if scheme in ("file", "local") and (place or not path):
            raise ValueError("does not name a folder from the root on; write it like 'file:///folder'")
        return value.rstrip("/") if path else value

    @field_validator("endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        try:
            return parse(value).href if value is not None else None
        except BadURL as error:
            raise ValueError(str(error)) from None

    @field_validator("options")
    @classmethod
    def _references(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if _SECRET.search(key) and text:
                try:
                    check_reference(text)
                except ValueError as error:
                    raise ValueError(f"{printable(key)} {error}") from None
        return value

    @field_validator("what")
    @classmethod
    def _once(cls, value: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if not value:
            raise ValueError("names nothing; leave [output.upload] out where nothing is to be uploaded")
        for kind in value:
            if value.count(kind) > 1:
                raise ValueError(f"'{kind}' stands there twice")
        return value

    @model_validator(mode="after")
    def _has_effect(self) -> Upload:
        if self.scheme == "s3" and self.options:
            raise ValueError("options are for other targets than s3://")
        for key in _OF_S3 if self.scheme != "s3" else ():
            if getattr(self, key) is not None:
                raise ValueError(f"{key} is of s3:// targets; what {self.scheme}:// needs stands in options")
        return self

    @model_validator(mode="after")
    def _keys(self) -> Upload:
        check_aws_keys(self.access_key, self.secret_key, self.session_token, self.profile)
        return self

    @model_validator(mode="after")
    def _kept_close(self) -> Upload:
        if self.allow_insecure:
            return self
        where = "use https, or say allow_insecure = true"
        if self.endpoint is not None and in_the_open(self.endpoint):
            raise ValueError(f"endpoint is plain http, and all would go there in the open; {where}")
        if self.scheme in _OPEN:
            raise ValueError(
                f"{self.scheme}:// sends passwords and files in the open; use sftp://, or say allow_insecure = true"
            )
        for key, text in self.options.items():
            if text.lower().startswith("http://") and in_the_open(_href(text)):
                raise ValueError(f"options.{printable(key)} is plain http, and all would go there in the open; {where}")
        return self

    @property
    def scheme(self) -> str:
        """What stands before "://"."""
        return self.to.partition("://")[0]


def _href(text: str) -> str:
    try:
        return parse(text).href
    except BadURL:
        return text  # whatever it is, it is not this machine


def references(said: Upload) -> Mapping[str, str]:
    """Each secret that the section refers to, by the key it stands at."""
    given = [(key, getattr(said, key)) for key in ("access_key", "secret_key", "session_token")]
    given += [(f"options.{key}", text) for key, text in said.options.items()]
    return {key: text for key, text in given if text is not None and is_reference(text)}


def kind_of(name: str) -> Kind:
    """What a file is, by its path relative to the run's folder: a body, a segment or its index, or records."""
    if name.startswith("bodies/"):
        return "bodies"
    return "segments" if re.search(r"\.(warc|cdxj|tar)(\.|\Z)", name.rpartition("/")[2]) else "records"
