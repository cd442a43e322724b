"""Which way a request takes."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.jobconnection import ProxySaid, Ways
from crawler.proxytext import proxies_from
from crawler.routes import DIRECT, ClientCert, Proxy
from crawler.routing import Routing, proxy_of, references, tls_of

SECRETS = {"env:PROXY": "http://me:s3cret@proxy.test:3128", "env:USER": "u", "env:PASS": "p:w"}


def routing(**said: Any) -> Routing:
    return Routing(SECRETS.__getitem__, lambda path: f"/base/{path}", **said)


def test_without_anything_said_the_way_is_direct() -> None:
    """The very value by which the session takes its fastest path."""
    assert routing().route("http://a.test/", Ways(), 0.0) is DIRECT


def test_the_same_ways_give_the_same_route() -> None:
    """Equal routes share a pool of connections; other settings never do."""
    one = routing()
    ways = [Ways(ca_bundle="ca.pem"), Ways(ca_bundle="ca.pem"), Ways(ca_bundle="ca.pem", verify=False)]
    routes = [one.route("https://a.test/", way, 0.0) for way in ways]
    assert routes[0] == routes[1] != routes[2]
    assert routes[0].tls.ca_bundle == "/base/ca.pem"


def test_proxies_take_turns_and_dead_ones_are_passed_over() -> None:
    """Each request another one; after failures only those that live; one that works again is back."""
    one, ways = routing(), Ways(proxy=["http://p1.test:1", "http://p2.test:2", "socks5://p3.test:3"])
    hosts = [one.route("http://a.test/", ways, 0.0).proxy.host for _ in range(6)]  # type: ignore[union-attr]
    assert sorted(hosts) == ["p1.test"] * 2 + ["p2.test"] * 2 + ["p3.test"] * 2
    dead = one.route("http://a.test/", ways, 0.0)
    for _ in range(10):
        one.told(dead, ways, 0.0, well=False)
    left = {one.route("http://a.test/", ways, 0.0).proxy for _ in range(6)}
    assert dead.proxy not in left
    assert len(left) == 2
    later = {one.route("http://a.test/", ways, 1e6).proxy for _ in range(3)}
    assert dead.proxy in later


def test_a_job_and_its_hosts_share_what_is_known_of_proxies() -> None:
    """The same proxies said twice are one pool: who learned that one is dead tells all."""
    one, said = routing(), ["http://p1.test:1", "http://p2.test:2"]
    first, second = Ways(proxy=said), Ways(proxy=said, family="ipv4")
    dead = one.route("http://a.test/", first, 0.0)
    for _ in range(10):
        one.told(dead, first, 0.0, well=False)
    assert dead.proxy not in {one.route("http://b.test/", second, 0.0).proxy for _ in range(4)}


def test_rotate_host_keeps_a_host_at_its_proxy() -> None:
    """As long as it lives."""
    one, ways = routing(rotate="host"), Ways(proxy=[f"http://p{n}.test:1" for n in range(5)])
    chosen = {host: {one.route(f"http://{host}/", ways, 0.0).proxy for _ in range(5)} for host in map(str, range(20))}
    assert all(len(proxies) == 1 for proxies in chosen.values())
    assert len(set.union(*chosen.values())) > 1


def test_the_environment_counts_where_it_is_trusted_and_nothing_is_said() -> None:
    """Its proxy by scheme, its exceptions by host and port; "direct" and a proxy of the job stand over it."""
    env = proxies_from({"http_proxy": "http://env.test:1", "https_proxy": "http://tls.test:2", "no_proxy": "b.test:81"})
    one = routing(env=env)

    def host(url: str, ways: Ways) -> str | None:
        proxy = one.route(url, ways, 0.0).proxy
        return proxy.host if proxy is not None else None

    plain = Ways()
    assert host("http://a.test/", plain) == "env.test"
    assert host("https://a.test/", plain) == "tls.test"
    assert host("http://b.test:81/", plain) is None
    assert host("http://b.test/", plain) == "env.test"
    assert host("http://a.test/", Ways(proxy="direct")) is None
    assert host("http://a.test/", Ways(proxy="http://own.test:3")) == "own.test"
    assert host("http://[::1]:8080/", plain) == "env.test"
    assert host("http://a.test/", plain) == "env.test"
    assert routing().route("http://a.test/", plain, 0.0).proxy is None


def test_a_proxy_is_said_by_reference_or_in_parts() -> None:
    """Credentials come from references, and stand in no repr."""
    assert proxy_of(ProxySaid(url="env:PROXY"), SECRETS.__getitem__) == Proxy(
        "http", "proxy.test", 3128, "me", "s3cret"
    )
    said = ProxySaid(url="socks5://p.test:1080", user="env:USER", password="env:PASS")
    assert proxy_of(said, SECRETS.__getitem__) == Proxy("socks5", "p.test", 1080, "u", "p:w")
    assert "s3cret" not in repr(proxy_of(ProxySaid(url="env:PROXY"), SECRETS.__getitem__))
    with pytest.raises(ValueError, match=r"\w") as caught:
        proxy_of(ProxySaid(url="env:PASS"), SECRETS.__getitem__)
    assert "p:w" not in str(caught.value)


def test_paths_are_made_absolute_and_passwords_looked_up() -> None:
    """Of the certificate as well as its key."""
    ways = Ways(client_cert={"cert": "me.pem", "key": "me.key", "password": "env:PASS"}, unix_socket="s.sock")
    assert tls_of(ways, SECRETS.__getitem__, lambda path: f"/base/{path}").client_cert == ClientCert(
        "/base/me.pem", "/base/me.key", "p:w"
    )
    assert routing().route("http://a.test/", ways, 0.0).unix_socket == "/base/s.sock"


def test_every_secret_is_named_by_its_key() -> None:
    """So that what is missing can be told; a plain user is none."""
    ways = Ways(
        proxy=["env:PROXY", {"url": "http://p.test:1", "user": "plain", "password": "env:PASS"}],
        client_cert={"cert": "me.pem", "password": "env:KEY"},
    )
    assert references(ways) == {
        "proxy[1].url": "env:PROXY",
        "proxy[2].password": "env:PASS",
        "client_cert.password": "env:KEY",
    }
