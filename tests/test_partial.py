"""A partial as text: it comes back as it was, elsewhere too; what is damaged or made up does not."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.partial import Hashed, Partial, Span, Version, loads

HEADERS = (("Content-Type", "text/plain"), ("X", "ä"))
VERSION = Version('"v1"', "Sat, 21 Nov 2026 13:54:01 GMT", 100, None, 200, HEADERS)
PARTIAL = Partial("/old/parts/run-1.part", "http://a.test/x", VERSION, (Span(0, 10), Span(20, 30)))


@given(
    etag=st.none() | st.just('"v"'),
    total=st.none() | st.integers(30, 2**60),
    coding=st.none() | st.just("gzip"),
    edges=st.sets(st.integers(0, 2**50), min_size=2, max_size=20),
)
def test_it_comes_back_as_it_was(etag: str | None, total: int | None, coding: str | None, edges: set[int]) -> None:
    """All but the running digest, which belongs to one process; the file is looked for in the folder of today."""
    ordered = sorted(edges)[: len(edges) // 2 * 2]
    total = total if total is None else max(total, ordered[-1])
    spans = tuple(Span(*pair) for pair in zip(ordered[::2], ordered[1::2], strict=True))
    version = VERSION._replace(etag=etag, total=total, coding=coding)
    partial = PARTIAL._replace(version=version, spans=spans, hashed=Hashed(object(), 5))
    assert loads(partial.dumps(), "/new") == partial._replace(path="/new/run-1.part", hashed=None)


def test_it_says_how_much_there_is() -> None:
    """Bytes, and the name without its folder; its folder is not told on."""
    assert (PARTIAL.size, PARTIAL.name) == (20, "run-1.part")
    assert "/old" not in PARTIAL.dumps()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("part", "../../etc/passwd"),
        ("part", ""),
        ("part", None),
        ("part", 7),
        ("part", ".."),
        ("total", 29),
        ("total", "many"),
        ("etag", ["x"]),
        ("spans", []),
        ("spans", [[5, 5]]),
        ("spans", [[5, 1]]),
        ("spans", [[0, 5], [3, 9]]),
        ("spans", [[0, 5], [5, 9]]),
        ("spans", [[-1, 5]]),
        ("spans", [["a", "b"]]),
        ("spans", 7),
        ("headers", [["only a name"]]),
    ],
)
def test_what_makes_no_sense_is_no_partial(key: str, value: object) -> None:
    """Then the body is fetched from its start; no path leads out of the folder."""
    data = {**orjson.loads(PARTIAL.dumps()), key: value}
    assert loads(orjson.dumps(data).decode(), "/new") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"part": 1', "7"])
def test_a_damaged_text_is_no_partial(text: str) -> None:
    """Nothing raises."""
    assert loads(text, "/new") is None


def test_without_a_validator_it_is_of_no_use() -> None:
    """Nobody could ask whether the body is still the same."""
    nameless = PARTIAL._replace(version=VERSION._replace(etag=None, modified=None))
    assert loads(nameless.dumps(), "/new") is None
