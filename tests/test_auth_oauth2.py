"""When an OAuth 2 token is renewed, and what a 401 means; a resource server is played by a few lines."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.auth.oauth2 import NO_PAUSE, OAuth2, Pause, wait_after
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Scheme, Signed, Step
from crawler.errors import Reason
from crawler.grants import Settings, TokenAnswer

CLIENT = Settings("api", "client_credentials", "https://login.example/token", "me", "s3cret")
REFRESH = CLIENT._replace(grant="refresh_token", refresh_token="seed-token")
RNG = Random(1)
NOW = 1_700_000_000.0


def draft(round: int = 0) -> Draft:
    return Draft("GET", "https://api.example/", {}, round=round)


def give(scheme: OAuth2, now: float = NOW, **said: Any) -> None:
    """The endpoint gives a token, named by its number."""
    said = {"access_token": f"t{scheme.generation + 1}", "token_type": "bearer"} | said
    assert scheme.renewed(TokenAnswer(200, {}, json.dumps(said).encode()), now) is None


def holding(settings: Settings = CLIENT, now: float = NOW, **said: Any) -> OAuth2:
    scheme = OAuth2(settings)
    give(scheme, now, **said)
    return scheme


def sent(scheme: OAuth2, now: float = NOW) -> Signed:
    assert not scheme.stale(now)
    return scheme.sign(draft(), now, RNG)


def answer(
    scheme: OAuth2, signed: Signed, round: int = 0, status: int = 401, now: float = NOW, *challenges: str
) -> Judgement:
    return scheme.accept(draft(round), signed, Answered(status, {}, challenges), now)


def test_it_fills_the_scheme() -> None:
    """It is a Scheme that needs no digest and no error's body, and is stale before its first token."""
    scheme: Scheme = OAuth2(CLIENT)
    assert (scheme.name, scheme.wants, scheme.reads_errors, scheme.stale(NOW)) == ("OAuth 2", frozenset(), False, True)


def test_the_token_goes_into_the_header() -> None:
    """RFC 6750 2.1, and nothing else is added; no repr shows it."""
    scheme = holding(access_token="secret-token", refresh_token="next-token")
    signed = sent(scheme)
    assert signed.headers == {"Authorization": "Bearer secret-token"}
    assert signed.url is None
    assert not any(word in repr([scheme, signed]) for word in ("secret-token", "next-token", "s3cret"))


@pytest.mark.parametrize(("life", "good"), [(3600, 3570.0), (60, 30.0), (40, 20.0), (1, 0.5)])
def test_a_token_is_renewed_before_its_end(life: float, good: float) -> None:
    """By the skew of 30 s, or by half of its life where that is shorter."""
    scheme = holding(expires_in=life)
    assert not scheme.stale(NOW + good - 0.01)
    assert scheme.stale(NOW + good)


@pytest.mark.parametrize("said", [{}, {"expires_in": 0}, {"expires_in": -7}, {"expires_in": "x"}])
def test_a_token_of_unknown_life_serves_until_a_401(said: dict[str, Any]) -> None:
    """No matter how long that takes."""
    scheme = holding(**said)
    assert not scheme.stale(NOW + 1e7)
    assert answer(scheme, sent(scheme), now=NOW + 1e7) == AGAIN
    assert scheme.stale(NOW + 1e7)


@given(st.floats(0.001, 1e9), st.floats(0, 1e6))
def test_a_token_that_was_just_given_is_usable(life: float, skew: float) -> None:
    """Whatever its life and the skew: else there would be no end of renewals."""
    scheme = holding(CLIENT._replace(skew=skew), expires_in=life)
    assert not scheme.stale(NOW)


def test_a_clock_that_is_set_back_has_the_token_renewed() -> None:
    """Its end cannot be told any more; a minute is no matter."""
    scheme = holding(expires_in=3600)
    assert not scheme.stale(NOW - 59)
    assert scheme.stale(NOW - 86400)


