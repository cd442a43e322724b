"""Templates of HMAC signing: `{method}\\n{path_query}\\n{timestamp}`, with what a request has in its place.

Decides which fields there are and what each says of a request. Must not know the key, the signature's place nor what
an API wants. Invariant: a template is looked up field by field, never formatted or evaluated, so that what stands in
a URL or header is text and nothing else; a field that does not exist is refused when the template is made.

A field may be followed by filters: `{method|lower}`, `{signature|percent}`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from email.utils import formatdate
from typing import NamedTuple, TypeVar
from urllib.parse import quote, unquote_plus, urlsplit

from crawler.auth.scheme import Draft, Unsignable
from crawler.urls import hostname, netloc

T = TypeVar("T")

_FIELD = re.compile(r"\{([^{}]*)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HASHES = {"body_sha256": "sha256", "body_sha512": "sha512", "body_md5": "md5"}


class Facts(NamedTuple):
    """What a template is filled with. `url` with the parameters that are signed, `headers` with those added before the
    signature, by their lower-case names; `now` wall seconds by the server's clock.
    """

    draft: Draft
    url: str
    headers: Mapping[str, str]
    now: float
    nonce: str
    timestamp: str  # the field that `{timestamp}` stands for
    key_id: str
    algorithm: str
    body_encoding: str
    signature: str = ""


def _path(facts: Facts) -> str:
    return urlsplit(facts.url).path


def _query(facts: Facts) -> str:
    return facts.url.partition("?")[2]


def _path_query(facts: Facts) -> str:
    return facts.url[facts.url.index("/", len("https://")) :]


def _sorted_query(facts: Facts) -> str:
    """The pairs as they stand in the URL, sorted by name, then by value."""
    return "&".join(sorted(filter(None, _query(facts).split("&")), key=lambda pair: pair.partition("=")[::2]))


def _query_lines(facts: Facts) -> str:
    """`\\nname:value` for each name, decoded, lower-case and sorted; its values sorted and joined by commas (Azure)."""
    values: dict[str, list[str]] = {}
    for pair in filter(None, _query(facts).split("&")):
        name, _, value = pair.partition("=")
        values.setdefault(unquote_plus(name).lower(), []).append(unquote_plus(value))
    return "".join(f"\n{name}:{','.join(sorted(values[name]))}" for name in sorted(values))


def _port(facts: Facts) -> str:
    parts = urlsplit(facts.url)
    return str(parts.port or (443 if parts.scheme == "https" else 80))


def _iso8601(facts: Facts) -> str:
    return datetime.fromtimestamp(int(facts.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _iso8601_ms(facts: Facts) -> str:
    moment = datetime.fromtimestamp(int(facts.now * 1000) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _text(facts: Facts) -> str:
    """The body itself, which some APIs sign instead of a digest of it."""
    draft = facts.draft
    try:
        if draft.body is not None or not draft.length:
            return (draft.body or b"").decode()
    except UnicodeDecodeError:
        pass
    raise Unsignable("{body} stands for a text in memory, and this body is a file or not UTF-8; sign its hash")


def _body(facts: Facts, algorithm: str) -> str:
    digest = facts.draft.digests[algorithm]
    return b64encode(digest).decode() if facts.body_encoding == "base64" else digest.hex()


TIMES: dict[str, Callable[[Facts], str]] = {
    "unix": lambda facts: str(int(facts.now)),
    "unix_ms": lambda facts: str(int(facts.now * 1000)),
    "iso8601": _iso8601,
    "iso8601_ms": _iso8601_ms,
    "http": lambda facts: formatdate(int(facts.now), usegmt=True),
}

FIELDS: dict[str, Callable[[Facts], str]] = {
    "method": lambda facts: facts.draft.method,
    "url": lambda facts: facts.url,
    "scheme": lambda facts: facts.url.partition(":")[0],
    "host": lambda facts: netloc(facts.url),
    "hostname": lambda facts: hostname(facts.url),
    "port": _port,
    "path": _path,
    "query": _query,
    "path_query": _path_query,
    "sorted_query": _sorted_query,
    "query_lines": _query_lines,
    "content_length": lambda facts: str(facts.draft.length or ""),
    "timestamp": lambda facts: TIMES[facts.timestamp](facts),
    **TIMES,
    "nonce": lambda facts: facts.nonce,
    "key_id": lambda facts: facts.key_id,
    "body": _text,
    "body_hash": lambda facts: _body(facts, facts.algorithm),
    "body_sha256": lambda facts: _body(facts, "sha256"),
    "body_sha512": lambda facts: _body(facts, "sha512"),
    "body_md5": lambda facts: _body(facts, "md5"),
    "signature": lambda facts: facts.signature,
}

_FILTERS: dict[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "percent": lambda text: quote(text, safe=""),
}


class Template:
    """One text with fields. `uses` holds the names of its fields, "header:NAME" among them in lower case. Raises
    ValueError, naming the nearest, for a field or filter that does not exist.
    """

    __slots__ = ("_parts", "uses")

    def __init__(self, text: str) -> None:
        pieces = _FIELD.split(text)  # literal, field, literal, field, … literal
        self._parts: list[tuple[str, Callable[[Facts], str] | None]] = []
        uses = set()
        for index, piece in enumerate(pieces):
            if index % 2:
                name, *filters = (part.strip() for part in piece.split("|"))
                if name.startswith("header:"):
                    name = f"header:{name.removeprefix('header:').strip().lower()}"
                uses.add(name)
                self._parts.append(("", _filtered(_field(name), [_known(one, _FILTERS, "filter") for one in filters])))
            elif piece:
                self._parts.append((piece, None))
        self.uses = frozenset(uses)

    def __repr__(self) -> str:
        return f"<Template of {sorted(self.uses)}>"

    def fill(self, facts: Facts) -> str:
        """The text for one request."""
        return "".join(literal if field is None else field(facts) for literal, field in self._parts)

    def digests(self, algorithm: str) -> frozenset[str]:
        """The body digests it needs by hashlib's names, where `{body_hash}` is by `algorithm`."""
        known = {**_HASHES, "body_hash": algorithm}
        return frozenset(known[name] for name in self.uses if name in known)


def _field(name: str) -> Callable[[Facts], str]:
    if name.startswith("header:"):
        header = name.removeprefix("header:")
        if not _TOKEN.match(header):
            raise ValueError(f"{{{name[:60]}}} does not name a header")
        return lambda facts: facts.headers.get(header, "")
    return _known(name, FIELDS, "field")


def _known(name: str, table: Mapping[str, T], kind: str) -> T:
    if name not in table:
        near = get_close_matches(name[:60], table, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(table)}"
        raise ValueError(f"there is no {kind} {name[:60]!r}; {hint}")
    return table[name]


def _filtered(field: Callable[[Facts], str], filters: list[Callable[[str], str]]) -> Callable[[Facts], str]:
    if not filters:
        return field

    def filled(facts: Facts) -> str:
        text = field(facts)
        for one in filters:
            text = one(text)
        return text

    return filled
