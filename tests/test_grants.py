"""What the token endpoint is sent, and what its answers mean."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from typing import Any
from urllib.parse import parse_qs, quote, unquote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import Reason
from crawler.grants import (
    MAX_ANSWER,
    Granted,
    Settings,
    TokenAnswer,
    TokenFault,
    TokenRequest,
    header_safe,
    masked,
    read,
    request,
)
from crawler.urls import printable

SECRET = "s3cr&t /+ü"
CLIENT = Settings("api", "client_credentials", "https://login.example/token", "me", SECRET)
REFRESH = CLIENT._replace(grant="refresh_token", refresh_token="seed-token")


def form(asked: TokenRequest) -> dict[str, list[str]]:
    return parse_qs(asked.body.decode(), keep_blank_values=True, strict_parsing=True)


def answered(said: object, status: int = 200, **headers: str) -> TokenAnswer:
    return TokenAnswer(status, headers, said if isinstance(said, bytes) else json.dumps(said).encode())


def granted(**said: Any) -> Granted:
    got = read(CLIENT, None, answered({"access_token": "abc", "token_type": "Bearer"} | said), 0.0)
    assert isinstance(got, Granted)
    return got


def fault(answer: TokenAnswer, settings: Settings = CLIENT, refresh: str | None = None, now: float = 0.0) -> TokenFault:
    got = read(settings, refresh, answer, now)
    assert isinstance(got, TokenFault)
    assert got.error.startswith("[auth.api] ")
    assert "login.example" in got.error
    return got


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_basic_credentials_are_form_encoded_first(client_id: str, secret: str) -> None:
    """RFC 6749 2.3.1: what stands in the header comes back whole, whatever characters it has, a colon too."""
    asked = request(CLIENT._replace(client_id=client_id, client_secret=secret), None)
    kind, _, value = asked.headers["Authorization"].partition(" ")
    user, _, password = b64decode(value, validate=True).decode("ascii").partition(":")
    assert (kind, unquote_plus(user), unquote_plus(password)) == ("Basic", client_id, secret)
    assert form(asked) == {"grant_type": ["client_credentials"]}


def test_credentials_may_stand_in_the_body() -> None:
    """`client_auth = "body"` puts them into the form, and nowhere else."""
    asked = request(CLIENT._replace(client_auth="body"), None)
    assert "Authorization" not in asked.headers
    assert form(asked) == {"grant_type": ["client_credentials"], "client_id": ["me"], "client_secret": [SECRET]}


def test_a_public_client_names_itself() -> None:
    """Without a secret the client's id stands in the form (RFC 6749 3.2.1)."""
    asked = request(REFRESH._replace(client_secret=None), "r1")
    assert "Authorization" not in asked.headers
    assert form(asked) == {"grant_type": ["refresh_token"], "refresh_token": ["r1"], "client_id": ["me"]}


def test_further_parameters_never_replace_the_protocols_own() -> None:
    """scope, audience and extra ones go along; extra ones cannot bring back an old refresh token."""
    settings = REFRESH._replace(
        scope="a b", audience="aud", extra=(("grant_type", "x"), ("refresh_token", "old"), ("resource", "x&y"))
    )
    assert form(request(settings, "new")) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["new"],
        "scope": ["a b"],
        "audience": ["aud"],
        "resource": ["x&y"],
    }


def test_a_secret_of_raw_bytes_is_sent_as_these_bytes() -> None:
    """The environment may hold what is no UTF-8: its bytes arrive, and nothing breaks."""
    asked = request(CLIENT._replace(client_secret="a\udcffb", client_auth="body"), None)
    assert b"client_secret=a%FFb" in asked.body


def test_an_answer_in_full() -> None:
    """Token, life and refresh token are read, whatever else there is."""
    assert granted(expires_in=3600, refresh_token="r2", scope="x", more=[1]) == Granted("abc", 3600.0, "r2")


