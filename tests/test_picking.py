"""Which failures are made again."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import Reason
from crawler.picking import Picked, pick


class Failure(NamedTuple):
    id: int
    host: str
    reason: str
    at: float


FAILURES = [
    Failure(1, "a.example", "status-503", 100.0),
    Failure(2, "b.example", "status-404", 200.0),
    Failure(3, "a.example", "connect-timeout", 300.0),
    Failure(4, "[::1]:8080", "connect-refused", 400.0),
    Failure(5, "c.org", "host-dead", 500.0),
    Failure(6, "", "bad-input", 600.0),
]
SLUGS = [reason.value for reason in Reason if reason is not Reason.STATUS] + ["status-404", "status-500", "status-503"]


def ids(**wanted: object) -> list[int]:
    return [failure.id for failure in pick(FAILURES, Picked(**wanted), 1000.0)]  # type: ignore[arg-type]


def test_no_wish_is_every_failure() -> None:
    """Without a wish all come, in their order."""
    assert ids() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("reasons", "found"),
    [
        (("host-dead",), [5]),
        (("status-5*",), [1]),
        (("status",), [1, 2]),
        (("connect-*",), [3, 4]),
        (("connect-*", "host-dead"), [3, 4, 5]),
        (("status-?0?",), [1, 2]),
        (("*",), [1, 2, 3, 4, 5, 6]),
        (("stall",), []),
        (("status-999",), []),
    ],
)
def test_reasons_are_slugs_or_globs(reasons: tuple[str, ...], found: list[int]) -> None:
    """A glob covers the whole slug, several reasons are alternatives, and `status` is any status."""
    assert ids(reasons=reasons) == found


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (("a.example",), [1, 3]),
        (("A.Example",), [1, 3]),
        (("*.example",), [1, 2, 3]),
        (("?.org", "b.*"), [2, 5]),
        (("[::1]:8080",), [4]),
        (("[::1]*",), [4]),
        (("example",), []),
        (("aXexample",), []),
    ],
)
def test_hosts_are_names_or_globs(hosts: tuple[str, ...], found: list[int]) -> None:
    """Case does not matter, dots and the brackets of IPv6 mean themselves."""
    assert ids(hosts=hosts) == found


@pytest.mark.parametrize(
    ("statuses", "found"),
    [
        (("503",), [1]),
        (("5xx",), [1]),
        (("4XX", "5xx"), [1, 2]),
        (("404-503",), [1, 2]),
        (("405-502",), []),
        (("503-503",), [1]),
    ],
)
def test_statuses_are_numbers_classes_or_spans(statuses: tuple[str, ...], found: list[int]) -> None:
    """A failure whose reason is no status has none; spans include both ends."""
    assert ids(statuses=statuses) == found


def test_older_than() -> None:
    """What failed exactly so long ago is old enough, what failed later (or after the clock was set back) is not."""
    assert ids(older=500.0) == [1, 2, 3, 4, 5]
    assert ids(older=500.5) == [1, 2, 3, 4]
    assert ids(older=0.0) == [1, 2, 3, 4, 5, 6]
    assert pick([Failure(1, "h", "stall", 2000.0)], Picked(older=0.0), 1000.0) == []


def test_all_kinds_must_match() -> None:
    """A reason and a host and an age narrow each other down."""
    assert ids(reasons=("status-*", "connect-*"), hosts=("a.example",)) == [1, 3]
    assert ids(reasons=("status-*", "connect-*"), hosts=("a.example",), older=800.0) == [1]
    assert ids(reasons=("host-dead",), statuses=("5xx",)) == []


@pytest.mark.parametrize(
    ("slug", "said"),
    [
        ("conect-timeout", "'conect-timeout' is no reason; did you mean 'connect-timeout'?"),
        ("host_dead", "'host_dead' is no reason; did you mean 'host-dead'?"),
        ("Stall", "'Stall' is no reason; did you mean 'stall'?"),
        ("status-5xx", "'status-5xx' is no reason; did you mean 'status-5*'?"),
        ("status-44", "'status-44' is no reason; did you mean 'status-404'?"),
        ("robot-*", "'robot-*' is no reason; did you mean 'robots'?"),
        ("", "'' is no reason"),
        ("?", "'?' is no reason"),
    ],
)
def test_a_reason_that_cannot_be_is_refused(slug: str, said: str) -> None:
    """A slug or glob that no failure can have names the nearest that one can."""
    with pytest.raises(ValueError) as caught:
        ids(reasons=("stall", slug))
    assert str(caught.value) == said


@pytest.mark.parametrize("text", ["", "5", "50x", "x", "0xx", "099", "1000", "599-500", "500-", "500-599-600", "٥٠٣"])
def test_a_status_that_cannot_be_is_refused(text: str) -> None:
    """The forms that are read are named."""
    with pytest.raises(ValueError) as caught:
        ids(statuses=(text,))
    assert str(caught.value) == f"'{text}' is no status; write it like '503', '5xx' or '500-599'"


@given(
    st.lists(st.builds(Failure, st.integers(), st.sampled_from("ab"), st.sampled_from(SLUGS), st.floats(0, 1000))),
    st.lists(st.sampled_from(SLUGS), max_size=3),
    st.lists(st.sampled_from("ab"), max_size=2),
    st.none() | st.floats(0, 1000),
)
def test_each_failure_is_judged_alone(
    failures: list[Failure], reasons: list[str], hosts: list[str], older: float | None
) -> None:
    """What comes is what the plain definition says, each once and in order."""
    assert pick(failures, Picked(tuple(reasons), tuple(hosts), (), older), 1000.0) == [
        failure
        for failure in failures
        if (not reasons or failure.reason in reasons)
        and (not hosts or failure.host in hosts)
        and (older is None or failure.at <= 1000.0 - older)
    ]
