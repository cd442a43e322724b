"""The watch over transfers: which are stopped, why, and when; and what a sleep of our own forgives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import Reason
from crawler.watch import Limits, Phase, Transfer, Watch

LIMITS = Limits(connect=5.0, read=15.0, total=300.0, stall=30.0, min_speed=100.0)
TICK = 0.25


def under_watch(limits: Limits = LIMITS, now: float = 0.0) -> tuple[Watch, Transfer]:
    watch, transfer = Watch(TICK), Transfer("http://h/", limits, now)
    watch.transfers.add(transfer)
    assert list(watch.overdue(now)) == []
    return watch, transfer


def stopped_at(watch: Watch, transfer: Transfer, start: float, until: float = 1000.0) -> tuple[float, Reason] | None:
    """Look each tick; the moment and the reason of the stop."""
    ticks = int(start / TICK)
    while (now := ticks * TICK) <= until:
        if transfer in watch.overdue(now):
            assert transfer.overdue is not None
            return now, transfer.overdue[0]
        ticks += 1
    return None


def test_no_connection_is_a_connect_timeout() -> None:
    """A transfer that stays in CONNECT ends after `connect` seconds."""
    assert stopped_at(*under_watch(), start=0.0) == (5.0, Reason.CONNECT_TIMEOUT)


def test_no_answer_is_a_read_timeout() -> None:
    """Once sent, `read` seconds count from then, not from the start."""
    watch, transfer = under_watch()
    transfer.enter(Phase.ANSWER, 4.0)
    assert stopped_at(watch, transfer, start=4.0) == (19.0, Reason.READ_TIMEOUT)


def test_a_silent_body_is_a_read_timeout() -> None:
    """In the body `read` counts from the last bytes."""
    watch, transfer = under_watch()
    transfer.enter(Phase.BODY, 1.0)
    transfer.received(10**6, 9.0)
    assert stopped_at(watch, transfer, start=9.0) == (24.0, Reason.READ_TIMEOUT)


def dripping(transfer: Transfer, watch: Watch, size: int, until: float, *, store: bool = False) -> float | None:
    """One piece each second from 0 on; the moment of the stop. `store`: each piece waits half a second for our disk."""
    for quarter in range(int(until * 4)):
        now = quarter / 4
        if quarter % 4 == 0:
            transfer.received(size, now)
            if store:
                transfer.enter(Phase.STORE, now)
        elif quarter % 4 == 2 and store:
            transfer.enter(Phase.BODY, now)
        if transfer in watch.overdue(now):
            return now
    return None


def test_a_drip_is_a_stall() -> None:
    """A byte a second keeps `read` quiet, yet ends after the span of `stall` for being below the least speed."""
    watch, transfer = under_watch()
    transfer.enter(Phase.BODY, 0.0)
    assert dripping(transfer, watch, 1, 100.0) == 30.0
    assert transfer.overdue == (Reason.STALL, "31 bytes in 30 s (timeouts.stall, timeouts.min_speed)")


def test_a_drip_is_a_stall_also_when_each_piece_waits_for_our_disk() -> None:
    """Time in STORE is taken out of the peer's, but does not begin it anew."""
    watch, transfer = under_watch()
    transfer.enter(Phase.BODY, 0.0)
    stopped = dripping(transfer, watch, 1, 100.0, store=True)
    assert stopped is not None
    assert 59.0 <= stopped <= 61.0
    assert transfer.overdue is not None
    assert transfer.overdue[0] is Reason.STALL


def test_enough_speed_is_no_stall() -> None:
    """At the least speed a body goes on until the total."""
    watch, transfer = under_watch()
    transfer.enter(Phase.BODY, 0.0)
    assert dripping(transfer, watch, 100, 290.0) is None


def test_a_stop_in_mid_body_is_a_stall_where_stall_is_the_shorter() -> None:
    """With read above stall a silent body ends by the span of stall, even with no least speed."""
    watch, transfer = under_watch(LIMITS._replace(read=60.0, min_speed=0.0))
    transfer.enter(Phase.BODY, 0.0)
    assert stopped_at(watch, transfer, start=0.0) == (30.0, Reason.STALL)


