"""From the job's [auth] sections to schemes that sign, with their secrets, and with whoever gets them anew.

Does: build each scheme, import a plugin, read a netrc file. Must not know requests. Invariant: whatever is wrong with a
section is told before anything is fetched, by a sentence that names its key and shows no value.
"""

from __future__ import annotations

import asyncio
import netrc
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from pathlib import Path

from crawler import jobauth
from crawler.addresses import in_the_open
from crawler.auth.apikey import ApiKey
from crawler.auth.basic import Basic
from crawler.auth.bearer import Bearer
from crawler.auth.digest import Digest
from crawler.auth.hmac import Hmac, key_of
from crawler.auth.hmac import Settings as HmacSettings
from crawler.auth.netrc import Netrc, entries_of
from crawler.auth.oauth2 import OAuth2
from crawler.auth.plugin import Plugin, PluginError
from crawler.auth.scheme import Scheme
from crawler.auth.sigv4 import Keys, SigV4
from crawler.auth.sigv4 import Settings as SigV4Settings
from crawler.authenticate import Fault, Section
from crawler.awskeys import KeysMissing, KeySource
from crawler.errors import JobError, Reason
from crawler.grants import Settings as OAuth2Settings
from crawler.grants import TokenAnswer, TokenRequest
from crawler.job import Job
from crawler.masking import Mask
from crawler.secretrefs import is_reference
from crawler.tokens import TokenKeeper

Renew = Callable[[], Awaitable[Fault | None]]
Ask = Callable[[TokenRequest], Awaitable[TokenAnswer]]


