"""What a job or a row says of a body and of cookies, as values: form, multipart, body_file, cookies; then a Content.

Decides what may be said, alike for a job file's value and a table's cell (a text is then JSON, a query string or a
cookie line). Must not know tables, jobs or what is in a file. Invariant: what is returned can be sent as it is: all
text has UTF-8, no name has a NUL, no cookie or media type could end its header line; BadContent says why not.

A multipart is an object of its fields, {"note": "text", "doc": {"file": "a.pdf", "filename": "x.pdf", "content_type":
"application/pdf"}}, where a list repeats the name, or a list of such objects with a "name" each. A text that begins
with '@' is refused, since curl would send a file and others the text: say {"file": "…"} or {"value": "@…"}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qs, quote_plus

import orjson

from crawler.model import Content, Field, FileBody, Multipart

Pairs = Mapping[str, str | list[str]]
BODIES = ("json", "form", "multipart", "body", "body_file")  # one request has one of these

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_COOKIE = re.compile(r'("?)[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*\1\Z')  # RFC 6265 4.1.1
_MEDIA = re.compile(r"[!#$&^_.+0-9A-Za-z-]+/[!#$&^_.+0-9A-Za-z-]+(\s*;[\x20-\x7e]*)?\Z")
_KEYS = ("name", "file", "value", "filename", "content_type")


class BadContent(ValueError):
    """What cannot be sent as it is said; the text is a sentence."""


def pairs_of(what: str, said: Any) -> Pairs:
    """Names and values of a form or a query: an object of texts, numbers and lists of them, or a query string."""
    if isinstance(said, str) and not said.lstrip().startswith("{"):
        try:
            return {**parse_qs(said.strip().removeprefix("?"), keep_blank_values=True, errors="strict")}
        except ValueError:
            raise BadContent(f"{what} is not a query string in UTF-8") from None
    value = loaded(what, said)
    if not isinstance(value, Mapping):
        raise BadContent(f"{what} is neither a JSON object nor a query string")
    return {
        _utf8(what, name): [_text(what, name, one) for one in item]
        if isinstance(item, list)
        else _text(what, name, item)
        for name, item in value.items()
    }


def fields_of(said: Any) -> tuple[Field, ...]:
    """The fields of a multipart, in their order."""
    value = loaded("multipart", said)
    if isinstance(value, Mapping):
        found = tuple(_field(name, one) for name, item in value.items() for one in _each(item))
    elif isinstance(value, list):
        found = tuple(_field(None, item) for item in value)
    else:
        raise BadContent("multipart is neither an object of fields nor a list of them")
    if not found:
        raise BadContent("multipart has no field")
    return found


def cookies_of(said: Any) -> Mapping[str, str]:
    """Cookies by their names: an object of texts, or a line like "a=b; c=d" (RFC 6265 4.1.1)."""
    if isinstance(said, str) and not said.lstrip().startswith("{"):
        pairs = [line.partition("=") for part in said.split(";") if (line := part.strip())]
        if len({name.rstrip() for name, _, _ in pairs}) < len(pairs):
            raise BadContent("cookies names one twice")
        value: Any = {name.rstrip(): text.lstrip() for name, _, text in pairs}
    else:
        value = loaded("cookies", said)
    if not isinstance(value, Mapping):
        raise BadContent("cookies is neither a JSON object nor a line like 'a=b; c=d'")
    found = {name: _text("cookies", name, item) for name, item in value.items()}
    for name, text in found.items():
        if not _TOKEN.match(name):
            raise BadContent(f"cookies: the name {name[:60]!r} has characters that a cookie cannot have")
        if not _COOKIE.match(text):  # the value may be a secret
            raise BadContent(f"cookies: the value of {name[:60]!r} has characters that a cookie cannot have")
    return found


def path_of(said: Any, what: str = "body_file") -> str:
    """The path of a file; whether it is there shows when it is sent."""
    if not isinstance(said, str) or not said:
        raise BadContent(f"{what} is not the path of a file")
    return _clean(what, said)


def cookie_line(cookies: Mapping[str, str]) -> str:
    """The value of a Cookie header."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def content_of(
    *,
    json: Any = None,
    form: Pairs | None = None,
    multipart: tuple[Field, ...] | None = None,
    body: str | None = None,
    body_file: str | None = None,
    base: str = "",
) -> tuple[Content | None, str | None]:
    """The body of which one is said, and the media type that follows from it. Relative paths are put below `base`."""
    if json is not None:
        return orjson.dumps(json), "application/json"
    if form is not None:
        return _encoded(form), "application/x-www-form-urlencoded"
    if multipart is not None:
        return Multipart(tuple(_below(base, field) for field in multipart)), None  # its type names the boundary
    if body is not None:
        return body.encode(), None
    if body_file is not None:
        return FileBody(str(PurePath(base, body_file))), None
    return None, None


