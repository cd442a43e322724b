"""Which way a request takes: the proxy, TLS settings and addresses that hold for its host.

Decides by the job's [connection], what a host says apart, and the environment where that is trusted. Must not know
sockets or where a secret came from (`secret` gives the value of a reference). Invariant: a proxy that failed is passed
over while another one lives; requests with the same way share one Route, and with it one pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from crawler.jobconnection import ProxySaid, Ways
from crawler.proxies import ProxyPool
from crawler.proxytext import EnvProxies, parse_proxy
from crawler.routes import DIRECT, ClientCert, Proxy, Route, Tls
from crawler.secretrefs import is_reference
from crawler.urls import hostname, netloc

_REMEMBERED = 4096

Secret = Callable[[str], str]


class _Way(NamedTuple):
    """What one [connection] stands for; `pool` is None where there is nothing to choose from."""

    said: Ways
    route: Route
    pool: ProxyPool | None
    direct: bool  # no proxy, whatever the environment says


class Routing:
    """The ways of one job. `absolute` makes a path of the job absolute; `env` is None where it is not trusted."""

    def __init__(
        self,
        secret: Secret,
        absolute: Callable[[str], str],
        rotate: Literal["each", "host"] = "each",
        env: EnvProxies | None = None,
    ) -> None:
        self._secret = secret
        self._absolute = absolute
        self._rotate = rotate
        self._env = env
        self._ways: dict[int, _Way] = {}
        self._pools: dict[tuple[Proxy, ...], ProxyPool] = {}

    def __repr__(self) -> str:
        return f"<Routing ways={len(self._ways)} pools={len(self._pools)}>"

    def route(self, url: str, ways: Ways, now: float) -> Route:
        """The way to a canonical URL; `now` is monotonic."""
        way = self._way(ways)
        if way.pool is not None:
            return way.route._replace(proxy=way.pool.choose(netloc(url), now))
        if self._env is not None and not way.direct:
            proxy = self._env.of(*_endpoint(url))
            return way.route._replace(proxy=proxy) if proxy is not None else way.route
        return way.route

    def told(self, route: Route, ways: Ways, now: float, *, well: bool) -> None:
        """Whether the proxy of a route did its part."""
        pool = self._way(ways).pool
        if pool is not None and route.proxy is not None:
            (pool.worked if well else pool.failed)(route.proxy, now)

    def _way(self, ways: Ways) -> _Way:
        known = self._ways.get(id(ways))
        if known is None or known.said is not ways:
            if len(self._ways) >= _REMEMBERED:
                self._ways.clear()
            known = self._ways[id(ways)] = self._made(ways)
        return known

    def _made(self, ways: Ways) -> _Way:
        proxies = tuple(proxy_of(said, self._secret) for said in ways.proxies)
        route = Route(
            proxy=proxies[0] if proxies else None,
            tls=tls_of(ways, self._secret, self._absolute),
            local_address=ways.local_address,
            family=ways.family,
            unix_socket=self._absolute(ways.unix_socket) if ways.unix_socket else None,
        )
        pool = None
        if len(proxies) > 1:
            pool = self._pools.get(proxies)
            if pool is None:
                pool = self._pools[proxies] = ProxyPool(proxies, self._rotate)
        return _Way(ways, DIRECT if route == DIRECT else route, pool, direct=ways.proxy is not None)


def proxy_of(said: ProxySaid, secret: Secret) -> Proxy:
    """The proxy that a job names. Raises ValueError where the value of a reference is none."""
    url = secret(said.url) if is_reference(said.url) else said.url
    proxy = parse_proxy(url)
    if said.user is not None:
        user = secret(said.user) if is_reference(said.user) else said.user
        proxy = proxy._replace(user=user, password="")
    return proxy._replace(password=secret(said.password)) if said.password is not None else proxy


def tls_of(ways: Ways, secret: Secret, absolute: Callable[[str], str]) -> Tls:
    """The TLS settings that a job names, with absolute paths."""
    cert = ways.cert
    return Tls(
        ca_bundle=absolute(ways.ca_bundle) if ways.ca_bundle else None,
        client_cert=ClientCert(
            absolute(cert.cert),
            absolute(cert.key) if cert.key else None,
            secret(cert.password) if cert.password is not None else None,
        )
        if cert is not None
        else None,
        min_version=ways.tls_min_version,
        fingerprints=tuple(ways.fingerprints),
        verify=ways.verify,
    )


def references(ways: Ways) -> Mapping[str, str]:
    """Each secret that a section refers to, by the key it stands at."""
    found: dict[str, str] = {}
    for number, said in enumerate(ways.proxies, 1):
        at = "proxy" if len(ways.proxies) == 1 else f"proxy[{number}]"
        given: Sequence[tuple[str, str | None]] = [("url", said.url), ("user", said.user), ("password", said.password)]
        found.update({f"{at}.{key}": value for key, value in given if value is not None and is_reference(value)})
    if ways.cert is not None and ways.cert.password is not None:
        found["client_cert.password"] = ways.cert.password
    return found


def _endpoint(url: str) -> tuple[str, str, int]:
    scheme = url.partition(":")[0]
    place = netloc(url)
    port = place[len(hostname(url)) + 1 :]
    return scheme, hostname(url), int(port) if port else 443 if scheme == "https" else 80
