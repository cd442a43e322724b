"""Lines of the index and the keys of URLs."""

from __future__ import annotations

import pytest

from crawler.cdxj import Row, line, surt

SESSION = "0123456789abcdefABCDEF0123456789"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://www.archive.org/", "org,archive)/"),
        ("http://archive.org/goo/", "org,archive)/goo"),
        ("http://archive.org/goo/?", "org,archive)/goo"),
        ("http://archive.org/goo/?b&a", "org,archive)/goo?a&b"),
        ("http://archive.org/goo/?a=2&b&a=1", "org,archive)/goo?a=1&a=2&b"),
        ("https://www2.Example.co.uk/A/B.html#top", "uk,co,example)/a/b.html"),
        ("http://example.com:80/", "com,example)/"),
        ("http://example.com:8080/x", "com,example:8080)/x"),
        ("https://example.com:80/x", "com,example:80)/x"),
        ("http://user:secret@example.com/", "com,example)/"),
        ("http://127.0.0.1:8000/", "1,0,0,127:8000)/"),
        ("http://[2001:db8::1]:81/", "2001:db8::1:81)/"),
        ("http://example.com./a", "com,example)/a"),
        ("http://example.com/a//b/../c/./d", "com,example)/a/c/d"),
        ("http://example.com/%7Efoo/%2541/%C3%A9", "com,example)/~foo/a/%c3%a9"),
        ("http://example.com/a%20b%3Fc", "com,example)/a%20b?c"),
        (f"http://example.com/?a=1&PHPSESSID={SESSION}&z=2", "com,example)/?a=1&z=2"),
        (f"http://example.com/?jsessionid={SESSION}", "com,example)/"),
        ("http://example.com/?CFID=1&CFTOKEN=2&x=3", "com,example)/?x=3"),
        ("http://example.com/(abcdefghijklmnopqrstuvwx)/p.aspx", "com,example)/p.aspx"),
        ("http://example.com/a?q=%26%3d", "com,example)/a?=&q="),
    ],
)
def test_keys_are_those_that_replay_tools_search_by(url: str, key: str) -> None:
    """As the SURT documentation and the `surt` package have them."""
    assert surt(url) == key


def test_a_line_is_key_time_and_json() -> None:
    """All values are texts, and what is not known is left out."""
    row = Row("http://a.test/B", "2023-11-14T22:13:20.250000Z", "text/html", "200", "sha256:00")
    assert line(row, 12, 34, "x.warc.gz") == (
        b'test,a)/b 20231114221320 {"url":"http://a.test/B","mime":"text/html","status":"200","digest":"sha256:00",'
        b'"length":"34","offset":"12","filename":"x.warc.gz"}\n'
    )
    revisit = line(row._replace(status=None, digest=None, mime="warc/revisit"), 0, 1, "x")
    assert b"status" not in revisit
    assert b"digest" not in revisit
