"""The troubles of uploads: each leads somewhere, and says itself by its slug."""

from __future__ import annotations

import pytest

from crawler.parcels import COURSES, Trouble, Undelivered


def test_every_trouble_has_its_course() -> None:
    """A new one cannot be forgotten in the table."""
    assert set(COURSES) == set(Trouble)


@pytest.mark.parametrize("trouble", Trouble)
def test_slugs_say_that_it_was_an_upload(trouble: Trouble) -> None:
    """People grep for them: they begin with upload-, and so does the text of the exception."""
    assert trouble.value.startswith("upload-")
    assert str(Undelivered(trouble, "why")) == f"{trouble.value}: why"


def test_a_fault_of_ours_is_no_refusal() -> None:
    """A local file that is gone says nothing of the target; a right that is missing does."""
    assert not COURSES[Trouble.GONE].of_target
    assert {trouble for trouble, course in COURSES.items() if course.refusal} == {
        Trouble.AUTH,
        Trouble.CLOCK,
        Trouble.NO_TARGET,
        Trouble.REFUSED,
    }
