"""A simulated internet on 127.0.0.0/8: one process is every host, and the local address of a connection says which.

Does: serve the hosts of a net in real time, each with its own behaviour, and log what each of them saw; judge such a
log (concurrency, rate, Retry-After); say how long a net must take at least. Must not know the crawler.
Invariant: a log entry begins when the head of a request is there, and ends as its answer is written or its
connection lost; the checks look at these moments of the server alone, never at what a client says it did.

A request costs the server well under 40 us: bytes in, bytes out, no HTTP library.
"""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from time import monotonic
from types import TracebackType
from typing import IO, Literal, NamedTuple, cast

import orjson

Kind = Literal["plain", "limited", "down", "stalling", "flaky", "slow-body"]
Answer = Literal["retry-after", "headerless", "ratelimit"]
_BODY = b"x" * 64
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 64\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_LATER = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n"
_PIECES = 4


class Behaviour(NamedTuple):
    """How a host answers; made by the functions below. `latency` in seconds, `rate` in requests per second."""

    kind: Kind
    latency: float = 0.0
    rate: float = math.inf
    burst: int = 1
    answer: Answer = "headerless"
    least: int = 1
    p: float = 0.0


def plain(latency: float) -> Behaviour:
    """Answers each request after `latency` seconds."""
    return Behaviour("plain", latency)


def limited(rate: float, burst: int, answer: Answer, least: int = 1) -> Behaviour:
    """A token bucket; beyond it 429, with the seconds to wait, at least `least`, in one header, the other, or none."""
    return Behaviour("limited", 0.005, rate, burst, answer, least)


def down() -> Behaviour:
    """Refuses connections: its URLs name a port on which nothing listens."""
    return Behaviour("down")


def stalling() -> Behaviour:
    """Takes requests and never answers."""
    return Behaviour("stalling")


def flaky(p: float) -> Behaviour:
    """503 with probability `p`."""
    return Behaviour("flaky", 0.005, p=p)


def slow_body(seconds: float) -> Behaviour:
    """The head at once, the body in pieces over `seconds`."""
    return Behaviour("slow-body", seconds)


class Host(NamedTuple):
    """A host, how much is asked of it, and what the client may do to it (rate in requests per second)."""

    address: str
    behaviour: Behaviour
    requests: int
    concurrency: int
    rate: float = math.inf
    burst: int = 1


class Seen(NamedTuple):
    """One request as its server saw it: monotonic seconds; status 0 if unanswered; `wait` is what a 429 asked for."""

    begin: float
    end: float
    host: str
    path: str
    status: int
    wait: float | None


class Bound(NamedTuple):
    """The least time for a net, in seconds, and the host that sets it."""

    seconds: float
    host: str


# -- judging ----------------------------------------------------------------------------------------------------------


def by_host(log: Iterable[Seen]) -> Mapping[str, list[Seen]]:
    """The log of each host, in order of the begins."""
    hosts: dict[str, list[Seen]] = defaultdict(list)
    for seen in sorted(log):
        hosts[seen.host].append(seen)
    return hosts


def most_at_once(log: Iterable[Seen], grace: float = 0.0) -> int:
    """The most requests of one host's log under way at one moment.

    `grace`: a lost connection may be noticed so many seconds after the client gave it up; answers have none.
    """
    moves = [(seen.begin, 1) for seen in log]
    moves += [(seen.end if seen.status else max(seen.begin, seen.end - grace), -1) for seen in log]
    now = most = 0
    for _, step in sorted(moves):  # of one moment, ends come first
        now += step
        most = max(most, now)
    return most


def worst_window(log: Iterable[Seen], rate: float, burst: int, tolerance: float = 0.0) -> float:
    """The largest excess of any window of one host's log over rate * (w + tolerance) + burst; none is above 0.

    A bucket that leaks `rate` a second holds, after each request, the largest excess over rate * w of all windows
    that end there, so one pass sees them all. `tolerance` (seconds) is what wire and loops may add to one request
    and not to the next; excess / rate, of a log without tolerance, is what they did add.
    """
    level, last, worst = 0.0, -math.inf, -math.inf
    for begin in sorted(seen.begin for seen in log):
        level = max(0.0, level - rate * (begin - last)) + 1.0
        last = begin
        worst = max(worst, level)
    return worst - burst - rate * tolerance


