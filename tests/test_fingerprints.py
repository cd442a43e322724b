"""The set of fingerprints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crawler.fingerprints import Fingerprints, fingerprint


@given(st.lists(st.integers(-(2**63), 2**63 - 1).filter(bool), max_size=300))
def test_it_is_a_set(prints: list[int]) -> None:
    """Adding says whether the fingerprint is new, and membership agrees with Python's set."""
    ours, theirs = Fingerprints(), set[int]()
    for print_ in prints:
        assert ours.add(print_) == (print_ not in theirs)
        theirs.add(print_)
    assert len(ours) == len(theirs)
    assert all(print_ in ours for print_ in theirs)
    assert (12345 in ours) == (12345 in theirs)


def test_many_cost_few_bytes() -> None:
    """100,000 fingerprints take at most 24 bytes each and are all found."""
    prints = [fingerprint("GET", f"http://example.org/{number}", None) for number in range(100_000)]
    ours = Fingerprints(prints)
    assert len(ours) == 100_000
    assert ours.nbytes <= 24 * 100_000
    assert all(print_ in ours for print_ in prints[::97])


def test_method_url_and_body_count() -> None:
    """Requests differ where any of the three does."""
    cases = [
        ("GET", "http://a/", None),
        ("POST", "http://a/", None),
        ("GET", "http://b/", None),
        ("GET", "http://a/", b""),
    ]
    assert len({fingerprint(*case) for case in cases}) == 4
