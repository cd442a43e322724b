"""Proxies from URLs and from environments, held against what curl documents."""

from __future__ import annotations

import pytest

from crawler.proxytext import authorization, parse_proxy, proxies_from, socks_credentials
from crawler.routes import Proxy


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://p.test:3128", Proxy("http", "p.test", 3128)),
        ("HTTP://P.Test:80/", Proxy("http", "p.test", 80)),
        ("p.test:3128", Proxy("http", "p.test", 3128)),
        ("localhost", Proxy("http", "localhost", 1080)),
        ("https://p.test", Proxy("https", "p.test", 443)),
        ("socks5://p.test", Proxy("socks5", "p.test", 1080)),
        ("socks5h://10.0.0.1:9050", Proxy("socks5h", "10.0.0.1", 9050)),
        ("http://[2001:DB8::1]:8080", Proxy("http", "2001:db8::1", 8080)),
        ("http://user:pw@p.test:1", Proxy("http", "p.test", 1, "user", "pw")),
        ("http://us%40er:p%3Aw%2F%25@p.test:1", Proxy("http", "p.test", 1, "us@er", "p:w/%")),
        ("http://user@p.test:1", Proxy("http", "p.test", 1, "user", None)),
        ("http://user:@p.test:1", Proxy("http", "p.test", 1, "user", "")),
        ("http://u:a@b:c@p.test:1", Proxy("http", "p.test", 1, "u", "a@b:c")),
        ("socks5://ü:p@p.test", Proxy("socks5", "p.test", 1080, "ü", "p")),
        ("http://BÜCHER.test:1", Proxy("http", "xn--bcher-kva.test", 1)),
    ],
)
def test_a_proxy_by_its_url(text: str, proxy: Proxy) -> None:
    """Scheme and port as curl takes them where they are missing; user and password percent-decoded."""
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("socks4://{}p.test", "has a scheme"),
        ("ftp://{}p.test", "has a scheme"),
        ("http://{}", "has no host and port"),
        ("http://{}p.test:0", "has no host and port"),
        ("http://{}p.test:65536", "has no host and port"),
        ("http://{}p.test:port", "has no host and port"),
        ("http://{}::1:80", "has no host and port"),
        ("http://{}p.test:1/path", "is no proxy"),
        ("http://{}p.test:1?x=y", "is no proxy"),
        ("http://{}a b:1", "has no host and port"),
        ("http://{}a%00b:1", "has a host that is none"),
        ("http://u%3Aser:hunter2@p.test:1", "has a user with a colon"),
        ("http://user:hunter2%0d%0aX@p.test:1", "has a user or password with control"),
        ("http://user:hunter2%ff@p.test:1", "has a user or password that is not UTF-8"),
        ("", "has no host and port"),
    ],
)
def test_what_is_no_proxy(text: str, told: str) -> None:
    """Each with a sentence that shows neither user nor password."""
    with pytest.raises(ValueError) as caught:
        parse_proxy(text.format("user:hunter2@"))
    assert str(caught.value).startswith(told)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credentials_for_http() -> None:
    """RFC 7617's own example, and its one with UTF-8; none without a user."""
    assert authorization(Proxy("http", "p", 1, "Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert authorization(Proxy("http", "p", 1, "test", "123£")) == "Basic dGVzdDoxMjPCow=="
    assert authorization(Proxy("http", "p", 1)) is None


def test_credentials_for_socks() -> None:
    """As RFC 1929 carries them: both, 1 to 255 bytes."""
    assert socks_credentials(Proxy("socks5", "p", 1)) is None
    assert socks_credentials(Proxy("socks5", "p", 1, "u", "p" * 255)) == ("u", "p" * 255)
    for user, password in [("u", None), ("u", ""), ("ü", "secret"), ("u", "s" * 256)]:
        with pytest.raises(ValueError, match="SOCKS5 needs") as caught:
            socks_credentials(Proxy("socks5", "p", 1, user, password))
        assert "secret" not in str(caught.value)


def of(scheme: str, **environ: str) -> str | None:
    proxy = proxies_from(environ).of(scheme, "a.test", 80)
    return None if proxy is None else str(proxy)


def test_the_variables_of_the_environment() -> None:
    """Each scheme its own, before the one for all; lower case before upper; an empty one says nothing."""
    assert of("http", http_proxy="l:1", HTTP_PROXY="u:1", ALL_PROXY="a:1") == "http://l:1"
    assert of("http", HTTP_PROXY="u:1", all_proxy="a:1") == "http://u:1"
    assert of("https", http_proxy="l:1", HTTPS_PROXY="u:1", https_proxy="l:2") == "http://l:2"
    assert of("https", http_proxy="l:1") is None
    assert of("https", http_proxy="l:1", ALL_PROXY="socks5h://a:1") == "socks5h://a:1"
    assert of("http", http_proxy="", HTTP_PROXY="u:1") == "http://u:1"
    assert of("wss", https_proxy="l:2") == of("https", https_proxy="l:2")
    assert of("ftp", all_proxy="a:1") is None
    assert of("http") is None


def test_a_client_of_a_cgi_cannot_name_the_proxy() -> None:
    """Its header "Proxy" would be HTTP_PROXY there (CVE-2016-5385); the lower case is nobody's header."""
    assert of("http", HTTP_PROXY="evil:1", REQUEST_METHOD="GET") is None
    assert of("http", HTTP_PROXY="evil:1", http_proxy="l:1", REQUEST_METHOD="GET") == "http://l:1"
    assert of("https", HTTPS_PROXY="u:1", REQUEST_METHOD="GET") == "http://u:1"


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("a.test", "a.test", 80, True),
        ("a.test", "x.a.test", 80, True),
        ("a.test", "xa.test", 80, False),
        ("a.test", "a.test.b", 80, False),
        (".a.test", "a.test", 80, True),
        (".a.test", "x.a.test", 80, True),
        ("A.Test.", "x.a.test.", 80, True),
        ("b.test, a.test", "a.test", 80, True),
        ("b.test a.test", "a.test", 80, True),
        (",, ,.", "a.test", 80, False),
        ("*", "a.test", 80, True),
        (" * ", "a.test", 80, True),
        ("*,b.test", "a.test", 80, False),
        ("*.test", "a.test", 80, False),
        ("a.test:8080", "a.test", 8080, True),
        ("a.test:8080", "x.a.test", 8080, True),
        ("a.test:8080", "a.test", 80, False),
        ("192.168.0.0/16", "192.168.3.4", 80, True),
        ("192.168.0.0/16", "192.169.3.4", 80, False),
        ("192.168.3.9/16", "192.168.3.4", 80, True),
        ("10.0.0.1", "10.0.0.1", 80, True),
        ("10.0.0.1", "110.0.0.1", 80, False),
        ("10.0.0.1:81", "10.0.0.1", 81, True),
        ("10.0.0.1:81", "10.0.0.1", 80, False),
        ("10.0.0.0/8", "a.test", 80, False),
        ("fe80::/10", "[fe80::1]", 80, True),
        ("::1", "[::1]", 80, True),
        ("[::1]:81", "[::1]", 81, True),
        ("[::1]:81", "[::1]", 80, False),
        ("2001:db8::/32", "2001:db9::1", 80, False),
        ("0.0.0", "a.test", 80, False),
    ],
)
def test_who_goes_without(no_proxy: str, host: str, port: int, direct: bool) -> None:
    """As curl: names and all below them, with or without a dot, networks, "*" alone; ports as wget and Go."""
    proxies = proxies_from({"http_proxy": "p.test:1", "NO_PROXY": no_proxy})
    assert (proxies.of("http", host, port) is None) is direct


def test_a_variable_that_names_no_proxy() -> None:
    """The sentence names the variable, not what stands in it."""
    with pytest.raises(ValueError) as caught:
        proxies_from({"https_proxy": "gopher://u:hunter2@p.test"})
    assert "https_proxy has a scheme" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_repr_shows_credentials() -> None:
    """Of the environment's neither."""
    assert "hunter2" not in repr(proxies_from({"http_proxy": "http://user:hunter2@p.test:1"}))
