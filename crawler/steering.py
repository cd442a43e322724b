"""What orders do to a running job, and what it tells of itself: at its control socket, and by SIGUSR1.

Does: carry out orders on the pipeline, put the picture of the moment together. Must not know sockets or signals.
Invariant: what is set holds for this process alone, and is logged with who set it; no secret is told.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Any, NamedTuple, assert_never

from crawler.bandwidth import Bandwidth
from crawler.controlling import Peer
from crawler.hosts import Hosts
from crawler.livestate import HostState, OldState, Process, Weightiest, dump, host_state, oldest, waits_for
from crawler.logs import masked
from crawler.memory import resident
from crawler.orders import NoOrder, Order, Setting, written
from crawler.pace import PaceLimits
from crawler.pipeline import Pipeline
from crawler.progress import facts
from crawler.tally import Snapshot
from crawler.urls import printable

log = logging.getLogger("crawler")

_MOST_SET = 1_000  # hosts that may be set apart by hand


class Limits:
    """The limits that hold now: those of the job file, and what was set since."""

    def __init__(self, hosts: Hosts, rate: float | None, bandwidth: Bandwidth | None, workers: int) -> None:
        self.hosts = hosts
        self.rate = rate
        self.bandwidth = bandwidth
        self._nowhere = PaceLimits(workers)  # the "host" of inputs that are never sent
        self.apart: set[str] = set()  # hosts that were set by hand

    def pace_of(self, key: str) -> PaceLimits:
        """The pace of a politeness key."""
        return self.hosts.pace_of(key) if key else self._nowhere


class _Picture(NamedTuple):
    snapshot: Snapshot
    hosts: list[HostState]
    olds: list[OldState]
    waits: str


class Steering:
    """One run under way."""

    def __init__(self, pipeline: Pipeline, limits: Limits) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._weightiest = Weightiest()

    async def obey(self, order: Order, peer: Peer) -> dict[str, Any]:
        """Carry an order out; the facts of its answer. Raises NoOrder where it cannot be."""
        match order.do:
            case "pause":
                return self._pause(peer)
            case "resume":
                return self._resume(peer)
            case "stop":
                return self._stop(order, peer)
            case "set":
                assert order.setting is not None
                return await self._set(order.setting, peer)
            case "state":
                return self._state()
            case _:
                assert_never(order.do)

    def log_state(self) -> None:
        """Write how it stands to the log, as lines. Never raises: whoever asks wants to know of a run that goes on."""
        try:
            picture = self._picture()
            process = Process(resident(), len(asyncio.all_tasks()), self._pipeline.queued)
            for line in dump(*picture, process):
                log.warning(line)  # as a kind of its own, so that none is held back as one of many
        except Exception:
            log.exception("the state could not be written; the run goes on")

    def _pause(self, peer: Peer) -> dict[str, Any]:
        if self._pipeline.stopping:
            raise NoOrder("it is stopping already")
        if not self._pipeline.hindered.paused:
            self._pipeline.pause()
            log.warning("paused by %s; `crawler resume` goes on", peer)
        return {"state": "paused", "in_flight": self._pipeline.frontier.leased}

    def _resume(self, peer: Peer) -> dict[str, Any]:
        if self._pipeline.stopping:
            raise NoOrder("it is stopping already; run it again to go on")
        was = self._pipeline.hindered.paused
        if was:
            self._pipeline.resume()
            log.warning("resumed by %s", peer)
        return {"state": "running", "was_paused": was}

    def _stop(self, order: Order, peer: Peer) -> dict[str, Any]:
        log.warning("told to stop%s by %s", " at once" if order.now else "", peer)
        self._pipeline.stop()
        if order.now:
            self._pipeline.stop()  # the second cuts what is under way
        return {"state": "draining", "in_flight": self._pipeline.frontier.leased}

    async def _set(self, setting: Setting, peer: Peer) -> dict[str, Any]:
        limits = self._limits
        if setting.host is not None and setting.host not in limits.apart:
            if len(limits.apart) >= _MOST_SET:
                raise NoOrder(f"{_MOST_SET} hosts are set apart already; write the others into the job file")
            limits.apart.add(setting.host)
        before, hosts = None, 0
        if setting.limit == "rate":
            before, limits.rate = written("rate", limits.rate), setting.value
            self._pipeline.change_rate(setting.value)
        elif setting.limit == "bandwidth":
            if limits.bandwidth is None:
                raise NoOrder(
                    "limits.bandwidth can be changed only where the job began with one; any large one will do"
                )
            limits.bandwidth.change(setting.value)
        else:
            limits.hosts = limits.hosts.changed(setting)
            hosts = await self._pipeline.change_paces()
        was = f" (was {before})" if before is not None else ""
        log.warning("%s set to %s%s by %s, until this run ends", setting.key, setting.text, was, peer)
        told: dict[str, Any] = {"key": setting.key, "value": setting.text, "was": before}
        return told if setting.limit in ("rate", "bandwidth") else {**told, "hosts": hosts}

    def _state(self) -> dict[str, Any]:
        picture = self._picture()
        return {
            "snapshot": {**facts(picture.snapshot), "paused": picture.snapshot.state == "paused"},
            "hosts": [host._asdict() for host in picture.hosts],
            "oldest": [old._asdict() for old in picture.olds],
            "waits": picture.waits,
        }

    def _picture(self) -> _Picture:
        pipeline, now, snapshot = self._pipeline, monotonic(), self._pipeline.snapshot()
        queues = self._weightiest.of(pipeline.frontier.queues, now)
        hosts = [host_state(host, now) for host in queues if host.name]
        olds = [old._replace(url=printable(masked(old.url), 500)) for old in oldest(pipeline.watch.transfers, now)]
        return _Picture(snapshot, hosts, olds, waits_for(snapshot, pipeline.hindered, hosts))
