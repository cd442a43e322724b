"""The set of fingerprints."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from crawler.fingerprints import Fingerprints, fingerprint
from crawler.model import Content, Field, FileBody, Multipart


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
    cases: list[tuple[str, str, Content | None]] = [
        ("GET", "http://a/", None),
        ("POST", "http://a/", None),
        ("GET", "http://b/", None),
        ("GET", "http://a/", b""),
        ("GET", "http://a/", b"x"),
        ("GET", "http://a/", FileBody("x")),
        ("GET", "http://a/", FileBody("y")),
        ("GET", "http://a/", Multipart((Field("x", "y"),))),
        ("GET", "http://a/", Multipart((Field("x", path="y"),))),
        ("GET", "http://a/", Multipart((Field("x", filename="y"),))),
        ("GET", "http://a/", Multipart((Field("x", content_type="y"),))),
        ("GET", "http://a/", Multipart((Field("x"), Field("y")))),
        ("GET", "http://a/", Multipart((Field("y"), Field("x")))),
    ]
    assert len({fingerprint(*case) for case in cases}) == len(cases)


def test_fingerprints_stay_what_they_were() -> None:
    """A checkpoint of an older version knows its rows: BLAKE2b of method, URL, NUL and body, little-endian."""
    for said, body in ((b"GET http://a/", None), (b"GET http://a/\0x", b"x")):
        expected = int.from_bytes(blake2b(said, digest_size=8).digest(), "little", signed=True)
        assert fingerprint("GET", "http://a/", body) == expected


FIELDS = st.tuples(st.text(), st.none() | st.text(), st.none() | st.text()).map(lambda said: Field(*said))


@given(st.lists(st.lists(FIELDS, max_size=2), min_size=2, max_size=2))
def test_multipart_bodies_are_told_apart(bodies: list[list[Field]]) -> None:
    """Only the same fields in the same order are the same body."""
    first, second = (fingerprint("POST", "http://a/", Multipart(tuple(fields))) for fields in bodies)
    assert (first == second) == (bodies[0] == bodies[1])
