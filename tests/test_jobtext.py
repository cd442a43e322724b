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
    told = {line.split(" ")[0]: line for line in effective(JOB, parse("http://A.e.org:8080/x")).splitlines()}
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
    text = effective(JOB, parse("http://a.e.org:8080/x"))
    assert "secret" not in text
    assert tomllib.loads(text)["headers"] == {"Accept": "z/z", "x-key": "***", "X-Gone": "***", "X.y": "***"}


def test_without_a_limit_the_text_says_so() -> None:
    """TOML has no null: a comment stands in its place."""
    assert "# rate_per_host: no limit" in effective(JOB, parse("https://other.example/"))
