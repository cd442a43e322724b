"""The state of a host's pace as text for the checkpoint, and back.

Decides the form only. Must not know SQLite or clocks. Invariant: what `text_of` wrote `state_of` reads; anything else
counts as nothing known.
"""

from __future__ import annotations

from math import inf

import orjson

from crawler.pace import PaceState


def text_of(state: PaceState, wall: float) -> str:
    """The state, with its moments on the wall clock, as JSON; `wall` is now."""
    blocked = state.blocked_until if state.blocked_until > -inf else None
    broken_for = None if state.opened_at is None else wall - state.opened_at
    return orjson.dumps((blocked, *state[1:6], broken_for, state.dead, wall)).decode()


def state_of(text: str, wall: float, longest: float) -> PaceState:
    """The state of `text_of`. No block is longer than `longest` seconds, nor, where the clock was set back meanwhile,
    than it was when it was written.

    A host stays broken for as long as it was seen to be: what passed while nobody looked does not count.
    """
    try:
        match orjson.loads(text):
            case [
                int() | float() | None as blocked,
                int(faults),
                int() | float() | None as rate,
                int() | float() | None as ceiling,
                int() | None as concurrency,
                int(failures),
                int() | float() | None as broken_for,
                bool(dead),
                *written,
            ] if _above(0.0, rate, ceiling) and _above(-1, faults, failures):
                if blocked is not None and written and isinstance(written[0], int | float):
                    blocked = min(blocked, wall + max(0.0, blocked - written[0])) if wall < written[0] else blocked
                blocked_until = -inf if blocked is None else min(blocked, wall + longest)
                opened_at = None if broken_for is None else wall - broken_for
                return PaceState(blocked_until, faults, rate, ceiling, concurrency, failures, opened_at, dead)
    except ValueError:
        pass
    return PaceState()


def _above(least: float, *values: float | None) -> bool:
    return all(value is None or value > least for value in values)
