"""Where a job refers to secrets.

Decides what is to be resolved before a run begins. Must not know a secret's value. Invariant: every reference of a job
is found here, under the key at which it stands, so that what is absent can be named.
"""

from __future__ import annotations

from collections.abc import Iterator

from crawler import jobupload
from crawler.job import Job
from crawler.jobauth import Auth, KeyAuth, PluginAuth
from crawler.routing import references
from crawler.secretrefs import is_reference


def references_of(job: Job) -> dict[str, str]:
    """Each reference of a job by its key: {"auth.api.password": "env:PASSWORD"}."""
    found = {f"connection.{key}": text for key, text in references(job.connection).items()}
    for pattern, said in job.hosts.items():
        found.update({f'hosts."{pattern}".connection.{key}': text for key, text in references(said.connection).items()})
    if job.output.upload is not None:
        found.update({f"output.upload.{key}": text for key, text in jobupload.references(job.output.upload).items()})
    if job.run.heartbeat is not None and is_reference(job.run.heartbeat):
        found["run.heartbeat"] = job.run.heartbeat
    for name, auth in job.auth.items():
        found.update({f"auth.{name}.{key}": text for key, text in _texts(auth) if is_reference(text)})
    return found


def _texts(auth: Auth) -> Iterator[tuple[str, str]]:
    """All texts of a section that may be references; a pattern, a header's template or a path is none."""
    for key in ("user", "password", "token", "client_id", "client_secret", "refresh_token", "key", "key_id"):
        yield key, getattr(auth, key, None) or ""
    for key in ("access_key", "secret_key", "session_token"):
        yield key, getattr(auth, key, None) or ""
    if isinstance(auth, KeyAuth):
        yield from ((f"headers.{name}", text) for name, text in auth.headers.items())
        yield from ((f"params.{name}", text) for name, text in auth.params.items())
        yield from ((f"cookies.{name}", text) for name, text in auth.cookies.items())
    if isinstance(auth, PluginAuth):
        yield from ((f"options.{name}", text) for name, text in auth.options.items() if isinstance(text, str))
