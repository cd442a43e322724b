"""Which requests have ended: bytes by id, in chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.states import CHUNK, FAILED, FETCHED, SKIPPED, WAITING, States

IDS = st.integers(1, 4 * CHUNK) | st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
SETS = st.lists(st.tuples(IDS, st.sampled_from([WAITING, FETCHED, FAILED, SKIPPED])), max_size=30)


@given(st.lists(SETS, max_size=5))
def test_chunks_bring_back_what_was_set(rounds: list[list[tuple[int, int]]]) -> None:
    """A store that keeps the latest of each dirty chunk knows every state, whatever was set in how many rounds."""
    states, known = States(), dict[int, int]()
    store: dict[int, bytes] = {}
    for sets in rounds:
        for id, state in sets:
            states[id] = known[id] = state
        store.update(states.dirty())
        assert states.dirty() == []
    highest = max(known, default=0)
    back = States(sorted(store.items()), highest)
    every = range(1, highest + 2)
    assert [back[id] for id in every] == [states[id] for id in every] == [known.get(id, WAITING) for id in every]
    assert back.ended == states.ended == sum(state != WAITING for state in known.values())
    assert back.dirty() == []


@given(SETS, IDS)
def test_the_next_that_waits(sets: list[tuple[int, int]], start: int) -> None:
    """What lies between an id and the answer has ended; the answer waits."""
    states = States()
    for id, state in sets:
        states[id] = state
    found = states.waiting_from(start)
    assert found >= start
    assert states[found] == WAITING
    assert all(states[id] != WAITING for id in range(start, found))


def test_where_nothing_waits_the_next_is_beyond_all() -> None:
    """Ids that were never set wait, so the search ends behind the last chunk, or where it began."""
    states = States()
    assert states.waiting_from(7) == 7
    for id in range(CHUNK):
        states[id] = FETCHED
    assert states.waiting_from(1) == CHUNK
    assert states.waiting_from(5 * CHUNK) == 5 * CHUNK


def test_only_what_changed_is_stored() -> None:
    """An id makes its own chunk dirty and no other."""
    states = States()
    states[3 * CHUNK + 5] = FAILED
    ((number, chunk),) = states.dirty()
    assert (number, len(chunk), chunk[5], sum(chunk)) == (3, CHUNK, FAILED, FAILED)


@pytest.mark.parametrize(
    ("number", "chunk"),
    [
        (0, b"\0" * (CHUNK - 1)),
        (0, b"\0" * (CHUNK + 1)),
        (0, b"\0" * (CHUNK - 1) + b"\x04"),
        (0, "\0" * CHUNK),
        (0, None),
        (-1, b"\0" * CHUNK),
        (2, b"\0" * CHUNK),
        (2**50, b"\0" * CHUNK),
    ],
)
def test_what_was_never_stored_is_refused(number: int, chunk: bytes) -> None:
    """A chunk of another length, of states that do not exist, or far beyond the ids is damage, not a state."""
    with pytest.raises(ValueError, match=f"chunk {number} of the states"):
        States([(number, chunk)], highest=2 * CHUNK - 1)


def test_it_says_how_many_ended() -> None:
    """The repr counts."""
    states = States()
    states[9] = FETCHED
    states[9] = FAILED
    assert repr(states) == "<States 1 ended>"