def test_while_postponed_a_token_serves_to_its_very_end() -> None:
    """When the endpoint is down there is no sense in giving up a token that is still good."""
    scheme = holding(expires_in=60)
    scheme.postpone(Pause(NOW + 40, NOW + 100))
    assert [scheme.stale(NOW + at) for at in (35, 40, 59, 60, 61)] == [True, False, False, True, True]


def test_a_new_token_ends_the_postponement() -> None:
    """Its own end is looked after again, wherever it came from."""
    scheme, other = holding(expires_in=60), OAuth2(CLIENT)
    for one in (scheme, other):
        one.postpone(Pause(NOW, NOW + 1000))
    give(scheme, expires_in=60)
    assert other.from_cache(scheme.to_cache(b""))
    assert [one.stale(NOW + 29) for one in (scheme, other)] == [False, False]
    assert [one.stale(NOW + 31) for one in (scheme, other)] == [True, True]


def test_while_postponed_a_refused_token_does_not_serve() -> None:
    """It is of no use however long it would last."""
    scheme = holding(expires_in=60)
    scheme.postpone(Pause(NOW, NOW + 100))
    answer(scheme, sent(scheme))
    assert scheme.stale(NOW)


@pytest.mark.parametrize("status", [200, 206, 302, 304, 400, 403, 404, 407, 429, 500, 503])
def test_only_a_401_is_about_the_token(status: int) -> None:
    """Everything else passes, in any round, and leaves the token as it is."""
    scheme = holding()
    assert [answer(scheme, sent(scheme), round, status) for round in (0, 1, 2)] == [FINE] * 3
    assert not scheme.stale(NOW)


def test_a_401_renews_and_a_second_one_rejects() -> None:
    """The request is sent once more with a new token; then that is its end, and the new token stays."""
    scheme = holding()
    assert answer(scheme, sent(scheme)) == AGAIN
    assert scheme.stale(NOW)
    give(scheme)
    judgement = answer(scheme, sent(scheme), 1)
    assert judgement.step is Step.REJECTED
    assert judgement.error.startswith("[auth.api] ")
    assert not scheme.stale(NOW)


def test_many_401s_to_one_token_ask_for_one_renewal() -> None:
    """Those that come while it is refused, and those that come after the renewal, are all just sent again."""
    scheme = holding()
    signed = [sent(scheme) for _ in range(1000)]
    assert {answer(scheme, one) for one in signed[:500]} == {AGAIN}
    give(scheme)
    assert {answer(scheme, one) for one in signed[500:]} == {AGAIN}
    assert not scheme.stale(NOW)
    assert scheme.generation == 2


def test_a_request_is_not_sent_back_for_ever() -> None:
    """Also when the token is renewed each time before its answer comes."""
    scheme, round = holding(), 0
    while True:
        signed = sent(scheme)
        give(scheme)
        if answer(scheme, signed, round).step is Step.REJECTED:
            break
        round += 1
    assert 1 <= round <= 3


def test_a_host_that_refuses_every_token_causes_few_renewals() -> None:
    """10,000 requests, one after the other within 100 s, all refused: a renewal whenever the doubling wait ends."""
    scheme, renewals = OAuth2(CLIENT), 0
    for number in range(10_000):
        now, round = NOW + number / 100, 0
        while True:
            if scheme.stale(now):
                give(scheme, now, expires_in=36000)
                renewals += 1
            if answer(scheme, sent(scheme, now), round, now=now).step is Step.REJECTED:
                break
            round += 1
        assert round <= 1
    assert 2 <= renewals <= 9


def test_a_host_that_refuses_every_token_at_once_causes_few_renewals() -> None:
    """The same with 500 requests on their way at a time."""
    scheme, renewals, ended = OAuth2(CLIENT), 0, 0
    under_way: list[tuple[Signed, int]] = []
    rng = Random(7)
    while ended < 10_000:
        now = NOW + ended / 1000
        rounds = [0] * (500 - len(under_way))
        if under_way:
            signed, round = under_way.pop(rng.randrange(len(under_way)))
            if answer(scheme, signed, round, now=now).step is Step.AGAIN:
                rounds.append(round + 1)
            else:
                ended += 1
        for round in rounds:
            if scheme.stale(now):
                give(scheme, now)
                renewals += 1
            under_way.append((sent(scheme, now), round))
    assert 2 <= renewals <= 12


