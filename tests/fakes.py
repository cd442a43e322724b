"""Stand-ins for the parts around a module under test: the store behind a frontier, records without a fetch."""

from __future__ import annotations

from collections import defaultdict
from hashlib import sha256

from crawler.entry import Entry
from crawler.frontier import Frontier, Want
from crawler.hosts import HostRules
from crawler.jobconnection import Ways
from crawler.model import Body, Record, Request
from crawler.pace import PaceLimits
from crawler.retry import RetryPolicy
from crawler.tally import Snapshot
from crawler.watch import Limits

# A run in its middle; tests replace what they look at.
SNAPSHOT = Snapshot(
    job="quickstart",
    run="r1",
    state="running",
    at=1_700_000_000.0,
    elapsed=12.0,
    known=512,
    importing=False,
    waiting=170,
    in_flight=32,
    fetched=300,
    failed=10,
    skipped=0,
    retries=4,
    bytes=34 * 2**20,
    uploaded=0,
    rate=42.1234567,
    byte_rate=1.2 * 2**20,
    eta=5.0,
    eta_host=None,
    hosts=12,
    hosts_waiting=0,
    next_at=None,
    longest=None,
)


# What holds for a host of a job that says nothing; tests replace what they look at.
HOST_RULES = HostRules(
    pace=PaceLimits(8),
    retry=RetryPolicy(),
    timeouts=Limits(5, 15, 300, 30, 10),
    headers={},
    max_body=1 << 20,
    bandwidth=None,
    robots=True,
    crawl_delay_max=60.0,
    accepts=frozenset(range(200, 300)),
    decompress=True,
    expect=None,
    ways=Ways(),
)


class FakeStore:
    """Waiting rows by host, answering a Want as `Checkpoint.window` does; times are those of the test's clock."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[int, tuple[str, float]]] = defaultdict(dict)

    def insert(self, request: Request) -> None:
        """A row as the feed makes it."""
        self._rows[request.home][request.id] = request.seed, 0.0

    def retry(self, request: Request, due: float) -> None:
        """The row waits until `due`, should it be read again."""
        self._rows[request.home][request.id] = request.seed, due

    def settle(self, request: Request) -> None:
        """The row is done with."""
        del self._rows[request.home][request.id]

    def window(self, want: Want) -> list[tuple[Request, float]]:
        """Rows above the cursor, in the order of their ids."""
        rows = sorted(self._rows[want.host].items())
        above = [(Request(id, url, want.host), due) for id, (url, due) in rows if id > want.after]
        return above[: want.limit]

    def waiting(self) -> dict[str, int]:
        """How many rows wait, by host."""
        return {host: len(rows) for host, rows in self._rows.items() if rows}

    def feed(self, frontier: Frontier, now: float) -> None:
        """Answer the frontier until it is not hungry."""
        while wants := frontier.hungry(7):
            for want in wants:
                rows = self.window(want)
                assert rows, f"{want} asks for rows that do not exist"
                frontier.refill(want, rows, now)


def record_of(id: int, body: bytes | None = b"", *, url: str | None = None, kind: str | None = "text/html") -> Record:
    """The record of a fetched request with that body; None makes it a failed one."""
    url = url or f"http://site.example/{id}"
    return Record(
        id=id,
        run="run-1",
        url=url,
        final_url=url,
        method="GET",
        outcome="failed" if body is None else "fetched",
        reason="status-404" if body is None else None,
        status=404 if body is None else 200,
        attempts=1,
        started_at=None,
        elapsed_ms=None,
        bytes=None if body is None else len(body),
        frames=None,
        sha256=None if body is None else sha256(body).hexdigest(),
        content_type=kind,
        charset=None,
        headers=None,
        etag=None,
        last_modified=None,
        depth=0,
        page=None,
        referrer=None,
        length_checked=None,
        request_id=None,
        input=None,
        place=None,
        warning=None,
        error=None,
        body=None,
    )


def stored(id: int, data: bytes, *, filename: str | None = None, url: str | None = None) -> Entry:
    """A small body to store, with its record."""
    return Entry(record_of(id, data, url=url), Body(len(data), sha256(data).hexdigest(), data=data), filename)