def sending(transfer: Transfer, watch: Watch, size: int, until: float, *, store: bool = False) -> float | None:
    """As `dripping`, with pieces of our own body; `store`: each waits half a second for its file."""
    for quarter in range(int(until * 4)):
        now = quarter / 4
        if quarter % 4 == 0:
            transfer.sent(size, now)
            if store:
                transfer.enter(Phase.STORE, now)
        elif quarter % 4 == 2 and store:
            transfer.enter(Phase.SEND, now)
        if transfer in watch.overdue(now):
            return now
    return None


def test_a_body_that_nobody_takes_is_a_read_timeout() -> None:
    """While our body goes out `read` counts from the last byte that was taken, and from its begin if none was."""
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 1.0)
    transfer.sent(10**6, 9.0)
    assert stopped_at(watch, transfer, start=9.0) == (24.0, Reason.READ_TIMEOUT)
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 2.0)
    assert stopped_at(watch, transfer, start=2.0) == (17.0, Reason.READ_TIMEOUT)
    assert transfer.overdue == (Reason.READ_TIMEOUT, "no byte of our body was taken for 15 s (timeouts.read)")


def test_an_upload_below_the_least_speed_is_a_stall() -> None:
    """A byte a second is too slow, the least speed is enough."""
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    assert sending(transfer, watch, 1, 100.0) == 30.0
    assert transfer.overdue == (Reason.STALL, "31 bytes taken in 30 s (timeouts.stall, timeouts.min_speed)")
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    assert sending(transfer, watch, 100, 290.0) is None


def test_reading_our_own_file_is_no_time_of_the_peer() -> None:
    """In STORE between two pieces no clock of the peer runs, nor is its span begun anew."""
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    transfer.enter(Phase.STORE, 10.0)
    assert stopped_at(watch, transfer, start=0.0, until=100.0) is None
    transfer.enter(Phase.SEND, 100.0)
    assert stopped_at(watch, transfer, start=100.0) == (105.0, Reason.READ_TIMEOUT)
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    stopped = sending(transfer, watch, 1, 100.0, store=True)
    assert stopped is not None
    assert 59.0 <= stopped <= 61.0


def test_what_was_sent_is_not_received() -> None:
    """`bytes` are those of the answer, and neither count helps the other over its least speed."""
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    transfer.sent(10**6, 1.0)
    assert (transfer.bytes, transfer.uploaded) == (0, 10**6)
    transfer.enter(Phase.ANSWER, 2.0)
    transfer.enter(Phase.BODY, 3.0)
    assert dripping(transfer, watch, 1, 100.0) is not None
    assert transfer.overdue is not None
    assert transfer.overdue[0] is Reason.STALL
    assert transfer.uploaded == 10**6


def test_after_the_upload_the_answer_has_its_whole_time() -> None:
    """`read` seconds for the head count from the end of our body."""
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    transfer.sent(1000, 14.0)
    transfer.enter(Phase.ANSWER, 14.0)
    assert stopped_at(watch, transfer, start=14.0) == (29.0, Reason.READ_TIMEOUT)


def test_a_body_that_is_sent_anew_has_to_keep_its_speed_anew() -> None:
    """What went over the first connection does not count for the second."""
    watch, transfer = under_watch()
    transfer.enter(Phase.SEND, 0.0)
    transfer.sent(10**6, 0.0)
    transfer.enter(Phase.CONNECT, 0.0)
    transfer.enter(Phase.SEND, 0.0)
    assert sending(transfer, watch, 1, 100.0) == 30.0


@pytest.mark.parametrize(
    "phases",
    [
        [Phase.ANSWER],
        [Phase.SEND, Phase.ANSWER],
        [Phase.ANSWER, Phase.SEND, Phase.ANSWER],
        [Phase.SEND, Phase.STORE, Phase.SEND, Phase.STORE, Phase.ANSWER, Phase.BODY],
    ],
)
def test_a_request_goes_out_once(phases: list[Phase]) -> None:
    """The moment is told when its first byte may leave, with a body or without; on a new connection once more."""
    _, transfer = under_watch()
    told: list[float] = []
    transfer.on_sent = told.append
    for now, phase in enumerate(phases, 1):
        transfer.enter(phase, float(now))
    assert told == [1.0]
    transfer.enter(Phase.CONNECT, 50.0)
    transfer.enter(phases[0], 51.0)
    assert told == [1.0, 51.0]


def test_the_total_holds_in_every_phase() -> None:
    """Whatever it does, an attempt ends after `total` seconds, our own disk's time included."""
    for phase in Phase:
        watch, transfer = under_watch(Limits(900.0, 900.0, 300.0, 900.0, 0.0))
        transfer.enter(phase, 0.0)
        assert stopped_at(watch, transfer, start=0.0) == (300.0, Reason.TOTAL_TIMEOUT)


