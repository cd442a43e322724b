"""What the headers of an answer say of the requests that are still allowed."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from crawler.quota import DAY, Quota, quota_of

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
NAMES = [
    *("RateLimit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "X-RateLimit-Remaining"),
    *("X-RateLimit-Reset", "X-RateLimit-Reset-After", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset"),
    *("X-RateLimit-Remaining-Second", "X-RateLimit-Remaining-Minute", "X-RateLimit-Remaining-Day", "Date"),
]
SOUP = st.lists(
    st.sampled_from(
        [
            *('"', "\\", ",", ";", "=", "r", "t", "w", "0", "1", "30", "-", ".", " ", "e9", "\0", "²", "NaN", "inf"),
            *(
                "remaining",
                "reset",
                "default",
                "1700000030",
                "99999999999999",
                DATE,
                "2023-11-14T22:13:50Z",
                "9999-12-31",
            ),
        ]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)


def quota(*lines: tuple[str, str], wall_now: float = NOW) -> Quota | None:
    return quota_of(CIMultiDictProxy(CIMultiDict(lines)), wall_now)


def of(wall_now: float = NOW, /, **lines: str) -> Quota | None:
    """The quota of headers whose names are written with underscores."""
    return quota(*((name.replace("_", "-"), text) for name, text in lines.items()), wall_now=wall_now)


def test_most_answers_say_nothing() -> None:
    """An answer without such a header has no quota, nor has one that tells only the limit or only the reset."""
    assert of(Content_Type="text/html", Date=DATE) is None
    assert of(X_RateLimit_Limit="60", X_RateLimit_Reset="30") is None
    assert of(RateLimit_Policy='"default";q=100;w=60') is None
    assert of(X_RateLimit_Limit_Minute="60") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"default";r=0;t=30', Quota(0, 30)),
        ('"default" ; r=0 ; t=30', Quota(0, 30)),
        ("default;t=30;r=7;pk=:cHsdsRa894==:", Quota(7, 30)),
        ('"burst";r=5;t=1, "daily";r=2;t=3600', Quota(2, 3600)),
        ('"burst";r=0;t=1, "daily";r=0;t=3600', Quota(0, 3600)),
        ('"a,b;r=0;t=9\\"";r=4;t=30', Quota(4, 30)),
        ('"broken";r=x;t=30, "fine";r=3;t=5', Quota(3, 5)),
        ("limit=100, remaining=0, reset=30", Quota(0, 30)),
        ("limit=100,remaining=12,reset=30", Quota(12, 30)),
        ("limit=100; remaining=12; reset=30", Quota(12, 30)),
        ('"default";r=5', None),
        ('"default";r=-1;t=30', None),
        ('"default";r=0;t=-30', None),
        ("limit=100, remaining=50", None),
        ("", None),
    ],
)
def test_the_drafts_one_header(text: str, expected: Quota | None) -> None:
    """RateLimit is read in its newer and older form, and the tightest policy counts."""
    assert of(RateLimit=text) == expected


def test_a_repeated_header_is_one_list() -> None:
    """Policies may stand in one line or in several."""
    assert quota(("RateLimit", '"a";r=9;t=1'), ("ratelimit", '"b";r=1;t=8')) == Quota(1, 8)
    assert quota(
        *(("X-RateLimit-Remaining", "9"), ("X-RateLimit-Remaining", "0")),
        *(("X-RateLimit-Reset", "1"), ("X-RateLimit-Reset", "8")),
    ) == Quota(0, 8)


@pytest.mark.parametrize("prefix", ["RateLimit", "X-RateLimit", "x-rate-limit"])
@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("30", 30.0),
        (" 30.5 ", 30.5),
        ("1700000030", 30.0),
        ("1700000030.25", 30.25),
        ("1700000030500", 30.5),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T23:13:50+01:00", 30.0),
        ("2023-11-14 22:13:50", 30.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("1699999999", 0.0),
        ("2592000", DAY),
        ("1702592000", DAY),
    ],
)
def test_a_reset_in_any_of_its_forms(prefix: str, reset: str, seconds: float) -> None:
    """Seconds from now, seconds or milliseconds since the epoch, and dates are told apart; a day is the most."""
    assert quota((f"{prefix}-Remaining", "0"), (f"{prefix}-Reset", reset)) == Quota(0, seconds)


@pytest.mark.parametrize(
    "reset", ["", "soon", "-5", "1e3", "99999999", "9" * 12, "9" * 15, "9" * 99, "9999-12-31", "²"]
)
def test_a_reset_that_cannot_be_is_none(reset: str) -> None:
    """Garbage, negative numbers and moments years away count as no reset, and without a reset there is no quota."""
    assert of(X_RateLimit_Remaining="0", X_RateLimit_Reset=reset) is None


@pytest.mark.parametrize("remaining", ["", "-1", "many", "1e9", "9" * 16, "٣", "5, 6"])
def test_a_remainder_that_cannot_be_is_none(remaining: str) -> None:
    """Only a plain number tells what remains."""
    assert of(X_RateLimit_Remaining=remaining, X_RateLimit_Reset="30") is None


def test_fractions_of_a_request_do_not_count() -> None:
    """Reddit's 598.0 is 598 requests, and half a request is none."""
    assert of(X_RateLimit_Remaining="598.0", X_RateLimit_Reset="231") == Quota(598, 231)
    assert of(X_RateLimit_Remaining="0.5", X_RateLimit_Reset="231") == Quota(0, 231)


