"""Basic credentials."""

from __future__ import annotations

from base64 import b64decode
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.auth.basic import Basic
from crawler.auth.scheme import FINE, Answered, Draft, Scheme, Step

DRAFT = Draft("GET", "https://a.example/", {})
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30)


def header(scheme: Basic) -> str:
    return scheme.sign(DRAFT, 0.0, Random(1)).headers["Authorization"]


def test_the_examples_of_the_rfc() -> None:
    """RFC 7617 2 and 2.1."""
    assert header(Basic("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert header(Basic("test", "123£")) == "Basic dGVzdDoxMjPCow=="


@given(TEXT.filter(lambda user: ":" not in user), TEXT)
def test_the_server_reads_what_was_given(user: str, password: str) -> None:
    """Whatever user and password; a password may have colons."""
    decoded = b64decode(header(Basic(user, password)).removeprefix("Basic "), validate=True).decode()
    assert tuple(decoded.split(":", 1)) == (user, password)


def test_it_is_a_scheme_that_needs_nothing() -> None:
    """No body digest, no error body, nothing to be fetched."""
    scheme: Scheme = Basic("u", "p")
    assert (scheme.wants, scheme.reads_errors, scheme.stale(1e9)) == (frozenset(), False, False)


def test_a_user_with_a_colon_is_refused() -> None:
    """RFC 7617 2: the server could not tell where the password begins."""
    with pytest.raises(ValueError, match="colon") as caught:
        Basic("se:cret", "p")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("bad", ["zq\rb", "zq\nb", "zq\0b", "zq\x7fb", "zq\tb", "zq\ud800b"])
def test_control_characters_are_refused(bad: str) -> None:
    """In either, and the value is never shown."""
    for user, password in ((bad, "p"), ("u", bad)):
        with pytest.raises(ValueError, match="control characters") as caught:
            Basic(user, password)
        assert "zq" not in str(caught.value)


def judge(status: int, *lines: str) -> tuple[Step, str]:
    scheme = Basic("user", "hunter2")
    return scheme.accept(DRAFT, scheme.sign(DRAFT, 0.0, Random(1)), Answered(status, {}, lines), 0.0)


@pytest.mark.parametrize("status", [200, 304, 403, 407, 500])
def test_all_but_401_is_fine(status: int) -> None:
    """A 403 is about the page, a 407 about the proxy."""
    assert judge(status, "Basic") == FINE


def test_a_401_rejects_and_names_what_is_wanted() -> None:
    """At once: nothing about the credential can change."""
    assert judge(401, 'Digest realm="x", nonce="1"') == (
        Step.REJECTED,
        'the server wants Digest realm "x", this section offers Basic',
    )
    assert judge(401, 'Basic realm="x"') == (
        Step.REJECTED,
        'the server does not take this Basic credential for realm "x"',
    )


def test_nothing_shows_the_credential() -> None:
    """Neither repr nor a sentence, even where the server says it back."""
    scheme = Basic("user", "hunter2")
    token = header(scheme).removeprefix("Basic ")
    said = judge(401, f'Digest realm="{token} hunter2"')[1]
    for text in (repr(scheme), repr(scheme.sign(DRAFT, 0.0, Random(1))), said):
        assert "hunter2" not in text
        assert token not in text
    assert "***" in said
