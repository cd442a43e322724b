"""Times counted in buckets, from which percentiles are told.

Decides numbers only. Must not know what took the time. Invariant: a percentile is within 5 % of the exact one and never
above the largest value, in a few hundred numbers at most, however many values were counted.
"""

from __future__ import annotations

from math import ceil, log

STEP = 1.1  # a bucket's upper bound by its lower one
_STEP = log(STEP)


def bucket_of(milliseconds: float) -> int:
    """Where a Histogram counts a value: in bucket n stands what is above 1.1 ** (n - 1) and up to 1.1 ** n ms."""
    return ceil(log(milliseconds) / _STEP) if milliseconds > 0.01 else -48


class Histogram:
    """Counts of milliseconds in logarithmic buckets."""

    __slots__ = ("buckets", "maximum")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.maximum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram of {sum(self.buckets.values())}, median {self.percentile(50)} ms, max {self.maximum} ms>"

    def add(self, milliseconds: float) -> None:
        """Count one value."""
        self.put(bucket_of(milliseconds), milliseconds)

    def put(self, bucket: int, milliseconds: float) -> None:
        """Count one value of a bucket that is known already."""
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        if milliseconds > self.maximum:
            self.maximum = milliseconds

    def percentile(self, percent: float) -> float | None:
        """The value that `percent` of all do not exceed, within 5 %; None while nothing was counted."""
        total = sum(self.buckets.values())
        if not total:
            return None
        rank, seen, bucket = percent / 100 * total, 0, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                break
        return round(min(float(STEP ** (bucket - 0.5)), self.maximum), 2)

    def percentiles(self) -> dict[str, float | None]:
        """p50, p90, p95, p99 and max, in milliseconds."""
        named = {f"p{percent}": self.percentile(percent) for percent in (50, 90, 95, 99)}
        return {**named, "max": round(self.maximum, 2) if self.buckets else None}

    def include(self, other: Histogram) -> None:
        """Count all that the other has counted."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.maximum = max(self.maximum, other.maximum)

    def bounds(self, most: int | None = None) -> list[tuple[float, float, int]]:
        """From the first bucket to the last, empty ones too: lower and upper bound in milliseconds, count.

        Neighbours are put together until there are at most `most`.
        """
        if not self.buckets:
            return []
        first, last = min(self.buckets), max(self.buckets)
        every = 1 if most is None else -(-(last - first + 1) // most)
        found = []
        for bucket in range(first, last + 1, every):
            count = sum(self.buckets.get(one, 0) for one in range(bucket, bucket + every))
            found.append((float(STEP ** (bucket - 1)), float(STEP ** (bucket + every - 1)), count))
        return found
