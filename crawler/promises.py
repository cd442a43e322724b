"""The columns that say what a body is and where else it is to be had: sha256, sha512, md5, size, mirrors.

Decides how their cells are spelled. Must not know rows, or whether a mirror can be asked for (see feed). Invariant: a
cell that cannot be used raises BadContent, whose text is a sentence; nothing is guessed.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import partial
from typing import Any

from crawler.bodytext import BadContent

_DIGESTS = {"sha256": 32, "sha512": 64, "md5": 16}  # bytes
_SIZE = re.compile(r"[0-9]{1,18}\Z")
_MOST = 100  # mirrors of one row


def digest_of(name: str, cell: Any) -> str:
    """A digest, as lower-case hex; `sha256:<hex>` and `sha256-<base64>` (W3C Subresource Integrity) are taken as well.

    Raises BadContent.
    """
    size = _DIGESTS[name]
    text = cell.strip() if isinstance(cell, str) else ""
    digits = text.lower().removeprefix(f"{name}:")
    if re.fullmatch(f"[0-9a-f]{{{2 * size}}}", digits):
        return digits
    if text.lower().startswith(f"{name}-"):
        try:
            data = b64decode(text[len(name) + 1 :], validate=True)
        except ValueError:
            data = b""
        if len(data) == size:
            return data.hex()
    raise BadContent(f"{name} is not {2 * size} hexadecimal digits")


def size_of(cell: Any) -> int:
    """A number of bytes. Raises BadContent."""
    if isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < 10**18:
        return cell
    if isinstance(cell, str) and _SIZE.match(cell.strip()):
        return int(cell)
    raise BadContent(f"size {str(cell)[:40]!r} is not a number of bytes, in digits alone")


def mirrors_of(cell: Any) -> tuple[str, ...]:
    """URLs in a list, or in a text with spaces between them. Raises BadContent."""
    urls = cell.split() if isinstance(cell, str) else cell
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        raise BadContent("mirrors is neither a list of URLs nor a text of URLs with spaces between them")
    if len(urls) > _MOST:
        raise BadContent(f"mirrors has {len(urls)} URLs, at most {_MOST} are tried")
    return tuple(url.strip() for url in urls)


READERS: dict[str, Callable[[Any], Any]] = {
    **{name: partial(digest_of, name) for name in _DIGESTS},
    "size": size_of,
    "mirrors": mirrors_of,
}
