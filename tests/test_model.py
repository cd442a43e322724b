"""The words of the pipeline."""

from __future__ import annotations

from sys import getsizeof

from tests.fakes import record_of


def test_a_record_stays_small() -> None:
    """CPython shares the keys of instances up to a number of them; one field more costs each record a kilobyte."""
    records = [record_of(number) for number in range(3)]
    assert getsizeof(records[-1].__dict__) < 600
