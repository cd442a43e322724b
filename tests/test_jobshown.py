"""The settings that a report shows."""

from __future__ import annotations

import tomllib

import orjson
import pytest

from crawler.job import Job
from crawler.jobshown import job_shown

JOB = {"name": "j", "input": {"urls": ["http://a.example/"]}}


def shown(**more: object) -> str:
    return job_shown(orjson.dumps({**JOB, **more}).decode())


def test_what_differs_from_the_defaults_is_shown_as_toml() -> None:
    """A default that a run keeps as it is tells nothing."""
    job = Job.model_validate({**JOB, "limits": {"workers": 7}})
    found = tomllib.loads(job_shown(job.model_dump_json(by_alias=True)))
    assert found == {"name": "j", "input": {"urls": ["http://a.example/"]}, "limits": {"workers": 7}}


def test_what_could_be_a_secret_is_not_shown() -> None:
    """Names and references stay, and headers that anybody may see."""
    text = shown(
        request={
            "headers": {"Authorization": "Bearer SECRET1", "X-Key": "env:KEY", "Accept": "text/html"},
            "params": {"token": "SECRET2"},
            "cookies": {"sid": "SECRET3"},
            "json": {"password": "SECRET4"},
        },
        run={"heartbeat": "https://hc.example/SECRET5", "on_failure": "mail -s SECRET6"},
        hosts={"b.example": {"headers": {"X-Token": "SECRET7"}}},
        connection={"proxy": "http://u:SECRET8@p.example:3128"},
    )
    assert "SECRET" not in text
    for kept in ("env:KEY", "Authorization", "text/html", "token", "sid", "heartbeat", "X-Token", "p.example"):
        assert kept in text


def test_long_lists_and_texts_are_cut() -> None:
    """A job that names a million URLs makes no page of it."""
    text = shown(input={"urls": [f"http://a.example/{n}/{'x' * 900}" for n in range(5000)]})
    assert "4,980 more" in text
    assert len(text) < 25_000


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "null", '"x"', "{}"])
def test_what_is_no_job_shows_nothing(text: str) -> None:
    """A report is made all the same."""
    assert job_shown(text).strip() == ""


def test_a_job_of_another_version_is_shown_as_it_is() -> None:
    """Keys that this version does not know are no reason to show none."""
    assert 'unknown = "x"' in shown(later={"unknown": "x"})
