"""The frontier against a model of what waits: nothing lost, nothing twice, nothing early, nobody starved."""

from __future__ import annotations

from collections import Counter, defaultdict
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crawler.frontier import DRAINED, Drained, Frontier, WaitUntil, Want
from crawler.model import Request
from crawler.pace import PaceLimits, PaceState
from tests.fakes import FakeStore

# Powers of two, and times in eighths of a second: no rounding between model and frontier.
LIMITS = {
    "free": PaceLimits(2),
    "even": PaceLimits(3, 4.0, 1),
    "burst": PaceLimits(2, 2.0, 3),
    "slow": PaceLimits(1, 0.5, 2),
}
HOSTS = st.sampled_from(sorted(LIMITS))
EIGHTHS = st.integers(0, 40).map(lambda n: n / 8)


def request(id: int, host: str = "free") -> Request:
    return Request(id, f"http://{host}/{id}", host)


def frontier_of(limits: PaceLimits, **options: int) -> Frontier:
    return Frontier(lambda _: limits, **options)


class FrontierModel(RuleBasedStateMachine):
    """What must hold between the calls of feed, dispatch, settle and the store, in any order, over kills."""

    in_memory = 100_000

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.store = FakeStore()
        self.frontier = Frontier(LIMITS.__getitem__, in_memory=self.in_memory)
        self.ids = 0
        self.open = True
        self.waiting: dict[int, tuple[str, float]] = {}  # id -> host, not_before
        self.leased: dict[int, Request] = {}
        self.takes: Counter[int] = Counter()
        self.due_takes: Counter[int] = Counter()  # one, and one for each `again` and each lease that a kill ended
        self.log: dict[str, list[float]] = defaultdict(list)
        self.blocked: dict[str, float] = defaultdict(lambda: -inf)
        self.held: dict[str, int] = {}  # host -> leases that stand for its robots.txt
        self.lent: list[str] = []  # hosts, one for each further connection of a lease
        self.asked: list[Want] = []
        self.answers: list[tuple[Want, list[tuple[Request, float]]]] = []

    # what goes in

    @precondition(lambda self: self.open)
    @rule(host=HOSTS, count=st.integers(1, 12), urgent=st.integers(0, 3))
    def add(self, host: str, count: int, urgent: int) -> None:
        for number in range(count):
            self.ids += 1
            new = request(self.ids, host)
            new.urgent = urgent > 0 and number % urgent == 0
            self.store.insert(new)
            self.waiting[new.id] = host, 0.0
            self.due_takes[new.id] = 1
            self.frontier.add(new, self.now)

    @precondition(lambda self: self.open)
    @rule()
    def close(self) -> None:
        self.open = False
        self.frontier.close()

    @rule(limit=st.integers(1, 3))
    def ask(self, limit: int) -> None:
        self.asked += self.frontier.hungry(limit)

    @precondition(lambda self: self.asked)
    @rule()
    def look(self) -> None:
        want = self.asked.pop(0)
        self.answers.append((want, self.store.window(want)))

    @precondition(lambda self: self.answers)
    @rule()
    def refill(self) -> None:
        want, rows = self.answers.pop(0)
        self.frontier.refill(want, rows, self.now)

    def feed(self) -> None:
        while self.asked:
            self.look()
        while self.answers:
            self.refill()
        self.store.feed(self.frontier, self.now)

    # what comes out

    @rule(fed=st.booleans())
    def take(self, fed: bool) -> None:
        if fed:
            self.feed()
        step = self.frontier.take(self.now)
        if isinstance(step, Request):
            self.check_taken(step)
        elif isinstance(step, WaitUntil):
            assert step.moment > self.now
            assert self.waiting or self.leased or self.lent or self.open
            wants = self.frontier.hungry(9)
            self.asked += wants
            if fed and not wants and self.in_memory > 1:  # else a host waits for its rows, or for room in memory
                assert min(map(self.earliest, LIMITS), default=inf) >= step.moment
        else:
            assert (self.waiting, self.leased, self.lent, self.open) == ({}, {}, [], False)

    def check_taken(self, taken: Request) -> None:
        host, not_before = self.waiting.pop(taken.id)
        assert taken.host == host
        assert host not in self.held
        assert max(not_before, self.blocked[host], self.pace_of(host)) <= self.now
        self.leased[taken.id] = taken
        assert self.out(host) <= LIMITS[host].concurrency
        self.log[host].append(self.now)
        self.takes[taken.id] += 1

    def out(self, host: str) -> int:
        """Slots of the host that are taken, by requests or for its robots.txt."""
        mine = sum(other.host == host for other in self.leased.values())
        return mine + self.held.get(host, 0) + self.lent.count(host)

    def pace_of(self, host: str) -> float:
        """The moment from which one more take keeps every window within rate*w + burst."""
        limits, log = LIMITS[host], self.log[host]
        if limits.rate is None:
            return -inf
        return max((at + (len(log) - i + 1 - limits.burst) / limits.rate for i, at in enumerate(log)), default=-inf)

    def earliest(self, host: str) -> float:
        """The moment from which a request of the host may go, if nothing else happens."""
        mine = [not_before for name, not_before in self.waiting.values() if name == host]
        if not mine or host in self.held or self.out(host) >= LIMITS[host].concurrency:
            return inf
        return max(min(mine), self.blocked[host], self.pace_of(host))

    # what comes back

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        taken = self.leased.pop(data.draw(st.sampled_from(sorted(self.leased))))
        self.store.settle(taken)
        self.frontier.done(taken.host, self.now)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), later=EIGHTHS)
    def retry(self, data: st.DataObject, later: float) -> None:
        taken = self.leased.pop(data.draw(st.sampled_from(sorted(self.leased))))
        self.waiting[taken.id] = taken.host, self.now + later
        self.due_takes[taken.id] += 1
        self.store.retry(taken, self.now + later)
        self.frontier.again(taken, self.now + later, self.now)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), host=HOSTS)
    def hop(self, data: st.DataObject, host: str) -> None:
        taken = self.leased.pop(data.draw(st.sampled_from(sorted(self.leased))))
        came_from, taken.host = taken.host, host
        self.waiting[taken.id] = host, 0.0
        self.due_takes[taken.id] += 1
        self.frontier.again(taken, 0.0, self.now, came_from=came_from)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        """A host needs its robots.txt: the request goes back, and the slot of the first is used for that."""
        taken = self.leased.pop(data.draw(st.sampled_from(sorted(self.leased))))
        first = taken.host not in self.held
        self.held[taken.host] = 1
        self.waiting[taken.id] = taken.host, 0.0
        self.due_takes[taken.id] += 1
        if not first and LIMITS[taken.host].rate is not None:
            self.log[taken.host].remove(max(self.log[taken.host]))  # what was not sent counts against no rate
        assert self.frontier.hold(taken, self.now) == first

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def lend(self, data: st.DataObject) -> None:
        """Another connection for a lease counts as a request of its host, in concurrency and rate."""
        host = self.leased[data.draw(st.sampled_from(sorted(self.leased)))].host
        free = host not in self.held and self.out(host) < LIMITS[host].concurrency
        assert self.frontier.lend(host, self.now) == (free and max(self.blocked[host], self.pace_of(host)) <= self.now)
        if free and max(self.blocked[host], self.pace_of(host)) <= self.now:
            self.lent.append(host)
            self.log[host].append(self.now)

    @precondition(lambda self: self.lent)
    @rule()
    def give_back(self) -> None:
        self.frontier.done(self.lent.pop(0), self.now)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        host = data.draw(st.sampled_from(sorted(self.held)))
        self.frontier.done(host, self.now)
        self.frontier.let_go(host, self.now)
        del self.held[host]

    @rule(host=HOSTS, later=EIGHTHS)
    def block(self, host: str, later: float) -> None:
        self.blocked[host] = max(self.blocked[host], self.now + later)
        self.frontier.pace(host).block(self.now + later)

    # what happens around it

    @rule(later=EIGHTHS)
    def advance(self, later: float) -> None:
        self.now += later

    @rule()
    def kill(self) -> None:
        """A new process knows what the store knows: leases are waiting again, hops start from their seed."""
        self.frontier = Frontier(LIMITS.__getitem__, in_memory=self.in_memory)
        self.asked, self.answers, self.held, self.lent = [], [], {}, []
        self.log.clear()
        for id, taken in self.leased.items():
            self.due_takes[id] += 1
            self.waiting[id] = taken.home, 0.0
        self.leased = {}
        for host, stored in self.store.waiting().items():
            self.frontier.restore(host, stored, self.now, PaceState(blocked_until=self.blocked[host]))
            self.log[host] = [self.now] * LIMITS[host].burst  # the burst counts as used up
            for row, due in self.store.window(Want(host, 0, stored)):
                self.waiting[row.id] = host, due
        for host in set(LIMITS) - set(self.store.waiting()):
            self.blocked[host] = -inf
        if not self.open:
            self.frontier.close()

    @invariant()
    def counts_are_true(self) -> None:
        assert self.frontier.waiting == len(self.waiting)
        assert self.frontier.leased == len(self.leased) + len(self.held) + len(self.lent)
        for host in {name for name, _ in self.waiting.values()}:
            assert self.frontier.pace(host).in_flight == self.out(host)

    def teardown(self) -> None:
        """In the end everything was taken as often as was due, and the frontier says so."""
        self.open = False
        self.frontier.close()
        for host in list(self.held):
            self.frontier.done(host, self.now)
            self.frontier.let_go(host, self.now)
            del self.held[host]
        while self.lent:
            self.give_back()
        for _ in range(10_000):
            for taken in self.leased.values():
                self.store.settle(taken)
                self.frontier.done(taken.host, self.now)
            self.leased.clear()
            self.feed()
            step = self.frontier.take(self.now)
            if isinstance(step, Request):
                self.check_taken(step)
            elif isinstance(step, WaitUntil) and step.moment == inf:
                self.asked += self.frontier.hungry(9)
                assert self.asked  # it waits for rows, or for nothing
            elif isinstance(step, WaitUntil):
                assert self.now < step.moment
                self.now = step.moment
            else:
                break
        assert step is DRAINED
        assert self.takes == self.due_takes
        assert self.frontier.state()[:2] == (0, 0)


