"""What an outcome leads to: end, retry or hop, its record, and the news of its host."""

from __future__ import annotations

from email.utils import formatdate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.errors import POLICY, Reason
from crawler.model import Body, Captured, Failed, Fetched, Outcome, Place, Request, Skipped, Timing
from crawler.quota import Quota
from crawler.ranges import GAINED
from crawler.retry import Backoff, RetryPolicy
from crawler.settle import End, Host, News, Rules, Verdict, Wait, judge, news_of

NOW = 1000.0
WALL = 1_700_000_000.25
STATUSES = [
    *range(200, 600, 7),
    300,
    301,
    302,
    303,
    304,
    307,
    308,
    404,
    408,
    410,
    425,
    429,
    500,
    502,
    503,
    504,
    599,
    999,
]
BODY = Body(5, "digest", b"hello")


def retry_of(netloc: str) -> RetryPolicy:
    """Three attempts; patient.example:8080 has one more, and may ask for a whole day."""
    if netloc == "patient.example:8080":
        return RetryPolicy(attempts=4, retry_after_max=86_400.0)
    return RetryPolicy(attempts=3, backoff=Backoff(initial=2.0, jitter="none"), retry_after_max=100.0)


def key_of(host: str) -> str:
    """The last two labels."""
    return ".".join(host.split(".")[-2:])


RULES = Rules("run-1", retry_of, key_of, lambda url, status: 200 <= status < 300, 3, True)


def request(url: str = "http://www.a.example/x", *, method: str = "GET", attempt: int = 1) -> Request:
    return Request(7, url, "a.example", method=method, attempt=attempt)


def timing(ttfb: float | None = 120.0) -> Timing:
    took = Timing(WALL)
    took.ttfb, took.total = ttfb, 250.0
    return took


def fetched(status: int, to: Request | None = None, *, took: Timing | None = None, **headers: str) -> Fetched:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Fetched(to or request(), "run-1-7-1-0", status, named, BODY, took or timing())


def failed(reason: Reason, to: Request | None = None, *, sent: bool = True) -> Failed:
    return Failed(to or request(), "id", reason, "it is so", timing() if sent else None)


def verdict(outcome: Outcome, rules: Rules = RULES) -> Verdict:
    return judge(outcome, rules, NOW, Random(1))


def end_of(outcome: Outcome, rules: Rules = RULES) -> End:
    then = verdict(outcome, rules).then
    assert isinstance(then, End)
    return then


def wait_of(outcome: Outcome) -> Wait:
    then = verdict(outcome).then
    assert isinstance(then, Wait)
    return then


# -- ends, retries, hops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_tried_as_often_as_its_policy_says(reason: Reason) -> None:
    """Each attempt leads to exactly one verdict, and the last to a record with the reason and the count."""
    to = request()
    waits = 0
    while isinstance(then := verdict(failed(reason, to)).then, Wait):
        waits += 1
        assert (then.slug, then.error) == (reason.slug(), "it is so")
        assert then.not_before == NOW + 2.0**waits
        assert to.attempt == waits + 1
    assert waits + 1 == min(3, POLICY[reason].tries or 3)
    record = then.record
    assert (record.outcome, record.reason, record.attempts) == ("failed", reason.slug(), waits + 1)
    assert (record.status, record.error, record.request_id, then.body) == (None, "it is so", "id", None)


@pytest.mark.parametrize("reason", Reason)
def test_what_was_never_sent_counts_no_attempt(reason: Reason) -> None:
    """The record names the attempts made before, and no time of start."""
    record = end_of(failed(reason, request(attempt=3), sent=False)).record
    assert (record.attempts, record.started_at, record.elapsed_ms) == (2, None, None)
    skipped = end_of(Skipped(request(), reason, "on purpose"))
    assert skipped.body is None
    assert (skipped.record.outcome, skipped.record.attempts, skipped.record.reason) == ("skipped", 0, reason.slug())
    assert skipped.record.error == "on purpose"


@pytest.mark.parametrize("status", sorted(set(STATUSES)))
def test_every_status_leads_to_one_verdict(status: int) -> None:
    """Accepted: its record and body. Of the retried ones: a wait, then an end without body. Any other: an end."""
    outcome = fetched(status)
    then = verdict(outcome).then
    if 200 <= status < 300:
        assert isinstance(then, End)
        assert then.body is BODY
        assert (then.record.outcome, then.record.reason, then.record.status) == ("fetched", None, status)
    elif status in RetryPolicy().statuses:
        assert isinstance(then, Wait)
        assert (then.slug, outcome.request.attempt) == (f"status-{status}", 2)
        assert wait_of(fetched(status, outcome.request)).not_before == NOW + 4.0
        then = end_of(fetched(status, outcome.request))
        assert (then.record.attempts, then.body) == (3, None)
    else:
        assert isinstance(then, End)
    if status >= 300:
        assert isinstance(then, End)
        assert then.body is None
        assert (then.record.outcome, then.record.reason, then.record.status) == ("failed", f"status-{status}", status)
        assert then.record.error == f"the server answered {status}"


