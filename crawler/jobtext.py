"""Jobs as text: the effective job as TOML, what of it holds for one URL, and the commented file of `crawler init`.

Decides wording and layout only. Must not read or write files. Invariant: `dumps(job)` loads back to an equal job, and
the template names every key of the model (tests hold both).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from crawler.hosts import Hosts
from crawler.job import PACED, Job
from crawler.perhost import Circuit, PerHost, Timeouts
from crawler.places import dotted
from crawler.redirect import harmless
from crawler.retry import RetryPolicy
from crawler.urls import Url, origin, printable

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def dumps(job: Job) -> str:
    """The effective job, defaults included, as TOML."""
    return to_toml(job.to_data())


def to_toml(data: dict[str, Any]) -> str:
    """Plain data as TOML: sections for the first level and for each host, inline tables below; None is left out."""
    lines = [
        f"{key} = {_value(value)}" for key, value in data.items() if not isinstance(value, dict) and value is not None
    ]
    for section, table in data.items():
        if section == "hosts":
            for pattern, overrides in table.items():
                lines += _table(f"hosts.{_text(pattern)}", overrides)
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
            said = f"{dotted(leaf)} = {_value(value)}" if value is not None else f"# {dotted(leaf)}: no limit"
            lines.append(f"{said:<40} # {_source(job, section, leaf, pattern)}")
    return "\n".join([*lines, "", "[headers]", *_headers(job, patterns)]) + "\n"


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
    shown = ((name, text if harmless({name: text}) else "***", source) for name, text, source in found.values())
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


def template(name: str) -> str:
    """A job file to begin with: what is needed first, every other key commented out with its default."""
    return _TEMPLATE.replace("@NAME@", name)


_TEMPLATE = """\
# Run it: crawler run @NAME@.toml     Check it: crawler check @NAME@.toml
# Commented lines show the defaults. Times are written "2s", "5m"; sizes "64MiB"; rates "10/s", "6/min".

name = "@NAME@"                           # state and results go to output/@NAME@
# extends = "base.toml"                  # merged below this file

[input]                                  # one or more sources, read as the run goes
urls = ["https://example.org/"]
# files = ["urls.txt", "rows.csv.gz"]    # .txt, .csv, .tsv, .jsonl, each also .gz or .zst; "-" is stdin
# column = "url"                         # the column of a table that holds the URL
# template = "https://api.example.org/items?page={page}"
# vars = { page = "1..500" }             # ranges ("1..500", "001..500", "0..100 step 10") or lists
# dedupe = true                          # a URL that is named twice is fetched once

[request]                                # what rows of a table do not say themselves
# method = "GET"
# base_url = "https://api.example.org/v1/"
# contact = "https://example.org/bot"    # or "me@example.org", yours: every site sees it in the User-Agent
# headers = { Accept-Language = "en" }
# params = { lang = "en" }               # appended to every URL
# json = { key = "value" }               # a JSON body; or
# body = "text"                          # a plain one
# accept_status = ["2xx"]                # what counts as success: "200", "2xx", "200-299"

[limits]
# workers = 64                           # requests under way at once
# rate = "200/s"                         # the whole job; no limit by default
# per_host = 8                           # requests under way at one host; all of its ports count as one
rate_per_host = "5/s"                    # no limit by default: be kind to sites that are not yours
# burst_per_host = 1                     # so many may follow each other at once after a pause
# delay_per_host = "0s"                  # at least so long between two requests to one host
# politeness = "host"                    # what shares one pace: "host", "domain" (example.org with all below), "ip"
# adaptive = true                        # ask hosts that say 429 or get slow less, and carefully more again
# min_rate_per_host = "6/min"            # but no less than this
# robots = "ignore"                      # or "obey": robots.txt, its Crawl-delay included
# crawl_delay_max = "1m"                 # a longer Crawl-delay counts as this
# bandwidth = "20MiB/s"                  # bytes of bodies, the whole job; no limit by default
# bandwidth_per_host = "2MiB/s"          # the same for one host
# memory = "1GiB"                        # while the process takes more nothing new begins; no limit by default
# max_body = "1GiB"                      # after decompression
# max_redirects = 20

[timeouts]
# connect = "5s"
# read = "15s"                           # silence before the answer or within the body
# total = "5m"                           # one attempt
# stall = "30s"                          # a body slower than min_speed for so long is given up
# min_speed = "10B/s"

[retry]
# attempts = 5
# backoff = { initial = "0.5s", factor = 2.0, max = "2m", jitter = "full" }   # or jitter = "none"
# statuses = [408, 425, 429, 500, 502, 503, 504]
# retry_after_max = "1h"                 # the longest Retry-After that is obeyed

[breaker]
# failures = 10                          # in a row (connect, timeout, 5xx), then a host is only probed
# give_up = "15m"                        # still broken then: its requests end as host-dead, for `crawler retry`

[connection]
# keepalive = "30s"                      # an idle connection is kept so long
# dns_ttl = "1m"                         # an address is remembered so long
# resolve = { "example.org" = "192.0.2.7", "example.org:8080" = "[2001:db8::7]:80" }   # instead of asking DNS
# allow_private = false                  # may redirects and names lead to loopback, private or metadata addresses

[output]
# dir = "output"
# records = "jsonl"                      # one line for each input
# bodies = "files"                       # or "none": only sizes and digests are kept
# layout = "hash"                        # by sha256; or "mirror": host/path; or a template: "{host}/{stem}{ext}"
# headers_in_record = false              # response headers in each record

# [hosts."*.example.org"]                # what is other for some hosts: any limit that counts per host, and these
# per_host = 2                           # `crawler check FILE --for URL` tells what holds where
# headers = { X-Token = "secret" }
# retry = { attempts = 2 }               # likewise timeouts = { read = "1m" }, breaker = { give_up = "1h" }
"""