@pytest.mark.parametrize(
    ("said", "life"),
    [
        (1, 1.0),
        (0.5, 0.5),
        ("3600", 3600.0),
        (" 60.5 ", 60.5),
        (0, None),
        ("0", None),
        (-1, None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        (None, None),
        (True, None),
        ([], None),
        (10**30, 315360000.0),
    ],
)
def test_the_life_of_a_token(said: object, life: float | None) -> None:
    """Numbers as such or as text; nothing usable, 0 and less mean that it is unknown; ten years are the most."""
    assert granted(expires_in=said).life == life


def test_no_expires_in_is_an_unknown_life() -> None:
    """It is only recommended by RFC 6749 5.1."""
    assert granted().life is None


@pytest.mark.parametrize("kind", ["bearer", "BEARER"])
def test_the_type_is_compared_without_case(kind: str) -> None:
    """RFC 6749 5.1; and many leave it out."""
    assert granted(token_type=kind).access == "abc"
    assert isinstance(read(CLIENT, None, answered({"access_token": "abc"}), 0.0), Granted)


@pytest.mark.parametrize("kind", ["mac", "DPoP", None, 1])
def test_another_type_of_token_is_no_token(kind: object) -> None:
    """We could not use it."""
    got = fault(answered({"access_token": "abc", "token_type": kind}))
    assert got.reason is Reason.AUTH_UNAVAILABLE
    assert "bearer" in got.error


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a b", "ü", "a\x00", "a\n", "x" * 40000])
def test_a_token_that_is_unsafe_in_a_header_is_a_fault(token: str) -> None:
    """Security default 17; the token itself is not shown."""
    got = fault(answered({"access_token": token}))
    assert got.reason is Reason.AUTH_UNAVAILABLE
    assert "header" in got.error
    assert token not in got.error


@pytest.mark.parametrize("refresh", ["", None, 5, ["r"], "x" * 40000])
def test_a_refresh_token_that_is_none_is_left_out(refresh: object) -> None:
    """The one that was sent then stands."""
    assert granted(refresh_token=refresh).refresh is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Please log in</html>",
        b"[]",
        b'"abc"',
        b"{}",
        b'{"access_token": ""}',
        b'{"access_token": 5}',
        b'{"access_token": null}',
        b'{"access_token": "\xff"}',
        b'{"access_token": "\\ud800"}',
        b'{"access_token": "abc"',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_a_token_is_a_fault(body: bytes) -> None:
    """HTML, broken JSON and the like: asked again later; nothing of the body is shown."""
    got = fault(answered(body))
    assert (got.reason, got.retry_in) == (Reason.AUTH_UNAVAILABLE, None)
    assert "200 without an access token" in got.error


def test_a_body_beyond_the_bound_is_not_read() -> None:
    """1 MiB is the most, though there is a token in it."""
    whole = b'{"access_token": "abc", "pad": "%s"}'
    pad = MAX_ANSWER - len(whole % b"")
    assert isinstance(read(CLIENT, None, answered(whole % (b"x" * pad)), 0.0), Granted)
    assert "more than 1048576 bytes" in fault(answered(whole % (b"x" * (pad + 1)))).error


@pytest.mark.parametrize(
    "error", ["invalid_client", "invalid_grant", "unauthorized_client", "invalid_scope", "invalid_request"]
)
@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_what_the_endpoint_refuses_is_rejected(error: str, status: int) -> None:
    """The codes of RFC 6749 5.2 are final, and told with their description; some send them with status 200."""
    got = fault(answered({"error": error, "error_description": "no\x1b[31m such client"}, status))
    assert got.reason is Reason.AUTH_REJECTED
    assert f"{error}: no\\x1b[31m such client" in got.error


def test_a_401_without_a_code_is_rejected() -> None:
    """Whatever stands before the endpoint does not know us either."""
    got = fault(answered(b"<html>", 401))
    assert got.reason is Reason.AUTH_REJECTED
    assert "401" in got.error


@pytest.mark.parametrize("status", [302, 400, 403, 404, 429, 500, 502, 503])
def test_any_other_status_is_unavailable(status: int) -> None:
    """Also where it holds a token, which a server that failed has not vouched for."""
    got = fault(answered({"access_token": "abc", "expires_in": 60}, status))
    assert got.reason is Reason.AUTH_UNAVAILABLE
    assert str(status) in got.error


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_does_not_judge_us(status: int) -> None:
    """A final code with such a status is tried again."""
    assert fault(answered({"error": "invalid_client"}, status)).reason is Reason.AUTH_UNAVAILABLE


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read(status: int) -> None:
    """Seconds or a date, which counts from the answer's own; an hour at most."""
    assert fault(answered(b"", status, **{"Retry-After": "7"})).retry_in == 7.0
    date = {"Date": "Thu, 01 Jan 1970 00:00:10 GMT", "Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}
    assert fault(answered(b"", status, **date), now=1e9).retry_in == 50.0
    assert fault(answered(b"", status, **{"Retry-After": "86400"})).retry_in == 3600.0
    assert fault(answered(b"", status, **{"Retry-After": "later"})).retry_in is None


def test_retry_after_counts_with_429_and_503_alone() -> None:
    """With others it is no promise about the endpoint."""
    assert fault(answered(b"", 500, **{"Retry-After": "7"})).retry_in is None


@pytest.mark.parametrize(
    "shown",
    [SECRET, quote(SECRET, safe=""), b64encode(SECRET.encode()).decode(), "seed-token", "rotated-token"],
)
def test_a_secret_that_the_server_repeats_is_masked(shown: str) -> None:
    """As it is, percent-encoded or in base64; the rest of the sentence stays."""
    said = {"error": "invalid_grant", "error_description": f"got {shown} which is wrong"}
    got = fault(answered(said, 400), REFRESH, "rotated-token")
    assert shown not in got.error
    assert re.search(r"got \*\*\*=* which is wrong", got.error)


def test_the_header_that_was_sent_is_masked() -> None:
    """A server that quotes our Basic credentials gives nothing away."""
    header = request(REFRESH, "r").headers["Authorization"]
    told = masked(REFRESH, f"bad header {header}.")
    assert header.removeprefix("Basic ").rstrip("=") not in told
    assert told.startswith("bad header Basic ***")


@given(st.text(min_size=1), st.text(), st.text())
def test_a_mask_leaves_no_secret(secret: str, before: str, after: str) -> None:
    """Wherever it stands, unless the mask itself happens to spell it."""
    settings = CLIENT._replace(client_secret=secret.encode("utf-8", "replace").decode())
    told = masked(settings, before + str(settings.client_secret) + after)
    if not set(secret) & set("*\\uxU0123456789abcdef…@"):
        assert secret not in told


@given(st.text(max_size=20))
def test_what_is_header_safe_is_visible_ascii(token: str) -> None:
    """No space, control or other character beyond, and not nothing."""
    assert header_safe(token) == (token != "" and all("!" <= character <= "~" for character in token))


@given(
    st.integers(100, 599),
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["access_token", "expires_in", "error", "error_description", "token_type"]), inner
            )
        ),
    ).map(orjson.dumps),
)
def test_no_answer_breaks_the_reader(status: int, body: bytes) -> None:
    """Whatever comes is a token that can be sent, or a fault."""
    got = read(CLIENT, None, TokenAnswer(status, {}, body), 0.0)
    if isinstance(got, Granted):
        assert header_safe(got.access)
        assert got.life is None or got.life > 0
    else:
        assert got.reason in (Reason.AUTH_REJECTED, Reason.AUTH_UNAVAILABLE)
        assert printable(got.error, 10_000) == got.error


def test_no_repr_shows_a_secret() -> None:
    """Neither of what is sent nor of what comes, alone or within a container."""
    shown = repr([REFRESH, request(REFRESH, "rotated"), answered({"access_token": "abc"}), granted(refresh_token="r2")])
    assert not any(secret in shown for secret in (SECRET, "seed-token", "rotated", "abc", "r2"))
    assert f"{REFRESH}" == repr(REFRESH)
