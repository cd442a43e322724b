"""Whether there is room on the disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.room import Growing, Headroom, Room, Space, Turned

MIB = 1024**2
GIB = 1024**3
TEN = Headroom(10 * MIB, 0.0)


def space(free: int, total: int = GIB) -> Space:
    return Space(free, total)


def room_with(free: int, headroom: Headroom = TEN, patience: float = 30.0) -> Room:
    room = Room(headroom, patience)
    room.see(space(free))
    room.judge(0.0)
    return room


def begun(room: Room, length: int | None) -> Growing:
    body = room.begin(length)
    assert isinstance(body, Growing)
    return body


def at(room: Room, free: int, now: float = 1.0) -> bool:
    """Whether it is full once so much is free."""
    room.see(space(free))
    room.judge(now)
    return room.full


@pytest.mark.parametrize(
    ("headroom", "total", "expected"),
    [
        (Headroom(256 * MIB, 1.0), 10 * GIB, 256 * MIB),
        (Headroom(256 * MIB, 1.0), 100 * GIB, GIB),
        (Headroom(0, 50.0), 8 * MIB, 4 * MIB),
        (Headroom(0, 0.0), 8 * MIB, 0),
    ],
)
def test_the_larger_of_bytes_and_percent_counts(headroom: Headroom, total: int, expected: int) -> None:
    """A large disk keeps its percent free, a small one the bytes."""
    assert headroom.of(space(0, total)) == expected


def test_it_is_full_below_the_headroom() -> None:
    """The last byte of the headroom is not for bodies."""
    assert not at(room_with(GIB), 10 * MIB)
    assert at(room_with(GIB), 10 * MIB - 1)


@pytest.mark.parametrize(
    ("headroom", "again"), [(10 * MIB, 12.5 * MIB), (400 * MIB, 464 * MIB)], ids=["a quarter", "64 MiB"]
)
def test_it_goes_on_some_way_above_the_headroom(headroom: int, again: float) -> None:
    """A quarter of it more must be free, or 64 MiB more where that is less."""
    room = room_with(0, Headroom(headroom, 0.0))
    assert at(room, int(again) - 1)
    assert not at(room, int(again))


@given(st.lists(st.integers(0, 30), max_size=60))
def test_between_the_marks_nothing_changes(levels: list[int]) -> None:
    """Whatever the order: below 10 it is full, from 12.5 on it is not, between it stays as it was."""
    room, full = room_with(GIB), False
    for now, level in enumerate(levels):
        full = level < 10 or (full and level < 12.5)
        assert at(room, level * MIB, float(now)) is full


def test_what_was_promised_is_not_given_twice() -> None:
    """Of 100 MiB above the headroom a body of 60 leaves 40, until it is written: then the disk itself says so."""
    room = room_with(110 * MIB)
    first = begun(room, 60 * MIB)
    assert room.begin(50 * MIB) is Turned.NOW
    assert room.full
    room.end(first, whole=True)
    assert at(room, 50 * MIB)
    assert not at(room, 10 * MIB + 2 * MIB + MIB // 2 + 50 * MIB)


def test_a_promise_is_kept_while_its_pieces_are_being_written() -> None:
    """The disk knows of a piece only some time after it was handed over: until then its room is not free."""
    room = room_with(110 * MIB)
    body = begun(room, 60 * MIB)
    assert room.grow(body, 20 * MIB)
    assert room.grow(body, 40 * MIB)
    assert room.available == 50 * MIB
    room.see(space(90 * MIB))  # the first piece is there
    assert room.grow(body, 60 * MIB)
    assert room.available == 50 * MIB


def test_a_promise_that_was_not_kept_is_free_again() -> None:
    """A body that fails gives its room to those that wait."""
    room = room_with(110 * MIB)
    first = begun(room, 60 * MIB)
    assert room.begin(50 * MIB) is Turned.NOW
    room.end(first, whole=False)
    assert not at(room, 110 * MIB)
    begun(room, 50 * MIB)


def test_promises_alone_make_it_full() -> None:
    """What bodies under way will take is gone for those that would begin."""
    room = room_with(100 * MIB)
    begun(room, 90 * MIB)
    assert not at(room, 100 * MIB)
    assert at(room, 99 * MIB)


def test_what_does_not_fit_at_all_is_told_apart() -> None:
    """A body larger than the file system less the headroom will never fit, and does not make it full."""
    room = room_with(GIB)
    assert room.begin(GIB - 10 * MIB + 1) is Turned.FOR_EVER
    assert not room.full
    begun(room, GIB - 10 * MIB)


def test_a_body_of_unknown_length_is_let_in_and_watched() -> None:
    """It grows until half of the headroom is used up, and then it must go."""
    room = room_with(GIB)
    body = begun(room, None)
    at(room, 5 * MIB)
    assert room.grow(body, 30 * MIB)
    at(room, 5 * MIB - 1)
    assert not room.grow(body, 31 * MIB)


def test_what_was_promised_may_use_the_headroom_but_its_last_eighth() -> None:
    """It goes on where others must stop; the last bytes are for the checkpoint."""
    room = room_with(GIB)
    body = begun(room, 50 * MIB)
    at(room, 10 * MIB // 8)
    assert room.grow(body, 50 * MIB)
    assert not room.grow(body, 50 * MIB + 1)  # more than was said
    at(room, 10 * MIB // 8 - 1)
    assert not room.grow(body, 50 * MIB)


def test_what_had_to_stop_waits_for_as_much_room_as_it_had() -> None:
    """The bytes that its own file gives back are not enough for it: it would come as far as before, for ever."""
    room = room_with(GIB)
    body = begun(room, None)
    at(room, 4 * MIB)
    assert not room.grow(body, 500 * MIB)
    room.end(body, whole=False)
    assert at(room, 504 * MIB)
    assert not at(room, 512 * MIB + MIB // 2)


def test_where_the_kernel_finds_no_room_it_is_full() -> None:
    """Whatever the file system says of itself; as much as the body had must come free besides."""
    room = room_with(0, Headroom(0, 0.0))
    body = begun(room, None)
    assert room.grow(body, 40 * MIB)
    room.struck(body, quota=False)
    room.end(body, whole=False)
    assert at(room, 40 * MIB - 1)
    assert not at(room, 40 * MIB)


def test_a_quota_is_believed_before_the_file_system() -> None:
    """Nobody can see when there is room under it again: full for the rest of this run."""
    room = room_with(GIB)
    body = begun(room, None)
    room.struck(body, quota=True)
    room.end(body, whole=False)
    assert at(room, GIB)


def test_a_disk_that_takes_nothing_is_believed_no_more_after_three_times() -> None:
    """Full again and again while it says there is room: it stays full; a body that comes through counts as proof."""
    room = room_with(GIB)
    for _ in range(3):
        body = begun(room, None)
        room.struck(body, quota=False)
        room.end(body, whole=False)
        assert not at(room, GIB)
        room.end(begun(room, None), whole=True)
    for full in (False, False, True):
        body = begun(room, None)
        room.struck(body, quota=False)
        room.end(body, whole=False)
        assert at(room, GIB) is full


def test_many_bodies_that_meet_the_end_together_are_one_time() -> None:
    """Twenty files that find no room at the same moment say no more than one of them."""
    room = room_with(GIB)
    bodies = [begun(room, None) for _ in range(20)]
    for body in bodies:
        room.struck(body, quota=False)
        room.end(body, whole=False)
    assert not at(room, GIB)


def test_it_is_hopeless_after_its_patience() -> None:
    """Counted from when it was full and nothing grew any more; each time anew."""
    room = room_with(GIB, patience=30.0)
    body = begun(room, None)
    at(room, 9 * MIB, 100.0)
    at(room, 9 * MIB, 200.0)
    assert not room.hopeless  # something moves
    room.end(body, whole=True)
    at(room, 9 * MIB, 210.0)
    at(room, 20 * MIB, 220.0)  # free for a moment
    at(room, 9 * MIB, 230.0)
    at(room, 9 * MIB, 259.9)
    assert not room.hopeless
    at(room, 9 * MIB, 260.0)
    assert room.hopeless


@pytest.mark.parametrize(
    ("names", "least"), [(1_000_000, 10_000), (10_000, 256), (800, 100)], ids=["percent", "some", "an eighth"]
)
def test_file_names_may_run_out_as_well(names: int, least: int) -> None:
    """Bytes are of no use without an inode: a percent of these is kept, 256 at least, an eighth at most."""
    room = Room(Headroom(10 * MIB, 1.0), 30.0)
    room.see(Space(GIB // 2, GIB, least, names))
    assert not room.judge(0.0)
    room.see(Space(GIB // 2, GIB, least - 1, names))
    assert room.judge(0.0)
    assert "inodes" in room.why
    room.see(Space(GIB // 2, GIB, least + 1, names))
    assert not room.judge(0.0)  # not yet
    room.see(Space(GIB // 2, GIB, least + least // 4, names))
    assert room.judge(0.0)


def test_where_names_are_not_counted_they_do_not_run_out() -> None:
    """btrfs says 0 of 0."""
    room = Room(TEN, 30.0)
    room.see(Space(GIB // 2, GIB, 0, 0))
    assert not room.judge(0.0)


def test_without_a_headroom_only_the_kernel_says_no() -> None:
    """Both 0: all of it may be used, names too."""
    room = Room(Headroom(0, 0.0), 30.0)
    room.see(Space(0, GIB, 0, 1000))
    assert not room.judge(0.0)


def test_the_reason_is_told_with_both_numbers() -> None:
    """What is free, and what is wanted."""
    assert room_with(9 * MIB).why == "9,216 KiB free, 12 MiB are wanted (output.min_free)"


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40), st.integers(0, 300))
def test_all_that_is_let_in_fits(asked: list[tuple[int, bool]], free: int) -> None:
    """Whatever is asked for in whatever order: what was promised and is not yet written never exceeds what is free
    above the headroom.
    """
    room, left = room_with(free * MIB), dict[Growing, int]()
    for size, ends in asked:
        if ends and left:
            body, written = left.popitem()
            room.end(body, whole=True)
            free -= written // MIB
            room.see(space(free * MIB))
        body_or = room.begin(size * MIB)
        if isinstance(body_or, Growing):
            left[body_or] = size * MIB
        assert not left or sum(left.values()) + 10 * MIB <= free * MIB or sum(left.values()) == 0
