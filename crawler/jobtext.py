"""Jobs as text: the effective job as TOML, and the commented file of `crawler init`.

Decides wording and layout only. Must not read or write files. Invariant: `dumps(job)` loads back to an equal job, and
the template names every key of the model (tests hold both).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from crawler.job import Job

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def dumps(job: Job) -> str:
    """The effective job, defaults included, as TOML."""
    return to_toml(job.to_data())


def to_toml(data: dict[str, Any]) -> str:
    """Plain data as TOML: sections for the first level, inline tables below; None is left out."""
    lines = [
        f"{key} = {_value(value)}" for key, value in data.items() if not isinstance(value, dict) and value is not None
    ]
    for section, table in data.items():
        if isinstance(table, dict):
            lines += ["", f"[{section}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


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
# Commented lines show the defaults. Times are written "2s", "5m"; sizes "64MiB"; rates "10/s", "30/min".

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
# headers = { User-Agent = "mybot/1.0 (+https://example.org/bot; me@example.org)" }
# params = { lang = "en" }               # appended to every URL
# json = { key = "value" }               # a JSON body; or
# body = "text"                          # a plain one
# accept_status = ["2xx"]                # what counts as success: "200", "2xx", "200-299"

[limits]
# workers = 64                           # requests under way at once
# rate = "200/s"                         # the whole job; no limit by default
# per_host = 8                           # requests under way at one host
rate_per_host = "5/s"                    # no limit by default: be kind to sites that are not yours
# burst_per_host = 1                     # so many at once after a pause
# bandwidth = "20MiB/s"                  # bytes of bodies, the whole job; no limit by default
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

[connection]
# keepalive = "30s"                      # an idle connection is kept so long
# dns_ttl = "1m"                         # an address is remembered so long

[output]
# dir = "output"
# records = "jsonl"                      # one line for each input
# bodies = "files"                       # or "none": only sizes and digests are kept
# layout = "hash"                        # by sha256; or "mirror": host/path; or a template: "{host}/{stem}{ext}"
# headers_in_record = false              # response headers in each record
"""
