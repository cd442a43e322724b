"""What holds for one host: which pattern wins each key, and what the values become."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import hosts as module
from crawler.hosts import Hosts
from crawler.job import Job
from crawler.orders import setting_of


def rules(tables: dict[str, Any], **sections: Any) -> Hosts:
    data = {"name": "t", "input": {"urls": ["https://e.org/"]}, "hosts": tables, **sections}
    return Hosts(Job.model_validate(data))


def test_without_tables_every_host_shares_one_object() -> None:
    """A job without [hosts] pays nothing: nothing is remembered, whatever is asked."""
    hosts = rules({}, limits={"per_host": 3, "rate_per_host": "2/s", "robots": "obey", "bandwidth_per_host": "1kB/s"})
    assert hosts.plain
    assert hosts.of("a.example") is hosts.of("b.example:8080")
    found = hosts.of("a.example")
    assert (found.pace.concurrency, found.pace.rate, found.robots, found.bandwidth) == (3, 2.0, True, 1000.0)
    assert "known=0" in repr(hosts)


def test_only_the_keys_given_are_other() -> None:
    """Each key that a table does not give stays as its section says, in tables within the table as well."""
    hosts = rules(
        {"a.example": {"retry": {"backoff": {"max": "3s"}}, "timeouts": {"read": "1s"}, "breaker": {"failures": 2}}},
        retry={"attempts": 7, "backoff": {"factor": 3.0}},
        breaker={"give_up": "1h"},
    )
    found = hosts.of("a.example")
    assert (found.retry.attempts, found.retry.backoff.factor, found.retry.backoff.max) == (7, 3.0, 3.0)
    assert (found.timeouts.read, found.timeouts.connect) == (1.0, 5.0)
    assert (found.pace.break_after, found.pace.give_up) == (2, 3600.0)
    assert hosts.of("b.example").retry.backoff.max == 120.0


def test_the_most_specific_pattern_gives_each_key() -> None:
    """Exact with port, exact, glob with port, glob; more letters first; and the order in the file at last."""
    order = ["a.b.example:8080", "a.b.example", "*.example:8080", "*.b.example", "?.*.example", "*.example", "*"]
    for position, best in enumerate(order):
        tables = {pattern: {"max_body": number + 1} for number, pattern in reversed(list(enumerate(order)))}
        for better in order[:position]:
            del tables[better]
        assert rules(tables).of("a.b.example:8080").max_body == position + 1, best
    first = rules({"a.*": {"per_host": 1}, "*.b": {"per_host": 2}})
    assert first.pace_of("a.b").concurrency == 1


def test_origins_name_the_pattern_of_each_key() -> None:
    """`check --for` can say where a value comes from."""
    tables = {"*.e.org": {"per_host": 2, "headers": {"X-A": "1"}}, "a.e.org": {"per_host": 3, "retry": {"attempts": 1}}}
    assert rules(tables).origins("a.e.org") == [
        ("headers.x-a", "*.e.org"),
        ("per_host", "a.e.org"),
        ("retry.attempts", "a.e.org"),
    ]
    assert rules(tables).origins("e.org") == []


def test_a_bare_host_has_no_port() -> None:
    """Patterns that name a port hold for that port only; those that name none hold for all."""
    hosts = rules({"a.example:8080": {"max_body": 1}, "*:81": {"max_body": 2}, "b.example": {"max_body": 3}})
    asked = ("a.example:8080", "a.example", "a.example:80", "x:81", "x", "b.example:9000")
    assert [hosts.of(netloc).max_body for netloc in asked] == [1, 1024**3, 1024**3, 2, 1024**3, 3]


def test_addresses_are_hosts_too() -> None:
    """IPv6 stands in brackets, or bare where it is a politeness key; a glob may span the numbers of IPv4."""
    hosts = rules({"[::1]": {"max_body": 1}, "[::1]:8080": {"max_body": 2}, "127.0.*": {"max_body": 3}})
    asked = ("[::1]", "::1", "[::1]:8080", "[::1]:81", "127.0.0.1:5000", "::2")
    assert [hosts.of(netloc).max_body for netloc in asked] == [1, 1, 2, 1, 3, 1024**3]


@pytest.mark.parametrize("key", [{"rate_per_host": "1/s"}, {"breaker": {"failures": 3}}, {"adaptive": False}])
def test_a_pace_is_of_all_ports(key: dict[str, Any]) -> None:
    """A key of it in a pattern with a port would do nothing, so it is refused."""
    with pytest.raises(ValueError, match=f"names a port, but {next(iter(key))} is of all ports together; write 'a.b'"):
        rules({"a.b:81": key})


def test_headers_merge_by_name_without_case() -> None:
    """The more specific table's spelling and value stay; headers of [request] are not among them."""
    tables = {"*": {"headers": {"X-Token": "a", "X-Other": "b"}}, "a.example": {"headers": {"x-token": "c"}}}
    hosts = rules(tables, request={"headers": {"Accept": "x/y"}})
    assert hosts.of("a.example").headers == {"x-token": "c", "X-Other": "b"}