def test_our_own_slow_disk_is_no_fault_of_the_peer() -> None:
    """In STORE only the total counts, and after it the peer has its whole time again, less what it had used."""
    watch, transfer = under_watch()
    transfer.enter(Phase.BODY, 0.0)
    transfer.enter(Phase.STORE, 10.0)
    assert stopped_at(watch, transfer, start=0.0, until=100.0) is None
    transfer.enter(Phase.BODY, 100.0)
    assert stopped_at(watch, transfer, start=100.0) == (105.0, Reason.READ_TIMEOUT)


def test_it_names_a_transfer_once() -> None:
    """A transfer that is overdue already is not named again while it is being stopped."""
    watch, transfer = under_watch()
    assert stopped_at(watch, transfer, start=0.0) is not None
    assert list(watch.overdue(5.25)) == []


def test_a_sleep_of_our_own_is_forgiven() -> None:
    """After ten minutes stopped (SIGSTOP) no transfer is overdue, and each has the time it had left."""
    watch, transfer = under_watch()
    assert stopped_at(watch, transfer, start=0.0, until=3.0) is None
    assert list(watch.overdue(603.0)) == []
    assert stopped_at(watch, transfer, start=603.0) == (604.75, Reason.CONNECT_TIMEOUT)


def test_what_began_after_the_sleep_gets_no_more_than_its_time() -> None:
    """A transfer that started between waking up and the first look is not timed from the future."""
    watch, _ = under_watch()
    late = Transfer("http://late/", LIMITS, 599.0)
    watch.transfers.add(late)
    assert list(watch.overdue(600.0)) == []
    assert late.started <= 600.0
    assert stopped_at(watch, late, start=600.0) == (605.0, Reason.CONNECT_TIMEOUT)


def test_a_look_that_is_a_little_late_forgives_nothing() -> None:
    """Up to a second is the loop being busy, which limits can bear."""
    watch, transfer = under_watch()
    for now in range(1, 5):
        assert list(watch.overdue(float(now))) == []
    assert list(watch.overdue(5.0)) == [transfer]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=8), st.floats(0, 1000))
def test_the_longest_is_the_oldest(starts: list[float], later: float) -> None:
    """`longest` gives URL and age of the transfer that started first."""
    watch = Watch(TICK)
    for start in starts:
        watch.transfers.add(Transfer(f"http://{start}/", LIMITS, start))
    assert watch.longest(50 + later) == (f"http://{min(starts)}/", 50 + later - min(starts))


def test_without_transfers_there_is_no_longest() -> None:
    """An idle watch has nothing to show."""
    assert Watch(TICK).longest(1.0) is None
    assert repr(Watch(TICK)) == "<Watch transfers=0 tick=0.25s>"


def test_what_was_uploaded_is_counted_over_all_attempts() -> None:
    """While they last and after their end; what came back is not among it."""
    watch = Watch(1.0)
    first, second = Transfer("http://a/", LIMITS, 0.0), Transfer("http://b/", LIMITS, 0.0)
    watch.transfers |= {first, second}
    first.sent(10, 1.0)
    second.sent(5, 1.0)
    second.received(100, 1.0)
    assert watch.uploaded == 15
    watch.ended(first)
    first.sent(1, 2.0)  # nobody looks at it any more
    second.sent(5, 2.0)
    assert watch.uploaded == 20
    assert watch.transfers == {second}


def test_a_loop_that_stood_still_for_more_than_a_second_is_forgiven() -> None:
    """What is told of as blocked costs no transfer its time."""
    watch, transfer = under_watch()
    assert stopped_at(watch, transfer, start=0.0, until=3.0) is None
    assert list(watch.overdue(4.25)) == []
    assert stopped_at(watch, transfer, start=4.25) == (6.0, Reason.CONNECT_TIMEOUT)


def test_a_stop_before_the_first_look_is_forgiven() -> None:
    """The process may be stopped as soon as it has sent its first request."""
    watch = Watch(tick=0.25)
    watch.begin(0.0)
    transfer = Transfer("http://a/", LIMITS, 0.1)
    watch.transfers.add(transfer)
    assert list(watch.overdue(60.0)) == []
    assert list(watch.overdue(60.25)) == []
