"""What a Set-Cookie line says."""

from __future__ import annotations

from calendar import timegm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.setcookie import MAX_AGE, MAX_PAIR, SetCookie, cookie_date, parse, unsound

NOW = 1_700_000_000.0


def said(line: str) -> SetCookie:
    found = parse(line, NOW)
    assert found is not None
    return found


def test_all_attributes_of_a_line() -> None:
    """Names of attributes are read without case, blanks and the domain's leading dot are dropped."""
    line = 'SID = "a b" ; PATH=/x; Domain=.Example.ORG;secure ;HttpOnly=whatever; SameSite=Lax; Max-Age=60; Other=1'
    assert said(line) == SetCookie("SID", '"a b"', "example.org", "/x", NOW + 60, True, True)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("a=b", "a", "b"),
        ("a=", "a", ""),
        ("a=b=c", "a", "b=c"),
        (" \ta\t=\t b \t", "a", "b"),
        ("a b=c d", "a b", "c d"),
        ("lonely", "", "lonely"),
        ("=lonely", "", "lonely"),
        ('a="b;c"', "a", '"b'),  # quotes protect nothing
        ("a=b,c=d", "a", "b,c=d"),
        ("a=ü", "a", "ü"),
        ("a=b\tc", "a", "b\tc"),
    ],
)
def test_name_and_value(line: str, name: str, value: str) -> None:
    """The first `=` before the first `;` parts them; without one all is value; quotes are part of the value."""
    assert said(line)[:2] == (name, value)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "=",
        " = ",
        ";",
        "; a=b",
        "a=b\0",
        "a=b\rc",
        "a=b\nc",
        "a\x7f=b",
        "a=b; path=/\x01",
        "a=\udcff",
        "=a=b",
        "==a",
    ],
)
def test_lines_to_be_ignored(line: str) -> None:
    """Neither name nor value, a control character anywhere, octets that are no UTF-8, a value that would get a name."""
    assert parse(line, NOW) is None


def test_the_size_of_name_and_value_together() -> None:
    """4,096 octets are taken, one more is not; octets count, not characters."""
    assert parse("a=" + "b" * (MAX_PAIR - 1), NOW) is not None
    assert parse("a=" + "b" * MAX_PAIR, NOW) is None
    assert parse("a=" + "ü" * (MAX_PAIR // 2), NOW) is None
    assert parse("a=" + "b" * 1_000_000, NOW) is None


def test_an_attribute_of_more_than_1024_octets_is_ignored() -> None:
    """As if it had not been said; the one before it counts."""
    assert said("a=b; path=/x; path=/" + "y" * 1024).path == "/x"
    assert said("a=b; path=/" + "y" * 1023).path == "/" + "y" * 1023


def test_the_last_of_an_attribute_counts() -> None:
    """Of Path, Domain and Max-Age said twice."""
    line = "a=b; path=/x; path=/y; domain=one.example; domain=two.example; max-age=1; max-age=2"
    assert said(line)[2:5] == ("two.example", "/y", NOW + 2)


@pytest.mark.parametrize(("path", "read"), [("/a", "/a"), ("a", ""), ("", ""), ('"/a"', "")])
def test_a_path_that_is_none(path: str, read: str) -> None:
    """What does not begin with a slash asks for the default path."""
    assert said(f"a=b; path={path}").path == read


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("10", NOW + 10),
        ("0", 0.0),
        ("-1", 0.0),
        ("99999999999999999999999", NOW + MAX_AGE),
        ("1" * 1000, NOW + MAX_AGE),
        ("", None),
        ("-", None),
        ("+1", None),
        ("1.5", None),
        ("1 0", None),
        ("١", None),
    ],
)
def test_max_age(text: str, expires: float | None) -> None:
    """Digits, perhaps a minus; at most 400 days; anything else is as if it had not been said."""
    assert said(f"a=b; max-age={text}").expires == expires


def test_max_age_counts_before_expires() -> None:
    """In either order; an Expires alone is cut to 400 days; one that is no date is not there."""
    date = "Tue, 14 Nov 2023 22:14:20 GMT"  # NOW + 60
    assert said(f"a=b; expires={date}").expires == NOW + 60
    assert said(f"a=b; max-age=5; expires={date}").expires == NOW + 5
    assert said(f"a=b; expires={date}; max-age=5").expires == NOW + 5
    assert said("a=b; expires=Fri, 31 Dec 9999 23:59:59 GMT").expires == NOW + MAX_AGE
    assert said("a=b; expires=never").expires is None
    assert said(f"a=b; expires={date}; expires=never").expires == NOW + 60


MOMENT = timegm((1994, 11, 6, 8, 49, 37))


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",  # RFC 9110 5.6.7, its three forms
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "6 nov 1994 8:49:37",
        "NOVEMBER/6/94/8:49:37",
        "08:49:37 6 November 1994 +0200",  # always UTC
        "1994 06 Nov 08:49:37 06",  # a second day is left over
        "6th Nov 94 08:49:37",
        "6 94 nov 8:49:37pm",
    ],
)
def test_dates_in_any_order(text: str) -> None:
    """A time, a day, a month and a year, parted by anything."""
    assert cookie_date(text) == MOMENT


@pytest.mark.parametrize(
    ("text", "year"), [("70", 1970), ("99", 1999), ("00", 2000), ("69", 2069), ("1601", 1601), ("2024", 2024)]
)
def test_years_of_two_digits(text: str, year: int) -> None:
    """70 to 99 are of the last century, 00 to 69 of this one."""
    assert cookie_date(f"01 Jan {text} 00:00:00") == timegm((year, 1, 1, 0, 0, 0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sun, 06 Nov 1994",
        "Nov 1994 08:49:37",
        "06 1994 08:49:37",
        "06 Nov 08:49:37",
        "00 Nov 1994 08:49:37",
        "31 Feb 2024 08:49:37",
        "29 Feb 2023 08:49:37",
        "06 Nov 1994 24:00:00",
        "06 Nov 1994 00:60:00",
        "06 Nov 1994 00:00:60",
        "06 Nov 1600 08:49:37",
        "06 Nov 123 08:49:37",
        "06 Nov 19941 08:49:37",
        "06 Nov 1994 08:49:371",
        "06 Nov 1994 08:49",
        "06 Növ 1994 08:49:37",
    ],
)
def test_texts_that_are_no_date(text: str) -> None:
    """A part is missing, or there was no such moment."""
    assert cookie_date(text) is None


@given(st.text(st.characters(codec=None), max_size=60) | st.from_regex(r"[a=;\s\x00-\xff:0-9]{0,80}"))
def test_no_line_raises(line: str) -> None:
    """Whatever is read from any line can be sent, and kept in a file."""
    found = parse(line, NOW)
    if found is not None:
        assert unsound(found.name, found.value) is None
        assert found.expires is None or found.expires <= NOW + MAX_AGE


def test_a_repr_shows_no_value() -> None:
    """Nor that of a cookie without a name."""
    assert "secret" not in repr(parse("sid=secret", NOW)) + repr(parse("secret", NOW))
