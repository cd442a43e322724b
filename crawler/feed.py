"""From a row of the input to a Request: defaults of host and job, canonical URL, parameters, body, fingerprint.

Decides what a row asks for, and which rows cannot be asked: the row stands over its host, that over the job; parameters
and cookies are laid over each other by name, all else is replaced. Must not know where rows come from or go to.
Invariant: every row leads to one Request; one that cannot be sent carries `error` with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from crawler.bodytext import content_of, cookie_line
from crawler.capture import METHOD
from crawler.fingerprints import fingerprint
from crawler.model import BadRow, Content, Messages, Request, Row
from crawler.urls import BadURL, Url, netloc, over_http, parse, printable, with_params

# JSON can be read deeper (1,024) than written (254), and a record puts the columns of its row some levels down.
_DEEPEST = 100
_TOO_DEEP = f"the row is nested more than {_DEEPEST} levels deep"
_NONE: Mapping[str, Any] = {}


class Said(NamedTuple):
    """What a job, or a host in it, says of requests. `content_type` goes with `body`; `typed`: its own headers name a
    Content-Type, which then stands over any that follows from json or form.
    """

    method: str | None = None
    params: Mapping[str, Any] = _NONE
    body: Content | None = None
    cookies: Mapping[str, str] = _NONE
    content_type: str | None = None
    typed: bool = False


class Defaults(NamedTuple):
    """What fills the gaps of a row. `base` is the absolute folder that paths of files start from; `of` gives what is
    said for a canonical "host" or "host:port" apart, None where no host is.
    """

    job: Said = Said()
    base_url: str | None = None
    base: str = ""
    of: Callable[[str], Said] | None = None
    send: tuple[str | bytes, ...] = ()  # over each WebSocket


def request_of(row: Row | BadRow, number: int, defaults: Defaults) -> tuple[Request, int]:
    """The Request of a row and its fingerprint; `number` becomes its id."""
    if isinstance(row, BadRow):
        return _bad(row, number, row.text, row.error)
    if row.url[:1] in ("w", "W") and (http := over_http(row.url)) is not None:
        return _capture(row, http, number, defaults)
    plain = row[2:] == _PLAIN  # most rows: a URL and nothing else
    if not plain and (_deeper(row.json, _DEEPEST) or _deeper(row.input, _DEEPEST)):
        return _bad(row._replace(input=None), number, row.url, _TOO_DEEP)
    job, base_url, _, of = defaults[:4]
    try:
        url = parse(row.url, base=base_url) if base_url else parse(row.url)
        if plain and of is None and job[:4] in _NOTHING:
            return Request(number, url.href, url.host), fingerprint("GET", url.href, None)
        return _request(row, number, url, defaults)
    except BadURL as error:
        return _bad(row, number, row.url, str(error))


_PLAIN = Row(None, "")[2:]  # type: ignore[arg-type]
_NOTHING = (Said()[:4], Said("GET")[:4])


def _request(row: Row, number: int, url: Url, defaults: Defaults) -> tuple[Request, int]:
    """The Request of a row, or of a job, that says more than URLs. Raises BadURL."""
    said = defaults.job if defaults.of is None else over(defaults.job, defaults.of(netloc(url.href)))
    if said.params or row.params:
        url = parse(with_params(url.href, {**said.params, **(row.params or {})}))
    body, content_type = content_of(
        json=row.json,
        form=row.form,
        multipart=row.multipart,
        body=row.body,
        body_file=row.body_file,
        base=defaults.base,
    )
    if body is None:
        body, content_type = said.body, said.content_type
    request = Request(
        number,
        url.href,
        url.host,
        method=row.method or said.method or ("GET" if body is None else "POST"),
        headers=_headers(row, said, None if said.typed else content_type),
        body=body,
        filename=row.filename,
        promised=row.promised,
        input=row.input,
    )
    if row.mirrors:
        request.mirrors = _mirrors(row.mirrors, request, defaults.base_url)
    return request, fingerprint(request.method, url.href, body)


def _mirrors(mirrors: tuple[str, ...], request: Request, base_url: str | None) -> tuple[str, ...]:
    """The canonical URLs of mirrors; no parameters are added, since these may be secrets of the URL's own host.

    Raises BadURL.
    """
    if request.method not in ("GET", "HEAD") or request.body is not None:
        raise BadURL(f"mirrors are of a body that is asked for by GET or HEAD, not by {request.method}")
    try:
        found = [parse(mirror, base=base_url).href for mirror in mirrors]
    except BadURL as error:
        raise BadURL(f"mirrors: {error}") from error
    return tuple(href for href in dict.fromkeys(found) if href != request.url)


def _capture(row: Row, http: str, number: int, defaults: Defaults) -> tuple[Request, int]:
    """The Request of a ws(s) URL: a capture, asked for at its http(s) URL."""
    if row.method not in (None, "GET") or any(
        said is not None for said in (row.json, row.form, row.multipart, row.body, row.body_file)
    ):
        return _bad(row, number, row.url, "a WebSocket has no method and no body; its messages stand in 'send'")
    if row.mirrors:
        return _bad(row, number, row.url, "a WebSocket has no mirrors")
    if _deeper(row.input, _DEEPEST):
        return _bad(row._replace(input=None), number, row.url, _TOO_DEEP)
    try:
        url = parse(http)
        said = defaults.job if defaults.of is None else over(defaults.job, defaults.of(netloc(url.href)))
        if said.params or row.params:
            url = parse(with_params(url.href, {**said.params, **(row.params or {})}))
    except BadURL as error:
        return _bad(row, number, row.url, str(error))
    sent = defaults.send if row.send is None else row.send
    request = Request(
        number,
        url.href,
        url.host,
        method=METHOD,
        headers=_headers(row, said, None),
        body=Messages(sent) if sent else None,
        input=row.input,
    )
    return request, fingerprint(METHOD, url.href, request.body)


def over(job: Said, host: Said) -> Said:
    """What a host says apart, laid over what the job says."""
    body, content_type = (job.body, job.content_type) if host.body is None else (host.body, host.content_type)
    return Said(
        host.method or job.method,
        {**job.params, **host.params},
        body,
        {**job.cookies, **host.cookies},
        content_type,
        job.typed or host.typed,
    )


def _headers(row: Row, said: Said, content_type: str | None) -> Mapping[str, str] | None:
    """The row's own, with those that follow from its body and cookies where it does not name them itself."""
    follow = {}
    if content_type is not None:
        follow["Content-Type"] = content_type
    if said.cookies or row.cookies:
        follow["Cookie"] = cookie_line({**said.cookies, **(row.cookies or {})})
    if not follow:
        return row.headers
    named = {name.lower() for name in row.headers or ()}
    return {name: value for name, value in follow.items() if name.lower() not in named} | dict(row.headers or {})


def _deeper(value: Any, levels: int) -> bool:
    """Does the value nest objects or lists more than so many levels deep?"""
    if not isinstance(value, (dict, list)):
        return False
    if levels == 0:
        return True
    return any(_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


def _bad(row: Row | BadRow, number: int, text: str, error: str) -> tuple[Request, int]:
    shown = printable(text)
    data = row.input if isinstance(row, Row) else None
    request = Request(number, shown, "", input=data, place=row.place, error=f"{row.place}: {error}")
    return request, fingerprint("BAD", f"{row.place}", None)
