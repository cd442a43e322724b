"""Who we say that we are."""

from __future__ import annotations

from typing import Any

import pytest

from crawler import __version__
from crawler.codings import ACCEPT_ENCODING
from crawler.identity import headers_of, user_agent
from crawler.job import Job
from crawler.robotstext import product_token


def job(**request: Any) -> Job:
    """A job with that [request]."""
    return Job.model_validate({"name": "t", "input": {"urls": ["http://a.example/"]}, "request": request})


def test_the_user_agent_names_us_and_our_version() -> None:
    """Without a contact there is no comment."""
    assert user_agent(job()) == f"crawler/{__version__}"


@pytest.mark.parametrize("contact", ["https://a.example/bot", "me@a.example"])
def test_the_contact_stands_in_its_comment(contact: str) -> None:
    """As crawlers are used to tell it."""
    assert user_agent(job(contact=contact)) == f"crawler/{__version__} (+{contact})"


@pytest.mark.parametrize("name", ["User-Agent", "user-agent", "USER-AGENT"])
def test_a_user_agent_of_the_job_goes_before_ours(name: str) -> None:
    """However it is spelled, once and unchanged, even with a contact; robots.txt is read for it too."""
    ours = job(contact="me@a.example", headers={name: "other-bot/2"})
    assert user_agent(ours) == "other-bot/2"
    assert {key: value for key, value in headers_of(ours).items() if key.lower() == "user-agent"} == {
        name: "other-bot/2"
    }
    assert product_token(user_agent(ours)) == "other-bot"


def test_every_request_says_what_it_accepts() -> None:
    """Anything, in the codings that we can read."""
    assert headers_of(job()) == {
        "User-Agent": f"crawler/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": ACCEPT_ENCODING,
    }


def test_what_the_job_names_is_never_overridden_nor_doubled() -> None:
    """In its own spelling; other headers come along."""
    said = headers_of(job(headers={"accept": "text/html", "ACCEPT-ENCODING": "identity", "X-Key": "1"}))
    assert said == {
        "User-Agent": f"crawler/{__version__}",
        "accept": "text/html",
        "ACCEPT-ENCODING": "identity",
        "X-Key": "1",
    }
