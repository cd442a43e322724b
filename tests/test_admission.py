"""What may be sent: dead hosts, robots.txt asked for, obeyed, unreachable."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.admission import Admission, Ask, Taught
from crawler.errors import POLICY, Reason
from crawler.hosts import HostRules
from crawler.model import Body, Failed, Fetched, Outcome, Request, Skipped, Timing
from crawler.redirect import Hop
from crawler.robots import ASK_AGAIN, Entry, RobotsCache, origin_of, robots_url
from crawler.settle import move
from tests.fakes import HOST_RULES

NOW = 1_700_000_000.0
ATTEMPTS = 3
RULES = HOST_RULES
TEXT = b"User-agent: *\nDisallow: /private\nCrawl-delay: 7\n"


def rules_of(netloc: str) -> HostRules:
    """free.example need not be obeyed; hasty.example bounds Crawl-delay at two seconds."""
    if netloc == "free.example":
        return RULES._replace(robots=False)
    return RULES._replace(crawl_delay_max=2.0) if netloc == "hasty.example" else RULES


def gate() -> Admission:
    return Admission(RobotsCache("testbot", 60.0), rules_of, ATTEMPTS)


def request(url: str, error: str | None = None) -> Request:
    return Request(7, url, url.split("/")[2].partition(":")[0], error=error)


def asked(admission: Admission, url: str, wall: float = NOW) -> Request:
    """The robots.txt request that a URL needs first."""
    step = admission.look(request(url), wall, dead=False)
    assert isinstance(step, Ask)
    return step.request


def answer(to: Request, status: int = 200, body: bytes = TEXT, **headers: str) -> Fetched:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Fetched(to, "id", status, named, Body(len(body), "", body), Timing(NOW))


def failure(to: Request, reason: Reason) -> Failed:
    return Failed(to, "id", reason, "it is so", Timing(NOW))


def known(admission: Admission, url: str, status: int = 200, body: bytes = TEXT, key: str = "h") -> float:
    """Let the origin's robots.txt be answered; its Crawl-delay."""
    entry = None
    while entry is None:
        ask = asked(admission, url)
        entry = admission.learned(answer(ask, status, body), NOW)
    return admission.take_up(origin_of(url), entry, key)


@pytest.mark.parametrize(
    ("status", "path", "verdict"),
    [
        (200, "/", None),
        (200, "/private/x", "robots"),
        (200, "/robots.txt", None),
        (204, "/private", "robots"),  # whatever the status says, there was a body
        (301, "/private", None),  # a redirect that leads nowhere
        (404, "/private", None),
        (403, "/private", None),
        (429, "/", "robots-unreachable"),
        (500, "/", "robots-unreachable"),
        (503, "/robots.txt", "robots-unreachable"),
        (999, "/", "robots-unreachable"),
    ],
)
def test_the_answer_decides_over_the_origin(status: int, path: str, verdict: str | None) -> None:
    """2xx by its rules, 3xx and 4xx allow all, 429, 5xx and what nobody knows allow nothing (RFC 9309 2.3.1)."""
    admission = gate()
    known(admission, "http://a.example/", status)
    step = admission.look(request(f"http://a.example{path}"), NOW + 1, dead=False)
    assert step is None or isinstance(step, (Skipped, Failed))
    assert (None if step is None else step.reason.value) == verdict


def test_what_is_refused_is_a_record_that_was_never_sent() -> None:
    """Disallowed is skipped, unreachable and dead have failed; each error names its cause."""
    admission = gate()
    known(admission, "http://a.example/")
    known(admission, "http://b.example/", 500)
    refused = admission.look(request("http://a.example/private"), NOW, dead=False)
    assert isinstance(refused, Skipped)
    assert refused.error == "http://a.example/robots.txt disallows it"
    lost = admission.look(request("http://b.example/"), NOW, dead=False)
    assert isinstance(lost, Failed)
    assert (lost.reason, lost.timing) == (Reason.ROBOTS_UNREACHABLE, None)
    assert "http://b.example/robots.txt" in lost.error
    dead = admission.look(request("http://a.example/"), NOW, dead=True)
    assert isinstance(dead, Failed)
    assert (dead.reason, dead.timing) == (Reason.HOST_DEAD, None)
    assert "[breaker] give_up" in dead.error


@pytest.mark.parametrize("url", ["http://free.example/x", "http://free.example/robots.txt"])
def test_who_is_not_obeyed_is_not_asked(url: str) -> None:
    """A host with robots = "ignore" among others, and a job without any robots.txt."""
    assert gate().look(request(url), NOW, dead=False) is None
    assert Admission(None, rules_of, ATTEMPTS).look(request("http://a.example/"), NOW, dead=False) is None


def test_an_input_that_cannot_be_sent_goes_on_to_its_end() -> None:
    """It has no host whose robots.txt could be asked for."""
    bad = Request(7, "no url", "", error="list.txt:1: is no URL")
    assert gate().look(bad, NOW, dead=False) is None