def test_a_status_that_the_job_accepts_is_an_end() -> None:
    """Also one that would be a retry, or a hop."""
    rules = RULES._replace(accepts=lambda url, status: status in {503, 302})
    assert end_of(fetched(503), rules).record.outcome == "fetched"
    assert end_of(fetched(302, Location="/y"), rules).record.final_url == "http://www.a.example/x"
    assert end_of(fetched(200), rules).record.reason == "status-200"


@pytest.mark.parametrize(("method", "again"), [("GET", True), ("PUT", True), ("POST", False), ("PATCH", False)])
def test_what_may_have_had_an_effect_is_not_sent_twice(method: str, again: bool) -> None:
    """A POST is repeated only where the server says that it did nothing."""
    for outcome in (fetched(500, request(method=method)), failed(Reason.READ_TIMEOUT, request(method=method))):
        assert isinstance(verdict(outcome).then, Wait) is again
    assert isinstance(verdict(fetched(503, request(method=method))).then, Wait)


def test_the_policy_is_that_of_the_host_where_the_request_stands() -> None:
    """With its port; after a hop that of the next one."""
    to = request("http://patient.example:8080/", attempt=3)
    assert isinstance(verdict(failed(Reason.READ_TIMEOUT, to)).then, Wait)
    to = request("http://patient.example/", attempt=3)
    assert isinstance(verdict(failed(Reason.READ_TIMEOUT, to)).then, End)
    to = request(attempt=3)
    wait_of(fetched(302, to, Location="http://patient.example:8080/"))
    assert isinstance(verdict(failed(Reason.READ_TIMEOUT, to)).then, Wait)


def test_an_input_that_is_no_url_ends() -> None:
    """Its text has no host whose policy could be asked for."""
    for text in ("no url", "a.example/x", "", "//", "http://", "ftp://x"):
        bad = Request(7, text, "", error="list.txt:3: is no URL", place=Place("list.txt", 3))
        record = end_of(failed(Reason.BAD_INPUT, bad)).record
        assert (record.reason, record.url, record.place) == ("bad-input", text, "list.txt:3")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_hop_changes_the_host_by_its_key(status: int) -> None:
    """At once and without a slug; home and the count of attempts stay; the old URL is remembered."""
    to = request(attempt=2)
    then = wait_of(fetched(status, to, Location="https://img.b.example:8443/y"))
    assert then == Wait(0.0, None, None)
    assert (to.url, to.host, to.home) == ("https://img.b.example:8443/y", "b.example", "a.example")
    assert (to.hops, to.attempt, to.foreign, to.seed) == (
        ("http://www.a.example/x",),
        2,
        True,
        "http://www.a.example/x",
    )
    wait_of(fetched(status, to, Location="http://www.a.example/z"))
    assert (to.host, to.foreign) == ("a.example", False)


def test_hops_come_to_an_end() -> None:
    """After three; the record tells where, and that the status was a redirect."""
    to = request()
    for hop in range(3):
        wait_of(fetched(302, to, Location=f"/{hop}"))
    record = end_of(fetched(302, to, Location="/3")).record
    assert (record.reason, record.status, record.final_url) == ("too-many-redirects", 302, "http://www.a.example/2")
    assert record.url == "http://www.a.example/x"


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/x", "redirect-loop"),
        ("ftp://a.example/", "blocked-scheme"),
        ("http://", "bad-redirect"),
        ("http://a\x00.example/", "bad-redirect"),
    ],
)
def test_a_redirect_that_is_refused_ends(location: str, reason: str) -> None:
    """With a reason of its own, and not again."""
    assert end_of(fetched(302, Location=location)).record.reason == reason


# -- Retry-After ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 404, 408, 500, 502, 504])
def test_retry_after_on_other_statuses_says_nothing(status: int) -> None:
    """RFC 9110 10.2.3 and RFC 6585 know it for 503, 429 and 3xx."""
    assert news_of(fetched(status, Retry_After="60"), RULES).wait is None


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307, 308, 429, 503])
@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("101", 100.0),
        ("999999999999", 100.0),
        (formatdate(WALL + 20.5, usegmt=True), 20.0),
        (formatdate(WALL + 9e9, usegmt=True), 100.0),
        (formatdate(WALL - 500, usegmt=True), 0.0),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("", None),
    ],
)
def test_retry_after_is_obeyed_within_its_bound(status: int, value: str, wait: float | None) -> None:
    """Seconds or a date; what is past is now, what is absurd is bounded, what is neither is passed over."""
    told = news_of(fetched(status, Retry_After=value), RULES).wait
    assert told == (None if wait is None else pytest.approx(wait, abs=1.0))
    assert told is None or 0.0 <= told <= 100.0


