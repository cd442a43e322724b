"""A simulated internet fetched politely: how near to the least possible time, and what its servers saw.

Does: build nets with Zipf sizes, run the command over their lists in three orders, kill a run and run it again, and
judge by the servers' logs. Must not know how the crawler paces. Invariant: the bound comes from the net and the
job's limits alone, and the time is that of the whole command, start-up included.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.site import folder
from benchmarks.table import Line
from tests.simnet import (
    UNWRITTEN,
    Behaviour,
    Bound,
    Host,
    Seen,
    SimNet,
    by_host,
    down,
    early_after,
    flaky,
    limited,
    lower_bound,
    most_at_once,
    plain,
    slow_body,
    stalling,
    worst_window,
)

ORDERS = ("shuffled", "sorted", "half")
_COMMON = 20.0  # requests per second and host
_AT_ONCE = 8
_LATENCIES = (0.001, 0.005, 0.02, 0.05, 0.1)
# Seconds from start to SIGKILL: before the first commit, about it, and after it, where the start takes half a second.
KILLS = (0.8, 1.0, 1.2, 1.6, 2.0)
# What wire and event loops may add to one request and not to the next, in seconds.
TOLERANCE = 0.05


class Scale(NamedTuple):
    """How large a net is: its hosts, requests in all, and the seconds its largest host takes at least.

    `burst`: what the client may send in one go, in seconds' worth; `least`: the shortest Retry-After, in seconds.
    """

    hosts: int
    requests: int
    seconds: float
    burst: float = 0.05  # enough that a loop which wakes some milliseconds late loses nothing
    least: int = 1


class Ran(NamedTuple):
    """One run: exit code, seconds from the start of the command to its end, records, bound, what the servers saw, the
    moments at which it was killed.
    """

    code: int
    seconds: float
    records: Path
    bound: Bound
    hosts: Sequence[Host]
    log: Sequence[Seen]
    killed_at: Sequence[float]

    @property
    def served(self) -> float:
        """Seconds from the first request to the last answer."""
        return max(seen.end for seen in self.log) - min(seen.begin for seen in self.log)


class Verdict(NamedTuple):
    """The worst that any host saw: requests at once beyond the allowed, seconds of bunching, early requests."""

    beyond: int
    bunched: float  # the worst window's excess over rate * w + burst, as seconds at its host's rate
    early: int


BENCH = Scale(300, 12_000, 22.0)
QUICK = Scale(100, 2_000, 5.0)


def killed(scale: Scale) -> Scale:
    """Where a kill would show: large bursts that could come twice, and many 429s whose wait outlasts a new start."""
    return scale._replace(requests=scale.requests * 2, burst=0.5, least=2)


def net(scale: Scale, order: str) -> list[Host]:
    """Hosts by size, the largest first: it sets the bound, whatever the others do; with "half", it has half of all.

    Its address is the last one, so that a list sorted by host names it last, which is the hardest place.
    """
    rng = Random(20261121)
    largest = scale.requests // 2 if order == "half" else _zipf(scale.requests, scale.hosts)[0]
    sizes = _zipf(scale.requests, scale.hosts)[1:]
    if order == "half":
        sizes = _zipf(scale.requests - largest, scale.hosts - 1)
    addresses = [f"127.1.{number // 200 + 1}.{number % 200 + 1}" for number in range(scale.hosts - 1)]
    rng.shuffle(addresses)
    hosts = [_host("127.2.0.1", plain(0.01), largest, largest / scale.seconds, scale)]
    for rank, (address, size) in enumerate(zip(addresses, sizes, strict=True), 2):
        # A few large hosts are allowed more, as their sizes ask for; the rest keeps the common rate.
        rate = max(_COMMON, size / (0.8 * scale.seconds))
        hosts.append(_host(address, _behaviour(rank, size, scale, rng), size, rate, scale))
    return hosts


def _zipf(total: int, hosts: int) -> list[int]:
    weight = total / sum(1 / rank for rank in range(1, hosts + 1))
    return [max(1, round(weight / rank)) for rank in range(1, hosts + 1)]


def _host(address: str, behaviour: Behaviour, requests: int, rate: float, scale: Scale) -> Host:
    return Host(address, behaviour, requests, _AT_ONCE, round(rate, 1), max(1, round(rate * scale.burst)))


def _behaviour(rank: int, size: int, scale: Scale, rng: Random) -> Behaviour:
    """By rank, so that each kind has hosts of all sizes but the largest ones."""
    # Too little for the client's rate, enough for a time well below the bound, were nothing lost in learning it.
    rate = max(1.0, size / (0.4 * scale.seconds))
    if rank >= 9:
        match rank % 20:
            case 9 | 19:
                return limited(rate, round(rate), "retry-after", scale.least)
            case 10:
                return limited(rate, round(rate), "ratelimit", scale.least)
            case 11:
                return limited(rate, round(rate), "headerless")
            case 13:
                return down()
            case 14 if rank % 40 == 14:
                return stalling()
            case 15:
                return flaky(0.1)
            case 16:
                return slow_body(0.2)
    return plain(rng.choice(_LATENCIES))


def urls(hosts: Sequence[Host], server: SimNet, order: str) -> list[str]:
    """The list: sorted by host, or shuffled."""
    found = [
        server.url(host.address, f"/{page}")
        for host in sorted(hosts, key=lambda host: host.address)
        for page in range(host.requests)
    ]
    if order != "sorted":
        Random(7).shuffle(found)
    return found


def write_job(where: Path, name: str, hosts: Sequence[Host], listed: Sequence[str], scale: Scale) -> list[str]:
    """The list, and a job over it that knows the limits of the large hosts; the command that runs it."""
    (where / f"{name}.txt").write_text("".join(f"{url}\n" for url in listed))
    job = where / f"{name}.toml"
    job.write_text(
        f'name = "{name}"\n[input]\nfiles = ["{name}.txt"]\n'
        f"[limits]\nworkers = 256\nper_host = {_AT_ONCE}\nadaptive = true\n"
        f'rate_per_host = "{_COMMON:g}/s"\nburst_per_host = {max(1, round(_COMMON * scale.burst))}\n'
        # A host that is down is asked some times before its circuit breaks: that takes its time as well.
        f'[retry]\nattempts = 10\nbackoff = {{ initial = "0.2s", max = "{scale.seconds / 20:g}s" }}\n'
        f'[timeouts]\nconnect = "2s"\nread = "{scale.seconds / 20:g}s"\n'
        f'[breaker]\nfailures = 10\ngive_up = "{_give_up(scale):g}s"\n'
        f'[output]\ndir = "{where}/out"\nbodies = "none"\n'
        + "".join(
            f'[hosts."{host.address}"]\nrate_per_host = "{host.rate:g}/s"\nburst_per_host = {host.burst}\n'
            for host in hosts
            if host.rate > _COMMON
        )
    )
    return [sys.executable, "-m", "crawler", "run", str(job), "--quiet"]


def _give_up(scale: Scale) -> float:
    return scale.seconds / 3


def ran(where: Path, scale: Scale, order: str, kills: Sequence[float] = ()) -> Ran:
    """Run a net's list to its end; with `kills`, after SIGKILLs so many seconds after each start."""
    hosts = net(scale, order)
    name = f"{order}-{len(kills)}"
    with SimNet(hosts, where / f"net-{name}") as server:
        command = write_job(where, name, hosts, urls(hosts, server, order), scale)
        started = time.monotonic()
        killed_at = [_run_and_kill(command, seconds, server) for seconds in kills]
        code = subprocess.run(command, timeout=scale.seconds * 10 + 60, check=False).returncode
        spent = time.monotonic() - started
    bound = lower_bound(hosts, _give_up(scale))
    return Ran(code, spent, where / "out" / name / "latest" / "records.jsonl", bound, hosts, server.log(), killed_at)