def loaded(what: str, said: Any) -> Any:
    """A text is JSON; anything else is the value itself."""
    try:
        return orjson.loads(said) if isinstance(said, str) else said
    except orjson.JSONDecodeError as error:
        raise BadContent(f"{what} is not JSON: {error}") from None


def _field(name: str | None, said: Any) -> Field:
    if not isinstance(said, Mapping):
        if name is None:
            raise BadContent("multipart: an item of the list is not an object with a name")
        text = _text("multipart", name, said)
        if text.startswith("@"):
            raise BadContent(f'multipart: {name[:60]!r} begins with @; say {{"file": …}} or {{"value": "@…"}}')
        return Field(_name(name), text)
    for key in said:
        if key not in _KEYS or (key == "name" and name is not None):
            raise BadContent(f"multipart: {str(key)[:60]!r} is not one of {', '.join(_KEYS[name is not None :])}")
    name = _name(said.get("name") if name is None else name)
    file, value, filename, media = (said.get(key) for key in _KEYS[1:])
    if (file is None) == (value is None):
        raise BadContent(f"multipart: {name[:60]!r} has not one of file and value")
    if filename is not None and not isinstance(filename, str):
        raise BadContent(f"multipart: the filename of {name[:60]!r} is not a text")
    if media is not None and not (isinstance(media, str) and _MEDIA.match(media)):
        raise BadContent(f"multipart: the content_type of {name[:60]!r} is not like 'text/plain'")
    return Field(
        name,
        None if value is None else _text("multipart", name, value),
        None if file is None else path_of(file, f"multipart: the file of {name[:60]!r}"),
        None if filename is None else _one_line("multipart: filename", filename),
        media,
    )


def _each(item: Any) -> Iterator[Any]:
    yield from item if isinstance(item, list) else (item,)


def _name(said: Any) -> str:
    if not isinstance(said, str) or not said:
        raise BadContent("multipart: the name of a field is empty or not a text")
    return _one_line("multipart: the name of a field", said)


def _text(what: str, name: str, value: Any) -> str:
    """A value as text; a number or truth value as JSON writes it."""
    if not isinstance(value, (str, int, float)):
        raise BadContent(f"{what}: {name[:60]!r} is neither a text nor a number nor a list of them")
    return _utf8(what, value) if isinstance(value, str) else orjson.dumps(value).decode()


def _one_line(what: str, text: str) -> str:
    """Escaped they would do no harm, but in a list they are always a mistake, or an attack."""
    if "\r" in text or "\n" in text:
        raise BadContent(f"{what} has a line break")
    return _clean(what, text)


def _clean(what: str, text: str) -> str:
    if "\0" in text:
        raise BadContent(f"{what} has a NUL character")
    return _utf8(what, text)


def _utf8(what: str, text: str) -> str:
    """The text, unless it has half of a surrogate pair, as JSON can write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadContent(f"{what} has half of a surrogate pair, which UTF-8 cannot write") from None
    return text


def _encoded(form: Pairs) -> bytes:
    pairs = ((name, one) for name, item in form.items() for one in _each(item))
    return "&".join(f"{quote_plus(name)}={quote_plus(text)}" for name, text in pairs).encode()


def _below(base: str, field: Field) -> Field:
    return field if field.path is None else field._replace(path=str(PurePath(base, field.path)))