def test_a_renewal_that_helped_is_no_reason_to_hesitate() -> None:
    """A token revoked over and over is renewed at once each time, and no request is lost."""
    scheme = holding()
    for _ in range(20):
        assert answer(scheme, sent(scheme)) == AGAIN
        give(scheme)
        assert answer(scheme, sent(scheme), 1, 200) == FINE


def test_after_a_vain_renewal_the_next_one_waits() -> None:
    """One second, then two, and a renewal that helps has it forgotten."""
    scheme, now = holding(), NOW
    for wait in (1.0, 2.0, 4.0):
        assert answer(scheme, sent(scheme), now=now) == AGAIN
        give(scheme, now)
        assert answer(scheme, sent(scheme), 1, now=now).step is Step.REJECTED
        assert answer(scheme, sent(scheme), now=now + wait - 0.1).step is Step.REJECTED
        assert not scheme.stale(now + wait - 0.1)
        now += wait
    assert answer(scheme, sent(scheme), now=now) == AGAIN
    give(scheme, now)
    assert answer(scheme, sent(scheme), 1, 200, now) == FINE
    assert answer(scheme, sent(scheme), now=now) == AGAIN
    give(scheme, now)
    assert answer(scheme, sent(scheme), 1, now=now).step is Step.REJECTED
    assert answer(scheme, sent(scheme), now=now + 1.0) == AGAIN


def test_a_vain_renewal_counts_once_however_many_requests_met_it() -> None:
    """500 that are refused with the same new token let the next renewal wait for one second."""
    scheme = holding()
    answer(scheme, sent(scheme))
    give(scheme)
    assert {answer(scheme, sent(scheme), 1).step for _ in range(500)} == {Step.REJECTED}
    assert answer(scheme, sent(scheme), now=NOW + 1.0) == AGAIN


def test_a_renewal_that_is_due_anyway_is_waited_for() -> None:
    """A token that was refused will be renewed: who meets a 401 with it is sent again, also after vain renewals."""
    scheme = holding()
    signed = [sent(scheme) for _ in range(3)]
    assert answer(scheme, signed[0]) == AGAIN
    assert answer(scheme, signed[1], 1).step is Step.REJECTED
    assert answer(scheme, signed[2]) == AGAIN


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        (
            'Bearer realm="x", error="invalid_token", error_description="The token expired"',
            "invalid_token: The token expired",
        ),
        ("Bearer error=insufficient_scope", "insufficient_scope"),
        ('Bearer error="invalid_token", error_description="t2 is bad\x1b"', "invalid_token: *** is bad\\x1b"),
        ('Digest realm="x"', "wants Digest, the job offers a bearer token"),
        ('bearer realm="x"', "the server refuses the token"),
        ("", "the server refuses the token"),
    ],
)
def test_a_rejection_says_what_the_server_says(challenge: str, told: str) -> None:
    """RFC 6750 3.1, printable, without the token; or what it wants instead."""
    scheme = holding()
    answer(scheme, sent(scheme))
    give(scheme)
    assert answer(scheme, sent(scheme), 1, 401, NOW, challenge).error.endswith(told)


def test_a_refresh_token_rotates() -> None:
    """The one that was given last is sent; where none is given the last stands."""
    scheme = OAuth2(REFRESH)
    assert b"refresh_token=seed-token" in scheme.renewal().body
    give(scheme)
    assert b"refresh_token=seed-token" in scheme.renewal().body
    give(scheme, refresh_token="second")
    assert b"refresh_token=second" in scheme.renewal().body
    give(scheme)
    assert b"refresh_token=second" in scheme.renewal().body