class SmallFrontierModel(FrontierModel):
    """The same where memory has room for one window at a time."""

    in_memory = 1


TestFrontier = pytest.mark.slow(FrontierModel.TestCase)
TestFrontier.settings = settings(max_examples=120, stateful_step_count=70)
TestSmallFrontier = pytest.mark.slow(SmallFrontierModel.TestCase)
TestSmallFrontier.settings = settings(max_examples=120, stateful_step_count=70)


def drained(frontier: Frontier, store: FakeStore, now: float) -> tuple[list[Request], float | Drained]:
    """Everything that can be taken at `now`, each given back at once; and what `take` says then."""
    taken: list[Request] = []
    while True:
        store.feed(frontier, now)
        step = frontier.take(now)
        if not isinstance(step, Request):
            wants = frontier.hungry(1)
            if not wants:
                return taken, step.moment if isinstance(step, WaitUntil) else step
            frontier.refill(wants[0], store.window(wants[0]), now)
            continue
        taken.append(step)
        frontier.done(step.host, now)


def test_a_slow_host_delays_no_other() -> None:
    """While 1,000 requests of one host go at 5/s, the 10,000 of 200 others all go with the clock standing still."""
    slow, fast = PaceLimits(8, 5.0, 10), PaceLimits(8)
    frontier, store = Frontier(lambda host: slow if host == "slow" else fast), FakeStore()
    rows = [request(id, "slow" if id % 11 == 0 else f"h{id % 200}") for id in range(11_000)]
    for row in rows:
        store.insert(row)
        frontier.add(row, 0.0)
    frontier.close()
    now, slow_ones = 0.0, []
    taken, step = drained(frontier, store, now)
    assert Counter(row.host == "slow" for row in taken) == {False: 10_000, True: 10}
    while isinstance(step, float):
        now = step
        more, step = drained(frontier, store, now)
        slow_ones += more
    assert step is DRAINED
    assert {row.id for row in taken + slow_ones} == {row.id for row in rows}
    assert len(taken + slow_ones) == 11_000
    assert abs(now - 990 / 5) < 1e-6


