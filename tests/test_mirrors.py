"""Where a request goes on when one URL did not give the body, and what its record tells of it."""

from __future__ import annotations

import pytest

from crawler.errors import Reason
from crawler.mirrors import move_on, next_mirror, tell
from crawler.model import Miss, Record, Request, Timing
from crawler.records import Fault, record_of

MIRRORS = ("https://m.example:8443/1", "https://www.a.example/2")


def request(mirrors: tuple[str, ...] = MIRRORS) -> Request:
    made = Request(7, "https://www.a.example/x", "www.a.example", mirrors=mirrors)
    made.attempt, made.hops, made.rounds = 4, ("https://www.a.example/x",), 1
    return made


def miss(number: int = 0, *, failed: bool = True) -> Miss:
    return Miss(f"https://n{number}.example/", "status-404", 2, failed)


def key_of(host: str) -> str:
    return "key of " + host


def record(to: Request, outcome: str = "failed") -> Record:
    fault = Fault(Reason.STALL, "it stalled", None)
    return record_of("run", to, outcome, None if outcome == "fetched" else fault, Timing(0.0), "id")


def test_each_mirror_is_begun_as_an_input_is() -> None:
    """First attempt, no hops, its host's key; another origin is foreign, and coming home is not."""
    made = request()
    assert next_mirror(made) == MIRRORS[0]
    assert move_on(made, Reason.STALL, miss(1), key_of)
    assert (made.url, made.host, made.home) == (MIRRORS[0], "key of m.example", "www.a.example")
    assert (made.attempt, made.hops, made.rounds, made.foreign) == (1, (), 0, True)
    assert move_on(made, Reason.STALL, miss(2), key_of)
    assert (made.url, made.foreign, made.seed) == (MIRRORS[1], False, "https://www.a.example/x")
    assert next_mirror(made) is None
    assert not move_on(made, Reason.STALL, miss(3), key_of)
    assert made.missed == (miss(1), miss(2))


@pytest.mark.parametrize("reason", Reason)
def test_all_but_a_bad_input_may_be_had_elsewhere(reason: Reason) -> None:
    """Whatever a server did, another may do better; a row that is wrong or gone has no mirrors."""
    assert move_on(request(), reason, miss(), key_of) == (reason not in (Reason.BAD_INPUT, Reason.REMOVED))


def test_a_record_without_misses_is_left_alone() -> None:
    """Mirrors that were not needed are not mentioned."""
    made = request()
    for outcome in ("failed", "fetched"):
        told = record(made, outcome)
        tell(told, made)
        assert told == record(made, outcome)


def test_many_misses_are_told_in_short() -> None:
    """A hundred mirrors with long URLs do not fill the record: the first four and the last are named."""
    made = request(tuple(f"https://n{n}.example/{'x' * 9000}" for n in range(100)))
    for n in range(100):
        move_on(made, Reason.STALL, Miss(made.url, f"slug-{n}", 3), key_of)
    told = record(made)
    tell(told, made)
    assert told.attempts == 1 + 300
    assert len(told.error or "") < 2000
    for said in ("it stalled; before that: slug-0 at ", "slug-3 at ", "95 more, slug-99 at "):
        assert said in (told.error or "")


def test_an_earlier_warning_is_kept() -> None:
    """That of a redirect, for one."""
    made = request()
    made.warning = "a redirect named a user"
    move_on(made, Reason.STALL, miss(1), key_of)
    told = record(made, "fetched")
    tell(told, made)
    assert told.warning == ("a redirect named a user; served by mirror 1 of 2 after: status-404 at https://n1.example/")
    assert told.error is None


@pytest.mark.parametrize(("failed", "outcome"), [(True, "failed"), (False, "skipped")])
def test_a_failure_is_not_made_an_omission(failed: bool, outcome: str) -> None:
    """A last mirror that was skipped leaves a failure where something failed before."""
    made = request()
    move_on(made, Reason.ROBOTS, miss(failed=failed), key_of)
    told = record(made, "skipped")
    tell(told, made)
    assert told.outcome == outcome
