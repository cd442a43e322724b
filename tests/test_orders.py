"""What a running job may be told: which lines are orders, and what is said to those that are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.orders import NoOrder, Order, Setting, order_of, setting_of


@pytest.mark.parametrize(
    ("said", "order"),
    [
        ({"do": "pause"}, Order("pause")),
        ({"do": "stop", "now": True}, Order("stop", now=True)),
        ({"do": "set", "key": "limits.rate", "value": "30/min"}, Order("set", Setting("rate", 0.5))),
        ({"do": "set", "key": "limits.per_host", "value": 3}, Order("set", Setting("per_host", 3))),
        ({"do": "set", "key": "limits.bandwidth", "value": None}, Order("set", Setting("bandwidth", None))),
    ],
)
def test_orders_are_understood(said: object, order: Order) -> None:
    """Each order with its value, in the units of job files."""
    assert order_of(said) == order


@pytest.mark.parametrize(
    ("key", "value", "setting"),
    [
        ('hosts."example.org".rate_per_host', "2/s", Setting("rate_per_host", 2.0, "example.org")),
        ("hosts.Example.ORG.per_host", "4", Setting("per_host", 4, "example.org")),
        ('hosts."*.example.org".rate_per_host', "none", Setting("rate_per_host", None, "*.example.org")),
        ('hosts."[::1]:8080".per_host', "1", Setting("per_host", 1, "[::1]:8080")),
        ("limits.bandwidth", "2MiB/s", Setting("bandwidth", 2.0 * 1024 * 1024)),
    ],
)
def test_keys_and_values_are_those_of_job_files(key: str, value: str, setting: Setting) -> None:
    """A host is written with or without quotes, in any spelling; none lifts a limit."""
    assert setting_of(key, value) == setting
    assert setting_of(setting.key, setting.text) == setting


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("limits.rte", "5/s", "did you mean limits.rate?"),
        ("limit.per_hosts", "5", "did you mean limits.per_host?"),
        ("limits.workers", "5", "cannot be set while a job runs"),
        ('hosts."a.example".rate', "5/s", 'did you mean hosts."a.example".rate_per_host?'),
        ('hosts."a b".per_host', "5", "the name of the host"),
        ("limits.rate", "5", "write it like '10/s'"),
        ("limits.rate", 5, "write it like '10/s'"),
        ("limits.rate", "0/s", "is not a rate"),
        ("limits.rate", "0.0000000001/d", "pause the job instead"),
        ("limits.bandwidth", "5/s", "is not a bandwidth"),
        ("limits.per_host", "0", "from 1 to 10000"),
        ("limits.per_host", True, "from 1 to 10000"),
        ("limits.per_host", "²", "from 1 to 10000"),
        (None, "5/s", "set needs a key"),
        ("\x1b[2J\u202e", "5", "\\x1b[2J\\u202e cannot be set"),
    ],
)
def test_a_wrong_setting_gets_a_sentence(key: object, value: object, told: str) -> None:
    """It names the nearest right key or form, and shows no control character."""
    with pytest.raises(NoOrder) as caught:
        setting_of(key, value)
    assert told in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"do": "pose"}, "did you mean pause?"),
        ({"do": ["pause"]}, "there is no order"),
        ({}, "there is no order None"),
        ([], "an order is an object"),
        ({"do": "stop", "nwo": True}, "did you mean now?"),
        ({"do": "stop", "now": "yes"}, "now is true or false"),
        ({"do": "pause", "key": "limits.rate"}, "pause takes no 'key'"),
    ],
)
def test_what_is_no_order_gets_a_sentence(said: object, told: str) -> None:
    """Wrong words and words too many are named."""
    with pytest.raises(NoOrder) as caught:
        order_of(said)
    assert told in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["set", "limits.rate"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["do", "key", "value", "now"]), inner),
)


def answer_to(said: Any) -> Order | str:
    try:
        return order_of(said)
    except NoOrder as error:
        return str(error)


@given(_JSON)
def test_nothing_else_can_come_of_any_value(said: Any) -> None:
    """Whatever JSON is sent, it is an order or a sentence."""
    assert answer_to(said)
