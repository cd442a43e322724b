"""The user's own signer."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from crawler.auth.plugin import Plugin, PluginError
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Scheme, Signed, Step

DRAFT = Draft("GET", "https://a.example/p", {"Accept": "*/*"}, {"sha256": b"\1"}, 7)


def sign(target: Any, draft: Draft = DRAFT, options: Mapping[str, Any] | None = None) -> Signed:
    return Plugin(target, "signers:it", options or {}).sign(draft, 5.0, Random(1))


class Stamp:
    """A whole signer."""

    wants = ("sha256",)
    reads_errors = True
    made = 0

    def __init__(self, options: Mapping[str, str]) -> None:
        Stamp.made += 1
        self.key = options["key"]

    def sign(self, draft: Draft, now: float) -> dict[str, str]:
        return {"X-Sign": f"{self.key} {draft.method} {draft.url} {draft.digests['sha256'].hex()} {now}"}

    def accept(self, draft: Draft, answered: Answered) -> bool:
        return answered.status == 419


def test_a_function_signs() -> None:
    """It sees the draft and the time, and gives headers."""
    given = sign(lambda draft, now: {"X-Sign": f"{draft.method} {draft.headers['Accept']} {now}"})
    assert given.headers == {"X-Sign": "GET */* 5.0"}
    assert given.url is None


def test_a_class_is_made_once_with_the_options() -> None:
    """However many requests it signs."""
    Stamp.made = 0
    scheme: Scheme = Plugin(Stamp, "signers:Stamp", {"key": "k"})
    for _ in range(3):
        assert scheme.sign(DRAFT, 5.0, Random(1)).headers == {"X-Sign": "k GET https://a.example/p 01 5.0"}
    assert Stamp.made == 1
    assert (scheme.wants, scheme.reads_errors, scheme.stale(9.0)) == (frozenset({"sha256"}), True, False)


def test_a_function_needs_nothing_unless_it_says_so() -> None:
    """`wants` may be an attribute of a function as well."""

    def signer(draft: Draft, now: float) -> None:
        return None

    assert Plugin(signer, "signers:signer").wants == frozenset()
    signer.wants = {"md5"}  # type: ignore[attr-defined]
    assert Plugin(signer, "signers:signer").wants == {"md5"}


def test_none_adds_nothing_and_a_signed_passes() -> None:
    """With a URL of the same origin."""
    assert sign(lambda draft, now: None).headers == {}
    whole = Signed({"X": "1"}, "https://a.example/p?sig=1", mark="m")
    assert sign(lambda draft, now: whole) == whole


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        3,
        ["X"],
        True,
        {"X": 3},
        {3: "X"},
        {"X": "a\r\nY: 1"},
        {"X": "a\0"},
        {"X": "\ud800"},
        {"X Y": "a"},
        {"": "a"},
        {"Content-Length": "3"},
        {"host": "evil.example"},
        Signed("X"),  # type: ignore[arg-type]
        Signed({}, "https://evil.example/p"),
        Signed({}, "http://a.example/p"),
        Signed({}, "https://a.example:444/p"),
        Signed({}, "https://a.example/a b"),
        Signed({}, "https://user:pw@a.example/p"),
        Signed({}, "ftp://a.example/p"),
        Signed({}, 3),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_sent_is_refused(bad: object) -> None:
    """The fault names the plugin, and shows nothing of what it gave."""
    with pytest.raises(PluginError, match="the plugin signers:it gave ") as caught:
        sign(lambda draft, now: bad)
    assert not any(text in str(caught.value) for text in ("evil", "Y: 1", "user"))


def test_an_exception_becomes_its_type_alone() -> None:
    """Its text, its arguments and its frames may hold a secret; none is kept."""

    def signer(draft: Draft, now: float) -> None:
        secret = "hunter2"
        raise KeyError(secret)

    with pytest.raises(PluginError) as caught:
        sign(signer)
    assert str(caught.value) == "the plugin signers:it raised KeyError"
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_faults_of_a_class() -> None:
    """It cannot be made, cannot sign, or its `wants` is none."""

    class Needy:
        def __init__(self, options: Mapping[str, str]) -> None:
            self.key = options["hunter2"]

    class Blank:
        def __init__(self, options: Mapping[str, str]) -> None: ...

    class Greedy(Stamp):
        wants = "sha256"  # type: ignore[assignment]

    for target, text in (
        (Needy, "raised KeyError"),
        (Blank, r"without a method sign\(draft, now\)"),
        (Greedy, "`wants`"),
        ("text", "cannot be called"),
    ):
        with pytest.raises(PluginError, match=f"the plugin signers:it .*{text}") as caught:
            sign(target, options={"key": "k"})
        assert "hunter2" not in str(caught.value)


def test_a_coroutine_function_is_refused() -> None:
    """With a hint, and without a warning that it was never awaited."""

    async def signer(draft: Draft, now: float) -> None:
        await asyncio.sleep(0)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(PluginError, match="coroutine function"):
            sign(signer)
        gc.collect()
    assert [str(one.message) for one in caught if "never awaited" in str(one.message)] == []


def test_neither_draft_nor_options_can_be_changed() -> None:
    """A signer that tries is at fault, and the request stays what it is."""

    def signer(draft: Draft, now: float) -> None:
        draft.headers["X"] = "1"  # type: ignore[index]

    with pytest.raises(PluginError, match="raised TypeError"):
        sign(signer)
    assert dict(DRAFT.headers) == {"Accept": "*/*"}


def test_accept_says_again_at_most_twice() -> None:
    """Then the credential is rejected."""
    scheme = Plugin(Stamp, "signers:Stamp", {"key": "k"})
    steps = [scheme.accept(DRAFT._replace(round=count), Signed({}), Answered(419, {}), 5.0).step for count in range(4)]
    assert steps == [Step.AGAIN, Step.AGAIN, Step.REJECTED, Step.REJECTED]
    assert scheme.accept(DRAFT, Signed({}), Answered(419, {}), 5.0) == AGAIN
    assert scheme.accept(DRAFT, Signed({}), Answered(200, {}), 5.0) == FINE


def test_accept_must_say_yes_or_no() -> None:
    """Anything else is a fault."""

    class Vague(Stamp):
        def accept(self, draft: Draft, answered: Answered) -> bool:
            return "yes"  # type: ignore[return-value]

    with pytest.raises(PluginError, match="not True or False"):
        Plugin(Vague, "signers:it", {"key": "k"}).accept(DRAFT, Signed({}), Answered(200, {}), 5.0)


def test_a_401_rejects() -> None:
    """Where the plugin does not say again, or has no say."""
    for scheme in (Plugin(Stamp, "signers:it", {"key": "k"}), Plugin(lambda draft, now: None, "signers:it")):
        assert scheme.accept(DRAFT, Signed({}), Answered(401, {}, ["Basic"]), 5.0) == (
            Step.REJECTED,
            "the server wants Basic, this section offers plugin signers:it",
        )
        assert scheme.accept(DRAFT, Signed({}), Answered(403, {}), 5.0) == FINE
        assert repr(scheme) == "<Plugin signers:it>"
