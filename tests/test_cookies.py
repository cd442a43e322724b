"""The jar: what comes in, what goes along, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crawler.cookierules import Cookie, domain_match, fault, path_match
from crawler.cookies import MAX_COOKIES, MAX_PER_DOMAIN, MAX_SENT, Jar
from crawler.setcookie import MAX_AGE, MAX_PAIR

NOW = 1_700_000_000.0


def jar_of(*answers: tuple[str, str]) -> Jar:
    """A jar that met these (URL, Set-Cookie line), one after the other."""
    jar = Jar()
    for url, line in answers:
        jar.accept(url, [line], NOW)
    return jar


def test_the_examples_of_the_rfc() -> None:
    """RFC 6265 3.1: a session, one of all paths and subdomains, two at once, one that is deleted."""
    jar, home = Jar(), "http://www.example.com/"
    jar.accept(home, ["SID=31d4d96e407aad42"], NOW)
    assert jar.header(home, NOW) == "SID=31d4d96e407aad42"
    assert jar.header("http://example.com/", NOW) is None
    jar.accept(home, ["SID=31d4d96e407aad42; Path=/; Domain=example.com"], NOW)
    assert jar.header("http://site.example.com/", NOW) == "SID=31d4d96e407aad42"
    secure = Jar()
    lines = ["SID=31d4d96e407aad42; Path=/; Secure; HttpOnly", "lang=en-US; Path=/; Domain=example.com"]
    assert secure.accept("https://www.example.com/", lines, NOW) == 2
    assert secure.header("https://www.example.com/", NOW) == "SID=31d4d96e407aad42; lang=en-US"
    assert secure.header(home, NOW) == "lang=en-US"
    assert secure.accept(home, ["lang=; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Domain=example.com; Path=/"], NOW) == 1
    assert secure.header("https://www.example.com/", NOW) == "SID=31d4d96e407aad42"


def test_longest_paths_first_then_the_oldest() -> None:
    """Across domains too; a replaced cookie keeps its age."""
    url = "http://www.example.org/a/b/c"
    lines = [
        "one=1; path=/",
        "two=2; path=/; domain=example.org",
        "deep=3; path=/a/b",
        "mid=4; path=/a",
        "one=5; path=/",
    ]
    jar = Jar()
    assert jar.accept(url, lines, NOW) == 5
    assert jar.header(url, NOW) == "deep=3; mid=4; one=5; two=2"
    assert [cookie.name for cookie in jar.cookies(NOW)] == ["one", "two", "deep", "mid"]


def test_name_domain_path_and_host_only_tell_cookies_apart() -> None:
    """The same name for the host alone and for all below it are two cookies."""
    url = "http://example.org/a/"
    jar = jar_of((url, "k=1"), (url, "k=2; path=/"), (url, "k=3; domain=example.org"), (url, "K=4"))
    assert jar.header("http://example.org/a/", NOW) == "k=1; k=3; K=4; k=2"
    assert jar.header("http://www.example.org/a/", NOW) == "k=3"


def test_a_query_port_or_scheme_of_the_url_changes_nothing() -> None:
    """Cookies know no ports; a slash within the query is no folder."""
    jar = jar_of(("http://example.org:8080/a?/b/c", "k=1"))
    assert jar.header("https://example.org:9000/x?y=/z", NOW) == "k=1"
    assert jar.header("wss://example.org/", NOW) == "k=1"


def test_addresses_are_hosts_of_their_own() -> None:
    """With ports, in brackets; nothing goes to another one."""
    jar = jar_of(("http://127.0.0.1:81/", "four=1"), ("http://[::1]:81/", "six=1"), ("http://[::2]/", "other=1"))
    assert jar.header("http://127.0.0.1/", NOW) == "four=1"
    assert jar.header("http://[::1]/", NOW) == "six=1"
    assert jar.header("http://127.0.0.2/", NOW) is None


def test_a_cookie_without_a_name_is_sent_as_its_value() -> None:
    """RFC 6265bis 5.8.3: no equals sign before it."""
    assert jar_of(("http://example.org/", "lonely"), ("http://example.org/", "e=")).header(
        "http://example.org/", NOW
    ) == ("lonely; e=")


def test_expiry_is_that_very_moment() -> None:
    """Until then it goes along, from then on not; without one it lasts for the session."""
    url = "http://example.org/"
    jar = jar_of((url, "short=1; max-age=60"), (url, "session=1"))
    assert jar.header(url, NOW + 59) == "short=1; session=1"
    assert jar.header(url, NOW + 60) == "session=1"
    assert [cookie.name for cookie in jar.cookies(NOW + 60)] == ["session"]


def test_an_expired_one_deletes() -> None:
    """That very cookie; where there is none, nothing changes."""
    url = "http://example.org/"
    jar = jar_of((url, "a=1"))
    assert jar.accept(url, ["a=; max-age=0; domain=example.org", "b=; max-age=-1"], NOW) == 0
    assert jar.header(url, NOW) == "a=1"
    assert jar.accept(url, ["a=; max-age=0"], NOW) == 1
    assert (len(jar), jar.header(url, NOW)) == (0, None)


def test_changes_tell_a_writer() -> None:
    """A cookie that is new, another or gone counts; the same again, one refused, or a look does not."""
    url, jar = "http://example.org/", Jar()
    grew = []
    for line in ("a=1", "a=1", "a=2", "b=1; secure", "a=; max-age=0", "a=; max-age=0"):
        before = jar.changes
        jar.accept(url, [line], NOW)
        jar.header(url, NOW)
        grew.append(jar.changes > before)
    assert grew == [True, False, True, False, True, False]


def test_what_came_in_the_clear_leaves_secure_cookies_alone() -> None:
    """Neither replaced nor hidden by one of the same name, of a domain above or below, on a path it covers."""
    jar = jar_of(("https://www.example.org/", "sid=good; secure; path=/login"))
    for url, line in [
        ("http://www.example.org/", "sid=evil; path=/login"),
        ("http://www.example.org/", "sid=evil; path=/login/deeper"),
        ("http://www.example.org/", "sid=evil; domain=example.org; path=/login"),
        ("http://a.www.example.org/", "sid=evil; domain=www.example.org; path=/login"),
        ("http://a.www.example.org/", "sid=evil; path=/login"),
        ("http://www.example.org/", "sid=; max-age=0; path=/login"),
    ]:
        assert jar.accept(url, [line], NOW) == 0, (url, line)
    assert jar.header("https://www.example.org/login/deeper", NOW) == "sid=good"
    for url, line in [
        ("http://www.example.org/", "sid=other; path=/"),
        ("http://www.example.org/", "other=other; path=/login"),
        ("http://www2.example.org/", "sid=other; path=/login"),
        ("https://www.example.org/", "sid=other; path=/login"),
    ]:
        assert jar.accept(url, [line], NOW) == 1, (url, line)


def test_a_secure_cookie_that_is_gone_hinders_nobody() -> None:
    """Deleted, or replaced by one that is not Secure."""
    for line in ("sid=; max-age=0", "sid=plain"):
        jar = jar_of(("https://example.org/", "sid=1; secure"), ("https://www.example.org/", "sid=2; secure"))
        jar.accept("https://example.org/", [line], NOW)
        assert jar.accept("http://example.org/", ["sid=mine"], NOW) == 0  # the one below it is still there
        jar.accept("https://www.example.org/", [line], NOW)
        assert jar.accept("http://example.org/", ["sid=mine"], NOW) == 1


def test_secure_cookies_go_by_tls_only() -> None:
    """To loopback too."""
    for host in ("example.org", "localhost", "127.0.0.1"):
        jar = jar_of((f"https://{host}/", "s=1; secure"))
        assert jar.header(f"https://{host}/", NOW) == jar.header(f"wss://{host}/", NOW) == "s=1"
        assert jar.header(f"http://{host}/", NOW) is jar.header(f"ws://{host}/", NOW) is None


def test_a_domain_holds_180_cookies() -> None:
    """Then the expired go, however lately they came, then those not Secure that were used least recently."""
    url, jar = "https://example.org/", Jar()
    jar.accept(url, ["safe=1; secure; path=/x", "first=1", "second=1; path=/x"], NOW)
    jar.accept(url, [f"k{i}=1; path=/x" for i in range(MAX_PER_DOMAIN - 4)], NOW)
    jar.accept(url, ["brief=1; max-age=1; path=/x"], NOW)
    assert len(jar) == MAX_PER_DOMAIN
    assert jar.header(url, NOW) == "first=1"
    jar.accept(url, ["last=1"], NOW + 2)
    names = {cookie.name for cookie in jar.cookies(NOW)}
    assert 100 < len(jar) == len(names) < MAX_PER_DOMAIN
    assert {"safe", "first", "last", f"k{MAX_PER_DOMAIN - 5}"} <= names
    assert names.isdisjoint({"brief", "second", "k0"})


@pytest.mark.slow
def test_ten_thousand_cookies_stay_within_the_bounds() -> None:
    """Of one host, of many, of one site; the latest are always there."""
    for host in ("example.org", "h{}.example.org", "h{}.example{}.org"):
        jar = Jar()
        for i in range(10_000):
            url = f"http://{host.format(i, i)}/"
            assert jar.accept(url, [f"k{i}=1"], NOW) == 1
            assert len(jar) <= MAX_COOKIES
        assert len(jar.cookies(NOW)) == len(jar) >= 150
        assert jar.cookies(NOW)[-1].name == "k9999"


def test_the_least_recently_used_leave_a_full_jar() -> None:
    """One that is sent now and then stays, though it is the oldest."""
    jar = jar_of(("http://old.example/", "k=1"), ("http://older.example/", "k=1"))
    for i in range(MAX_COOKIES):
        jar.accept(f"http://h{i}.example/", ["k=1"], NOW)
        jar.header("http://old.example/", NOW)
    assert jar.header("http://old.example/", NOW) == "k=1"
    assert jar.header("http://older.example/", NOW) is None


def test_a_header_is_bounded() -> None:
    """150 cookies, and a line of 8,190 bytes; octets count."""
    url, jar = "http://example.org/", Jar()
    jar.accept(url, [f"k{i}=1" for i in range(MAX_PER_DOMAIN)], NOW)
    assert len((jar.header(url, NOW) or "").split("; ")) == MAX_SENT
    big = Jar()
    big.accept(url, [f"k{i}=" + "ü" * (MAX_PAIR // 2 - 2) for i in range(3)], NOW)
    sent = big.header(url, NOW) or ""
    assert (len(big), sent.count("k")) == (3, 1)
    exact = Jar()
    exact.accept(url, ["a=" + "x" * 4094, "b=" + "x" * (8190 - len("Cookie: ") - 4096 - len("; ") - 2)], NOW)
    assert len("Cookie: " + (exact.header(url, NOW) or "")) == 8190
    exact.accept(url, ["b=" + "x" * (8190 - len("Cookie: ") - 4096 - len("; ") - 1)], NOW)
    assert (exact.header(url, NOW) or "").startswith("a=x")
    assert "; " not in (exact.header(url, NOW) or "")


def test_the_session_can_be_ended() -> None:
    """Cookies with an expiry stay."""
    url = "http://example.org/"
    jar = jar_of((url, "session=1"), (url, "lasting=1; max-age=60"))
    before = jar.changes
    jar.clear_session()
    assert (jar.header(url, NOW), len(jar)) == ("lasting=1", 1)
    assert jar.changes > before


def test_restored_cookies_obey_the_same_rules() -> None:
    """Expired ones and those at fault stay out, an expiry is cut to 400 days, their order is their age."""
    good = Cookie("a", "1", "example.org", "/", host_only=True)
    jar = Jar()
    cookies = [
        good._replace(name="late", expires=NOW + 10 * MAX_AGE),
        good,
        good._replace(name="gone", expires=NOW),
        good._replace(domain="co.uk", host_only=False),
        good._replace(value="x\r\ny"),
    ]
    assert jar.restore(cookies, NOW) == 2
    assert jar.cookies(NOW) == [good._replace(name="late", expires=NOW + MAX_AGE), good]
    assert jar.header("http://www.example.org/", NOW) is None


def test_a_copy_is_a_jar_of_its_own() -> None:
    """The same cookies in the same order; what happens to one does not happen to the other."""
    url = "http://example.org/"
    jar = jar_of((url, "a=1"), (url, "gone=1; max-age=1"), (url, "b=1; max-age=60"))
    copy = jar.copy(NOW + 1)
    assert copy.cookies(NOW + 1) == jar.cookies(NOW + 1)
    copy.clear_session()
    assert (jar.header(url, NOW + 1), copy.header(url, NOW + 1)) == ("a=1; b=1", "b=1")


def test_a_repr_shows_no_value() -> None:
    """Only how many there are."""
    jar = jar_of(("http://example.org/", "sid=secret"))
    assert "1" in repr(jar)
    assert "secret" not in repr(jar) + repr(jar.cookies(NOW))


NAMES = (
    "example.org www.example.org a.www.example.org badexample.org org co.uk example.co.uk other.co.uk localhost "
    "a.localhost 127.0.0.1 0.0.1 [::1] com. example.com. github.io me.github.io you.github.io"
)
HOSTS = st.sampled_from(NAMES.split())
URLS = st.builds(
    "{}://{}{}/{}".format,
    st.sampled_from(["http", "https"]),
    HOSTS,
    st.sampled_from(["", ":8080"]),
    st.sampled_from(["", "a", "a/", "a/b", "ab", "a?/b"]),
)
LINES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["a=", "b=", "__Host-a=", "__secure-b=", "=", ""]),
        st.text("xyz", max_size=3),
        st.sampled_from(["", "; path=/", "; path=/a", "; path=b"]),
        st.just("") | HOSTS.map("; domain={}".format) | HOSTS.map("; domain=.{}".format),
        st.sampled_from(["", "; secure"]),
        st.sampled_from(["", "; max-age=0", "; max-age=9"]),
    ),
)


@given(st.lists(st.tuples(URLS, LINES), max_size=12), URLS, st.sampled_from([0, 9]))
@example([("https://me.github.io/", "a=x; domain=.github.io")], "https://you.github.io/", 0)
def test_cookies_go_only_where_they_may(answers: list[tuple[str, str]], url: str, later: int) -> None:
    """What is sent is what the definition picks from all that the jar holds, and each came from a host it matches."""
    jar = jar_of(*answers)
    now = NOW + later
    scheme, _, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    host = netloc.removesuffix(":8080")
    path = "/" + path.partition("?")[0]
    may = [
        cookie
        for cookie in jar.cookies(now)
        if (host == cookie.domain if cookie.host_only else domain_match(host, cookie.domain))
        and path_match(path, cookie.path)
        and (scheme == "https" or not cookie.secure)
    ]
    may.sort(key=lambda cookie: -len(cookie.path))
    pairs = [f"{cookie.name}={cookie.value}" if cookie.name else cookie.value for cookie in may]
    assert jar.header(url, now) == ("; ".join(pairs) or None)
    givers = {given.split("/")[2].removesuffix(":8080") for given, _ in answers}
    for cookie in jar.cookies(now):
        assert fault(cookie) is None
        assert any(domain_match(giver, cookie.domain) for giver in givers)
        assert cookie.expires is None or cookie.expires > now
    assert len({(c.name, c.domain, c.path, c.host_only) for c in jar.cookies(NOW)}) == len(jar)


@given(st.lists(st.text(st.characters(codec=None), max_size=40), max_size=5))
def test_no_line_breaks_the_jar(lines: list[str]) -> None:
    """What goes out is fit for a header, whatever came in."""
    jar = Jar()
    jar.accept("https://example.org/", lines, NOW)
    sent = jar.header("https://example.org/", NOW) or ""
    assert sent.encode().translate(None, bytes([*range(9), *range(10, 32), 127])) == sent.encode()
