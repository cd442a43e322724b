"""The harness of kills: which points there are, what counts as asked for again, and that its site tells the truth."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from hashlib import sha256
from random import Random

import pytest

from tests.chaos.kills import asked_again, points
from tests.chaos.shots import Shot, by_call, by_time
from tests.chaos.site import Hit, Site, answer_of

DEATHS = [(10.0, {"reported"}), (20.0, {"reported", "later"})]


def test_the_kinds_have_their_shares() -> None:
    """40 % by time, half by system call, a tenth in recovery; the same for the same seed."""
    counts = Counter(point.kind for point in points(500, 7))
    assert counts == {"time": 200, "syscall": 250, "recovery": 50}
    assert points(60, 7) == points(60, 7)
    assert points(60, 7) != points(60, 8)


def test_times_reach_from_a_millisecond_to_the_end() -> None:
    """Log-uniform: as many below 55 ms as above, of 3 s."""
    rng = Random(1)
    seconds = sorted(by_time(rng, 3.0).seconds for _ in range(2000))
    assert 0.001 <= seconds[0] < 0.0011
    assert 2.9 < seconds[-1] <= 3.0
    assert 0.045 < seconds[1000] < 0.065


def test_calls_are_drawn_within_what_one_thread_makes() -> None:
    """strace counts in each thread apart: beyond the busiest nothing would be hit."""
    rng = Random(1)
    shots = {by_call(rng, {"write": [5, 2], "rename": [1]}) for _ in range(500)}
    assert shots == {Shot(call="rename", nth=1), *(Shot(call="write", nth=nth) for nth in range(1, 6))}


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        ([Hit(9.0, 9.1, "reported"), Hit(11.0, 11.1, "reported")], "after it was reported"),
        ([Hit(9.0, 9.1, "later"), Hit(21.0, 21.1, "later")], "after it was reported"),
        ([Hit(6.0, 6.1, "x"), Hit(11.0, 11.1, "x")], "was answered 3.9 s before the kill"),
        ([Hit(9.5, 9.6, "x"), Hit(9.7, 9.8, "x")], "twice by one process"),
        ([Hit(11.5, 11.6, "x"), Hit(19.9, 20.0, "x"), Hit(25.0, 25.1, "x")], "twice by one process"),
    ],
)
def test_what_is_asked_for_again_without_need_is_a_fault(hits: list[Hit], said: str) -> None:
    """After it was reported, after more than the bound, or within one life of the process."""
    faults, again, _ = asked_again(hits, DEATHS, 2.0)
    assert again
    assert any(said in fault for fault in faults), faults


def test_unreported_work_may_be_done_again() -> None:
    """Answered shortly before the kill, or never to its end; what the dead had sent may be read a moment later."""
    again = [Hit(9.5, 9.6, "x"), Hit(11.0, 11.1, "x"), Hit(3.0, None, "y"), Hit(12.0, 12.1, "y"), Hit(10.1, None, "z")]
    faults, count, age = asked_again([*again, Hit(11.0, 11.1, "z"), Hit(9.0, 9.1, "reported")], DEATHS, 2.0)
    assert faults == []
    assert count == 3
    assert age == pytest.approx(0.4)


def test_contents_depend_on_kind_and_number_alone() -> None:
    """Some are the same under several names; a missing page has none."""
    first, again = answer_of("d", 1), answer_of("d", 5)
    assert first is not None
    assert again is not None
    assert first.body == again.body
    assert answer_of("m", 1) is None


@pytest.mark.slow
def test_the_site_says_what_it_promises() -> None:
    """Each page of a space has the digest that it was announced with; each request is noted, none of another space."""
    with Site() as site:
        pages = site.pages("a", {"s": 2, "r": 1, "l": 1, "e": 1})
        for page in pages:
            with urllib.request.urlopen(page.url) as answer:
                body = answer.read()
                assert (answer.status, answer.url) == (page.status, page.final_url)
                assert (sha256(body).hexdigest(), len(body)) == (page.sha256, page.size)
        deadline = time.monotonic() + 10
        while len(site.hits("a")) <= len(pages) and time.monotonic() < deadline:
            time.sleep(0.01)  # it notes a request once its answer is out
        assert len(site.hits("a")) == len(pages) + 1
        assert site.hits("b") == []
