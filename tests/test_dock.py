"""Which parcel goes next: retries, a target that rests, one that is left alone, the end."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.dock import REFUSALS, Dock
from crawler.parcels import Parcel, Trouble
from crawler.retry import Backoff

RNG = Random(1)
STEADY = Backoff.model_validate({"initial": "1s", "factor": 2.0, "max": "8s", "jitter": "none"})


def dock_of(number: int, *, parallel: int = 4, attempts: int = 3, probing: bool = False) -> Dock:
    dock = Dock(parallel, attempts, STEADY, probing=probing)
    for n in range(1, number + 1):
        dock.put(Parcel(n, "run", f"bodies/{n}", 1))
    return dock


def taken(dock: Dock, now: float = 0.0) -> list[Parcel]:
    """All that may be sent at this moment."""
    found = []
    while (parcel := dock.next(now)) is not None:
        found.append(parcel)
    return found


def one(dock: Dock, now: float) -> Parcel:
    [parcel] = taken(dock, now)
    return parcel


def test_as_many_as_are_allowed_go_side_by_side_in_order() -> None:
    """Four of five; the fifth when one has arrived."""
    dock = dock_of(5)
    first = taken(dock)
    assert [parcel.n for parcel in first] == [1, 2, 3, 4]
    assert dock.wakes() == inf
    dock.arrived(first[2])
    assert [parcel.n for parcel in taken(dock)] == [5]


def test_a_failure_is_tried_again_later_and_may_have_arrived() -> None:
    """Not before the wait is over; then as an attempt that looks first."""
    dock = dock_of(1)
    assert dock.failed(one(dock, 0.0), Trouble.CONNECTION, 10.0, RNG)
    assert taken(dock, 10.9) == []
    assert dock.wakes() == 11.0
    again = one(dock, 11.0)
    assert (again.before, again.attempts) == (True, 1)


def test_a_target_in_trouble_is_asked_by_one_parcel_at_a_time() -> None:
    """Until one arrives; then all may go again."""
    dock = dock_of(9)
    for parcel in taken(dock):
        assert dock.failed(parcel, Trouble.BUSY, 0.0, RNG)
    assert dock.wakes() == 1.0  # four side by side that fail are one fault, and not four
    probe = one(dock, 1.0)
    assert dock.failed(probe, Trouble.BUSY, 1.0, RNG)
    assert dock.wakes() == 3.0
    dock.arrived(one(dock, 3.0))
    assert len(taken(dock, 3.0)) == 4


def test_a_start_after_trouble_probes_first() -> None:
    """One parcel, and the others when it has arrived."""
    dock = dock_of(9, probing=True)
    dock.arrived(one(dock, 0.0))
    assert len(taken(dock)) == 4


def test_a_start_after_trouble_needs_one_refusal() -> None:
    """Nothing has changed: nothing more is sent before the end."""
    dock = dock_of(9, probing=True)
    dock.failed(one(dock, 0.0), Trouble.AUTH, 0.0, RNG)
    assert dock.shut


def test_attempts_are_counted_where_others_arrive() -> None:
    """Three attempts and no more, since the target is well."""
    dock, now = dock_of(1), 0.0
    for attempt in (1, 2, 3):
        parcel = one(dock, now)
        assert dock.failed(parcel, Trouble.FAILED, now, RNG) is (attempt < 3)
        other = Parcel(100 + attempt, "run", "other", 1)
        dock.put(other)
        now += 100.0
        if attempt < 3:
            assert dock.next(now) == other
            dock.arrived(other)
    assert dock.left() == []


def test_a_target_that_is_down_uses_up_no_attempts() -> None:
    """Twenty faults in a row: both parcels wait still, and go when it is back."""
    dock, now = dock_of(2), 0.0
    for _ in range(20):
        now += 100.0
        parcel = dock.next(now)
        assert parcel is not None
        assert dock.failed(parcel, Trouble.CONNECTION, now, RNG)
        taken_too = taken(dock, now)
        assert taken_too == []
    now += 100.0
    dock.arrived(one(dock, now))
    dock.arrived(one(dock, now))
    assert len(dock) == 0


@pytest.mark.parametrize("trouble", [Trouble.AUTH, Trouble.NO_TARGET, Trouble.CLOCK, Trouble.REFUSED])
def test_refusals_in_a_row_shut_the_dock(trouble: Trouble) -> None:
    """After five of 1,000 nothing is sent any more, however long it waits; at the end one probe."""
    dock, now, sent = dock_of(1000), 0.0, 0
    while parcel := dock.next(now):
        dock.failed(parcel, trouble, now, RNG)
        sent += 1
        now += 100.0
    assert sent == REFUSALS
    assert dock.shut
    assert dock.wakes() == inf
    dock.close()
    assert not dock.over
    dock.failed(one(dock, now), trouble, now, RNG)
    assert dock.over
    assert taken(dock, now + 1000.0) == []


def test_a_probe_that_arrives_opens_the_dock() -> None:
    """The right was given meanwhile: all that waits goes, what was refused included."""
    dock, now = dock_of(7), 0.0
    while parcel := dock.next(now):
        dock.failed(parcel, Trouble.AUTH, now, RNG)
        now += 100.0
    dock.close()
    dock.arrived(one(dock, now))
    while not dock.over:
        for parcel in taken(dock, now):
            dock.arrived(parcel)
    assert len(dock) == 0


def test_refusals_with_others_between_are_of_the_parcel() -> None:
    """One key is forbidden, others are not: it is given up at its second refusal, and the target works on."""
    dock = dock_of(3, parallel=1)
    forbidden = one(dock, 0.0)
    assert dock.failed(forbidden, Trouble.AUTH, 0.0, RNG)
    for _ in range(2):
        dock.arrived(one(dock, 50.0))
    again = one(dock, 50.0)
    assert again.n == forbidden.n
    assert not dock.failed(again, Trouble.AUTH, 50.0, RNG)
    assert not dock.shut


def test_refusals_that_are_not_in_a_row_shut_nothing() -> None:
    """Every second file is one that the target does not take: the others go on arriving."""
    dock = dock_of(4 * REFUSALS, parallel=1)
    for n in range(4 * REFUSALS):
        parcel = one(dock, 100.0 * n)
        if n % 2:
            dock.arrived(parcel)
        else:
            assert not dock.failed(parcel, Trouble.REFUSED, 100.0 * n, RNG)
    assert not dock.shut
    assert len(dock) == 0


def test_a_local_fault_says_nothing_of_the_target() -> None:
    """A file that is gone is given up at once; nothing rests."""
    dock = dock_of(5)
    first, *_ = taken(dock)
    assert not dock.failed(first, Trouble.GONE, 0.0, RNG)
    assert [parcel.n for parcel in taken(dock)] == [5]


def test_the_end_comes_after_faults_in_a_row() -> None:
    """A target that is down at the end is asked five times more, with the waits between."""
    dock = dock_of(100)
    dock.close()
    asked, now = 0, 0.0
    while not dock.over:
        now = max(now, dock.wakes())
        for parcel in taken(dock, now):
            asked += 1
            assert dock.failed(parcel, Trouble.CONNECTION, now, RNG)
    assert asked == 4 + 4  # side by side they are one
    assert now == 1.0 + 2.0 + 4.0 + 8.0
    assert len(dock.left()) >= 4


def test_closing_does_not_wait_for_what_rests() -> None:
    """A target that rested for minutes is asked at once."""
    dock, now = dock_of(2), 0.0
    for _ in range(8):
        now = dock.wakes()
        parcel = dock.next(now)
        assert parcel is not None
        dock.failed(parcel, Trouble.CONNECTION, now, RNG)
    assert dock.wakes() > now
    dock.close()
    assert dock.wakes() == 0.0


def test_what_comes_last_is_sent_last() -> None:
    """Parcels that are read after the end of the crawl queue up behind those that waited by then."""
    dock = dock_of(9)
    sent = taken(dock, 5.0)
    dock.close()
    for n in range(10, 13):
        dock.put(Parcel(n, "run", f"bodies/{n}", 1))
    for parcel in sent:
        dock.arrived(parcel)
        sent += taken(dock, 5.0)
    assert [parcel.n for parcel in sent] == list(range(1, 13))


@given(st.data())
def test_every_parcel_ends_once(data: st.DataObject) -> None:
    """Whatever goes wrong: at the end each has arrived, was given up, or is left, and never two of these."""
    number = data.draw(st.integers(1, 12))
    dock, now, ends = dock_of(number, parallel=data.draw(st.integers(1, 4))), 0.0, list[int]()
    flying: list[Parcel] = []
    closed = False
    for _ in range(2000):
        flying += taken(dock, now)
        if not flying:
            if dock.wakes() == inf:
                if closed:
                    break
                closed = True
                dock.close()
                continue
            now = max(now, dock.wakes())
            continue
        parcel = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        trouble = data.draw(st.sampled_from([None, None, *Trouble]))
        if trouble is None:
            dock.arrived(parcel)
            ends.append(parcel.n)
        elif not dock.failed(parcel, trouble, now, RNG):
            ends.append(parcel.n)
    assert dock.over
    left = {parcel.n for parcel in dock.left()}
    assert len(ends) == len(set(ends))
    assert left.isdisjoint(ends)
    assert len(ends) + len(dock) == number
