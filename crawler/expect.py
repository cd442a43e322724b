"""[expect] and [hosts."X".expect]: what a success must look like, so that a login page with status 200 is a failure.

Decides whether a head and a body are what the job expects, and says in a sentence why not. Must not know statuses,
files or where the body comes from. Invariant: nothing is compiled into the section, so that a copy with other values is
as good as one that was loaded; an empty section is met by everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from crawler.charsets import LOOKED_AT, charset_of, decode, media_type, parsed_json
from crawler.units import Size, render_size
from crawler.urls import printable

LARGEST = 16 * 1024**2  # bytes of a body that is looked into; each worker may hold as much

_RANGE = re.compile(r"[A-Za-z0-9!#$&^_.+*-]+/[A-Za-z0-9!#$&^_.+*-]+\Z")  # RFC 6838 4.2, and the wildcard
_TOP_LEVEL = ("application", "audio", "font", "image", "message", "model", "multipart", "text", "video")
_KNOWN = (
    *("application/json", "application/xml", "application/pdf", "application/zip", "application/gzip"),
    *("application/octet-stream", "application/x-ndjson", "application/javascript", "application/ld+json"),
    *("text/html", "text/plain", "text/csv", "text/css", "text/markdown", "text/calendar"),
    *("image/jpeg", "image/png", "image/gif", "image/webp", "image/svg+xml", "image/tiff"),
    *("audio/mpeg", "video/mp4", "font/woff2"),
)
_SHORT = {"jpg": "image/jpeg", "txt": "text/plain", "js": "application/javascript", "ndjson": "application/x-ndjson"}
_SHORT |= {kind.split("/")[1].split("+")[0]: kind for kind in _KNOWN} | {kind: f"{kind}/*" for kind in _TOP_LEVEL}


def _media_range(value: str) -> str:
    text = value.strip().lower()
    if ";" in text:
        raise ValueError(f"has parameters, which are not compared; write '{printable(text.split(';')[0].strip())}'")
    if not _RANGE.match(text):
        raise ValueError(f"'{printable(text)}' is no media type{_nearest(text)}")
    top = text.split("/")[0]
    if top not in _TOP_LEVEL and "*" not in top and (near := get_close_matches(top, _TOP_LEVEL, 1, 0.8)):
        raise ValueError(f"'{printable(text)}': did you mean '{near[0]}/{text.split('/')[1]}'?")
    return text


def _nearest(text: str) -> str:
    meant = _SHORT.get(text.strip("./* "))
    near = [meant] if meant else get_close_matches(text[:100], (*_SHORT, *_KNOWN), 1, 0.7)
    if near:
        return f"; did you mean '{_SHORT.get(near[0], near[0])}'?"
    return "; write it like 'application/json', 'image/*' or 'application/*+json'"


MediaRange = Annotated[str, AfterValidator(_media_range)]


class Expect(BaseModel):
    """What is expected of each success. `content_type`: any of these; `contains` and `not_contains` with upper and
    lower case as written; `min_size` in bytes, after decoding. `verify_format`: of a body that is a file of a kind that
    `formats` knows, whatever its Content-Type, the end must be there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    content_type: list[MediaRange] = []
    is_json: bool = Field(False, alias="json")
    min_size: Size = Field(0, ge=0)
    contains: str | None = Field(None, min_length=1, max_length=10_000)
    not_contains: str | None = Field(None, min_length=1, max_length=10_000)
    verify_format: bool = False

    @model_validator(mode="after")
    def _can_be_met(self) -> Expect:
        if self.contains is not None and self.not_contains is not None and self.not_contains in self.contains:
            raise ValueError("no body can have what contains says without what not_contains says")
        return self

    @property
    def needs_body(self) -> bool:
        """Must the body be in memory, up to LARGEST bytes of it, for `unmet_by_body`."""
        return self.is_json or self.contains is not None or self.not_contains is not None

    def unmet_by_head(self, content_type: str | None) -> str | None:
        """Why an answer with this Content-Type is not the expected one, in a sentence; None where it may be."""
        if not self.content_type:
            return None
        essence = media_type(content_type)
        if any(fnmatchcase(essence, glob) for glob in self.content_type):
            return None
        found = f"Content-Type is {printable(essence, 100)}" if essence else "there is no Content-Type"
        return f"{found}, the job expects {' or '.join(self.content_type)} (expect.content_type)"

    def unmet_by_body(self, data: bytes | None, size: int, content_type: str | None = None) -> str | None:
        """Why this body is not the expected one, in a sentence; None where it is.

        `size` in bytes, after decoding; `data` is the whole body, or None where it is not in memory (`needs_body` does
        not say so, it is empty, or larger than LARGEST: then what is expected of its content is unmet).
        `content_type` tells the charset of the text.
        """
        if size < self.min_size:
            return f"the body has {size:,} bytes, the job expects {self.min_size:,} or more (expect.min_size)"
        if not self.needs_body:
            return None
        if size > LARGEST or (data is None and size):
            return f"the body has {size:,} bytes; its content is checked up to {render_size(LARGEST)} ({self._asked()})"
        return next(self._unmet(data or b"", content_type), None)

    def _asked(self) -> str:
        asked = {"json": self.is_json, "contains": self.contains, "not_contains": self.not_contains}
        return ", ".join(f"expect.{name}" for name, value in asked.items() if value)

    def _unmet(self, data: bytes, content_type: str | None) -> Iterator[str]:
        if self.contains is not None and not _holds(data, self.contains, content_type):
            yield f"the body does not have '{printable(self.contains, 100)}' (expect.contains)"
        if self.not_contains is not None and _holds(data, self.not_contains, content_type):
            yield f"the body has '{printable(self.not_contains, 100)}' (expect.not_contains)"
        if self.is_json and (fault := _not_json(data, content_type)):
            yield f"the body is not JSON: {fault} (expect.json)"


def _not_json(data: bytes, content_type: str | None) -> str | None:
    if not data or data.isspace():
        return "it is empty"
    try:
        parsed_json(data, content_type)
    except ValueError as error:
        start = decode(data[:LOOKED_AT], charset_of(content_type, data[:LOOKED_AT])).lstrip()
        return f"it begins with '{printable(start, 40)}'" if start[:1] not in "{[" else printable(str(error), 150)
    return None


def _holds(data: bytes, text: str, content_type: str | None) -> bool:
    """Is the text in the body: as UTF-8, or in the charset that the body is in."""
    if text.encode("utf-8", "surrogatepass") in data:
        return True
    charset = charset_of(content_type, data[:LOOKED_AT])
    return charset not in (None, "utf-8") and text in decode(data, charset)
