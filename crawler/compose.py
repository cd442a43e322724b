"""The headers of one attempt: the job's, those for its host, the row's, cookies, the request's id.

Decides what is laid over what, and what stays behind at another origin. Must not know how credentials are signed, or
the wire. Invariant: what may be a credential goes to the origin it was said for and to no other; names compare without
case, and the last spelling stands.
"""

from __future__ import annotations

from collections.abc import Mapping

from crawler.model import Request
from crawler.redirect import exposed, harmless


def headers_for(request: Request, job: Mapping[str, str], host: Mapping[str, str], request_id: str) -> dict[str, str]:
    """The job's, then those for this host alone, then the row's; what may be a credential stays with its origin."""
    row = request.headers
    if not (row or host or request.foreign):
        return {**job, "X-Request-ID": request_id}
    if request.foreign:
        job = harmless(job)
        if not request.depth or request.hops:  # else a function of the user's said it for this very URL
            row = harmless(row or {})
        host = harmless(host) if exposed(request.url, request.seed) else host
    return merged(job, host, row or {}, {"X-Request-ID": request_id})


def with_cookies(headers: dict[str, str], jar: str | None) -> dict[str, str]:
    """The headers with what a jar holds for this URL; a cookie that was said by name wins over the jar's."""
    if jar is None:
        return headers
    said = next((value for name, value in headers.items() if name.lower() == "cookie"), "")
    names = {pair.partition("=")[0].strip() for pair in said.split(";")}
    pairs = [pair for pair in jar.split("; ") if pair.partition("=")[0] not in names]
    return merged(headers, {"Cookie": "; ".join([*filter(None, [said]), *pairs])})


def merged(*layers: Mapping[str, str]) -> dict[str, str]:
    """The layers laid over each other."""
    found = {name.lower(): (name, value) for layer in layers for name, value in layer.items()}
    return dict(found.values())
