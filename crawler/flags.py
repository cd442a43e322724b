"""The job that the flags of `crawler fetch` describe: the same Job as from a file.

Does: put flags where their keys are. Must not know defaults: a flag not given leaves the key to the model.
Invariant: the same inputs make the same job name, so that the same command resumes its own run and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from crawler.errors import JobError
from crawler.jobfile import LoadedJob, build

_KEYS = {
    "column": "input.column",
    "method": "request.method",
    "data": "request.body",
    "contact": "request.contact",
    "workers": "limits.workers",
    "rate": "limits.rate",
    "per_host": "limits.per_host",
    "rate_per_host": "limits.rate_per_host",
    "bandwidth": "limits.bandwidth",
    "max_body": "limits.max_body",
    "timeout": "timeouts.total",
    "attempts": "retry.attempts",
    "bodies": "output.bodies",
    "layout": "output.layout",
    "out": "output.dir",
}


def job_from(flags: Mapping[str, Any]) -> LoadedJob:
    """Build and validate the job. Raises JobError."""
    data: dict[str, Any] = {}
    urls, files = list(flags["urls"]), [_absolute(file) for file in flags["files"]]
    if urls:
        _put(data, "input.urls", urls)
    if files:
        _put(data, "input.files", files)
    for flag, key in _KEYS.items():
        if flags.get(flag) is not None:
            _put(data, key, flags[flag])
    if flags["headers"]:
        _put(data, "request.headers", dict(_header(text) for text in flags["headers"]))
    data["name"] = (
        flags["name"] or "fetch-" + sha256("\n".join([*urls, *files]).encode(errors="replace")).hexdigest()[:8]
    )
    return build(data, Path.cwd(), flags["sets"])


def _absolute(file: str) -> str:
    """A saved job may be moved: its inputs must still be found."""
    return file if file == "-" or file.startswith("-.") else str(Path(file).absolute())


def _put(data: dict[str, Any], key: str, value: Any) -> None:
    section, name = key.split(".")
    data.setdefault(section, {})[name] = value


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise JobError(f"--header {text!r}: write it like 'Accept: application/json'")
    return name.strip(), value.strip()
