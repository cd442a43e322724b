"""Which charset a text is in, and the text of its bytes.

Decides by the order of the Encoding standard (BOM, charset parameter, what the page says of itself); labels mean what
they mean to browsers: "iso-8859-1" and "latin1" are windows-1252. Must not know what the text is for, nor
guess from its letters. Invariant: a charset that is told is one that `decode` takes, and is spelled as
in the standard, in lower case; nothing that a server says raises, or makes Python look for a codec of that name.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import lru_cache
from typing import Any

import orjson

LOOKED_AT = 1024  # bytes, from the start, in which a page may name its charset (HTML standard, 13.2.3.2)

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16le"), (b"\xfe\xff", "utf-16be"))

# The standard's names of what Python calls so (Encoding standard, 4.2), where they are not one name in two spellings.
_STANDARD = {
    "ascii": "windows-1252",
    "latin_1": "windows-1252",
    "iso8859_9": "windows-1254",
    "iso8859_11": "windows-874",
    "tis_620": "windows-874",
    "cp866": "ibm866",
    "cp874": "windows-874",
    "gb2312": "gbk",
    "cp936": "gbk",
    "big5hkscs": "big5",
    "cp932": "shift_jis",
    "cp949": "euc-kr",
    "mac_roman": "macintosh",
    "mac_cyrillic": "x-mac-cyrillic",
    "utf_16": "utf-16le",
    "utf_16_le": "utf-16le",
    "utf_16_be": "utf-16be",
    "shift_jis": "shift_jis",
    "iso2022_jp": "iso-2022-jp",
    **{name: name.replace("_", "-") for name in ("utf_8", "koi8_r", "koi8_u", "gbk", "gb18030", "big5")},
    **{name: name.replace("_", "-") for name in ("euc_jp", "euc_kr")},
    **{f"cp125{n}": f"windows-125{n}" for n in range(9)},
    **{f"iso8859_{n}": f"iso-8859-{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
}
# Labels of the standard that Python does not know.
_FURTHER = {
    "cn_big5": "big5",
    "csisolatin9": "iso8859_15",
    "csksc56011987": "euc_kr",
    "dos_874": "cp874",
    "gb_2312": "gbk",
    "gb_2312_80": "gbk",
    "iso_8859_6_e": "iso8859_6",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_8_i": "iso8859_8",
    "iso_ir_149": "euc_kr",
    "koi": "koi8_r",
    "koi8": "koi8_r",
    "koi8_ru": "koi8_u",
    "ks_c_5601_1989": "euc_kr",
    "ksc_5601": "euc_kr",
    "logical": "iso8859_8",
    "mac": "mac_roman",
    "mac_ukrainian": "mac_cyrillic",
    "sun_eu_greek": "iso8859_7",
    "unicode_1_1_utf_8": "utf_8",
    "visual": "iso8859_8",
    "windows_31j": "cp932",
    "windows_874": "cp874",
    "windows_949": "cp949",
}
# What browsers decode with the larger set of the same family.
_CODECS = {
    "big5": "big5hkscs",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "macintosh": "mac_roman",
    "shift_jis": "cp932",
    "windows-874": "cp874",
    "x-mac-cyrillic": "mac_cyrillic",
}

_PARAMETER = re.compile(r";\s*([^=;\s]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"?|[^;,\s]*)")
# Comments and tags from left to right, so that what stands within a comment or a quoted value is no tag. Each branch
# goes on to the end of what it is given, rather than fail: the text is passed once.
_TAG = re.compile(
    rb"<!--.*?(?:-->|\Z)"
    rb"|</?([a-z][^\s/>]*)((?:=\s*\"[^\"]*(?:\"|\Z)|=\s*'[^']*(?:'|\Z)|[^>])*+)(>?)",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(rb"([^\s=/\"'>]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")
_IN_CONTENT = re.compile(rb"charset\s*=\s*[\"']?([^\s\"';]+)", re.IGNORECASE)
_XML = re.compile(rb"\A<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([\w.:-]+)[\"'][^>]*>", re.ASCII)


def charset_of(content_type: str | None, start: bytes) -> str | None:
    """The charset of a text by its Content-Type and its first bytes (LOOKED_AT of them are enough); None where nothing
    says it, where the label is unknown, or where it is no text (then nothing is looked at).

    The order is that of the HTML standard (13.2.3.2): byte order mark, charset parameter, `<meta>` of HTML, XML
    declaration. A body without a Content-Type counts as HTML where it begins with "<".
    """
    kind, told = _said(content_type or "")
    if not content_type and start.lstrip()[:1] == b"<":
        kind = "html"
    if not kind:
        return None
    if start[:1] in b"\xef\xfe\xff":
        for mark, charset in _BOMS:
            if start.startswith(mark):
                return charset
    if told is not None:
        return told
    found = _meta(start[:LOOKED_AT]) if kind == "html" else None
    return found or (_declared(start[:LOOKED_AT]) if kind in ("html", "xml") else None)


def media_type(content_type: str | None) -> str:
    """The type of a Content-Type alone, in lower case, the first where there are several; "" where there is none."""
    return re.split("[;,]", content_type or "", maxsplit=1)[0].strip().lower()


def decode(data: bytes, charset: str | None) -> str:
    """The text, without its byte order mark; what cannot be decoded becomes U+FFFD. None means UTF-8.

    Raises LookupError where `charset` is none that `charset_of` tells.
    """
    text = data.decode(_CODECS.get(charset, charset) if charset else "utf-8", "replace")
    return text.removeprefix("\ufeff")


def parsed_json(data: bytes, content_type: str | None) -> Any:
    """What a JSON text says. It is UTF-8 (RFC 8259, 8.1), with a byte order mark or without; or, if it is not, in the
    charset that it is said to be in. Raises ValueError with the place.
    """
    try:
        return orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        charset = charset_of(content_type, data[:LOOKED_AT])
        if charset in (None, "utf-8"):
            raise
    return orjson.loads(decode(data, charset))


def label(text: str) -> str | None:
    """The standard's name of a charset by one of its labels; None for one it does not know."""
    name = re.sub(r"[^a-z0-9]+", "_", text.strip().lower()) if len(text) <= 40 else ""
    name = re.sub(r"\Aiso_?8859_?(?=\d)", "iso_8859_", re.sub(r"\A(?:x_)+", "", name))
    for known in (name, name.removeprefix("cs")):
        codec = _FURTHER.get(known) or aliases.get(known, known)
        found = _STANDARD.get(codec) or _STANDARD.get(codec.replace("iso_8859", "iso8859"))
        if found:
            return found
    return None