def test_the_bound_is_that_of_the_host() -> None:
    """With its port."""
    patient = fetched(503, request("http://patient.example:8080/"), Retry_After="7200")
    assert news_of(patient, RULES).wait == 7200.0
    assert news_of(fetched(503, request("http://patient.example/"), Retry_After="7200"), RULES).wait == 100.0


@pytest.mark.parametrize(("status", "location"), [(429, None), (503, None), (302, "http://b.example/")])
def test_the_request_waits_as_long_as_its_host(status: int, location: str | None) -> None:
    """A retry never comes earlier than asked, and a second later at most; a hop exactly then."""
    outcome = fetched(status, Retry_After="40")
    if location is not None:
        outcome.headers = CIMultiDict(outcome.headers, Location=location)
    made = verdict(outcome)
    assert made.news.wait == 40.0
    assert isinstance(made.then, Wait)
    assert NOW + 40.0 <= made.then.not_before <= NOW + (41.0 if location is None else 40.0)


@given(st.sampled_from(STATUSES), st.text(max_size=30))
def test_no_retry_after_breaks_anything(status: int, value: str) -> None:
    """Whatever stands there, the wait is a number within the bound, or none."""
    made = verdict(fetched(status, Retry_After=value, Location="/y"))
    assert made.news.wait is None or 0.0 <= made.news.wait <= 100.0
    assert isinstance(made.then, End) or made.then.not_before <= NOW + 101.0


# -- news of the host -------------------------------------------------------------------------------------------------


def test_a_request_without_a_token_waits_until_there_may_be_one() -> None:
    """And with it its host."""
    outcome = Failed(request(), "id", Reason.AUTH_UNAVAILABLE, "it is so", timing(), wait=7.0)
    assert verdict(outcome).news == News(Host.UNASKED, 7.0)
    assert wait_of(Failed(request(), "id", Reason.AUTH_UNAVAILABLE, "x", timing(), wait=7.0)).not_before >= NOW + 7.0


@pytest.mark.parametrize("reason", Reason)
def test_a_failure_speaks_against_its_host_by_the_table(reason: Reason) -> None:
    """Or says nothing of it; so does what was skipped. Without a token its host is left alone, and not to blame."""
    told = verdict(failed(reason)).news
    against = Host.UNASKED if reason is Reason.AUTH_UNAVAILABLE else Host.DOWN
    assert told == News(against if POLICY[reason].against_host else Host.NOTHING)
    assert verdict(Skipped(request(), reason, "x")).news == News(Host.NOTHING)


@pytest.mark.parametrize(
    ("status", "host"),
    [
        *((status, Host.FINE) for status in (200, 206, 301, 304, 400, 403, 404, 408, 418, 425, 499)),
        (429, Host.BUSY),
        *((status, Host.ERROR) for status in (500, 501, 502, 504, 520, 599, 999)),
        (503, Host.OVERLOADED),
    ],
)
def test_a_status_tells_how_its_host_is(status: int, host: Host) -> None:
    """Whoever answers is well, unless by the answer."""
    assert news_of(fetched(status), RULES) == News(host, None, 0.12)


def test_what_the_job_accepts_is_fine() -> None:
    """Whoever takes a 500 for a page takes its host for well."""
    rules = RULES._replace(accepts=lambda url, status: status == 500)
    assert news_of(fetched(500), rules).host is Host.FINE
    assert news_of(fetched(200), rules).host is Host.FINE


def test_latency_counts_to_the_first_byte() -> None:
    """In seconds; to the end where nobody saw the first byte."""
    assert news_of(fetched(200), RULES).latency == pytest.approx(0.12)
    assert news_of(fetched(200, took=timing(ttfb=None)), RULES).latency == pytest.approx(0.25)


@pytest.mark.parametrize("status", [200, 302, 404, 429, 500])
def test_a_quota_is_told_with_any_status(status: int) -> None:
    """A server that counts says so with every answer."""
    outcome = fetched(status, X_RateLimit_Remaining="3", X_RateLimit_Reset="60", Location="/y")
    assert verdict(outcome).news.quota == Quota(3, 60.0)


# -- records ----------------------------------------------------------------------------------------------------------