def test_the_robots_txt_is_asked_for_first() -> None:
    """At the same pace as its host, once for each origin, without any trace of the request that needs it."""
    admission = gate()
    first = Request(7, "https://www.a.example:8443/x?y", "a.example", method="POST", body=b"b", headers={"X-Key": "1"})
    step = admission.look(first, NOW, dead=False)
    assert isinstance(step, Ask)
    ask = step.request
    assert (ask.url, ask.host, ask.home) == ("https://www.a.example:8443/robots.txt", "a.example", "a.example")
    assert (ask.id, ask.method, ask.body, ask.headers, ask.attempt) == (0, "GET", None, None, 1)
    assert ask.robots == "https://www.a.example:8443"
    assert admission.look(ask, NOW, dead=False) is None
    known(admission, "https://www.a.example:8443/")
    assert asked(admission, "http://www.a.example:8443/").robots == "http://www.a.example:8443"
    assert asked(admission, "https://www.a.example/").robots == "https://www.a.example"


def test_a_request_at_its_next_hop_is_looked_at_anew() -> None:
    """The rules are those of the origin where it stands now."""
    admission = gate()
    known(admission, "http://a.example/")
    moved = request("http://a.example/")
    moved.url = "http://b.example/private"
    step = admission.look(moved, NOW, dead=False)
    assert isinstance(step, Ask)
    assert step.request.robots == "http://b.example"


def test_five_redirects_are_followed_and_a_sixth_means_that_there_are_no_rules() -> None:
    """RFC 9309 2.3.1.2; they may lead to another host, and what is found there stands for the first origin."""
    admission = gate()
    ask = asked(admission, "http://a.example/")
    for hop in range(5):
        step = admission.hop(answer(ask, 301, Location=f"http://h{hop}.example/robots.txt"))
        assert isinstance(step, Hop)
        move(ask, step, lambda host: host)
    assert (ask.host, ask.robots) == ("h4.example", "http://a.example")
    sixth = answer(ask, 301, Location="http://h5.example/robots.txt")
    assert admission.hop(sixth) is None
    entry = admission.learned(sixth, NOW)
    assert entry is not None
    assert entry.entry.kind == "unavailable"
    there = admission.learned(answer(ask), NOW)
    assert there is not None
    admission.take_up("http://a.example", there, "h")
    assert isinstance(admission.look(request("http://a.example/private"), NOW, dead=False), Skipped)


@pytest.mark.parametrize("location", ["http://a.example/robots.txt", "ftp://a.example/robots.txt", "http://", None])
def test_a_redirect_that_leads_nowhere_means_that_there_are_no_rules(location: str | None) -> None:
    """A loop, another scheme, no URL, none at all."""
    admission = gate()
    ask = asked(admission, "http://a.example/")
    outcome = answer(ask, 302) if location is None else answer(ask, 302, Location=location)
    assert admission.hop(outcome) is None
    entry = admission.learned(outcome, NOW)
    assert entry is not None
    assert entry.entry.kind == "unavailable"


def test_answers_that_are_no_redirect_lead_nowhere() -> None:
    """Neither a page with a Location nor a failure."""
    ask = asked(gate(), "http://a.example/")
    assert gate().hop(answer(ask, 200, Location="/x")) is None
    assert gate().hop(failure(ask, Reason.READ_TIMEOUT)) is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if POLICY[reason].tries != 1])
def test_a_robots_txt_that_nobody_answers_is_asked_for_some_times(reason: Reason) -> None:
    """As often as the job's attempts; then it counts as unreachable for a quarter of an hour, and begins anew."""
    admission = gate()
    for _ in range(2):
        for attempt in range(1, ATTEMPTS + 1):
            ask = asked(admission, "http://a.example/")
            assert ask.attempt == attempt
            entry = admission.learned(failure(ask, reason), NOW)
            assert (entry is not None) == (attempt == ATTEMPTS)
    assert entry is not None
    assert (entry.entry.kind, entry.entry.expires_at) == ("unreachable", NOW + ASK_AGAIN)
    assert admission.take_up("http://a.example", entry, "h") == 0.0
    assert isinstance(admission.look(request("http://a.example/"), NOW + 1, dead=False), Failed)
    assert asked(admission, "http://a.example/", NOW + ASK_AGAIN).attempt == 1


@pytest.mark.parametrize("reason", [reason for reason in Reason if POLICY[reason].tries == 1])
def test_a_failure_that_no_other_attempt_would_change_ends_the_asking(reason: Reason) -> None:
    """A dead host above all: its robots.txt is not asked for any more either."""
    admission = gate()
    entry = admission.learned(failure(asked(admission, "http://a.example/"), reason), NOW)
    assert entry is not None
    assert entry.entry.kind == "unreachable"


