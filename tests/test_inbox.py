"""Which rows lie in an inbox, by host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crawler.inbox import Inbox

# Ids in any order, each once, each of a host.
ROWS = st.dictionaries(st.integers(1, 2**40), st.integers(1, 6), max_size=60).map(
    lambda found: [(host, id) for id, host in found.items()]
)


@given(ROWS, ROWS)
def test_a_host_has_its_rows_by_id(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    """Whatever came in which order and however often."""
    inbox = Inbox(first)
    inbox.add(second)
    every = first + second
    assert len(inbox) == len(every)
    for host in range(8):
        assert inbox.of(host) == sorted(id for of, id in every if of == host)
    assert inbox.counts() == {host: len(inbox.of(host)) for host in {host for host, _ in every}}


@given(ROWS, st.lists(st.integers(1, 30), min_size=1))
def test_what_is_taken_comes_once_host_by_host(rows: list[tuple[int, int]], counts: list[int]) -> None:
    """Each time at least as many as were asked for or all, no host in two parts; up to the last host all are gone."""
    inbox = Inbox(rows)
    left = sorted(rows)
    for count in counts:
        taken = inbox.take(count)
        assert len(taken.ids) >= min(count, len(left))
        part, left = left[: len(taken.ids)], left[len(taken.ids) :]
        assert taken.ids == [id for _, id in part]
        assert taken.counts == {host: sum(of == host for of, _ in part) for host, _ in part}
        assert taken.last == (part[-1][0] if part else 0)
        assert all(host > taken.last for host, _ in left)
        assert len(inbox) == len(left)
        assert [(host, id) for host in range(1, 7) for id in inbox.of(host)] == left


def test_it_says_what_it_holds() -> None:
    """The repr counts rows and hosts."""
    assert repr(Inbox([(1, 1), (2, 2), (1, 3)])) == "<Inbox 3 rows of 2 hosts>"