def _run_and_kill(command: Sequence[str], seconds: float, server: SimNet) -> float:
    """The monotonic moment of the kill: sooner than told when some host has asked to be left alone, long enough ago
    that it is written down.
    """
    process = subprocess.Popen(command)
    latest = time.monotonic() + seconds
    time.sleep(seconds / 2)
    while not _waiting(server.waits(), time.monotonic()) and time.monotonic() < latest:
        time.sleep(0.02)
    assert process.poll() is None, "the run was over before it could be killed"
    process.kill()
    killed_at = time.monotonic()
    process.wait(10)
    return killed_at


def _waiting(waits: Sequence[tuple[float, float]], now: float) -> bool:
    """Is a host to be left alone now, and for a while yet, and was that told long enough ago to be written down."""
    return any(told + UNWRITTEN + 0.02 <= now < told + wait - 0.1 for told, wait in waits)


def verdict(run: Ran) -> Verdict:
    """The worst over all hosts, by what their servers saw."""
    logs = by_host(run.log)
    of = {host.address: host for host in run.hosts}
    return Verdict(
        max(most_at_once(log, TOLERANCE) - of[name].concurrency for name, log in logs.items()),
        max(worst_window(log, of[name].rate, of[name].burst) / of[name].rate for name, log in logs.items()),
        sum(len(early_after(log, kills=run.killed_at)) for log in logs.values()),
    )


def run(*, quick: bool, full: bool) -> list[Line]:
    """Three orders of the list, and a run that is killed again and again."""
    scale = QUICK if quick else BENCH
    lines = []
    with folder() as where:
        for order in ORDERS:
            one = ran(where, scale, order)
            lines += [_timed(f"simulated net, {order}: whole time / bound", one), _judged("  seen by its servers", one)]
        again = ran(where, killed(QUICK), "shuffled", kills=KILLS)
    return [*lines, _judged(f"simulated net, {len(KILLS)} SIGKILLs and new starts", again)]


def _timed(what: str, run: Ran) -> Line:
    least = run.bound.seconds
    refused = sum(seen.status == 429 for seen in run.log)
    said = f"{run.seconds / least:.3f}x of {least:.1f} s, served {run.served / least:.3f}x"
    return Line(what, f"{said}; {refused} 429s of {len(run.log)}", "<= 1.05x")


def _judged(what: str, run: Ran) -> Line:
    worst = verdict(run)
    said = f"{max(0, worst.beyond)} over, {max(0.0, worst.bunched) * 1000:.0f} ms bunched, {worst.early} early"
    return Line(what, said, f"0 over, <= {TOLERANCE * 1000:.0f} ms, 0 early")
