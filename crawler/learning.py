"""What a host can bear, learned from its answers: additive increase, multiplicative decrease of rate and concurrency.

Decides the two numbers. Must not know requests or blocks, nor read a clock (`now` is monotonic seconds). Invariant:
the rate stays between `min_rate` and the configured one, the concurrency between 1 and the configured one; each falls
at most once per call, and rises only while good answers come.

After a complaint the rate falls to nine tenths of what the host accepted of late, though not below half: that is its
ceiling, measured. From there it climbs by 1 % a second, and by 20 % where no ceiling is near or none was measured yet:
so TCP probes (Chiu and Jain, 1989; Ha, Rhee and Xu, 2008), and few requests are refused once the ceiling is found.
When latency grows to three times its best the concurrency is halved, and regained while it stays low.
"""

from __future__ import annotations

from math import inf, sqrt

_FALL = 0.9
_FAST, _SLOW = 0.2, 0.01  # a second: of the rate, of the ceiling
_NEAR = 0.85, 1.1  # of the ceiling
_PAUSE = 0.5  # silence is no praise: seconds that count of the time since the last answer
_LATE_ANSWERS, _LATE_SECONDS = 16, 4.0  # what "of late" means at most; at least half as many
_PROVEN = 4.0  # the rate climbs no higher than so many times what was accepted of late
_REGAIN = 30.0  # seconds to regain all slots
_TIMES, _MORE = 3.0, 0.5  # latency has grown: times the best, and seconds on top
_MEASURED, _SMOOTH = 16, 64  # answers after which their mean latency means something, and that it is taken of


class Learned:
    """What was learned of one host."""

    __slots__ = (
        *("_accepted", "_answers", "_base", "_best", "_limit", "_old", "_recent", "_rose_at", "_since", "_slots"),
        *("_steady", "ceiling", "rate", "well"),
    )

    def __init__(self, concurrency: int, limit: float | None, now: float) -> None:
        self._limit = limit
        self._best = concurrency
        self._slots = float(concurrency)
        self.rate: float | None = None  # requests a second; None: no complaint yet
        self.ceiling: float | None = None  # the rate that led to the last complaint; None: not measured
        self.well = False  # it answered well since this was last set to False
        self._accepted = 0.0
        self._since = now  # when that count began
        self._rose_at = now
        self._old = 0  # answers still to come to what was sent before the concurrency was halved
        self._answers = 0  # those after these
        self._recent = 0.0  # their mean latency, older ones forgotten
        self._base = inf  # the best of that
        self._steady = False  # it was measured at this concurrency, and has not grown

    def __repr__(self) -> str:
        rate = "any" if self.rate is None else f"{self.rate:.3g}/s"
        return f"<Learned rate={rate} concurrency={self.concurrency}>"

    @property
    def concurrency(self) -> int:
        """Requests that the host bears at once."""
        return int(self._slots)

    def fine(self, now: float, latency: float) -> bool:
        """A good answer after `latency` seconds; True when that changed rate or concurrency."""
        self.well = True
        self._accepted += 1
        if self._accepted >= _LATE_ANSWERS and now - self._since >= _LATE_SECONDS:
            self._accepted /= 2
            self._since += (now - self._since) / 2
        passed, self._rose_at = now - self._rose_at, now
        if self.rate is None and self._slots >= self._best:
            return self._watch(now, latency)
        if self.rate is not None:
            self._climb(self.rate, now, min(passed, _PAUSE))
        if self._slots < self._best and self._steady:
            self._slots = min(self._best, self._slots + max(1.0, self._best / _REGAIN) * min(passed, 1.0))
        self._watch(now, latency)
        return True

    def too_fast(self, now: float, min_rate: float) -> None:
        """The host complained (429)."""
        spent = max(1.0, now - self._since)  # within a second a burst says nothing about a rate
        measured = max(1.0, self._accepted) / spent
        if self.rate is None:
            sure = self._accepted >= _LATE_ANSWERS / 2 and spent >= _LATE_SECONDS / 2
            self.ceiling = measured if sure else None
            self.rate = _FALL * measured
        elif self._accepted:
            self.ceiling = min(self.rate, max(self.rate / 2, sqrt(measured * self.rate)))
            self.rate = _FALL * self.ceiling
        else:
            return  # nothing was learned since: it is the block that grows
        self.rate = max(min_rate, min(self.rate, self._limit or self.rate))
        self._accepted = 0.0
        self._since = self._rose_at = now

    def too_much(self, now: float) -> None:
        """The host timed out, or its latency grew: half as many at once."""
        self._old = self.concurrency
        self._slots = max(1.0, self._slots / 2)
        self._rose_at = now
        self._answers = 0
        self._steady = False

    def limit_to(self, concurrency: int, limit: float | None) -> None:
        """Other configured limits: what was learned is kept within them, and slots that were never lost are as many."""
        self._slots = float(concurrency) if self._slots >= self._best else min(self._slots, float(concurrency))
        self._best, self._limit = concurrency, limit
        if self.rate is not None and limit is not None:
            self.rate = min(self.rate, limit)

    def restore(self, rate: float | None, ceiling: float | None, concurrency: int | None) -> None:
        """As the checkpoint kept it, within today's limits."""
        if rate is not None:
            self.rate = min(rate, self._limit or rate)
            self.ceiling = ceiling
        if concurrency is not None:
            self._slots = float(max(1, min(concurrency, self._best)))

    def _climb(self, rate: float, now: float, passed: float) -> None:
        if rate * (now - self._since) > _PROVEN * self._accepted:
            return  # it is not the rate that holds us back
        low, high = _NEAR
        near = self.ceiling is not None and low * self.ceiling <= rate <= high * self.ceiling
        rate += passed * (_SLOW * (self.ceiling or rate) if near else _FAST * rate)
        self.rate = rate if self._limit is None else min(rate, self._limit)

    def _watch(self, now: float, latency: float) -> bool:
        if self._old:
            self._old -= 1
            return False
        answers = self._answers = self._answers + 1
        recent = self._recent = self._recent + (latency - self._recent) / (answers if answers < _SMOOTH else _SMOOTH)
        if answers < _MEASURED:
            return False
        # Where so few requests are out it is not for our sake that it takes long.
        if recent < self._base or self._slots <= max(1.0, self._best / 8):
            self._base = recent
        self._steady = recent <= _TIMES * self._base + _MORE
        if self._steady or self._slots < 2:
            return False
        self.too_much(now)
        return True
