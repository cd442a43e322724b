"""Other URLs of the same body: where a request goes on when one of them did not give it, and what its record tells.

Decides which faults lead to a mirror, and moves the request there. Must not know retries, queues or how a fault came
about. Invariant: a mirror is begun at as an input is: with its first attempt and no hops, but as far as credentials go
like a hop from the input's own URL (`seed`, `foreign`); `missed` names each URL at which this failed, in their order.
"""

from __future__ import annotations

from collections.abc import Callable

from crawler.errors import Reason
from crawler.model import Miss, Record, Request
from crawler.urls import hostname, origin, printable

_NOT_ELSEWHERE = frozenset({Reason.BAD_INPUT, Reason.REMOVED})
_TOLD = 5  # misses in a record
_CUT = 200  # characters of a URL


def next_mirror(request: Request) -> str | None:
    """The canonical URL that a request would go on to; None where there is no further one."""
    at = len(request.missed)
    return request.mirrors[at] if at < len(request.mirrors) else None


def move_on(request: Request, reason: Reason, miss: Miss, key_of: Callable[[str], str]) -> bool:
    """Let a request that would end here stand at its next mirror; False where it has to end."""
    url = next_mirror(request)
    if url is None or reason in _NOT_ELSEWHERE:
        return False
    request.missed = (*request.missed, miss)
    request.url = url
    request.host = key_of(hostname(url))
    request.foreign = origin(url) != origin(request.seed)
    request.attempt = 1
    request.hops = ()
    request.trail = ()
    request.rounds = 0
    return True


def tell(record: Record, request: Request) -> None:
    """Complete the record of a request that was at more URLs than one."""
    missed = request.missed
    if not missed:
        return
    record.attempts += sum(miss.attempts for miss in missed)
    said = [f"{miss.slug} at {printable(miss.url, _CUT)}" for miss in missed]
    if len(said) > _TOLD:
        said = [*said[: _TOLD - 1], f"{len(said) - _TOLD} more", said[-1]]
    before = ", ".join(said)
    if record.outcome == "fetched":
        served = f"served by mirror {len(missed)} of {len(request.mirrors)} after: {before}"
        record.warning = "; ".join(filter(None, [record.warning, served]))
        return
    if any(miss.failed for miss in missed):  # a last mirror that was not asked does not make it a mere omission
        record.outcome = "failed"
    record.error = f"{record.error}; before that: {before}"
