"""Which cookies a server may leave with us."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files

import pytest

from crawler.cookierules import Cookie, domain_match, fault, path_match, public_suffix, received
from crawler.setcookie import parse
from crawler.urls import parse as parse_url

NOW = 1_700_000_000.0


def left(line: str, host: str = "www.example.org", path: str = "/dir/page", *, secure: bool = True) -> Cookie | None:
    said = parse(line, NOW)
    assert said is not None
    cookie = received(said, secure, host, path)
    return None if cookie is None or fault(cookie) else cookie


@pytest.mark.parametrize(
    ("host", "domain", "matches"),
    [
        ("example.org", "example.org", True),
        ("www.example.org", "example.org", True),
        ("a.b.example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        ("badexample.org", "example.org", False),
        ("example.org.", "example.org", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.1", False),
        ("[::1]", "[::1]", True),
    ],
)
def test_domain_match(host: str, domain: str, matches: bool) -> None:
    """A domain matches itself and what ends in a dot and it, unless that is an address."""
    assert domain_match(host, domain) is matches


@pytest.mark.parametrize(
    ("path", "cookie_path", "matches"),
    [
        ("/", "/", True),
        ("/a", "/", True),
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/a/b", "/a/", True),
        ("/a", "/a/", False),
        ("/ab", "/a", False),
        ("/", "/a", False),
        ("/A", "/a", False),
    ],
)
def test_path_match(path: str, cookie_path: str, matches: bool) -> None:
    """A path matches itself and what stands below it as a folder."""
    assert path_match(path, cookie_path) is matches


@pytest.mark.parametrize(
    "domain",
    [
        "com",
        "co.uk",
        "kobe.jp",
        "c.kobe.jp",
        "github.io",
        "localhost",
        "unlisted",
        "xn--p1ai",
        "co.uk.",
        ".com",
        "",
    ],
)
def test_public_suffixes(domain: str) -> None:
    """Registries, hosters whose customers share a domain, any single label; empty labels do not hide one."""
    assert public_suffix(domain)


@pytest.mark.parametrize(
    "domain", ["example.com", "example.co.uk", "city.kobe.jp", "me.github.io", "xn--e1afmkfd.xn--p1ai"]
)
def test_what_somebody_registered_is_none(domain: str) -> None:
    """Exceptions of the list among them."""
    assert not public_suffix(domain)


def test_the_checks_of_the_list_itself() -> None:
    """What publicsuffix.org's own cases call registrable can be a Domain, and nothing above it can."""
    text = (files("publicsuffixlist") / "test_psl.txt").read_text("utf-8")
    cases = re.findall(r"^checkPublicSuffix\('([^'.][^']*)', (?:null|'([^']+)')\);", text, re.MULTILINE)
    for name, registered in cases:
        host = parse_url(f"https://{name}/").host
        if not registered:
            assert public_suffix(host), name
            continue
        domain = parse_url(f"https://{registered}/").host
        assert left(f"a=b; domain={domain}", f"www.{host}") is not None, name
        assert left(f"a=b; domain={domain.partition('.')[2]}", f"www.{host}") is None, name
    assert len(cases) > 50


def test_the_list_is_read_when_it_is_needed_only() -> None:
    """Cookies without Domain cost no reading of it."""
    code = (
        "import sys; from crawler.cookies import Jar; jar = Jar(); jar.accept('http://a.example/', ['a=b'], 1.0);"
        "assert jar.header('http://a.example/', 1.0) == 'a=b'; assert 'publicsuffixlist' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_a_domain_the_cookie_is_for_the_host_alone() -> None:
    """Also where Domain is empty, or a dot."""
    for line in ("a=b", "a=b; domain=", "a=b; domain=.", "a=b; domain=other.example; domain="):
        assert left(line) == Cookie("a", "b", "www.example.org", "/dir", host_only=True)


def test_with_a_domain_it_is_for_all_below_too() -> None:
    """The host's own name, or one above it."""
    for domain in ("www.example.org", "example.org", ".example.org", "EXAMPLE.org"):
        expected = domain.lower().removeprefix(".")
        assert left(f"a=b; domain={domain}") == Cookie("a", "b", expected, "/dir", host_only=False)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.org", "org"),
        ("www.example.org", "other.org"),
        ("www.example.org", "sub.www.example.org"),
        ("www.example.org", "ample.org"),
        ("www.example.org", "..example.org"),
        ("www.example.org", "example.org."),
        ("www.example.org", "exämple.org"),
        ("www.example.org", "example.org:80"),
        ("www.example.co.uk", "co.uk"),
        ("www.example.co.uk.", "co.uk."),
        ("me.github.io", "github.io"),
        ("a.localhost", "localhost"),
        ("127.0.0.1", "0.0.1"),
        ("127.0.0.1", "127.0.0.2"),
        ("[::1]", "::1"),
        ("xn--bcher-kva.example", "bücher.example"),
    ],
)
def test_domains_that_are_refused(host: str, domain: str) -> None:
    """Other hosts, public suffixes, parts of an address, what is not spelled as a host is."""
    assert left(f"a=b; domain={domain}", host) is None


