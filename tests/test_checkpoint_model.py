"""The checkpoint against a model in memory: whatever is inserted, committed, retried, lost or killed, they agree.

Inboxes are merged after some rows and the log of ends is folded after some ends, so that kills fall on both.
"""

from __future__ import annotations

import shutil
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from crawler import endlog, rowstore
from crawler.checkpoint import Checkpoint, Failure, Group, Rejoined, Retry, Settled
from crawler.model import Request
from crawler.rows import NewRow
from crawler.states import CHUNK, FAILED, FETCHED, SKIPPED, WAITING

HOSTS = ("a", "b", "c.example", "d", "e")
NUMBERS = st.integers(0, 10**6)


class Row(NamedTuple):
    host: str
    state: int = WAITING
    attempt: int = 1
    due: float = 0.0
    reason: str | None = None
    at: float = 0.0


class Model:
    """What a checkpoint has to know."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.highest = 0
        self.group = 0
        self.runs = 0
        self.paces: dict[str, str] = {}

    def waiting(self) -> list[int]:
        return [id for id, row in self.rows.items() if row.state == WAITING]

    def failures(self) -> list[Failure]:
        return [Failure(id, row.host, row.reason, row.at) for id, row in sorted(self.rows.items()) if row.reason]


class Comparison(RuleBasedStateMachine):
    """Rules change both; the invariant compares all that the checkpoint tells."""

    @initialize(full=st.integers(1, 20), clustered=st.integers(2, 20), folded=st.integers(1, 30))
    def make(self, full: int, clustered: int, folded: int) -> None:
        self.limits = rowstore._FULL, rowstore._CLUSTERED, endlog._FOLDED_AT
        rowstore._FULL, rowstore._CLUSTERED, endlog._FOLDED_AT = full, clustered, folded
        self.left: tuple[Path, Model] | None = None
        self.root = Path(tempfile.mkdtemp(prefix="checkpoint"))
        self.folders = 0
        self.path = self.root / "state.db"
        self.checkpoint = Checkpoint(self.path)
        self.now = Model()
        self.begin()

    def teardown(self) -> None:
        if hasattr(self, "root"):
            self.checkpoint.close()
            shutil.rmtree(self.root)
            rowstore._FULL, rowstore._CLUSTERED, endlog._FOLDED_AT = self.limits

    @property
    def run_id(self) -> str:
        return f"run-{self.now.runs}"

    def saved(self) -> None:
        self.durable = deepcopy(self.now)
        self.committed = False

    def copied(self) -> Path:
        """What a kill would leave at this instant."""
        self.folders += 1
        left = self.root / str(self.folders)
        left.mkdir()
        for name in ("state.db", "state.db-wal"):
            if self.path.with_name(name).exists():
                shutil.copy(self.path.with_name(name), left / name)
        return left / "state.db"

    @rule(
        hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=8)
        | st.sampled_from(HOSTS).map(lambda host: [host] * 30),
        gap=st.sampled_from([0, 1, CHUNK - 5, 3 * CHUNK]),
    )
    def insert(self, hosts: list[str], gap: int) -> None:
        rows = dict(enumerate(hosts, self.now.highest + gap + 1))
        self.checkpoint.insert(
            [NewRow(Request(id, f"http://{host}/{id}", host), id * 3) for id, host in rows.items()], []
        )
        self.now.rows |= {id: Row(host) for id, host in rows.items()}
        self.now.highest = max(rows)

    @rule(
        ends=st.lists(st.tuples(NUMBERS, st.sampled_from([FETCHED, FAILED, SKIPPED]), st.booleans()), max_size=20),
        retries=st.lists(st.tuples(NUMBERS, st.integers(2, 5)), max_size=8),
        paces=st.dictionaries(st.sampled_from((*HOSTS, "other")), st.sampled_from(["slow", "dead"]), max_size=2),
    )
    def commit(self, ends: list[tuple[int, int, bool]], retries: list[tuple[int, int]], paces: dict[str, str]) -> None:
        waiting = self.now.waiting()
        again: list[Retry] = []
        if waiting:
            again = [Retry(waiting[n % len(waiting)], attempt, float(n)) for n, attempt in retries]
        for retry in again:
            row = self.now.rows[retry.id]
            self.now.rows[retry.id] = row._replace(attempt=retry.attempt, due=retry.due)
        settled: list[Settled] = []
        for n, state, retried_too in ends:
            choice = [retry.id for retry in again] if retried_too else waiting
            id = choice[n % len(choice)] if choice else 0
            if id and self.now.rows[id].state == WAITING:
                reason, at = ("stall", float(n)) if state == FAILED else (None, 0.0)
                host = self.now.rows[id].host
                self.now.rows[id] = Row(host, state, reason=reason, at=at)
                settled.append(Settled(host, id, state, reason, at))
        self.now.group += 1
        self.now.paces |= paces
        self.checkpoint.commit(
            self.run_id, Group(self.now.group, settled, again, list(paces.items()), [], [], b"", 0.0)
        )
        self.saved()

    @rule()
    def lose(self) -> None:
        self.checkpoint.roll_back()
        self.now = deepcopy(self.durable)

    @rule(clean=st.booleans())
    def start_again(self, clean: bool) -> None:
        """After a close, or on what a kill left: the files as they are at this instant."""
        if clean:
            self.checkpoint.close()
        else:
            left = self.copied()
            self.checkpoint.close()
            self.path = left
        self.checkpoint = Checkpoint(self.path)
        self.now = deepcopy(self.durable)

    @rule(statements=st.integers(1, 40))
    def will_be_killed(self, statements: int) -> None:
        """Keep what a kill would leave just before a statement that is still to come."""
        to_go = statements

        def traced(statement: str) -> None:
            nonlocal to_go
            to_go -= 1
            if to_go == 0:
                self.left = self.copied(), deepcopy(self.now if self.committed else self.durable)
            self.committed = self.committed or statement == "COMMIT"

        self.left = None
        self.checkpoint._db.set_trace_callback(traced)

    @precondition(lambda self: self.left is not None)
    @rule()
    def was_killed(self) -> None:
        assert self.left is not None
        self.checkpoint.close()
        (self.path, self.now), self.left = self.left, None
        self.saved()
        self.checkpoint = Checkpoint(self.path)

    @rule()
    def begin(self) -> None:
        runs, paces = self.now.runs + 1, self.now.paces
        self.now = Model()
        self.now.runs, self.now.paces = runs, paces
        self.checkpoint.begin_run(self.run_id, 0.0, "{}")
        self.saved()

    @precondition(lambda self: self.now.failures())
    @rule(picks=st.lists(NUMBERS, min_size=1, max_size=10))
    def retry(self, picks: list[int]) -> None:
        self.lose()  # nothing of a run that is over is uncommitted
        failures = list(self.checkpoint.failures())
        if failures:
            again = [failures[n % len(failures)] for n in picks]
            self.now.rows |= {failure.id: Row(failure.host) for failure in again}
            self.checkpoint.rejoin(self.run_id, "{}", {one.id: one.host for one in again}, Rejoined({}, {}, b""))
            self.saved()

    @rule(host=st.sampled_from(HOSTS), after=NUMBERS, limit=st.integers(1, 40))
    def window(self, host: str, after: int, limit: int) -> None:
        after %= self.now.highest + 2
        expected = [
            (id, f"http://{host}/{id}", row.attempt, row.due)
            for id, row in sorted(self.now.rows.items())
            if row.host == host and row.state == WAITING and id > after
        ]
        found = self.checkpoint.window(host, after, limit, len(expected))
        assert [(row.id, row.url, row.attempt, due) for row, due in found] == expected[:limit]

    @invariant()
    def tells_the_same(self) -> None:
        checkpoint, model = self.checkpoint, self.now
        waiting = model.waiting()
        last = checkpoint.last_run()
        assert last is not None
        assert (last.id, checkpoint.group) == (self.run_id, model.group)
        assert (checkpoint.waiting(), checkpoint.last_id()) == (len(waiting), model.highest)
        assert list(checkpoint.failures()) == model.failures()
        counts = {host: sum(model.rows[id].host == host for id in waiting) for host in (*HOSTS, "other")}
        assert {name: (n, pace) for name, n, pace in checkpoint.hosts()} == {
            host: (n, model.paces.get(host)) for host, n in counts.items() if n or host in model.paces
        }
        assert sorted(checkpoint.waiting_rows(), key=lambda row: row[1]) == [
            (model.rows[id].host, id, id * 3, f"http://{model.rows[id].host}/{id}") for id in sorted(waiting)
        ]
        assert sorted(print_ for some in checkpoint.fingerprints() for print_ in some) == [
            id * 3 for id in sorted(model.rows)
        ]


@pytest.mark.slow
class TestComparison(Comparison.TestCase):  # type: ignore[misc, valid-type]
    """Over any series of inserts, groups, losses, kills, restarts, new runs and failures made again."""

    settings = settings(max_examples=40, stateful_step_count=40)
