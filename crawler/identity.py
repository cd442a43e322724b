"""Who we say that we are: the User-Agent, and the headers that every request carries.

Decides them by the job. Must not know the wire. Invariant: what the job names itself is never overridden.
"""

from __future__ import annotations

from crawler import __version__
from crawler.codings import ACCEPT_ENCODING
from crawler.job import Job

_NAME = f"crawler/{__version__}"


def user_agent(job: Job) -> str:
    """The User-Agent of a job (RFC 9110 10.1.5), with the contact in its comment."""
    for name, value in job.request.headers.items():
        if name.lower() == "user-agent":
            return value
    return f"{_NAME} (+{job.request.contact})" if job.request.contact else _NAME


def headers_of(job: Job) -> dict[str, str]:
    """What every request says unless its row or its host says otherwise."""
    ours = {"User-Agent": user_agent(job), "Accept": "*/*", "Accept-Encoding": ACCEPT_ENCODING}
    named = {name.lower() for name in job.request.headers}
    return {**{name: value for name, value in ours.items() if name.lower() not in named}, **job.request.headers}
