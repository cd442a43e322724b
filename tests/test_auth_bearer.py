"""Bearer tokens that are given once."""

from __future__ import annotations

from random import Random

import pytest

from crawler.auth.bearer import Bearer
from crawler.auth.scheme import FINE, Answered, Draft, Judgement, Scheme, Step

DRAFT = Draft("GET", "https://a.example/", {})
TOKEN = "mF_9.B5f-4.1JqM"


def judge(status: int, *lines: str) -> Judgement:
    scheme = Bearer(TOKEN)
    return scheme.accept(DRAFT, scheme.sign(DRAFT, 0.0, Random(1)), Answered(status, {}, lines), 0.0)


@pytest.mark.parametrize("token", [TOKEN, "a~+/==", "key:with|odd{visible}characters"])
def test_the_token_goes_out_as_it_is(token: str) -> None:
    """RFC 6750 2.1, and what else is visible."""
    scheme: Scheme = Bearer(token)
    assert scheme.sign(DRAFT, 0.0, Random(1)).headers == {"Authorization": f"Bearer {token}"}
    assert (scheme.wants, scheme.reads_errors, scheme.stale(1e9)) == (frozenset(), False, False)


@pytest.mark.parametrize("token", ["", "zq zq", "zqzq\n", "zq\0", "zq\x7f", "zqé", "zq\u200b", "zq\ud800"])
def test_what_no_header_can_carry_is_refused(token: str) -> None:
    """And never shown."""
    with pytest.raises(ValueError, match="the token") as caught:
        Bearer(token)
    assert "zq" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 403, 429, 503])
def test_all_but_401_is_fine(status: int) -> None:
    """Nothing to do with the token."""
    assert judge(status) == FINE


def test_a_401_says_the_servers_reason() -> None:
    """RFC 6750 3: error and error_description, made printable."""
    line = 'Bearer realm="api", error="invalid_token", error_description="expired\x1b[1m at noon"'
    assert judge(401, line) == (
        Step.REJECTED,
        'the server does not take this Bearer credential for realm "api": invalid_token: expired\\x1b[1m at noon',
    )


def test_a_401_for_another_scheme_names_it() -> None:
    """The server's own word for what it wants."""
    assert judge(401, 'Basic realm="x"').error == 'the server wants Basic realm "x", this section offers Bearer'


def test_nothing_shows_the_token() -> None:
    """Neither repr nor a sentence, even where the server says it back or the cut would leave half of it."""
    scheme = Bearer(TOKEN)
    line = f'Bearer error="{TOKEN}", error_description="{"x" * 192}{TOKEN}", realm="{"y" * 55}{TOKEN}"'
    for text in (repr(scheme), repr(scheme.sign(DRAFT, 0.0, Random(1))), judge(401, line).error):
        assert TOKEN[:5] not in text
