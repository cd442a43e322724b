"""A multipart/form-data body as bytes and files (RFC 7578, and the WHATWG form specification where that is silent).

Decides the head of each part and what stands between them. Must not read files, nor choose the boundary. Invariant: no
name, file name or media type can end its header line; the order of fields is kept; text goes as UTF-8, unchanged.
"""

from __future__ import annotations

from functools import cache
from mimetypes import MimeTypes
from pathlib import PurePath

from crawler.model import Field, FileBody, Multipart

_UNNAMED = "application/octet-stream"
_PACKED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
# WHATWG "escape a multipart/form-data name"; backslashes stay, as in browsers and curl.
_ESCAPED = str.maketrans({"\r": "%0D", "\n": "%0A", '"': "%22"})


def segments(multipart: Multipart, boundary: str) -> list[bytes | FileBody]:
    """The whole body in its order; no two bytes stand next to each other."""
    joined: list[bytes | FileBody] = []
    held = b""
    for field in multipart.fields:
        held += f"--{boundary}\r\n{_head(field)}\r\n".encode()
        if field.path is None:
            held += (field.value or "").encode() + b"\r\n"
        else:
            joined += [held, FileBody(field.path)]
            held = b"\r\n"
    return [*joined, held + f"--{boundary}--\r\n".encode()]


def clashes(multipart: Multipart, boundary: str) -> bool:
    """Would the boundary end a part too early. What is in files cannot be known: it must be a long random one."""
    return any(
        boundary in text for field in multipart.fields for text in (field.name, field.value, field.filename) if text
    )


def media_type(path: str) -> str:
    """The media type that a file's name speaks for (a packed file is that of its packing)."""
    kind, packing = _types().guess_type("file" + "".join(PurePath(path).suffixes[-2:]), strict=False)
    return (_PACKED.get(packing, _UNNAMED) if packing else kind) or _UNNAMED


@cache
def _types() -> MimeTypes:
    """Python's own table, the same on every machine."""
    return MimeTypes()


def _head(field: Field) -> str:
    filename, kind = field.filename, field.content_type
    if field.path is not None:
        filename = PurePath(field.path).name if filename is None else filename
        kind = kind or media_type(field.path)
    lines = [f'Content-Disposition: form-data; name="{field.name.translate(_ESCAPED)}"']
    if filename is not None:
        lines[0] += f'; filename="{filename.translate(_ESCAPED)}"'
    if kind is not None:
        lines.append(f"Content-Type: {kind}")
    return "".join(f"{line}\r\n" for line in lines)
