"""Texts "jmespath:…" of a job: what is refused as the job is loaded, and what fails on a page."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.jmespaths import Unfit, checked, evaluate


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("meta.next", "did you mean 'jmespath:meta.next'?"),
        ("jmespath:", "has 0 characters"),
        ("jmespath:" + "a" * 1001, "has 1001 characters"),
        ("jmespath:a.b[", "it ends too early"),
        ("jmespath:a b", "Unexpected token: b at character 3"),
        ("jmespath:$.next", "Unknown token $ at character 1"),
        ("jmespath:a.'x", "Unclosed ' delimiter at character 3"),
        ("jmespath:" + "(" * 999, "is nested too deep"),
        ("jmespath:a[?b].c | lenght(@)", "has no function 'lenght'; did you mean 'length'?"),
        ("jmespath:a[].{n: length(b, c)}", "length() takes 1 arguments, not 2"),
        ("jmespath:&a", "'&' is for the functions that take an expression"),
        ("jmespath:[a, {b: &c}]", "such as sort_by(@, &name)"),
        ("jmespath:not_null(&a)", "such as sort_by(@, &name)"),
        ("jmespath:not_null()", "not_null() takes 1 arguments or more, not 0"),
    ],
)
def test_a_fault_is_told_with_its_place(said: str, told: str) -> None:
    """Also inside projections, where JMESPath itself looks only when a page comes so far."""
    with pytest.raises(ValueError) as caught:
        checked(said)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        "jmespath:a.b",
        "jmespath: a.b ",
        "jmespath:not_null(x, a.b, c)",
        "jmespath:merge(`{}`, a).b",
        "jmespath:min([a.b])",
    ],
)
def test_an_expression_finds_what_it_names(said: str) -> None:
    """Blanks around it make no difference; functions take as many arguments as they can."""
    assert evaluate(checked(said), {"a": {"b": 7}}) == 7


def test_what_fails_on_a_page_does_not_repeat_the_page() -> None:
    """The data may be huge, or secret."""
    with pytest.raises(Unfit, match=r"length\(\) is given number") as caught:
        evaluate("jmespath:length(secret)", {"secret": 90_210})
    assert "90210" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
)
EXPRESSIONS = [
    *(
        "a",
        "a.b",
        "a[0]",
        "a[::0]",
        "a[?b > `1`].a",
        "length(a)",
        "sort_by(@, &a)",
        "max_by(a, &b)",
        "sum(a)",
        "to_string(a)",
    ),
    *(
        "join(',', a)",
        "avg(a)",
        "keys(@)",
        "a[].b | [0]",
        "contains(a, b)",
        "starts_with(a, b)",
        "type(a)",
        "map(&a, b)",
    ),
]


@given(st.sampled_from(EXPRESSIONS), JSON)
def test_nothing_but_unfit_is_raised(expression: str, data: object) -> None:
    """Whatever a page says: what is found is a value of JSON."""
    found = None
    with suppress(Unfit):
        found = evaluate(checked(f"jmespath:{expression}"), data)
    assert json.dumps(found)
