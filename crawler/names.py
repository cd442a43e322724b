"""The name of a body's file, from its URL, its digest, or the row that asked for it: a relative POSIX path.

Decides: what a file is called. Must not know the file system, the job or the sinks: what else is there is not asked.
Invariant: whatever a page, a server or an input list says, a name stays below the folder it is joined to, each part
is a plain, visible file name with room for a suffix, and the same arguments give the same name.

Parts of a URL show `%XX` decoded where that is harmless: letters, digits, `-._~`, spaces, printable characters beyond
ASCII. Every other escape of the URL stays, in **upper-case** hex. What must be escaped besides, we escape in
**lower-case** hex: `"*:<>?|` and the backslash, a `/` in a query, a leading dash, a trailing dot, the first letter of
CON and its like, the dot of `.part`, with which sinks end unfinished files. So URLs that differ in more than the
spelling of their escapes (RFC 3986, section 6.2.2) differ in name; `mirror_name` lists the exceptions.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

MAX_PART = 240  # bytes of UTF-8: a file system takes 255, a suffix and `.part` need 14
MAX_NAME = 990  # bytes: 1,000 with a suffix
MAX_DEPTH = 64  # parts: each new folder costs a sync
FIELDS = ("host", "path", "stem", "ext", "id", "sha256", "name")

# Not the mimetypes module: it reads files of the system, and names would differ from machine to machine.
_TYPES = """
    application/epub+zip epub           application/gzip gz                 application/javascript js
    application/json json               application/jsonlines jsonl         application/msword doc
    application/pdf pdf                 application/rtf rtf                 application/vnd.apache.parquet parquet
    application/vnd.ms-excel xls        application/wasm wasm               application/x-7z-compressed 7z
    application/x-bzip2 bz2             application/x-gzip gz               application/x-javascript js
    application/x-ndjson jsonl          application/x-tar tar               application/x-xz xz
    application/xhtml+xml xhtml         application/xml xml                 application/yaml yaml
    application/zip zip                 application/zstd zst                audio/flac flac
    audio/mp4 m4a                       audio/mpeg mp3                      audio/ogg ogg
    audio/wav wav                       font/otf otf                        font/ttf ttf
    font/woff woff                      font/woff2 woff2                    image/avif avif
    image/bmp bmp                       image/gif gif                       image/jpeg jpg
    image/png png                       image/svg+xml svg                   image/tiff tif
    image/vnd.microsoft.icon ico        image/webp webp                     image/x-icon ico
    text/calendar ics                   text/css css                        text/csv csv
    text/html html                      text/javascript js                  text/markdown md
    text/plain txt                      text/tab-separated-values tsv       text/xml xml
    video/mp4 mp4                       video/mpeg mpeg                     video/ogg ogv
    video/quicktime mov                 video/webm webm
    application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
    application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
    application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
"""
_WORDS = _TYPES.split()
_EXTENSIONS = {kind: f".{ext}" for kind, ext in zip(_WORDS[::2], _WORDS[1::2], strict=True)}

_EXT = re.compile(r"(?<=.)\.(?!part\Z)(?=[0-9]*[a-z])[0-9a-z]{1,8}\Z", re.I | re.A | re.S)  # `v1.2` has none
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+|%")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~ ")
_UNSAFE = frozenset('"*/:<>?\\|')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|\Z)", re.I)  # Windows
_DOT_PART = re.compile(r"\.(?=part\Z)", re.I)
_SPLIT_ESCAPE = re.compile(r"%.?\Z")
_HASH_FOLDER = re.compile(r"[0-9a-f]{2}(/[0-9a-f]{2})?")
_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")


def check_layout(layout: str) -> None:
    """Raises ValueError, with a sentence, unless `layout` is `hash`, `mirror` or a template with FIELDS in braces."""
    if layout in ("hash", "mirror"):
        return
    known = ", ".join(f"{{{field}}}" for field in FIELDS)
    stray = re.search(r"\{[^{}]*\}?|\}", _FIELD.sub("", layout))
    if stray:
        raise ValueError(f"{stray[0]!r} is no field of a layout; the fields are {known}")
    if not _FIELD.search(layout):
        raise ValueError(f"the layout {layout!r} is neither hash nor mirror nor a template with one of {known}")


def name(layout: str, *, href: str, sha256: str, content_type: str | None, id: int, filename: str | None) -> str:
    """The path for a body, of at most 990 bytes: by the row's `filename` if it has one, else by `layout`.

    `layout` has passed `check_layout`; `href` is canonical, `sha256` lower-case hex, `content_type` as in the header.
    In a template `{ext}` has its dot, `{path}` is the mirror path below the host, `{name}` its last part.
    """
    if filename and (parts := _plain_parts(filename)):
        if layout == "hash" and _HASH_FOLDER.fullmatch("/".join(parts)):  # it would stand where a folder must be
            parts[-1] = _escaped(parts[-1][0]) + parts[-1][1:]
        return _join(parts)
    if layout == "hash":
        return hash_name(sha256, extension(content_type, href))
    parts = _mirror_parts(href, content_type)
    if layout == "mirror":
        return _join(parts)
    stem, ext = _split(parts[-1])
    values = {"host": parts[0], "path": "/".join(parts[1:]), "name": parts[-1], "stem": stem, "ext": ext}
    values |= {"id": str(id), "sha256": sha256}
    return _join(_plain_parts(_FIELD.sub(lambda field: values[field[1]], layout)) or [sha256])


def hash_name(sha256: str, ext: str) -> str:
    """`ab/cd/<sha256><ext>`: one file for one content."""
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}{ext}"


def mirror_name(href: str, content_type: str | None = None) -> str:
    """`host/path/leaf`, so that a site keeps its shape.

    - A port that is not the scheme's own stays with the host (`h%3a8080`). Scheme, user and fragment are left out.
    - A path that ends in `/` gets the leaf `index`. A leaf that is this, has no extension, or has a query, gets the
      extension of the content: `/docs/` is `docs/index.html`, `/page?x=1` is `page%3fx=1.html`.
    - A leaf thus always has an extension, and a folder never: one that looks so gets a `%2f` (`/a.php/b` is
      `a.php%2f/b.html`), and so does one with no name. No file stands where another URL needs a folder.
    - A part, or a path, that is too long is cut, and a digest of the whole put into it.
    What may still meet, for `with_suffix` to part: `/a` and `/a.html`, `/a/` and `/a/index.html`, http and https.
    """
    return _join(_mirror_parts(href, content_type))


def with_suffix(name: str, digest8: str) -> str:
    """`name` with `~<digest8>` before its extension (9 bytes more), for when another body has the name already."""
    folder, slash, leaf = name.rpartition("/")
    stem, ext = _split(leaf)
    return f"{folder}{slash}{stem}~{digest8}{ext}"


def extension(content_type: str | None, href: str) -> str:
    """The extension, with its dot, of a content type; if that tells nothing, the URL's own in lower case, or `.bin`."""
    if content_type and (known := _known_extension(content_type)):
        return known
    leaf = href.partition("#")[0].partition("?")[0].rpartition("/")[2]
    return _split(leaf)[1].lower() or ".bin"