def test_a_dead_host_is_not_asked_for_its_robots_txt() -> None:
    """The request for it ends as any other, and so do those that wait for it."""
    admission = gate()
    ask = asked(admission, "http://a.example/")
    end = admission.look(ask, NOW, dead=True)
    assert isinstance(end, Failed)
    assert end.request is ask
    entry = admission.learned(end, NOW)
    assert entry is not None
    admission.take_up("http://a.example", entry, "h")
    waiting = admission.look(request("http://a.example/"), NOW, dead=True)
    assert isinstance(waiting, Failed)
    assert waiting.reason is Reason.HOST_DEAD


def test_old_rules_stand_while_nobody_answers() -> None:
    """They are not asked for again and again, and go on to be obeyed."""
    admission = gate()
    known(admission, "http://a.example/")
    later = NOW + 86_400.0 + 1
    entry = admission.learned(failure(asked(admission, "http://a.example/", later), Reason.READ_TIMEOUT), later)
    assert entry is not None
    assert entry.entry.kind == "rules"
    admission.take_up("http://a.example", entry, "h")
    assert isinstance(admission.look(request("http://a.example/private"), later, dead=False), Skipped)


@pytest.mark.parametrize(
    ("url", "delay"),
    [("http://a.example/", 7.0), ("http://hasty.example/", 2.0), ("http://hasty.example:8080/", 7.0)],
)
def test_a_crawl_delay_is_bounded_by_the_rules_of_its_host(url: str, delay: float) -> None:
    """With its port, since a pattern may name one."""
    assert known(gate(), url) == delay


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"User-agent: *\nDisallow: /x\n"), (200, b""), (404, TEXT), (500, TEXT)]
)
def test_without_a_crawl_delay_none_is_asked_for(status: int, body: bytes) -> None:
    """A robots.txt that names none, and one that is not there."""
    assert known(gate(), "http://a.example/", status, body) == 0.0


def test_a_host_that_is_not_obeyed_slows_nobody() -> None:
    """What the checkpoint kept of it does not count when the job says so now."""
    entry = Entry("rules", "testbot", "User-agent: *\nCrawl-delay: 7", NOW, NOW + 1e4, NOW + 2e4)
    assert gate().take_up("http://free.example", Taught(entry, None), "h") == 0.0
    assert gate().take_up("http://a.example", Taught(entry, None), "h") == 7.0


def test_the_slowest_origin_of_a_key_sets_its_delay() -> None:
    """Until its robots.txt no longer asks for one."""
    admission = gate()
    assert known(admission, "http://a.example/") == 7.0
    assert known(admission, "http://hasty.example/", key="h") == 7.0
    gone = Taught(Entry("unavailable", "testbot", "", NOW, NOW + 1e4, NOW), None)
    assert admission.take_up("http://a.example", gone, "h") == 2.0


ANSWERS = st.one_of(
    st.sampled_from([200, 200, 204, 301, 404, 429, 500, 503, 999]),
    st.sampled_from([Reason.READ_TIMEOUT, Reason.DNS_NOT_FOUND, Reason.TOTAL_TIMEOUT, Reason.HOST_DEAD]),
)


def ended(ask: Request, said: int | Reason) -> Outcome:
    return answer(ask, said, Location=f"/{len(ask.hops)}") if isinstance(said, int) else failure(ask, said)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["http://a.example", "https://a.example", "http://a.example:81"]),
            st.sampled_from(["/", "/private", "/robots.txt"]),
            st.lists(ANSWERS, min_size=8, max_size=8),
            st.sampled_from([0.0, 1.0, 700.0, 90_000.0, 200_000.0, 3e6]),
        ),
        max_size=12,
    )
)
def test_nothing_but_robots_txt_is_sent_to_an_origin_that_is_not_known(
    steps: list[tuple[str, str, list[int | Reason], float]],
) -> None:
    """Whatever is answered, whenever: the asking ends, pages go only where a robots.txt in force allows them."""
    cache = RobotsCache("testbot", 60.0)
    admission, wall = Admission(cache, rules_of, ATTEMPTS), NOW
    for origin, path, answers, wait in steps:
        wall += wait
        page = request(origin + path)
        step = admission.look(page, wall, dead=False)
        asks = 0
        while isinstance(step, Ask):
            ask = step.request
            assert (ask.url, ask.robots) == (robots_url(origin), origin)
            asks += 1
            assert asks <= ATTEMPTS
            outcome = ended(ask, answers[asks])
            hops = 0
            while (hop := admission.hop(outcome)) is not None:
                move(ask, hop, lambda host: host)
                hops += 1
                assert hops <= 5
                assert admission.look(ask, wall, dead=False) is None
                outcome = ended(ask, answers[(asks + hops) % 8])
            entry = admission.learned(outcome, wall)
            if entry is not None:
                admission.take_up(origin, entry, "h")
            step = admission.look(page, wall, dead=False)
        entry = cache.entry(origin)
        assert entry is not None
        assert entry.expires_at > wall
        allowed = entry.kind == "unavailable" or (entry.kind == "rules" and path != "/private")
        assert (step is None) == allowed
