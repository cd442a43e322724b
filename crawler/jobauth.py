"""[auth.NAME]: one credential each, and the hosts it is bound to.

Decides what may be said. Must not know a secret's value or how a scheme signs. Invariant: every secret is a reference;
every credential is bound to hosts that somebody wrote down.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from crawler.headertext import Headers
from crawler.patterns import Pattern
from crawler.secretrefs import Reference
from crawler.tables import BadCell, check_header
from crawler.units import Duration
from crawler.urls import BadURL, parse

_CALLABLE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")


def _url(value: str) -> str:
    try:
        return parse(value).href
    except BadURL as error:
        raise ValueError(str(error)) from None


class _Auth(BaseModel):
    """What all have in common. `allow_insecure`: also over plain http to hosts other than this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: list[Pattern] = Field(min_length=1)
    allow_insecure: bool = False


class BasicAuth(_Auth):
    """RFC 7617."""

    type: Literal["basic"]
    user: str
    password: Reference


class DigestAuth(_Auth):
    """RFC 7616."""

    type: Literal["digest"]
    user: str
    password: Reference


class BearerAuth(_Auth):
    """RFC 6750, with a token that is there already."""

    type: Literal["bearer"]
    token: Reference


class KeyAuth(_Auth):
    """API keys: each header, query parameter and cookie is a reference; `prefix` stands before each header's value."""

    type: Literal["key"]
    headers: dict[str, Reference] = {}
    params: dict[str, Reference] = {}
    cookies: dict[str, Reference] = {}
    prefix: str = ""

    @model_validator(mode="after")
    def _something(self) -> KeyAuth:
        if not (self.headers or self.params or self.cookies):
            raise ValueError("has no headers, params or cookies; one of them carries the key")
        for name in self.headers:
            try:
                check_header(name, self.prefix)
            except BadCell as error:
                raise ValueError(str(error)) from None
        return self


class NetrcAuth(_Auth):
    """Basic credentials by host, out of a netrc file."""

    type: Literal["netrc"]
    file: str = "~/.netrc"


class OAuth2Auth(_Auth):
    """RFC 6749: 4.4 client credentials, 6 refresh token."""

    type: Literal["oauth2"]
    grant: Literal["client_credentials", "refresh_token"] = "client_credentials"
    token_url: Annotated[str, AfterValidator(_url)]
    client_id: str
    client_secret: Reference | None = None
    refresh_token: Reference | None = None
    client_auth: Literal["basic", "body"] = "basic"
    scope: str | None = None
    audience: str | None = None
    params: dict[str, str] = {}
    skew: Duration = Field(30.0, ge=0)
    cache: str | None = None

    @model_validator(mode="after")
    def _grant(self) -> OAuth2Auth:
        if self.grant == "client_credentials" and self.client_secret is None:
            raise ValueError("client_credentials need a client_secret")
        if self.grant == "refresh_token" and self.refresh_token is None and self.cache is None:
            raise ValueError("the grant refresh_token needs a refresh_token, or a cache that holds one")
        return self


class HmacAuth(_Auth):
    """A keyed digest over a text of the request's parts; see the README for the fields of `string` and `headers`."""

    type: Literal["hmac"]
    key: Reference
    key_encoding: Literal["text", "hex", "base64"] = "text"
    key_id: str = ""
    algorithm: Literal["sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64", "base64url"] = "hex"
    string: str
    headers: Headers = {}
    params: dict[str, str] = {}
    timestamp: Literal["unix", "unix_ms", "iso8601", "iso8601_ms", "http"] = "unix"
    body_encoding: Literal["hex", "base64"] = "hex"


def check_aws_keys(
    access_key: str | None, secret_key: str | None, session_token: str | None, profile: str | None
) -> None:
    """Raises ValueError where keys, token and profile contradict each other."""
    if (access_key is None) != (secret_key is None):
        raise ValueError("access_key and secret_key belong together")
    if profile is not None and access_key is not None:
        raise ValueError("has both keys and a profile; give one of them")
    if session_token is not None and access_key is None:
        raise ValueError("has a session_token without the access_key and secret_key that it belongs to")


class SigV4Auth(_Auth):
    """AWS Signature Version 4. Without keys: AWS's own chain (environment, profile, container, instance)."""

    type: Literal["sigv4"]
    region: str = "us-east-1"
    service: str = "s3"
    form: Literal["header", "query"] = "header"
    payload: Literal["signed", "unsigned", "streaming"] = "signed"
    expires: Duration = Field(3600.0, ge=1, le=7 * 86400)
    access_key: str | None = None
    secret_key: Reference | None = None
    session_token: Reference | None = None
    profile: str | None = None

    @model_validator(mode="after")
    def _keys(self) -> SigV4Auth:
        check_aws_keys(self.access_key, self.secret_key, self.session_token, self.profile)
        return self

    @model_validator(mode="after")
    def _streaming(self) -> SigV4Auth:
        if self.payload == "streaming" and self.form == "query":
            raise ValueError('payload = "streaming" needs form = "header"; a signed URL never covers the payload')
        if self.payload == "streaming" and not self.service.startswith("s3"):
            raise ValueError('payload = "streaming" is taken by S3 alone; leave it out')
        return self


class PluginAuth(_Auth):
    """The user's own signer, "module:callable"; `options` are handed to it, and may be references."""

    type: Literal["plugin"]
    callable: str
    options: dict[str, Any] = {}

    @field_validator("callable")
    @classmethod
    def _importable(cls, value: str) -> str:
        if not _CALLABLE.match(value):
            raise ValueError(f"'{value[:60]}' is no callable; write it as 'module:function' or 'package.module:Class'")
        return value


Auth = Annotated[
    BasicAuth | DigestAuth | BearerAuth | KeyAuth | NetrcAuth | OAuth2Auth | HmacAuth | SigV4Auth | PluginAuth,
    Field(discriminator="type"),
]

# The model of each `type`.
KINDS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(Auth)[0])
}