def test_learning_never_aims_above_the_rate() -> None:
    """A rate below min_rate_per_host is its own floor."""
    assert rules({"a": {"rate_per_host": "1/min"}}).of("a").pace.min_rate == pytest.approx(1 / 60)
    assert rules({"a": {"rate_per_host": "9/s"}}).of("a").pace.min_rate == 0.1


def test_hosts_that_match_alike_share_their_rules() -> None:
    """A hundred thousand hosts under one pattern cost a name each."""
    hosts = rules({"*.example": {"per_host": 1}, "a.example": {"per_host": 2}})
    assert hosts.of("x.example") is hosts.of("y.example")
    assert hosts.of("x.org") is hosts.of("y.org")
    assert hosts.of("a.example") is not hosts.of("x.example")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the memory is full it is emptied, and the answers stay the same."""
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    hosts = rules({"*.example": {"per_host": 1}})
    assert {hosts.of(f"h{number}.example").pace.concurrency for number in range(35)} == {1}
    assert "known=5" in repr(hosts)


@given(
    st.lists(st.text("ab*?.", min_size=1, max_size=8), min_size=1, max_size=5),
    st.text("ab.", min_size=1, max_size=10),
)
def test_a_glob_matches_as_its_letters_say(patterns: list[str], host: str) -> None:
    """`*` stands for any characters, `?` for one; of the patterns that match the one with most letters wins."""
    globs = list(dict.fromkeys(re.sub(r"\*+", "*", f"*{pattern}") for pattern in patterns))
    hosts = rules({glob: {"per_host": number + 1} for number, glob in enumerate(globs)})
    matching = [
        (-sum(letter not in "*?" for letter in glob), number)
        for number, glob in enumerate(globs)
        if re.fullmatch(re.escape(glob).replace(r"\*", ".*").replace(r"\?", "."), host)
    ]
    assert hosts.of(host).pace.concurrency == (min(matching)[1] + 1 if matching else 8)


def changed(hosts: Hosts, key: str, value: object) -> Hosts:
    return hosts.changed(setting_of(key, value))


def test_what_is_set_holds_as_if_the_job_file_said_so() -> None:
    """A limit of the job holds where no pattern gives its own, that of a host for it alone; all else stays."""
    before = rules(
        {"a.example": {"rate_per_host": "1/s", "headers": {"X-A": "1"}}}, limits={"per_host": 3, "workers": 9}
    )
    after = changed(before, "limits.rate_per_host", "7/s")
    assert [after.pace_of(host).rate for host in ("a.example", "b.example")] == [1.0, 7.0]
    assert before.pace_of("b.example").rate is None
    after = changed(changed(after, 'hosts."a.example".per_host', 2), 'hosts."c.example".rate_per_host', "5/s")
    assert [after.pace_of(host)[:2] for host in ("a.example", "b.example", "c.example")] == [
        (2, 1.0),
        (3, 7.0),
        (3, 5.0),
    ]
    assert after.of("a.example").headers == before.of("a.example").headers


def test_a_limit_can_be_lifted() -> None:
    """A rate is then none at all, connections are as many as there are workers; others are as before."""
    hosts = rules({}, limits={"per_host": 3, "rate_per_host": "1/s", "workers": 9})
    hosts = changed(changed(hosts, 'hosts."a.example".rate_per_host', "none"), 'hosts."a.example".per_host', None)
    assert [hosts.pace_of(host)[:2] for host in ("a.example", "b.example")] == [(9, None), (3, 1.0)]
