"""Two runs compared: the table of verdicts, order, repeats, runs that are not whole."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.comparison import VERDICTS, Comparison, told_by_records
from tests.exportruns import record

URL = "http://a.example/x"


def said(kind: str, content: str = "1", **more: Any) -> dict[str, Any]:
    """A record of that kind."""
    match kind:
        case "content":
            return record(1, content.encode(), **({"url": URL} | more))
        case "gone":
            return record(1, **({"url": URL} | more), outcome="failed", status=404, reason="status-404")
        case "unknown":
            return record(1, **({"url": URL} | more), outcome="failed", status=503, reason="status-503")
        case _:
            return record(1, **({"url": URL} | more), outcome="skipped", status=None, reason=kind)


def compared(
    older: list[dict[str, Any]], newer: list[dict[str, Any]], **settings: bool
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    found = Comparison(**{"unchanged": True, **settings})
    found.before(older)
    found.after(newer)
    found.unmet(older)
    counts: dict[str, int] = dict(found.counts)
    return [(line.verdict, line.url) for line in found.lines()], {name: n for name, n in counts.items() if n}


@pytest.mark.parametrize(
    ("older", "newer", "verdict"),
    [
        (None, said("content"), "new"),
        (None, said("gone"), None),
        (None, said("unknown"), "unknown"),
        (None, said("not-due"), "unchanged"),
        (None, said("robots"), None),
        (said("content"), said("content"), "unchanged"),
        (said("content"), said("content", "2"), "changed"),
        (said("content"), said("gone"), "gone"),
        (said("content"), said("unknown"), "unknown"),
        (said("content"), said("not-due"), "unchanged"),
        (said("content"), said("robots"), "unknown"),
        (said("content"), said("removed"), "gone"),
        (said("content"), None, "gone"),
        (said("content"), said("content", sha256=None), "unknown"),
        (said("gone"), said("content"), "new"),
        (said("gone"), said("gone"), None),
        (said("gone"), None, None),
        (said("unknown"), said("content"), "unknown"),
        (said("unknown"), said("gone"), "unknown"),
        (said("unknown"), None, "unknown"),
        (said("not-due"), said("content", change="changed"), "changed"),
        (said("not-due"), said("content", change="unchanged"), "unchanged"),
        (said("not-due"), said("content"), "unknown"),
        (said("not-due"), said("gone"), "gone"),
        (said("not-due"), None, "gone"),
        (said("robots"), said("robots"), None),
        (said("robots"), said("content"), "unknown"),
        (said("robots"), None, None),
    ],
)
def test_what_two_runs_say_of_a_url(older: Any, newer: Any, verdict: str | None) -> None:
    """Nothing is new or gone that was only not looked at; a fault that says nothing of the content is unknown."""
    lines, counts = compared([older] if older else [], [newer] if newer else [])
    assert lines == ([(verdict, URL)] if verdict else [])
    assert counts == ({verdict: 1} if verdict else {})


def test_of_a_run_that_is_not_whole_nothing_is_gone_or_new() -> None:
    """What it does not have yet may come."""
    assert compared([said("content")], [], newer_whole=False)[1] == {"unknown": 1}
    assert compared([], [said("content")], older_whole=False)[1] == {"unknown": 1}
    assert compared([said("content")], [said("content", "2")], older_whole=False, newer_whole=False)[1] == {
        "changed": 1
    }


def test_the_method_tells_urls_apart() -> None:
    """A POST is another resource than the GET of its URL."""
    older = [said("content", "1"), said("content", "2", method="POST")]
    assert compared(older, [older[1]])[1] == {"unchanged": 1, "gone": 1}


def test_a_url_that_stands_several_times_is_compared_as_one() -> None:
    """Rows that send it several bodies: it is unchanged as long as each content was there before."""
    older = [said("content", "1"), said("content", "2"), said("content", "1")]
    assert compared(older, [older[1], older[0]])[1] == {"unchanged": 1}
    assert compared(older, [older[0], said("content", "3"), older[1]])[1] == {"changed": 1}


@given(data=st.data())
def test_order_does_not_matter_and_counts_are_those_of_the_lines(data: st.DataObject) -> None:
    """Runs end in another order each time: lines are sorted and the same."""
    kinds = ["content", "gone", "unknown", "not-due", "robots"]
    ends = st.builds(
        lambda kind, n, content: said(kind, content, url=f"http://a.example/{n}"),
        st.sampled_from(kinds), st.integers(0, 12), st.sampled_from("12"),
    )  # fmt: skip
    older, newer = data.draw(st.lists(ends, max_size=25)), data.draw(st.lists(ends, max_size=25))
    lines, counts = compared(older, newer)
    assert lines == sorted(lines)
    assert counts == {name: n for name in VERDICTS if (n := sum(verdict == name for verdict, _ in lines))}
    for seed in range(3):
        Random(seed).shuffle(older)
        Random(seed).shuffle(newer)
        assert compared(older, newer) == (lines, counts)


@given(same=st.integers(0, 40), changed=st.integers(0, 40), new=st.integers(0, 40), gone=st.integers(0, 40))
def test_many_urls_are_each_counted_once(same: int, changed: int, new: int, gone: int) -> None:
    """The sum is that of all URLs of both runs."""
    numbers = iter(range(200))
    older, newer = [], []
    for count, before, after in ((same, "1", "1"), (changed, "1", "2"), (new, None, "1"), (gone, "1", None)):
        for _, side in product(range(count), ("both",)):
            url = f"http://a.example/{side}/{next(numbers)}"
            older += [said("content", before, url=url)] if before else []
            newer += [said("content", after, url=url)] if after else []
    _, counts = compared(older, newer)
    expected = {"unchanged": same, "changed": changed, "new": new, "gone": gone}
    assert counts == {name: n for name, n in expected.items() if n}


def test_what_is_unchanged_is_listed_only_where_it_is_asked_for() -> None:
    """It is most of what there is."""
    lines, counts = compared([said("content")], [said("content")], unchanged=False)
    assert (lines, counts) == ([], {"unchanged": 1})


def test_a_run_tells_itself_what_changed_where_the_one_before_is_gone() -> None:
    """By the key of its records; faults are unknown as ever."""
    found = [
        said("content", change="new"),
        said("gone", change="gone", url=f"{URL}/2"),
        said("content", change="unchanged", url=f"{URL}/3"),
        said("unknown", url=f"{URL}/4"),
        said("not-due", url=f"{URL}/5"),
        said("robots", url=f"{URL}/6"),
    ]
    lines, counts = told_by_records(found)
    assert [(line.verdict, line.url) for line in lines] == [("gone", f"{URL}/2"), ("new", URL), ("unknown", f"{URL}/4")]
    assert counts == {"new": 1, "changed": 0, "unchanged": 2, "gone": 1, "unknown": 1}
    assert len(told_by_records(found, unchanged=True)[0]) == 5