@lru_cache(maxsize=256)
def _known_extension(content_type: str) -> str | None:
    essence = content_type.partition(";")[0].strip().lower()
    if essence in _EXTENSIONS:
        return _EXTENSIONS[essence]
    _, plus, structure = essence.rpartition("+")  # RFC 6839
    return f".{structure}" if plus and structure in ("json", "xml", "yaml", "zip") else None


def _split_url(href: str) -> tuple[str, str, str | None]:
    """Host with port, path without its first slash, and query (None: there is no `?`)."""
    url, mark, query = href.partition("#")[0].partition("?")
    scheme, _, path = url.partition(":")
    host = ""
    if path.startswith("//"):
        authority, _, path = path[2:].partition("/")
        host = authority.rpartition("@")[2]
    return host or f"{scheme}:", path, query if mark else None


def _mirror_parts(href: str, content_type: str | None) -> list[str]:
    host, path, query = _split_url(href)
    *folders, leaf = (_decoded(segment) for segment in path.split("/"))
    parts = [_part(host), *(_part(f"{text}%2f" if not text or _EXT.search(text) else text) for text in folders)]
    if not leaf:
        ext = (content_type and _known_extension(content_type)) or ".html"
    elif query is not None or not _EXT.search(leaf):
        ext = extension(content_type, href)
    else:
        ext = ""
    asked = "" if query is None else f"?{_decoded(query)}"
    return [*parts, _part(f"{leaf or 'index'}{asked}{ext}")]


def _plain_parts(text: str) -> list[str]:
    return [_part(part) for part in text.split("/") if part not in ("", ".")]


def _split(leaf: str) -> tuple[str, str]:
    found = _EXT.search(leaf)
    return (leaf[: found.start()], found[0]) if found else (leaf, "")


def _decoded(text: str) -> str:
    """A segment or query in the normal form of RFC 3986, section 6.2.2, and readable; a lone `%` counts as `%25`."""
    return _ESCAPES.sub(_decoded_run, text) if "%" in text else text


def _decoded_run(run: re.Match[str]) -> str:
    if run[0] == "%":
        return "%25"
    text = bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "surrogateescape")
    return "".join(
        char
        if char in _UNRESERVED or (char > "\x7f" and char.isprintable())
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
        for char in text
    )


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def _part(text: str) -> str:
    """Any text but the empty one as one part of a path; leaves a part that is fine as it is."""
    # isprintable() is false for controls, bidirectional marks, surrogates, unassigned characters, spaces but U+0020
    part = "".join(char if char.isprintable() and char not in _UNSAFE else _escaped(char) for char in text)
    if part[0] in "- ":
        part = _escaped(part[0]) + part[1:]
    if part[-1] in ". ":
        part = part[:-1] + _escaped(part[-1])
    part = _DOT_PART.sub("%2e", part)
    if _RESERVED.match(part):
        part = _escaped(part[0]) + part[1:]
    whole = part.encode()
    if len(whole) <= MAX_PART:
        return part
    stem, ext = _split(part)
    tail = f"~{_digest(whole)}{ext}"
    kept = stem.encode()[: MAX_PART - len(tail)].decode(errors="ignore")
    return _SPLIT_ESCAPE.sub("", kept) + tail


def _join(parts: list[str]) -> str:
    """The path; of one too long or too deep the first folders, a digest of the whole, and the leaf."""
    path = "/".join(parts)
    whole = path.encode()
    if len(whole) <= MAX_NAME and len(parts) <= MAX_DEPTH:
        return path
    tail = f"~{_digest(whole)}/{parts[-1]}"
    room = MAX_NAME - len(tail.encode())
    kept = ""
    for part in parts[: MAX_DEPTH - 2]:
        if len(f"{kept}{part}/".encode()) > room:
            break
        kept += f"{part}/"
    return kept + tail


def _digest(whole: bytes) -> str:
    return hashlib.sha256(whole).hexdigest()[:16]
