"""Pages that were built to hurt who reads them, made piece by piece, so that no test holds 100 MB."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE = 64 * 1024


def repeated(unit: bytes, times: int, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    """`unit` so many times, in pieces of about PIECE bytes."""
    yield before
    at_once = max(1, PIECE // len(unit))
    for _ in range(times // at_once):
        yield unit * at_once
    yield unit * (times % at_once)
    yield after


def large(size: int = 100 * 1024**2) -> Iterator[bytes]:
    """HTML of `size` bytes with few links: one at its start, one at its end."""
    unit = b"<p class='a'>lorem ipsum dolor sit amet</p>\n"
    yield from repeated(unit, size // len(unit), b'<a href="/first">1</a>', b'<a href="/last">2</a>')


def many_links(count: int = 1_000_000, prefix: str = "/n/") -> Iterator[bytes]:
    """HTML with so many distinct links."""
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        yield b"".join(b'<a href="%s%d">x</a>\n' % (prefix.encode(), number) for number in numbers)


def nested(depth: int = 10_000, link: str = "/deep") -> bytes:
    """A link within so many elements, none of them closed."""
    return b"<div>" * depth + f'<a href="{link}">x</a>'.encode()


def formatted(count: int = 3_000) -> bytes:
    """Elements that a tree has to build anew in each paragraph: it grows with the square of the page."""
    return b"".join(b"<font size=%d><p>" % number for number in range(count)) + b'<a href="/formatted">x</a>'


def attributed(count: int = 100_000) -> bytes:
    """One tag of so many attributes, each to be compared with all others, and a link behind it."""
    return b"<p " + b" ".join(b"a%d" % number for number in range(count)) + b'><a href="/attributed">x</a>'


def with_nuls() -> bytes:
    """NULs in tags, names, values and text."""
    return b'<a href="/be\0fore">x</a>\0<a\0 href="/no">x</a><a hr\0ef="/no">x</a>\0\0<a href="/after">x</a>'


def lying_charset() -> tuple[bytes, str]:
    """A page and the Content-Type that it comes with, which is wrong: it is no UTF-16."""
    return b'<meta charset="shift_jis"><a href="/\xe9t\xe9">x</a><a href="/plain">x</a>', "text/html; charset=utf-16"


def strange_schemes() -> bytes:
    """Links that lead nowhere, or where nobody should go."""
    hrefs = (
        "javascript:alert(1)",
        " JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<a href=/x>",
        "mailto:a@b.example",
        "tel:+1",
        "file:///etc/passwd",
        "ftp://h.example/",
        "http://user:password@h.example/",
        "http://[::1/",
        "http://127.0.0.1/private",
        "http://169.254.169.254/latest/meta-data/",
        "//[fd00:ec2::254]/",
        "#fragment",
        "",
        "?" + "x" * 20_000,
        "/good",
    )
    return b"".join(f'<a href="{href}">x</a>\n'.encode() for href in hrefs)


def entity_bomb() -> bytes:
    """A sitemap that would be of gigabytes, were its entities resolved (billion laughs)."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    start = f'<?xml version="1.0"?><!DOCTYPE urlset [<!ENTITY e0 "ha">{entities}]>'
    return f"{start}<urlset><url><loc>http://h.example/&e9;</loc></url></urlset>".encode()


def sitemap(count: int, host: str = "http://h.example") -> Iterator[bytes]:
    """A sitemap of so many URLs."""
    yield b'<?xml version="1.0"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    for start in range(0, count, 500):
        yield b"".join(
            b"<url><loc>%s/page/%d</loc><lastmod>2026-01-01</lastmod></url>\n" % (host.encode(), number)
            for number in range(start, min(start + 500, count))
        )
    yield b"</urlset>\n"


def gzip_bomb(size: int = 1024**3) -> Iterator[bytes]:
    """A gzipped sitemap of white space: so many bytes unpacked, a thousandth of them packed."""
    packer = zlib.compressobj(9, wbits=31)
    for piece in repeated(b" ", size, b"<urlset><url><loc>http://h.example/first</loc></url>"):
        yield packer.compress(piece)
    yield packer.flush()
