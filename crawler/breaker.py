"""When a host counts as broken, and when as dead: a circuit breaker that probes with single requests.

Decides by failures in a row and by time. Must not know what a failure is, nor read a clock (`now` is monotonic).
Invariant: closed -> open after `after` failures in a row; one good answer closes it; dead only when a probe failed
`give_up` seconds or more after it opened.
"""

from __future__ import annotations


class Breaker:
    """The circuit of one host; made at its first failure."""

    __slots__ = ("_after", "_give_up", "dead", "failures", "opened_at")

    def __init__(self, after: int, give_up: float) -> None:
        self._after = after
        self._give_up = give_up
        self.failures = 0  # in a row
        self.opened_at: float | None = None
        self.dead = False

    def __repr__(self) -> str:
        state = "dead" if self.dead else "open" if self.open else "closed"
        return f"<Breaker {state} failures={self.failures}>"

    @property
    def open(self) -> bool:
        """The host is asked with single requests only."""
        return self.opened_at is not None

    @property
    def probe_every(self) -> float:
        """Seconds between two probes at most, so that some are made before the host is given up."""
        return self._give_up / 8

    def failed(self, now: float) -> bool:
        """Count a failure; True when that opened the circuit, or gave the host up."""
        self.failures += 1
        if self.opened_at is None:
            if self.failures < self._after:
                return False
            self.opened_at = now
            return True
        if self.dead or now - self.opened_at < self._give_up:
            return False
        self.dead = True
        return True

    def fine(self) -> bool:
        """A good answer: the host is well, unless it was given up for this run; True when that closed the circuit."""
        if self.dead:
            return False
        closed = self.opened_at is not None
        self.failures = 0
        self.opened_at = None
        return closed

    def restore(self, failures: int, opened_at: float | None, *, dead: bool) -> None:
        """As the checkpoint kept it."""
        self.failures, self.opened_at, self.dead = failures, opened_at, dead
