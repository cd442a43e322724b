"""Which transfers have overstayed: per-phase timeouts, stall, total; one look at all of them instead of a timer each.

Decides when an attempt is over for lack of progress, and by which Reason. Must not know sockets, tasks or the clock:
`now` is monotonic seconds, given. Invariant: a transfer is named overdue at most once; time that this process itself
spent asleep (SIGSTOP, a suspended machine, a blocked loop) is forgiven to every transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import NamedTuple

from crawler.errors import Reason


class Limits(NamedTuple):
    """Seconds for each phase; `min_speed` bytes per second, over a span of `stall` seconds."""

    connect: float
    read: float
    total: float
    stall: float
    min_speed: float


class Phase(IntEnum):
    """Where a transfer stands."""

    CONNECT = 0  # name lookup, TCP, TLS, waiting for a pooled connection
    ANSWER = 1  # sent, waiting for the head of the answer
    BODY = 2  # reading the body
    STORE = 3  # our own disk is slow: no time limit but the total
    SEND = 4  # before ANSWER: our body goes out


_SENDING = (Phase.SEND, Phase.ANSWER)


class Transfer:
    """One attempt on the wire, written by the fetch that makes it, read by the watch."""

    __slots__ = (
        "bytes",
        "endless",
        "last_at",
        "limits",
        "mark_at",
        "mark_bytes",
        "on_sent",
        "overdue",
        "owner",
        "peer",
        "phase",
        "since",
        "started",
        "uploaded",
        "url",
    )

    def __init__(self, url: str, limits: Limits, now: float, owner: object = None) -> None:
        self.url = url
        self.limits = limits
        self.owner = owner  # whom to stop; opaque here
        self.phase = Phase.CONNECT
        self.started = now
        self.since = now  # of the phase
        self.bytes = 0
        self.uploaded = 0  # bytes of our body; `bytes` are those of the answer's
        self.last_at = now  # when the last bytes came, or went
        self.mark_bytes = 0
        self.mark_at = now
        self.overdue: tuple[Reason, str] | None = None
        self.endless = False  # nobody knows when it ends: a run that stops does not wait for it
        self.peer: str | None = None  # its address, for whom it is of interest: "" asks for it
        self.on_sent: Callable[[float], None] | None = None  # told when the request goes onto the wire

    def enter(self, phase: Phase, now: float) -> None:
        """The transfer goes on to `phase`; a stay in STORE is taken out of the peer's time, which goes on after it.

        Who sends a body goes from CONNECT or ANSWER to SEND, from there to STORE and back while its file is read, and
        then to ANSWER.
        """
        if self.phase == Phase.STORE:
            self.last_at += now - self.since
            self.mark_at += now - self.since
        elif phase != Phase.STORE:
            self.last_at = self.mark_at = now
            self.mark_bytes = self.uploaded if phase == Phase.SEND else self.bytes
            if self.on_sent is not None and phase in _SENDING and self.phase not in _SENDING:
                self.on_sent(now)
        self.phase = phase
        self.since = now

    def received(self, count: int, now: float) -> None:
        """`count` bytes of the body arrived."""
        self.bytes += count
        self.last_at = now

    def sent(self, count: int, now: float) -> None:
        """The peer took `count` bytes of our body."""
        self.uploaded += count
        self.last_at = now

    def judge(self, now: float) -> tuple[Reason, str] | None:
        """The reason to stop it now, with a sentence, or None."""
        limits = self.limits
        if now - self.started >= limits.total:
            return Reason.TOTAL_TIMEOUT, f"not finished after {limits.total:g} s (timeouts.total)"
        if self.phase == Phase.CONNECT and now - self.since >= limits.connect:
            return Reason.CONNECT_TIMEOUT, f"no connection after {limits.connect:g} s (timeouts.connect)"
        if self.phase == Phase.ANSWER and now - self.since >= limits.read:
            return Reason.READ_TIMEOUT, f"no answer after {limits.read:g} s (timeouts.read)"
        if self.phase == Phase.BODY:
            return self._judge_flow(now, self.bytes, "no byte of the body", "bytes")
        if self.phase == Phase.SEND:
            return self._judge_flow(now, self.uploaded, "no byte of our body was taken", "bytes taken")
        return None

    def _judge_flow(self, now: float, moved: int, silence: str, unit: str) -> tuple[Reason, str] | None:
        """By the bytes `moved` so far, of our body or of the answer's."""
        limits = self.limits
        if now - self.last_at >= limits.read and limits.read <= limits.stall:
            return Reason.READ_TIMEOUT, f"{silence} for {limits.read:g} s (timeouts.read)"
        if now - self.mark_at < limits.stall:
            return None
        came = moved - self.mark_bytes
        self.mark_at, self.mark_bytes = now, moved
        if came >= limits.min_speed * limits.stall and came:
            return None
        return Reason.STALL, f"{came} {unit} in {limits.stall:g} s (timeouts.stall, timeouts.min_speed)"


class Watch:
    """All transfers under way."""

    def __init__(self, tick: float) -> None:
        self.tick = tick  # seconds between two looks, as planned
        self.transfers: set[Transfer] = set()
        self._looked_at: float | None = None
        self._uploaded = 0  # by those that ended

    def __repr__(self) -> str:
        return f"<Watch transfers={len(self.transfers)} tick={self.tick:g}s>"

    def ended(self, transfer: Transfer) -> None:
        """A transfer is over."""
        self.transfers.discard(transfer)
        self._uploaded += transfer.uploaded

    @property
    def uploaded(self) -> int:
        """Bytes of bodies from files that were sent so far, those of failed attempts as well."""
        return self._uploaded + sum(transfer.uploaded for transfer in self.transfers)

    def begin(self, now: float) -> None:
        """It is looked from now on: what passes until the first look is not forgotten."""
        self._looked_at = now

    def overdue(self, now: float) -> Iterator[Transfer]:
        """Transfers to stop now; `transfer.overdue` holds the reason and a sentence."""
        if self._looked_at is not None:
            self._forgive(now - self._looked_at - self.tick, now)
        self._looked_at = now
        for transfer in list(self.transfers):
            if transfer.overdue is None and (verdict := transfer.judge(now)):
                transfer.overdue = verdict
                yield transfer

    def longest(self, now: float) -> tuple[str, float] | None:
        """URL and age in seconds of the oldest transfer."""
        oldest = min(self.transfers, key=lambda transfer: transfer.started, default=None)
        return (oldest.url, now - oldest.started) if oldest else None

    def _forgive(self, late: float, now: float) -> None:
        """We looked `late` seconds later than planned: the peers could not know, so no clock of theirs ran."""
        if late + self.tick <= max(1.0, 2 * self.tick):
            return
        for transfer in self.transfers:  # what happened since we are awake again is not moved into the future
            transfer.started = min(transfer.started + late, now)
            transfer.since = min(transfer.since + late, now)
            transfer.last_at = min(transfer.last_at + late, now)
            transfer.mark_at = min(transfer.mark_at + late, now)