def test_hosts_take_turns() -> None:
    """With requests of two hosts ready, they alternate, whoever came first."""
    frontier = frontier_of(PaceLimits(100))
    for id in range(1, 7):
        frontier.add(request(id, "a" if id <= 3 else "b"), 0.0)
    hosts = [step.host for _ in range(6) if isinstance(step := frontier.take(0.0), Request)]
    assert hosts == ["a", "b", "a", "b", "a", "b"]


def test_a_new_request_does_not_wait_for_a_retry_of_its_host() -> None:
    """A host whose only request waits for its retry serves a new request at once."""
    frontier = frontier_of(PaceLimits(1))
    frontier.add(request(1), 0.0)
    first = frontier.take(0.0)
    assert isinstance(first, Request)
    frontier.again(first, 60.0, 0.0)
    assert frontier.take(0.0) == WaitUntil(60.0)
    frontier.add(request(2), 1.0)
    second = frontier.take(1.0)
    assert isinstance(second, Request)
    assert second.id == 2


def test_a_retry_that_is_due_goes_before_new_requests() -> None:
    """Retries do not queue behind a long list."""
    frontier = frontier_of(PaceLimits(1))
    for id in (1, 2, 3):
        frontier.add(request(id), 0.0)
    first = frontier.take(0.0)
    assert isinstance(first, Request)
    frontier.again(first, 5.0, 0.0)
    assert isinstance(second := frontier.take(4.0), Request)
    frontier.done("free", 4.0)
    assert isinstance(third := frontier.take(5.0), Request)
    assert (second.id, third.id) == (2, 1)


