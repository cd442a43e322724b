"""Which credential goes where, and when a host is not asked any more."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step, Unsignable
from crawler.authenticate import Authenticator, Fault, Section, Used
from crawler.errors import Reason
from crawler.model import Request

REJECTED = Judgement(Step.REJECTED, "no good")


class Fake:
    """A scheme that judges as it is told."""

    name = "Fake"
    wants: frozenset[str] = frozenset()
    reads_errors = False

    def __init__(self, *judgements: Judgement, stale: int = 0) -> None:
        self.judgements = list(judgements)
        self.left_stale = stale
        self.signed = 0
        self.trouble: Exception | None = None

    def stale(self, now: float) -> bool:
        self.left_stale -= 1
        return self.left_stale >= 0

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        if self.trouble is not None:
            raise self.trouble
        self.signed += 1
        return Signed({"Authorization": "Fake"})

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        if self.trouble is not None:
            raise self.trouble
        return self.judgements.pop(0)


def section(*hosts: str, scheme: Fake | None = None, name: str = "x", **said: Any) -> Section:
    return Section(name, scheme or Fake(), hosts, **said)


def at(url: str, seed: str | None = None) -> Request:
    request = Request(1, seed or url, "h")
    request.url = url
    return request


def draft(url: str = "https://a.test/", round: int = 0) -> Draft:
    return Draft("GET", url, {}, round=round)


def heard(
    auth: Authenticator, one: Section, status: int = 401, url: str = "https://a.test/", round: int = 0
) -> Judgement:
    return auth.heard(Used(one, draft(url, round), Signed({})), Answered(status, {}))


@pytest.mark.parametrize(
    ("hosts", "url", "bound"),
    [
        (["a.test"], "https://a.test/", True),
        (["a.test"], "https://a.test:8443/", True),
        (["a.test:8443"], "https://a.test/", False),
        (["a.test"], "https://a.test.evil.test/", False),
        (["a.test"], "https://sub.a.test/", False),
        (["*.a.test"], "https://sub.a.test/", True),
        (["*.a.test"], "https://a.test/", False),
        (["*.a.test"], "https://evila.test/", False),
    ],
)
def test_a_credential_goes_where_it_is_bound_to(hosts: list[str], url: str, bound: bool) -> None:
    """By the pattern, whole names only."""
    assert isinstance(Authenticator([section(*hosts)]).section(at(url)), Section) == bound


def test_the_closest_pattern_wins_whatever_the_order() -> None:
    """An exact host over a glob, a host with port over one without."""
    wide, host, port = section("*", name="wide"), section("a.test", name="host"), section("a.test:81", name="port")
    for order in ([wide, host, port], [port, host, wide]):
        auth = Authenticator(order)
        found = [auth.section(at(f"https://{place}/")) for place in ("b.test", "a.test", "a.test:81")]
        assert found == [wide, host, port]


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.0.0.1", "127.9.9.9:8080", "[::1]", "[::1]:8080"])
def test_this_machine_needs_no_tls(host: str) -> None:
    """What does not leave the machine nobody can read on the way."""
    assert isinstance(Authenticator([section("*")]).section(at(f"http://{host}/")), Section)


@pytest.mark.parametrize("host", ["a.test", "10.0.0.1", "localhost.evil.test", "[::2]", "127.0.0.1.evil.test"])
def test_others_get_it_over_https_or_with_permission(host: str) -> None:
    """Over plain http it is auth-insecure, with the section and what to say named."""
    fault = Authenticator([section("*")]).section(at(f"http://{host}/"))
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.AUTH_INSECURE
    assert "[auth.x]" in fault.error
    assert "allow_insecure" in fault.error
    assert isinstance(Authenticator([section("*", allow_insecure=True)]).section(at(f"http://{host}/")), Section)


def test_it_never_goes_down_from_https() -> None:
    """Whoever redirects an https input to http gets none, with no fault either: the answer may be a public page."""
    auth = Authenticator([section("*", allow_insecure=True)])
    assert auth.section(at("http://a.test/", "https://a.test/")) is None
    assert isinstance(auth.section(at("https://a.test/", "http://a.test/")), Section)


async def test_what_is_stale_is_renewed_before_it_signs() -> None:
    """Once for the one who asks; a fault of the renewal is the answer, and nothing is signed."""
    renewed: list[int] = []

    async def renew() -> Fault | None:
        renewed.append(1)
        return None

    fake = Fake(stale=1)
    used = await Authenticator([]).sign(section("a.test", scheme=fake, renew=renew), draft())
    assert isinstance(used, Used)
    assert (len(renewed), fake.signed) == (1, 1)

    async def fail() -> Fault | None:
        return Fault(Reason.AUTH_UNAVAILABLE, "the endpoint is down")

    fake = Fake(stale=1)
    assert await Authenticator([]).sign(section("a.test", scheme=fake, renew=fail), draft()) == await fail()
    assert fake.signed == 0


async def test_what_stays_stale_is_no_credential() -> None:
    """A token that is over before it came is told as such, not signed with."""
    fake = Fake(stale=2)
    fault = await Authenticator([]).sign(section("a.test", scheme=fake), draft())
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.AUTH_UNAVAILABLE
    assert fake.signed == 0


async def test_what_cannot_be_signed_is_a_fault_with_its_section() -> None:
    """In signing, and in reading the answer."""
    fake = Fake()
    fake.trouble = Unsignable("the body cannot be read twice")
    one = section("a.test", scheme=fake)
    auth = Authenticator([one])
    fault = await auth.sign(one, draft())
    assert fault == Fault(Reason.AUTH_REJECTED, "[auth.x]: the body cannot be read twice")
    assert heard(auth, one) == Judgement(Step.REJECTED, "[auth.x]: the body cannot be read twice")


def test_three_rejections_in_a_row_bar_a_host_for_that_credential_alone() -> None:
    """Neither another port of it, nor another host of the same section."""
    fake = Fake(*[REJECTED] * 3)
    one = section("*.test", scheme=fake)
    auth = Authenticator([one])
    for _ in range(2):
        heard(auth, one)
        assert auth.barred(at("https://a.test/x")) is None
    heard(auth, one)
    why = auth.barred(at("https://a.test/x"))
    assert why is not None
    assert "a.test rejected [auth.x] 3 times in a row" in why
    assert auth.barred(at("https://b.test/")) is None
    assert auth.barred(at("https://a.test:8443/")) is None
    assert auth.barred(at("http://a.test/", "https://a.test/")) is None, "no credential would go along"


@pytest.mark.parametrize(("status", "forgotten"), [(200, True), (304, True), (404, False), (500, False)])
def test_an_answer_that_is_a_success_forgets_rejections(status: int, forgotten: bool) -> None:
    """An error says nothing of the credential."""
    fake = Fake(REJECTED, REJECTED, FINE, REJECTED)
    one = section("a.test", scheme=fake)
    auth = Authenticator([one])
    heard(auth, one)
    heard(auth, one)
    heard(auth, one, status)
    heard(auth, one)
    assert (auth.barred(at("https://a.test/")) is None) == forgotten


def test_clocks_that_differ_bar_nobody() -> None:
    """That is no fault of the credential, and each request is told so."""
    fake = Fake(*[Judgement(Step.CLOCK, "off by 3600 s")] * 5)
    one = section("a.test", scheme=fake)
    auth = Authenticator([one])
    assert {heard(auth, one) for _ in range(5)} == {Judgement(Step.CLOCK, "[auth.x]: off by 3600 s")}
    assert auth.barred(at("https://a.test/")) is None


def test_nobody_is_sent_back_for_ever() -> None:
    """A scheme that always wants another round is rejected after four."""
    fake = Fake(*[AGAIN] * 10)
    one = section("a.test", scheme=fake)
    auth = Authenticator([one])
    steps = [heard(auth, one, round=number).step for number in range(6)]
    assert steps == [Step.AGAIN] * 4 + [Step.REJECTED] * 2


def test_no_repr_tells_more_than_names() -> None:
    """A Section shows its name and scheme."""
    assert repr(section("a.test")) == "<Section x Fake>"