def test_moments_count_from_the_servers_own_date() -> None:
    """A clock that is an hour wrong on our side changes nothing, as long as the answer has a Date that can be read."""
    wrong = NOW + 3600
    assert of(wrong, X_RateLimit_Remaining="0", X_RateLimit_Reset="1700000030", Date=DATE) == Quota(0, 30)
    assert of(wrong, X_RateLimit_Remaining="0", X_RateLimit_Reset="2023-11-14T22:13:50Z", Date=DATE) == Quota(0, 30)
    assert of(NOW - 10, X_RateLimit_Remaining="0", X_RateLimit_Reset="1700000030", Date="today") == Quota(0, 40)
    assert of(wrong, X_RateLimit_Remaining="0", X_RateLimit_Reset="30", Date=DATE) == Quota(0, 30)


def test_discords_seconds_need_no_clock() -> None:
    """X-RateLimit-Reset-After goes before X-RateLimit-Reset."""
    told = of(X_RateLimit_Remaining="0", X_RateLimit_Reset="1700009999.5", X_RateLimit_Reset_After="64.57")
    assert told == Quota(0, 64.57)


def test_kongs_units_bound_the_reset() -> None:
    """Each unit of time has its own count; the tightest counts, and its reset is at most that unit away."""
    both = {"X_RateLimit_Remaining_Second": "3", "X_RateLimit_Remaining_Hour": "0"}
    assert of(**both) == Quota(0, 3600)
    assert of(**both, RateLimit_Reset="41") == Quota(0, 41)
    assert of(X_RateLimit_Remaining_Minute="0", RateLimit_Reset="4000") == Quota(0, 60)
    assert of(X_RateLimit_Remaining_Minute="5", X_RateLimit_Remaining_Day="5") == Quota(5, DAY)
    assert of(X_RateLimit_Remaining_Minute="none") is None


def test_the_plain_pair_goes_before_kongs_units() -> None:
    """What Kong says of the tightest of its windows is exact."""
    assert of(X_RateLimit_Remaining_Minute="0", RateLimit_Remaining="0", RateLimit_Reset="7") == Quota(0, 7)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ({"RateLimit": '"b";r=0', "RateLimit_Policy": '"a";q=10;w=1, "b";q=100;w=60'}, Quota(0, 60)),
        ({"RateLimit": '"b";r=1', "RateLimit_Policy": '"b";q=100;w=60'}, None),
        ({"RateLimit": '"b";r=0;t=9', "RateLimit_Policy": '"b";q=100;w=60'}, Quota(0, 9)),
        ({"RateLimit_Remaining": "0", "RateLimit_Policy": "10;w=1;burst=100, 1000;w=3600"}, Quota(0, 1)),
        ({"RateLimit_Remaining": "0", "RateLimit_Policy": '"x";q=1;w=-5'}, None),
        ({"RateLimit_Remaining": "0", "RateLimit_Policy": '"x";q=1;w=999999'}, Quota(0, DAY)),
        ({"RateLimit_Remaining": "0;w=21600", "RateLimit_Limit": "100;w=21600"}, Quota(0, 21600)),
        ({"RateLimit_Remaining": "76;w=21600"}, None),
        ({"X_RateLimit_Remaining": "0"}, None),
    ],
)
def test_a_policys_window_stands_in_for_the_reset(lines: Mapping[str, str], expected: Quota | None) -> None:
    """Only for a quota that is used up, by the policy's name, else the shortest window."""
    assert of(**lines) == expected


def test_of_several_customs_the_tightest_counts() -> None:
    """A gateway and the service behind it may both speak."""
    assert of(RateLimit='"a";r=50;t=9', X_RateLimit_Remaining="3", X_RateLimit_Reset="60") == Quota(3, 60)


def test_a_header_of_absurd_length_is_not_read() -> None:
    """It is passed over, and the others still count."""
    assert of(RateLimit='"a";r=0;t=30,' * 1000) is None
    assert of(RateLimit='"' * 100_000, X_RateLimit_Remaining="1", X_RateLimit_Reset="30") == Quota(1, 30)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), SOUP), max_size=6),
    st.floats(0, 4e9),
)
@example([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "0001-01-01T00:00:00+23:59")], NOW)
@example([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "Mon, 99 Jan 99999 99:99:99 +9999")], NOW)
@example([("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "9999-12-31T23:59:59-23:59")], NOW)
@example([("RateLimit", ';;;,,,"')], NOW)
def test_whatever_is_said_it_never_raises(lines: list[tuple[str, str]], wall_now: float) -> None:
    """Any text gives None or a plausible quota."""
    told = quota(*lines, wall_now=wall_now)
    assert told is None or (told.remaining >= 0 and isfinite(told.reset) and 0 <= told.reset <= DAY)


@given(st.integers(0, 10**6), st.integers(0, int(DAY)), st.sampled_from(["draft", "older", "delta", "epoch", "ms"]))
def test_what_was_said_is_what_is_read(remaining: int, reset: int, form: str) -> None:
    """All forms of one quota mean the same."""
    lines = {
        "draft": {"RateLimit": f'"default";r={remaining};t={reset}'},
        "older": {"RateLimit": f"limit=9, remaining={remaining}, reset={reset}"},
        "delta": {"RateLimit_Remaining": f"{remaining}", "RateLimit_Reset": f"{reset}"},
        "epoch": {"X_RateLimit_Remaining": f"{remaining}", "X_RateLimit_Reset": f"{int(NOW) + reset}"},
        "ms": {"X_Rate_Limit_Remaining": f"{remaining}", "X_Rate_Limit_Reset": f"{(int(NOW) + reset) * 1000}"},
    }[form]
    assert of(**lines) == Quota(remaining, reset)