def test_only_a_window_of_each_host_is_in_memory() -> None:
    """Of 10,000 requests of a host no more than the bound are handed out without the store."""
    frontier = frontier_of(PaceLimits(20_000), in_memory=500)
    for id in range(1, 10_001):
        frontier.add(request(id), 0.0)
    count = 0
    while isinstance(frontier.take(0.0), Request):
        count += 1
    assert count == 125  # a host alone takes no more than a quarter of it
    assert frontier.waiting == 9_875


def test_memory_is_bounded_whatever_the_hosts() -> None:
    """Of 3,000 hosts with 40 rows each, no more windows are asked for than memory holds; as they empty, others are."""
    frontier, store = frontier_of(PaceLimits(1), in_memory=1_000), FakeStore()
    for id in range(120_000):
        new = request(id, f"h{id // 40}")
        store.insert(new)
        frontier.add(new, 0.0)
    frontier.close()
    taken, step = drained(frontier, store, 0.0)
    assert (len({row.id for row in taken}), len(taken), step) == (120_000, 120_000, DRAINED)


@pytest.mark.parametrize("spacing", [0.0, 10.0])
def test_no_more_rows_are_in_memory_than_allowed(spacing: float) -> None:
    """The rows asked for stay within the bound, but for one window, whether hosts are fast or slow."""
    frontier = frontier_of(PaceLimits(1, delay=spacing), in_memory=1_000)
    for number in range(5_000):
        frontier.restore(f"h{number}", 40, 0.0)
    frontier.take(spacing)
    wants = frontier.hungry(100_000)
    assert sum(want.limit for want in wants) < 1_000 + 64
    assert len(wants) > 15


def test_a_host_blocked_for_long_gives_its_window_back() -> None:
    """Its rows are read again shortly before it is due, and memory is free for others meanwhile."""
    frontier, store = frontier_of(PaceLimits(1), in_memory=8), FakeStore()
    for id in range(1, 5):
        new = request(id, "blocked" if id < 3 else "free")
        store.insert(new)
        frontier.add(new, 0.0)
    frontier.pace("blocked").block(60.0)
    taken, until = drained(frontier, store, 0.0)
    assert [row.id for row in taken] == [3, 4]
    assert isinstance(until, float)
    assert 59.0 <= until < 60.0
    assert frontier.hungry(10) == []
    assert drained(frontier, store, until)[1] == 60.0
    assert [row.id for row in drained(frontier, store, 60.0)[0]] == [1, 2]


def test_the_host_that_sets_the_end_goes_first() -> None:
    """Where more is ready than can go, every other turn is that of the host whose own pace takes longest."""
    frontier = Frontier(lambda host: PaceLimits(20, delay=0.1 if host == "long" else 0.0))
    id = 0
    for host, count in [(f"h{n}", 1) for n in range(100)] + [("long", 300)]:
        for _ in range(count):
            id += 1
            frontier.add(request(id, host), 0.0)
    hosts = [step.host for n in range(20) if isinstance(step := frontier.take(n / 5), Request)]
    assert hosts.count("long") == 10
    assert frontier.longest(4.0)[1] == "long"
    assert 25.0 < frontier.longest(4.0)[0] <= 30.0