def test_a_fault_leaves_the_token_as_it_was() -> None:
    """It may still serve."""
    scheme = holding()
    fault = scheme.renewed(TokenAnswer(500, {}, b'{"access_token": "x"}'), NOW)
    assert fault is not None
    assert fault.reason is Reason.AUTH_UNAVAILABLE
    assert (scheme.generation, sent(scheme).headers["Authorization"]) == (1, "Bearer t1")


def test_trouble_on_the_way_is_told_without_secrets() -> None:
    """Whatever text the transport had."""
    fault = OAuth2(REFRESH).unanswered("timed out after 10 s, sent refresh_token=seed-token&x=s3cret\n")
    assert fault.reason is Reason.AUTH_UNAVAILABLE
    assert fault.error == (
        "[auth.api] the token endpoint login.example timed out after 10 s, sent refresh_token=***&x=***\\n"
    )


def test_a_token_passes_through_the_cache() -> None:
    """Another process takes it, with its end, its refresh token and its generation."""
    scheme, other = holding(REFRESH, expires_in=60, refresh_token="second"), OAuth2(REFRESH)
    assert other.from_cache(scheme.to_cache(b""))
    assert sent(other) == sent(scheme)
    assert [other.stale(NOW + 29), other.stale(NOW + 30)] == [False, True]
    assert b"refresh_token=second" in other.renewal().body


def test_only_a_newer_token_is_taken() -> None:
    """Our own and an older one are left; a newer one takes the place of a refused one."""
    scheme, other = holding(), OAuth2(CLIENT)
    old = scheme.to_cache(b"")
    other.from_cache(old)
    give(scheme)
    new = scheme.to_cache(old)
    assert not scheme.from_cache(old)
    assert not scheme.from_cache(new)
    answer(other, sent(other))
    assert other.from_cache(new)
    assert not other.stale(NOW)
    assert sent(other).headers["Authorization"] == "Bearer t2"


CHANGES: list[dict[str, Any]] = [
    {"token_url": "https://login.example/other"},
    {"client_id": "you"},
    {"scope": "b"},
    {"audience": "b"},
    {"extra": (("resource", "x"),)},
    {"refresh_token": "a new one"},
    {"grant": "client_credentials"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_changed_section_does_not_take_the_others_token(change: dict[str, Any]) -> None:
    """Two sections have a token each in one file, and writing one keeps the other."""
    first, second = holding(REFRESH, access_token="one"), OAuth2(REFRESH._replace(**change))
    text = first.to_cache(b"")
    assert not second.from_cache(text)
    give(second, access_token="two")
    both = second.to_cache(text)
    again, other = OAuth2(REFRESH), OAuth2(REFRESH._replace(**change))
    assert again.from_cache(both)
    assert other.from_cache(both)
    assert sent(again).headers["Authorization"] == "Bearer one"
    assert sent(other).headers["Authorization"] == "Bearer two"


def test_what_does_not_make_the_token_does_not_change_its_place() -> None:
    """The section's name, its secret and how that is sent, and the skew may change."""
    text = holding().to_cache(b"")
    settings = CLIENT._replace(section="x", client_secret="new", client_auth="body", skew=1.0)
    assert OAuth2(settings).from_cache(text)


def test_the_cache_holds_no_secret_of_the_job() -> None:
    """Neither the client's secret nor the job's own refresh token."""
    text = holding(REFRESH).to_cache(b"")
    assert b"t1" in text
    assert b"s3cret" not in text
    assert b"seed-token" not in text


def test_junk_is_written_over() -> None:
    """A cache that was damaged holds our token afterwards."""
    assert OAuth2(CLIENT).from_cache(holding().to_cache(b"\x00{["))


@given(st.integers(1, 10_000))
def test_waits_double_to_a_minute(failures: int) -> None:
    """1, 2, 4 .. 60 s, and no overflow."""
    assert wait_after(failures) == (60.0 if failures > 6 else 2 ** (failures - 1))


def test_a_pause_ends_when_the_clock_is_set_back() -> None:
    """Else it might last a day."""
    assert [Pause(10, 20).holds(now) for now in (9.9, 10, 19.9, 20)] == [False, True, True, False]
    assert not NO_PAUSE.holds(NOW)