# Seconds: groups are committed about so often, so a kill may cost as much of what servers asked for.
UNWRITTEN = 1.0


def early_after(
    log: Iterable[Seen], transit: float = 0.1, kills: Collection[float] = (), unwritten: float = UNWRITTEN
) -> list[Seen]:
    """Requests of one host's log that began before the wait asked for by an earlier 429 was over.

    Those that began within `transit` seconds of that answer were on their way, or the answer was. A client that was
    killed within `unwritten` seconds of an answer need not know it: that much a kill may cost, if the disk is slow. Nor
    does it know what a server answered to requests that were on their way when it was killed.
    """
    entries = sorted(log)
    told = sorted(
        (seen.end + transit, seen.end + seen.wait)
        for seen in entries
        if seen.wait is not None and not any(seen.begin - transit <= kill < seen.end + unwritten for kill in kills)
    )
    found = []
    until, position = -math.inf, 0
    for seen in entries:
        while position < len(told) and told[position][0] < seen.begin:
            until = max(until, told[position][1])
            position += 1
        if seen.begin < until:
            found.append(seen)
    return found


def lower_bound(hosts: Iterable[Host], give_up: float) -> Bound:
    """The least time in which a client may be through with the net; `give_up`: how long it must try a dead host."""
    return max(Bound(least_time(host, give_up), host.address) for host in hosts)


def least_time(host: Host, give_up: float) -> float:
    """Seconds that one host takes at least, however fast the client is."""
    behaviour = host.behaviour
    if behaviour.kind in ("down", "stalling"):
        return give_up if host.requests else 0.0
    ways = [host.requests * behaviour.latency / host.concurrency]
    ways += [(host.requests - burst) / rate for rate, burst in ((host.rate, host.burst), behaviour[2:4])]
    return max(ways)


# -- serving ----------------------------------------------------------------------------------------------------------


class _Bucket:
    """A server's own limit, as GCRA: the theoretical arrival time of the next request at an even pace."""

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) / rate
        self._arrival = -math.inf

    def take(self, now: float) -> tuple[float, int]:
        """Seconds until a request would be allowed (0: this one is), and how many more may follow at once."""
        if self._arrival - self._tolerance > now:
            return self._arrival - self._tolerance - now, 0
        self._arrival = max(self._arrival, now) + self._interval
        return 0.0, int((now + self._tolerance - self._arrival) / self._interval + 1)


