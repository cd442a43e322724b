"""Which records are wanted."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.monitorfilter import Wanted, host_of, wanted
from tests.monitored import failed, record

RECORDS = [
    record(1),
    record(2, url="https://B.example:8443/deep/Path?q=1", change="changed"),
    failed(3),
    failed(4, 503),
    record(5, outcome="skipped", reason="robots", status=None, change=None),
    record(6, input={"note": '"outcome":"failed","status":404'}),
]


def ids(**query: str) -> list[int]:
    """What is wanted of RECORDS, by the lines as the crawler writes them."""
    asked = wanted(query)
    return [one["id"] for one in RECORDS if asked.may(orjson.dumps(one)) and asked.wants(one)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"outcome": " ", "reason": ""}, [1, 2, 3, 4, 5, 6]),
        ({"outcome": "failed"}, [3, 4]),
        ({"reason": "status-404"}, [3]),
        ({"reason": "status-*"}, [3, 4]),
        ({"reason": "robots"}, [5]),
        ({"status": "404"}, [3]),
        ({"status": "5xx"}, [4]),
        ({"status": "2xx"}, [1, 2, 6]),
        ({"change": "changed"}, [2]),
        ({"host": "b.EX"}, [2]),
        ({"host": "deep"}, []),
        ({"url": "/DEEP/"}, [2]),
        ({"outcome": "failed", "status": "503"}, [4]),
        ({"unknown": "x"}, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_each_filter_narrows(query: dict[str, str], found: list[int]) -> None:
    """Alone and together; what the user's own columns say is not looked at."""
    assert ids(**query) == found


@pytest.mark.parametrize(
    "query",
    [
        {"outcome": "x"},
        {"change": "new "[:2]},
        {"status": "40"},
        {"status": "xxx"},
        {"status": "4x4"},
        {"reason": "[a-z]"},
        {"reason": "a b"},
        {"url": "x" * 2001},
    ],
)
def test_what_cannot_be_meant_is_told(query: dict[str, str]) -> None:
    """As a sentence."""
    with pytest.raises(ValueError, match=next(iter(query))):
        wanted(query)


@given(
    outcome=st.sampled_from([None, "fetched", "failed", "skipped"]),
    reason=st.sampled_from([None, "robots", "status-404", "status-*", "r?bots"]),
    status=st.sampled_from([None, "404", "4xx", "200"]),
    change=st.sampled_from([None, "new", "gone"]),
    line=st.sampled_from(RECORDS),
)
def test_the_quick_look_loses_nothing(
    outcome: str | None, reason: str | None, status: str | None, change: str | None, line: dict[str, Any]
) -> None:
    """Whatever is wanted may be: `may` is only quicker."""
    asked = Wanted(outcome, reason, status, change)
    if asked.wants(line):
        assert asked.may(orjson.dumps(line))


def test_a_host_is_what_stands_behind_the_scheme() -> None:
    """With its port; a text that is no URL has none."""
    assert host_of("http://A.example:80/x//y") == "a.example:80"
    assert host_of("wss://a?b") == "a"
    assert host_of("no url") == ""