@pytest.mark.parametrize("host", ["github.io", "co.uk", "localhost", "127.0.0.1", "[::1]", "com."])
def test_a_public_suffix_or_address_may_name_itself(host: str) -> None:
    """Its cookie is for the host alone."""
    assert left(f"a=b; domain={host}", host) == Cookie("a", "b", host, "/dir", host_only=True)


@pytest.mark.parametrize(
    ("path", "default"), [("/", "/"), ("/a", "/"), ("/a/", "/a"), ("/a/b", "/a"), ("/a/b/c", "/a/b"), ("//a", "/")]
)
def test_the_default_path(path: str, default: str) -> None:
    """The folder of the request, where Path says none."""
    for line in ("a=b", "a=b; path=x"):
        cookie = left(line, path=path)
        assert cookie is not None
        assert cookie.path == default


def test_secure_comes_by_tls_only() -> None:
    """What came in the clear cannot call itself Secure."""
    assert left("a=b; secure") is not None
    assert left("a=b; secure", secure=False) is None


@pytest.mark.parametrize("name", ["__Host-a", "__HOST-a", "__host-a"])
def test_what_the_host_prefix_promises(name: str) -> None:
    """Secure, for one host, and a Path=/ that was said; in any case of letters."""
    assert left(f"{name}=b; secure; path=/") is not None
    assert left(f"{name}=b; path=/") is None
    assert left(f"{name}=b; secure") is None
    assert left(f"{name}=b; secure", path="/page") is None  # the default path is / too, but nobody said it
    assert left(f"{name}=b; secure; path=/dir") is None
    assert left(f"{name}=b; secure; path=/; domain=example.org") is None
    assert left(f"{name}=b; secure; path=/; domain=www.example.org") is None
    assert left(f"{name}=b; secure; path=/", secure=False) is None


@pytest.mark.parametrize("name", ["__Secure-a", "__SECURE-a"])
def test_what_the_secure_prefix_promises(name: str) -> None:
    """Secure, and nothing else."""
    assert left(f"{name}=b; secure; domain=example.org") is not None
    assert left(f"{name}=b; domain=example.org") is None


@pytest.mark.parametrize("line", ["__Host-a", "=__Secure-a"])
def test_no_prefix_without_a_name(line: str) -> None:
    """A value without a name is sent as it is, and would be taken for a name."""
    assert left(line + "; secure; path=/") is None


def test_what_only_a_file_could_say() -> None:
    """Controls, separators and blanks within, paths that are none, all below an address or suffix."""
    good = Cookie("a", "b", "example.org", "/", host_only=False)
    assert fault(good) is None
    bad = [
        good._replace(name="a=b"),
        good._replace(name="a;b"),
        good._replace(value="b; c"),
        good._replace(value="b\r\nX: y"),
        good._replace(value="\ud800"),
        good._replace(value=" b"),
        good._replace(name="", value="a=b"),
        good._replace(path=""),
        good._replace(path="a"),
        good._replace(path="/\n"),
        good._replace(path="/" * 1025),
        good._replace(domain="co.uk"),
        good._replace(domain="127.0.0.1"),
        good._replace(domain="0.1"),
        good._replace(domain="[::1]"),
    ]
    assert [cookie for cookie in bad if not fault(cookie)] == []


def test_a_repr_shows_no_value() -> None:
    """Nor the path, in which sessions stand at times."""
    assert "secret" not in repr(Cookie("sid", "secret", "example.org", "/secret", host_only=True))