class _World:
    """All hosts of a net, and the log."""

    def __init__(self, behaviours: Mapping[str, Behaviour]) -> None:
        self.behaviours = behaviours
        self.buckets = {name: _Bucket(*of[2:4]) for name, of in behaviours.items() if of.kind == "limited"}
        self.rng = Random(3)
        self.log: list[list[object]] = []  # the fields of Seen; the end is None while a request is under way
        self.asked: IO[bytes] | None = None  # told at once of each wait that a host asked for

    def answer(self, host: str, now: float) -> tuple[int, float | None, bytes]:
        """Status, seconds to wait, and the bytes of an answer; called when the request is there."""
        behaviour = self.behaviours[host]
        if behaviour.kind == "flaky" and self.rng.random() < behaviour.p:
            return 503, None, _BUSY
        if behaviour.kind != "limited":
            return 200, None, _OK + b"\r\n" + _BODY
        wait, left = self.buckets[host].take(now)
        whole = max(behaviour.least, math.ceil(wait))
        line = b""
        if behaviour.answer == "ratelimit":
            line = b'RateLimit: "d";r=%d;t=%d\r\n' % (left, whole)
        if not wait:
            return 200, None, _OK + line + b"\r\n" + _BODY
        if behaviour.answer == "retry-after":
            line = b"Retry-After: %d\r\n" % whole
        return 429, None if behaviour.answer == "headerless" else float(whole), _LATER + line + b"\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, world: _World) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._entry: list[object] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._host: str = transport.get_extra_info("sockname")[0]
        if not transport.get_extra_info("peername")[0].startswith("127.") or self._host not in self._world.behaviours:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._entry is None and b"\r\n\r\n" in self._buffer:
            self._begin()

    def _begin(self) -> None:
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        now = monotonic()
        status, wait, answer = self._world.answer(self._host, now)
        path = head.split(b" ", 2)[1].decode("latin-1")
        self._entry = [now, None, self._host, path, 0, None]
        self._world.log.append(self._entry)
        behaviour = self._world.behaviours[self._host]
        if behaviour.kind == "slow-body":
            self._piece(answer, behaviour.latency / _PIECES, _PIECES)
        elif behaviour.kind != "stalling":
            self._timer = self._loop.call_later(behaviour.latency, self._finish, answer, status, wait)

    def _piece(self, rest: bytes, delay: float, left: int) -> None:
        """Write what comes before the last `left` pieces of the body."""
        size = len(rest) - left * (len(_BODY) // _PIECES)
        self._transport.write(rest[:size])
        if left == 1:
            self._timer = self._loop.call_later(delay, self._finish, rest[size:], 200, None)
        else:
            self._timer = self._loop.call_later(delay, self._piece, rest[size:], delay, left - 1)

    def _finish(self, answer: bytes, status: int, wait: float | None) -> None:
        assert self._entry is not None
        # Before the write, for the client may read it at once.
        self._entry[1], self._entry[4], self._entry[5] = monotonic(), status, wait
        self._transport.write(answer)
        if wait is not None and self._world.asked is not None:
            self._world.asked.write(orjson.dumps([self._entry[1], wait]) + b"\n")
        self._entry = None
        if b"\r\n\r\n" in self._buffer:
            self._begin()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._entry is not None:
            self._entry[1] = monotonic()


async def _serve(net: Path, log: Path) -> None:
    world = _World({name: Behaviour(*fields) for name, fields in orjson.loads(net.read_bytes()).items()})
    world.asked = log.with_suffix(".waits").open("wb", buffering=0)
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    nobody = socket.socket()
    nobody.bind(("0.0.0.0", 0))  # bound, not listening: connections are refused, and nobody else takes the port
    server = await loop.create_server(lambda: _Connection(world), "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], nobody.getsockname()[1], flush=True)
    gc.disable()
    await over.wait()
    now = monotonic()
    with log.open("wb") as file:
        for entry in world.log:
            entry[1] = entry[1] or now
            file.write(orjson.dumps(entry) + b"\n")
    nobody.close()
    world.asked.close()


class SimNet:
    """A running net. `url(host, path)` while it runs; `log()` after its end, when the server has written it."""

    def __init__(self, hosts: Sequence[Host], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._dead = {host.address for host in hosts if host.behaviour.kind == "down"}
        self._net, self._log = folder / "net.json", folder / "log.jsonl"
        # JSON has no infinity; a host without a rate of its own has 10^9.
        fields = {host.address: [min(v, 1e9) if isinstance(v, float) else v for v in host.behaviour] for host in hosts}
        self._net.write_bytes(orjson.dumps(fields))

    def __enter__(self) -> SimNet:
        command = [sys.executable, "-m", "tests.simnet", str(self._net), str(self._log)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        said = self._process.stdout.readline().split()
        if len(said) != 2:
            raise RuntimeError("the simulated net did not start")
        self.port, self.dead_port = int(said[0]), int(said[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)

    def url(self, host: str, path: str) -> str:
        """The URL of a page of a host."""
        return f"http://{host}:{self.dead_port if host in self._dead else self.port}{path}"

    def log(self) -> list[Seen]:
        """What the servers saw; dead ones see nothing."""
        return [Seen(*orjson.loads(line)) for line in self._log.read_bytes().splitlines()]

    def waits(self) -> list[tuple[float, float]]:
        """When hosts asked to be left alone, and for how many seconds, so far; also while it runs."""
        lines = self._log.with_suffix(".waits").read_bytes().splitlines(keepends=True)
        return [tuple(orjson.loads(line)) for line in lines if line.endswith(b"\n")]


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))