def test_a_dead_host_holds_nothing_back() -> None:
    """All its requests come out at once, past retries that were due later, past slots and blocks."""
    frontier, store = frontier_of(PaceLimits(1, 1.0, break_after=1, give_up=10.0)), FakeStore()
    for id in range(1, 301):
        store.insert(request(id))
        frontier.add(request(id), 0.0)
    frontier.close()
    first = frontier.take(0.0)
    assert isinstance(first, Request)
    frontier.pace("free").error(0.0)
    frontier.pace("free").block(500.0)
    frontier.again(first, 900.0, 0.0)
    assert isinstance(frontier.take(0.0), WaitUntil)
    frontier.pace("free").error(11.0)
    frontier.pace("free").in_flight = 1
    now = 500.0
    taken, _ = drained(frontier, store, now)
    assert {row.id for row in taken} == set(range(1, 301))


def test_a_host_is_asked_for_once_until_its_answer() -> None:
    """`hungry` names a host again only after its refill."""
    frontier, store = frontier_of(PaceLimits(1)), FakeStore()
    for id in (1, 2):
        store.insert(request(id))
    frontier.restore("free", 2, 100.0)
    (want,) = frontier.hungry(10)
    assert (want.host, want.after) == ("free", 0)
    frontier.take(100.0)
    assert frontier.hungry(10) == []
    frontier.refill(want, store.window(want), 100.0)
    assert isinstance(frontier.take(100.0), Request)


def test_a_restored_host_keeps_its_block_and_its_pace() -> None:
    """After a restart neither a block nor the rate is forgotten."""
    frontier, store = frontier_of(PaceLimits(1, 1.0, 5)), FakeStore()
    store.insert(request(1))
    frontier.restore("free", 1, 100.0, PaceState(blocked_until=130.0, failures=3))
    assert drained(frontier, store, 100.0) == ([], 129.5)  # when its row is asked for
    assert drained(frontier, store, 129.5) == ([], 130.0)
    assert frontier.state().hosts == 1
    pace = frontier.pace("free")
    assert (pace.blocked_until, pace.state().failures) == (130.0, 3)


def test_a_block_learned_later_holds_for_what_is_ready() -> None:
    """A host that is blocked while its request stands ready is not asked."""
    frontier = frontier_of(PaceLimits(2))
    frontier.add(request(1), 0.0)
    frontier.pace("free").block(4.0)
    assert frontier.take(0.0) == WaitUntil(4.0)
    assert isinstance(frontier.take(4.0), Request)


def test_an_empty_frontier_waits_until_it_is_closed() -> None:
    """Without requests it waits for the sources; once these are exhausted it is drained."""
    frontier = frontier_of(PaceLimits(1))
    assert frontier.take(0.0) == WaitUntil(inf)
    frontier.close()
    assert frontier.take(0.0) is DRAINED


def test_a_lease_keeps_it_from_being_drained() -> None:
    """What is out may come back, so the end is not reached before it is given back."""
    frontier = frontier_of(PaceLimits(1))
    frontier.add(request(1), 0.0)
    frontier.close()
    frontier.take(0.0)
    assert frontier.take(0.0) == WaitUntil(inf)
    assert repr(frontier) == "<Frontier waiting=0 leased=1 hosts=1 open=False>"
    frontier.done("free", 0.0)
    assert frontier.take(0.0) is DRAINED


def test_what_is_added_while_rows_wait_in_the_store_queues_behind_them() -> None:
    """A window with room does not take a new request in as long as older ones are in the store only."""
    frontier, store = frontier_of(PaceLimits(100), in_memory=1), FakeStore()
    for id in range(1, 13):
        store.insert(request(id))
        frontier.add(request(id), 0.0)
    first = [step.id for _ in range(2) if isinstance(step := frontier.take(0.0), Request)]
    store.insert(request(13))
    frontier.add(request(13), 0.0)
    rest, _ = drained(frontier, store, 0.0)
    assert first + [row.id for row in rest] == list(range(1, 14))