def test_the_record_of_a_page() -> None:
    """All that the answer says, and when it began."""
    to = Request(7, "http://www.a.example/x", "a.example", place=Place("list.csv", 4), input={"sku": 1}, attempt=2)
    outcome = fetched(
        200, to, Content_Type="text/html", ETag='"e"', Last_Modified="Tue, 14 Nov 2023 22:13:20 GMT", X_Y="z"
    )
    outcome.length_checked, outcome.warning = False, "a warning"
    record = end_of(outcome).record
    assert (record.id, record.run, record.method, record.status) == (7, "run-1", "GET", 200)
    assert (record.bytes, record.sha256, record.content_type) == (5, "digest", "text/html")
    assert (record.etag, record.last_modified) == ('"e"', "Tue, 14 Nov 2023 22:13:20 GMT")
    assert (record.length_checked, record.warning, record.attempts) == (False, "a warning", 2)
    assert (record.place, record.input, record.request_id) == ("list.csv:4", {"sku": 1}, "run-1-7-1-0")
    assert record.started_at == "2023-11-14T22:13:20.250Z"
    assert record.elapsed_ms is not None
    assert (record.elapsed_ms.ttfb, record.elapsed_ms.total) == (120.0, 250.0)
    assert record.headers is not None
    assert record.headers["x-y"] == "z"


@pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie", "SET-COOKIE"])
def test_no_cookie_stands_in_a_record(name: str) -> None:
    """However it is spelled, and however many there are; other headers stand there in lower case."""
    outcome = fetched(200)
    outcome.headers = CIMultiDict([(name, "session=1"), ("Server", "x"), (name, "token=2")])
    assert end_of(outcome).record.headers == {"server": "x"}


def test_headers_stand_in_a_record_only_where_they_are_wanted() -> None:
    """Without output.headers_in_record there are none, nor are there with a failure."""
    assert end_of(fetched(200, Server="x"), RULES._replace(headers_in_record=False)).record.headers is None
    assert end_of(fetched(404, Server="x")).record.headers is None


# -- captures ---------------------------------------------------------------------------------------------------------


def capture(*, attempt: int = 1) -> Request:
    to = Request(7, "https://a.example/ws", "a.example", method="WEBSOCKET", attempt=attempt)
    to.captured = Captured(12, 340, 5.0)
    return to


def test_a_capture_is_recorded_as_such() -> None:
    """101 is its success, the record counts frames and names the WebSocket; there is no body."""
    end = end_of(fetched(101, capture()))
    record = end.record
    assert (record.outcome, record.status, record.method) == ("fetched", 101, "WEBSOCKET")
    assert (record.url, record.final_url) == ("wss://a.example/ws", "wss://a.example/ws")
    assert (record.frames, record.bytes, record.sha256, record.length_checked, end.body) == (12, 340, None, None, None)
    assert end_of(fetched(200)).record.frames is None


def test_a_page_is_no_capture() -> None:
    """What answers a handshake with 200 has failed; and 101 to a GET is no success."""
    assert end_of(fetched(200, capture())).record.reason == "status-200"
    assert end_of(fetched(101)).record.reason == "status-101"


@pytest.mark.parametrize("frames", [0, 1])
def test_frames_make_attempts_count_anew(frames: int) -> None:
    """A lost connection that brought something is no failure in a row with those before it."""
    to = capture(attempt=3)
    outcome = Failed(to, "id", Reason.WEBSOCKET_CLOSED, "lost", timing(), frames=frames)
    then = verdict(outcome).then
    if frames:
        assert then == Wait(NOW + 2.0, "websocket-closed", "lost")
        assert to.attempt == 2
    else:
        assert isinstance(then, End)
        assert (then.record.attempts, then.record.frames, then.record.bytes) == (3, 12, 340)


def test_what_is_final_is_not_tried_again() -> None:
    """Though its reason might be."""
    outcome = Failed(capture(), "id", Reason.WEBSOCKET_CLOSED, "no", timing(), final=True, frames=3)
    assert end_of(outcome).record.reason == "websocket-closed"


# -- bodies that came in part ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.STALL, Reason.CONNECTION_RESET, Reason.TOTAL_TIMEOUT])
def test_an_attempt_that_gained_is_not_counted(reason: Reason) -> None:
    """It waits as after a first failure, however often, and its host gave something after all."""
    to = request(attempt=3)
    for _ in range(50):
        outcome = failed(reason, to)
        outcome.gained = GAINED
        told = verdict(outcome)
        assert isinstance(told.then, Wait)
        assert told.then.not_before == NOW + 2.0
        assert told.news == News(Host.NOTHING)
        assert to.attempt == 3


def test_a_little_is_no_gain() -> None:
    """A server that lets a few bytes through each time is given up as any."""
    outcome = failed(Reason.TRUNCATED, request(attempt=3))
    outcome.gained = GAINED - 1
    assert end_of(outcome).record.reason == "truncated"


def test_who_wants_one_attempt_gets_one() -> None:
    """retry.attempts = 1 means that nothing is asked for again."""
    outcome = failed(Reason.TRUNCATED)
    outcome.gained = 10 * GAINED
    once = RULES._replace(retry_of=lambda _: RetryPolicy(attempts=1))
    assert isinstance(verdict(outcome, once).then, End)