class Credentials:
    """The schemes of one job. `value` gives a reference's value; `mask` learns what schemes get by themselves."""

    def __init__(self, job: Job, base: Path, value: Callable[[str], str], mask: Mask) -> None:
        """Raises JobError, with all that is wrong."""
        self._base = base
        self._value = value
        self._mask = mask
        self._job = job
        problems: list[str] = []
        self._schemes: dict[str, Scheme] = {}
        for name, said in job.auth.items():
            try:
                self._schemes[name] = self._scheme(name, said)
            except (ValueError, PluginError, OSError) as error:
                problems.append(f"auth.{name}: {error}")
        if problems:
            raise JobError(*problems)

    def sections(self, ask: Ask) -> list[Section]:
        """All sections, ready to sign; `ask` calls a token endpoint."""
        found = []
        for (name, said), scheme in zip(self._job.auth.items(), self._schemes.values(), strict=True):
            renew = self._renewal(name, said, scheme, ask)
            close = renew.close if isinstance(renew, _TokenRenewal) else None
            found.append(Section(name, scheme, tuple(said.hosts), said.allow_insecure, renew, close))
        return found

    def _text(self, text: str) -> str:
        return self._value(text) if is_reference(text) else text

    def _scheme(self, name: str, said: jobauth.Auth) -> Scheme:
        value = self._value
        match said:
            case jobauth.BasicAuth():
                return Basic(self._text(said.user), value(said.password))
            case jobauth.DigestAuth():
                return Digest(self._text(said.user), value(said.password))
            case jobauth.BearerAuth():
                return Bearer(value(said.token))
            case jobauth.KeyAuth():
                kinds = (said.headers, said.params, said.cookies)
                headers, params, cookies = ({key: value(text) for key, text in kind.items()} for kind in kinds)
                return ApiKey(headers, params, cookies, prefix=said.prefix)
            case jobauth.NetrcAuth():
                return self._netrc(said)
            case jobauth.OAuth2Auth():
                return self._oauth2(name, said)
            case jobauth.HmacAuth():
                return self._hmac(said)
            case jobauth.SigV4Auth():
                return self._sigv4(said)
            case jobauth.PluginAuth():
                return self._plugin(said)

    def _netrc(self, said: jobauth.NetrcAuth) -> Netrc:
        path = self._base / Path(said.file).expanduser()
        try:
            entries, default = entries_of(netrc.netrc(str(path)).hosts)
        except netrc.NetrcParseError as error:
            raise ValueError(f"{path}: line {error.lineno} is not netrc") from None
        for _, password in [*entries.values(), *filter(None, [default])]:
            self._mask.add(password)
        return Netrc(entries, default)

    def _oauth2(self, name: str, said: jobauth.OAuth2Auth) -> OAuth2:
        secret, refresh, url = said.client_secret, said.refresh_token, said.token_url
        if not said.allow_insecure and in_the_open(url):
            raise ValueError(
                "token_url is plain http, and the secret would go there in the open; "
                "use https, or say allow_insecure = true"
            )
        settings = OAuth2Settings(
            section=name,
            grant=said.grant,
            token_url=url,
            client_id=self._text(said.client_id),
            client_secret=self._value(secret) if secret is not None else None,
            refresh_token=self._value(refresh) if refresh is not None else None,
            scope=said.scope,
            audience=said.audience,
            extra=tuple(said.params.items()),
            client_auth=said.client_auth,
            skew=said.skew,
        )
        return OAuth2(settings)

    def _hmac(self, said: jobauth.HmacAuth) -> Hmac:
        settings = HmacSettings(
            key_of(self._value(said.key), said.key_encoding),
            said.string,
            said.headers,
            said.params,
            self._text(said.key_id),
            said.algorithm,
            said.encoding,
            said.timestamp,
            said.body_encoding,
        )
        return Hmac(settings)

    def _sigv4(self, said: jobauth.SigV4Auth) -> SigV4:
        settings = SigV4Settings(said.region, said.service, said.form, said.payload, int(said.expires))
        if said.access_key is None or said.secret_key is None:
            return SigV4(settings)
        token = self._value(said.session_token) if said.session_token is not None else None
        return SigV4(settings, Keys(self._text(said.access_key), self._value(said.secret_key), token, None))

    def _plugin(self, said: jobauth.PluginAuth) -> Plugin:
        module, _, attribute = said.callable.partition(":")
        sys.path.insert(0, str(self._base))  # a signer may stand beside its job
        try:
            target = getattr(import_module(module), attribute)
        except AttributeError:
            raise ValueError(f"'{module}' has no '{attribute}'") from None
        except Exception as error:  # whatever a module does while it is imported
            raise ValueError(f"'{module}' cannot be imported: {type(error).__name__}: {error}") from None
        finally:
            sys.path.remove(str(self._base))
        options = {key: self._text(text) if isinstance(text, str) else text for key, text in said.options.items()}
        return Plugin(target, said.callable, options)

    def _renewal(self, name: str, said: jobauth.Auth, scheme: Scheme, ask: Ask) -> Renew | None:
        if isinstance(scheme, OAuth2) and isinstance(said, jobauth.OAuth2Auth):
            cache = self._base / Path(said.cache).expanduser() if said.cache else None
            return _TokenRenewal(scheme, TokenKeeper(scheme, ask, cache), self._mask)
        if isinstance(scheme, SigV4) and isinstance(said, jobauth.SigV4Auth) and said.access_key is None:
            return _KeyRenewal(name, scheme, KeySource(said.profile), self._mask)
        return None


class _TokenRenewal:
    """An OAuth 2 token, from its cache or its endpoint."""

    def __init__(self, scheme: OAuth2, keeper: TokenKeeper, mask: Mask) -> None:
        self._scheme = scheme
        self._keeper = keeper
        self._mask = mask

    async def __call__(self) -> Fault | None:
        fault = await self._keeper.renew()
        for secret in self._scheme.secrets:
            self._mask.learn(secret)
        return Fault(*fault) if fault is not None else None

    async def close(self) -> None:
        """Let a renewal under way come to its end."""
        await self._keeper.close()


class _KeyRenewal:
    """AWS keys from its chain, loaded once for all who wait."""

    def __init__(self, name: str, scheme: SigV4, source: KeySource, mask: Mask) -> None:
        self._name = name
        self._scheme = scheme
        self._source = source
        self._mask = mask
        self._loading: asyncio.Task[Fault | None] | None = None

    async def __call__(self) -> Fault | None:
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load())
        return await asyncio.shield(self._loading)

    async def _load(self) -> Fault | None:
        try:
            keys = await asyncio.to_thread(self._source.load)
        except KeysMissing as error:
            return Fault(Reason.AUTH_UNAVAILABLE, f"[auth.{self._name}] {error}")
        for secret in filter(None, (keys.secret_key, keys.session_token)):
            self._mask.learn(secret)
        self._scheme.keys = keys
        return None