def test_rows_that_wait_for_a_retry_do_not_fill_the_window() -> None:
    """After a restart a host whose first rows all wait for their retry goes on with those behind them."""
    frontier, store = frontier_of(PaceLimits(1), in_memory=1), FakeStore()
    for id in range(1, 21):
        store.insert(request(id))
        if id <= 16:
            store.retry(request(id), 160.0)
    frontier.restore("free", 20, 100.0)
    (want,) = frontier.hungry(1)
    frontier.refill(want, store.window(want), 100.0)
    taken, until = drained(frontier, store, 100.0)
    assert [row.id for row in taken] == [17, 18, 19, 20]
    assert until == 160.0


def test_the_earlier_of_two_retries_sets_the_moment() -> None:
    """A host that waits for a late retry is scheduled anew when an earlier one comes in."""
    frontier = frontier_of(PaceLimits(2))
    frontier.add(request(1), 0.0)
    frontier.add(request(2), 0.0)
    one, two = frontier.take(0.0), frontier.take(0.0)
    assert isinstance(one, Request)
    assert isinstance(two, Request)
    frontier.again(one, 60.0, 0.0)
    frontier.again(two, 30.0, 0.0)
    assert frontier.take(0.0) == WaitUntil(30.0)
    assert frontier.state().next_at == 30.0


def test_what_is_urgent_goes_before_what_its_host_has_waiting() -> None:
    """Once, though the store names it again in its turn; others keep their order."""
    frontier, store = frontier_of(PaceLimits(1), in_memory=4), FakeStore()
    for id in range(1, 9):
        new = request(id)
        new.urgent = id in (6, 8)
        store.insert(new)
        frontier.add(new, 0.0)
    frontier.close()
    taken = []
    for _ in range(8):
        store.feed(frontier, 0.0)
        step = frontier.take(0.0)
        assert isinstance(step, Request)
        taken.append(step.id)
        frontier.done("free", 0.0)
    assert taken == [6, 8, 1, 2, 3, 4, 5, 7]
    assert frontier.take(0.0) is DRAINED


def test_other_limits_reach_hosts_that_wait() -> None:
    """A host that was to wait goes at once when its limit is lifted; one with the same limits as before waits on."""
    limits = {"slow": PaceLimits(1, 0.25), "other": PaceLimits(1, 0.25)}
    frontier = Frontier(lambda name: limits[name])
    for id, host in enumerate(["slow", "slow", "other", "other"], 1):
        frontier.add(request(id, host), 0.0)
    for host in ("slow", "other"):
        assert isinstance(frontier.take(0.0), Request)
        frontier.done(host, 0.5)
    assert frontier.take(1.0) == WaitUntil(4.0)
    limits["slow"] = PaceLimits(5, 1000.0)
    assert frontier.limit(list(frontier.queues), 1.0) == 1
    found = frontier.take(1.1)
    assert isinstance(found, Request)
    assert found.host == "slow"
    assert frontier.take(1.2) == WaitUntil(4.0)


def test_a_host_whose_window_was_given_back_is_read_again_when_its_limit_is_lifted() -> None:
    """Who was to wait for an hour has nothing in memory; its rows are asked for at once."""
    limits = [PaceLimits(1, 1 / 3600)]
    frontier = Frontier(lambda _: limits[0])
    for id in (1, 2):
        frontier.add(request(id), 0.0)
    frontier.take(0.0)
    frontier.done("free", 0.5)
    assert frontier.hungry(9) == []
    limits[0] = PaceLimits(1, 10.0)
    frontier.limit(["free"], 1.0)
    [want] = frontier.hungry(9)
    assert (want.host, want.after) == ("free", 1)
    frontier.refill(want, [(request(2), 0.0)], 1.0)
    assert isinstance(frontier.take(1.1), Request)


def test_more_slots_let_more_go_at_once() -> None:
    """A host all of whose slots are taken is asked again as soon as it may have more."""
    limits = [PaceLimits(1)]
    frontier = Frontier(lambda _: limits[0])
    for id in range(1, 4):
        frontier.add(request(id), 0.0)
    assert isinstance(frontier.take(0.0), Request)
    assert isinstance(frontier.take(0.0), WaitUntil)
    limits[0] = PaceLimits(2)
    frontier.limit(["free"], 0.0)
    assert isinstance(frontier.take(0.0), Request)
    assert isinstance(frontier.take(0.0), WaitUntil)
