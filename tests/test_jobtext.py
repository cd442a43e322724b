"""What of a job holds for one URL, as text."""

from __future__ import annotations

import tomllib

from crawler.job import Job
from crawler.jobtext import effective
from crawler.urls import parse

JOB = Job.model_validate(
    {
        "name": "t",
        "input": {"urls": ["https://e.org/"]},
        "request": {"headers": {"Accept": "x/y", "X-Key": "secret", "X-Gone": "secret"}},
        "retry": {"backoff": {"max": "1m"}},
        "hosts": {
            "*.e.org": {"per_host": 3, "rate_per_host": "2/s", "headers": {"x-key": "secret", "Accept": "z/z"}},
            "a.e.org:8080": {"retry": {"attempts": 2, "backoff": {"initial": "1s"}}, "headers": {"X.y": "secret"}},
        },
    }
)


def test_each_value_is_told_with_where_it_comes_from() -> None:
    """A pattern, a section of the job, or the default."""
    told = {line.split(" ")[0]: line for line in effective(JOB, parse("http://A.e.org:8080/x"), "a.e.org").splitlines()}
    for key, said in {
        "per_host": '= 3 # hosts."*.e.org"',
        "rate_per_host": '= "2/s" # hosts."*.e.org"',
        "attempts": '= 2 # hosts."a.e.org:8080"',
        "backoff.initial": '= "1s" # hosts."a.e.org:8080"',
        "backoff.max": '= "1m" # retry',
        "read": '= "15s" # default',
        "give_up": '= "15m" # default',
        "Accept": '= "z/z" # hosts."*.e.org"',
        "X-Gone": '= "***" # request',
    }.items():
        assert " ".join(told[key].split()) == f"{key} {said}"


def test_what_may_be_a_secret_is_not_shown() -> None:
    """Only the names of headers that could be credentials are printed; what is printed is TOML."""
    text = effective(JOB, parse("http://a.e.org:8080/x"), "a.e.org")
    assert "secret" not in text
    assert tomllib.loads(text)["headers"] == {"Accept": "z/z", "x-key": "***", "X-Gone": "***", "X.y": "***"}


def test_without_a_limit_the_text_says_so() -> None:
    """TOML has no null: a comment stands in its place."""
    assert "# rate_per_host: no limit" in effective(JOB, parse("https://other.example/"), "other.example")


def test_the_pace_of_a_domain_is_told_by_its_own_pattern() -> None:
    """Where hosts of a domain share a pace, the pattern that matches the domain gives it."""
    tables = {"e.org": {"per_host": 2}, "a.e.org": {"per_host": 3, "max_body": "1kB"}}
    job = Job.model_validate({"name": "t", "input": {"urls": ["http://a.e.org/"]}, "hosts": tables})
    told = effective(job, parse("http://a.e.org/x"), "e.org")
    assert "# its pace is that of e.org" in told
    assert any(line.startswith("per_host = 2") and line.endswith('# hosts."e.org"') for line in told.splitlines())
    assert any(line.endswith('# hosts."a.e.org"') for line in told.splitlines() if line.startswith("max_body"))