@lru_cache(maxsize=256)
def _said(content_type: str) -> tuple[str, str | None]:
    """What kind of text it is ("" for none), and the charset it is said to be in."""
    kind = _kind(media_type(content_type))
    if not kind:
        return "", None
    for name, value in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return kind, label(value.strip('"'))
    return kind, None


def _kind(essence: str) -> str:
    if essence in ("text/html", "application/xhtml+xml"):
        return "html"
    if essence.endswith(("/xml", "+xml")):
        return "xml"
    return "text" if essence.startswith("text/") or essence.endswith(("/json", "+json")) else ""


def _meta(start: bytes) -> str | None:
    """By `<meta charset>` or `<meta http-equiv="Content-Type" content>` (HTML standard, 13.2.3.2, prescan)."""
    if b"charset" not in start.lower():  # this is quicker than to look at all tags
        return None
    for tag in _TAG.finditer(start):
        if tag[1] and tag[1].lower() == b"meta" and tag[3]:
            found = _of_meta(tag[2])
            if found:
                return found
    return None


def _of_meta(attributes: bytes) -> str | None:
    said: dict[bytes, bytes] = {}
    for name, *values in _ATTRIBUTE.findall(attributes):
        said.setdefault(name.lower(), b"".join(values))
    value = said.get(b"charset")
    if value is None and said.get(b"http-equiv", b"").lower() == b"content-type":
        inner = _IN_CONTENT.search(said.get(b"content", b""))
        value = inner[1] if inner else None
    return _readable(value)


def _declared(start: bytes) -> str | None:
    """By the XML declaration; two bytes a letter show in its first six (HTML standard, 13.2.3.2)."""
    if start.startswith((b"<\0?\0x\0", b"\0<\0?\0x")):
        return "utf-16le" if start[0] else "utf-16be"
    match = _XML.match(start)
    return _readable(match[1]) if match else None


def _readable(value: bytes | None) -> str | None:
    """The charset of a label that was read as ASCII: so it cannot be UTF-16, whatever it says."""
    found = label(value.decode("latin-1")) if value else None
    return "utf-8" if found in ("utf-16le", "utf-16be") else found
