"""Jobs as text: the effective job as TOML, and what of it holds for one URL.

Decides wording and layout only. Must not read or write files. Invariant: `dumps(job)` loads back to an equal job (a
test holds it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel

from crawler.addresses import in_the_open
from crawler.bodytext import BODIES
from crawler.hosts import Hosts
from crawler.job import PACED, Job
from crawler.jobauth import Auth, OAuth2Auth, PluginAuth
from crawler.jobconnection import Ways
from crawler.patterns import Patterns
from crawler.perhost import Circuit, PerHost, Timeouts
from crawler.places import dotted
from crawler.redirect import harmless
from crawler.retry import RetryPolicy
from crawler.secretrefs import is_reference
from crawler.urls import Url, origin, printable

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_SECRET = "***"

# A table of the job or of a host, with what it is called where a value comes from it; the topmost stands first.
Layers = Sequence[tuple[str, BaseModel]]


def dumps(job: Job) -> str:
    """The effective job, defaults included, as TOML."""
    return to_toml(job.to_data())


def to_toml(data: dict[str, Any]) -> str:
    """Plain data as TOML: sections for the first level and for each host, inline tables below; None is left out."""
    lines = [
        f"{key} = {_value(value)}" for key, value in data.items() if not isinstance(value, dict) and value is not None
    ]
    for section, table in data.items():
        if section in ("hosts", "auth"):
            for name, inner in table.items():
                lines += _table(f"{section}.{_key(name)}", inner)
        elif isinstance(table, dict):
            lines += _table(section, table)
    return "\n".join(lines) + "\n"


def _table(name: str, table: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None)]


def effective(job: Job, url: Url, key: str) -> str:
    """What holds for a URL, as TOML, with where each value comes from; headers that may be secrets are masked.

    `key`: its politeness key, whose pace it has.
    """
    hosts, netloc = Hosts(job), origin(url.href)[1]
    data, patterns = job.to_data(), dict(hosts.origins(netloc))
    lines = [f"# {printable(url.href)}"]
    if key != url.host:
        lines.append(f"# its pace is that of {printable(key)}, with all hosts of it (limits.politeness)")
        patterns = {name: pattern for name, pattern in patterns.items() if name.partition(".")[0] not in PACED}
        patterns |= {name: pattern for name, pattern in hosts.origins(key) if name.partition(".")[0] in PACED}
    for section, model in (("limits", PerHost), ("timeouts", Timeouts), ("retry", RetryPolicy), ("breaker", Circuit)):
        lines += ["", f"[{section}]"]
        leaves = (leaf for name in model.model_fields for leaf in _leaves((name,), data[section][name]))
        for leaf in leaves:
            pattern = patterns.get(".".join(leaf if section == "limits" else (section, *leaf)))
            table = data["hosts"][pattern] if pattern is not None else data
            value = _at(table, leaf if pattern is not None and section == "limits" else (section, *leaf))
            lines.append(_line(dotted(leaf), value, _source(job, section, leaf, pattern), "no limit"))
    matching = hosts.matching(netloc)
    lines += ["", "[connection]", *_connection(_layers(job, matching, "connection"))]
    lines += ["", "[request]", *_request(_layers(job, matching, "request"))]
    lines += ["", "[headers]", *_headers(job, patterns)]
    if expected := list(_expect(_layers(job, matching, "expect"))):
        lines += ["", "[expect]", *expected]
    return "\n".join([*lines, "", *_credential(job, url, netloc)]) + "\n"


def _layers(job: Job, matching: Sequence[str], section: str) -> Layers:
    """A section as the hosts say it, the most specific pattern first, and as the job does."""
    hosts = [(f"hosts.{_text(pattern)}", getattr(job.hosts[pattern], section)) for pattern in matching]
    return [*hosts, (section, getattr(job, section))]


def _said(layers: Layers, name: str) -> tuple[Any, str]:
    """The value of a key, and where it comes from."""
    source, model = next(((at, model) for at, model in layers if name in model.model_fields_set), ("default", None))
    model = model or layers[-1][1]
    return model.model_dump(mode="json", by_alias=True)[_alias(model, name)], source


def _alias(model: BaseModel, name: str) -> str:
    return type(model).model_fields[name].alias or name


def _connection(layers: Layers) -> Iterator[str]:
    """The way that a request takes; what is neither said nor on by default is left out."""
    environment = getattr(layers[-1][1], "trust_env", False)
    for name in ("trust_env", *Ways.model_fields):
        value, source = _said(layers[-1:] if name == "trust_env" else layers, name)
        if name == "proxy":
            yield _line(name, value, source, "that of the environment, if any" if environment else "none")
        elif value not in (None, []) and (name, value) != ("trust_env", False):
            unsafe = ": certificates are not checked" if (name, value) == ("verify", False) else ""
            yield _line(name, value, source + unsafe)


def _request(layers: Layers) -> Iterator[str]:
    """What a row that says nothing itself asks for. Values that may be secrets are masked."""
    body = next(
        (
            (at, _alias(said, name), getattr(said, name))
            for at, said in layers
            for name in type(said).model_fields
            if _alias(said, name) in BODIES and getattr(said, name) is not None
        ),
        None,
    )
    method, source = _said(layers, "method")
    if method is None:
        method, source = ("POST", "since there is a body") if body is not None else ("GET", "default")
    yield _line("method", method, source)
    for kind in ("params", "cookies"):  # laid over each other by name
        found = {key: at for at, said in reversed(layers) for key in getattr(said, kind)}
        yield from (_line(dotted((kind, key)), _SECRET, at) for key, at in found.items())
    if body is not None:
        at, name, value = body
        yield _line(name, value if name == "body_file" else _masked(value), at)
    for name in ("accept_status", "decompress"):
        yield _line(name, *_said(layers, name))
    yield _line("idempotency_key", *_said(layers[-1:], "idempotency_key"))


def _expect(layers: Layers) -> Iterator[str]:
    for name in type(layers[-1][1]).model_fields:
        value, source = _said(layers, name)
        if source != "default":
            yield _line(_alias(layers[-1][1], name), value, source)


def _credential(job: Job, url: Url, netloc: str) -> Iterator[str]:
    """The [auth] section that is bound to a URL, or why none is (authenticate.py holds the same rule)."""
    bound = Patterns((pattern, (name, pattern)) for name, said in job.auth.items() for pattern in said.hosts)
    found = bound.matching(netloc)
    if not found:
        yield f"# no credentials: no [auth] section is bound to {printable(netloc)}"
        return
    name, pattern = found[0]
    said = job.auth[name]
    if in_the_open(url.href) and not said.allow_insecure:
        yield f"# no credentials: [auth.{name}] is bound to {_text(pattern)}, but does not go over plain http;"
        yield "# use https, or say allow_insecure = true there"
        return
    yield f"{f'[auth.{name}]':<40} # bound to {_text(pattern)}"
    yield from (f"{_key(key)} = {_value(value)}" for key, value in _auth(said).items())


def _auth(said: Auth) -> dict[str, Any]:
    """What a section says; references are no secrets, but what stands where one could may be one."""
    data = said.model_dump(mode="json", by_alias=True, include=said.model_fields_set - {"hosts"})
    for key in ("options",) if isinstance(said, PluginAuth) else ("params",) if isinstance(said, OAuth2Auth) else ():
        data |= {key: _masked(data[key])} if key in data else {}
    return data


def _masked(value: Any) -> Any:
    """Names and references stay, all else may be a secret."""
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value if isinstance(value, str) and is_reference(value) else _SECRET


def _line(key: str, value: Any, source: str, nothing: str = "none") -> str:
    said = f"{key} = {_value(value)}" if value is not None else f"# {key}: {nothing}"
    return f"{said:<40} # {source}"


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    else:
        yield path


def _at(data: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def _source(job: Job, section: str, key: tuple[str, ...], pattern: str | None) -> str:
    if pattern is not None:
        return f"hosts.{_text(pattern)}"
    table: Any = job
    for part in (section, *key):
        if part not in table.model_fields_set:
            return "default"
        table = getattr(table, part)
    return section


def _headers(job: Job, patterns: Mapping[str, str]) -> list[str]:
    found = {name.lower(): (name, text, "request") for name, text in job.request.headers.items()}
    for key, pattern in patterns.items():
        kind, _, lowered = key.partition(".")
        if kind == "headers":
            [(name, text)] = [pair for pair in job.hosts[pattern].headers.items() if pair[0].lower() == lowered]
            found[lowered] = (name, text, f"hosts.{_text(pattern)}")
    shown = ((name, text if harmless({name: text}) else _SECRET, source) for name, text, source in found.values())
    return [f"{f'{_key(name)} = {_text(text)}':<40} # {source}" for name, text, source in shown]


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _text(text: str) -> str:
    # JSON's escapes are TOML's; DEL alone must be escaped in TOML and is not in JSON.
    return orjson.dumps(text).decode().replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case dict():
            inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
        case _:
            return str(value)
