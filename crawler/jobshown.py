"""What of a job a report shows: the settings that differ from the defaults, as TOML, without what may be a secret.

Decides what is left out, cut and masked. Must not know where the job is from. Invariant: of what could hold a
credential (headers, parameters, cookies, bodies, options) only names and references to secrets are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from crawler.job import Job
from crawler.jobtext import to_toml
from crawler.redirect import harmless
from crawler.secretrefs import is_reference
from crawler.urls import printable

_STARS = "***"
_LIST = 20  # items
_LONGEST = 500  # characters of a text,
_ALL = 20_000  # of all
_COULD_HOLD = {"params", "cookies", "form", "json", "multipart", "body", "options", "send", "password"}
_COMMANDS = {"on_success", "on_failure", "heartbeat"}  # which may name a token, as URLs of such services do


def job_shown(text: str) -> str:
    """The settings of a run's job, which state.db keeps as JSON; "" where it tells nothing."""
    try:
        data = orjson.loads(text)
        with_defaults = Job.model_validate(data)
        data = with_defaults.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    except ValidationError:
        pass  # of another version: all that it says
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(data, dict):
        return ""
    told = to_toml(_shown(data))
    return told if len(told) <= _ALL else told[:_ALL] + "\n# … and more"


def _shown(table: Mapping[str, Any]) -> dict[str, Any]:
    found = {str(key): _setting(str(key), value) for key, value in table.items()}
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def _setting(key: str, value: Any) -> Any:
    if key == "headers" and isinstance(value, dict):
        return {name: _header(name, text) for name, text in value.items()}
    if key in _COULD_HOLD or key in _COMMANDS:
        return _masked(value)
    return _cut(value)


def _header(name: str, value: Any) -> Any:
    return _cut(value) if isinstance(value, str) and harmless({name: value}) else _masked(value)


def _masked(value: Any) -> Any:
    """Names and references stay."""
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    return value if value is None or (isinstance(value, str) and is_reference(value)) else _STARS


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return _shown(value)
    if isinstance(value, list):
        more = [f"… and {len(value) - _LIST:,} more"] if len(value) > _LIST else []
        return [_cut(item) for item in value[:_LIST]] + more
    return printable(value, _LONGEST) if isinstance(value, str) else value
