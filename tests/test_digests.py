"""Which digests are remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crawler.digests import Digests


def test_what_was_learned_is_known() -> None:
    """By file and by name; what was not asked for, or not learned, is not given."""
    known = Digests()
    known.learn("a", {"md5": b"1", "sha256": b"2"})
    known.learn("b", {"md5": b"3"})
    assert known.of("a", ["sha256", "sha512"]) == {"sha256": b"2"}
    assert known.of("b", ["md5", "sha256"]) == {"md5": b"3"}
    assert known.of("c", ["md5"]) == {}


def test_what_was_used_longest_ago_goes_first() -> None:
    """Asking counts as use."""
    known = Digests(2)
    known.learn("a", {"md5": b"1"})
    known.learn("b", {"md5": b"2"})
    assert known.of("a", ["md5"])
    known.learn("c", {"md5": b"3"})
    assert [file for file in "abc" if known.of(file, ["md5"])] == ["a", "c"]


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["md5", "sha1"]))))
def test_it_is_bounded(limit: int, learned: list[tuple[int, str]]) -> None:
    """Whatever is learned, no more than the limit is held, and the newest is among it."""
    known = Digests(limit)
    for file, name in learned:
        known.learn(file, {name: b"x"})
        assert known.of(file, [name])
        assert len(known) <= limit
    assert repr(known) == f"<Digests {len(known)} of at most {limit}>"
