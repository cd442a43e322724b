"""Charsets: which of the things that tell one counts, what labels mean, and that nothing is looked at in vain."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.charsets import LOOKED_AT, charset_of, decode, label, parsed_json

META = b'<html><head><meta charset="koi8-r"></head>'


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        (" unicode-1-1-utf-8 ", "utf-8"),
        ("latin1", "windows-1252"),
        ("ISO-8859-1", "windows-1252"),
        ("iso88591", "windows-1252"),
        ("iso_8859-1:1987", "windows-1252"),
        ("us-ascii", "windows-1252"),
        ("x-cp1252", "windows-1252"),
        ("iso-8859-2", "iso-8859-2"),
        ("ISO_8859-9:1989", "windows-1254"),
        ("latin5", "windows-1254"),
        ("iso-8859-11", "windows-874"),
        ("tis-620", "windows-874"),
        ("cp1251", "windows-1251"),
        ("windows-1258", "windows-1258"),
        ("koi8-ru", "koi8-u"),
        ("gb2312", "gbk"),
        ("x-gbk", "gbk"),
        ("x-x-big5", "big5"),
        ("Big5-HKSCS", "big5"),
        ("x-sjis", "shift_jis"),
        ("windows-31j", "shift_jis"),
        ("ks_c_5601-1987", "euc-kr"),
        ("csEUCKR", "euc-kr"),
        ("x-mac-ukrainian", "x-mac-cyrillic"),
        ("utf-16", "utf-16le"),
        ("UTF-16BE", "utf-16be"),
    ],
)
def test_labels_mean_what_they_mean_to_browsers(said: str, meant: str) -> None:
    """By the labels of the Encoding standard (4.2), and each is one that can be decoded."""
    assert label(said) == meant
    assert decode("a".encode({"utf-16le": "utf-16-le", "utf-16be": "utf-16-be"}.get(meant, "ascii")), meant) == "a"


@pytest.mark.parametrize("said", ["", "utf-7", "utf-9", "hex", "rot13", "zip", "idna", "x" * 10_000, "../os", "none"])
def test_unknown_labels_mean_nothing(said: str) -> None:
    """Nor do those of Python that are no charsets of the web."""
    assert label(said) is None


@given(st.text(max_size=60))
def test_a_label_never_makes_python_look_for_a_module(said: str) -> None:
    """What servers say is looked up in tables alone, and what is found can be decoded."""
    before = {name for name in sys.modules if name.startswith("encodings.")}
    found = label(said)
    assert {name for name in sys.modules if name.startswith("encodings.")} == before
    assert found is None or isinstance(decode(b"a", found), str)


@pytest.mark.parametrize(
    ("content_type", "start", "charset"),
    [
        ("text/html; charset=utf-8", META, "utf-8"),
        ('text/html;CHARSET="utf-8"', META, "utf-8"),
        ("text/html; charset = 'utf-8", META, "koi8-r"),
        ('text/html; x="; charset=latin1"; charset=utf-8', META, "utf-8"),
        ("text/html; charset=utf-8, text/html", META, "utf-8"),
        ("text/html, text/html; charset=utf-8", META, "utf-8"),
        ("text/html; charset=nonsense", META, "koi8-r"),
        ("text/html; charset=utf-8", b"\xff\xfe<\0", "utf-16le"),
        ("text/html; charset=latin1", b"\xef\xbb\xbf<", "utf-8"),
        ("text/plain", b"\xfe\xff\0a", "utf-16be"),
        ("text/plain", META, None),
        ("application/json", META, None),
        ("application/json; charset=latin1", b"{}", "windows-1252"),
        ("application/vnd.api+json", b"\xef\xbb\xbf{}", "utf-8"),
        ("image/png; charset=utf-8", b"\xff\xfe", None),
        ("application/octet-stream", META, None),
        (None, META, "koi8-r"),
        ("", b" \n" + META, "koi8-r"),
        (None, b"\xff\xfe\0\0", None),
        ("text/html", b"", None),
        ("text/html; charset=", b"", None),
    ],
)
def test_the_order_of_what_counts(content_type: str | None, start: bytes, charset: str | None) -> None:
    """Byte order mark, parameter, the page itself; a type that is no text is not looked into."""
    assert charset_of(content_type, start) == charset


@pytest.mark.parametrize(
    ("start", "charset"),
    [
        (b"<META CHARSET=KOI8-R>", "koi8-r"),
        (b"<meta charset='koi8-r'/>", "koi8-r"),
        (b"<meta/charset=koi8-r>", "koi8-r"),
        (b'<meta name="a" content="b>c"><meta charset=koi8-r>', "koi8-r"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        (b'<meta content="text/html;charset = koi8-r" http-equiv=content-type>', "koi8-r"),
        (b'<meta http-equiv="refresh" content="text/html; charset=koi8-r">', None),
        (b'<meta content="charset=koi8-r">', None),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b"<meta charset=latin2 charset=koi8-r>", "iso-8859-2"),
        (b"<!-- <meta charset=latin2> --><meta charset=koi8-r>", "koi8-r"),
        (b"<!-- <meta charset=latin2>", None),
        (b'<p title="<meta charset=latin2>"><meta charset=koi8-r>', "koi8-r"),
        (b"<p title=it's><meta charset=koi8-r><p title=it's>", "koi8-r"),
        (b"<metal charset=koi8-r>", None),
        (b"<meta charset=koi8-r", None),
        (b"<meta charset=utf-16>", "utf-8"),
        (b" " * (LOOKED_AT - 21) + b"<meta charset=koi8-r>", "koi8-r"),
        (b" " * (LOOKED_AT - 20) + b"<meta charset=koi8-r>", None),
        (b'<?xml version="1.0" encoding="koi8-r"?><html>', "koi8-r"),
    ],
)
def test_what_html_says_of_itself(start: bytes, charset: str | None) -> None:
    """A meta element within the first KiB that is no comment and no attribute; UTF-16 is not told in ASCII."""
    assert charset_of("text/html", start) == charset


@pytest.mark.parametrize(
    "content_type", ["application/xml", "text/xml", "application/atom+xml", "application/xhtml+xml"]
)
@pytest.mark.parametrize(
    ("start", "charset"),
    [
        (b'<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
        (b"<?xml version='1.0' encoding = 'koi8-r' standalone='yes'?>", "koi8-r"),
        (b'<?xml version="1.0"?><a encoding="koi8-r">', None),
        (b' <?xml version="1.0" encoding="koi8-r"?>', None),
        (b'<?xml version="1.0" encoding="utf-16"?>', "utf-8"),
        ('<?xml version="1.0"?>'.encode("utf-16-le"), "utf-16le"),
        ('<?xml version="1.0"?>'.encode("utf-16-be"), "utf-16be"),
    ],
)
def test_what_xml_says_of_itself(content_type: str, start: bytes, charset: str | None) -> None:
    """The declaration, which stands first or not at all (XML 1.0, 2.8)."""
    assert charset_of(content_type, start) == charset


@given(st.sampled_from(["text/html", "text/xml", "application/json", "text/plain", "", None]), st.binary(max_size=1500))
def test_nothing_raises(content_type: str | None, start: bytes) -> None:
    """Whatever comes, it can be decoded by what is told."""
    assert isinstance(decode(start, charset_of(content_type, start)), str)


@given(
    st.lists(
        st.sampled_from([b"<", b"<a ", b"<meta ", b"=", b'"', b"'", b"<!--", b"-->", b">", b" ", b"charset", b"utf8"])
    )
)
def test_broken_html_is_harmless(pieces: list[bytes]) -> None:
    """Only labels that stand there are told."""
    assert charset_of("text/html", b"".join(pieces)) in (None, "utf-8")


@pytest.mark.parametrize(
    "piece", [b"<", b"<a ", b"<a ='", b"<!--", b"= ", b"<meta a=", b"<?xml encoding", b" ", b'<a ="']
)
def test_no_start_is_slow(piece: bytes) -> None:
    """A page made to be slow costs less than 2 ms."""
    start = piece * (LOOKED_AT // len(piece))
    before = time.process_time()
    for _ in range(10):
        charset_of("text/html", start)
    assert time.process_time() - before < 0.02


@pytest.mark.parametrize(
    "charset", ["utf-8", "utf-16le", "utf-16be", "gbk", "shift_jis", "euc-kr", "big5", "koi8-r", None]
)
def test_text_is_decoded(charset: str | None) -> None:
    """As it was written, its byte order mark left out."""
    text = "Ж" if charset not in ("euc-kr", "big5") else "中"
    encoding = {"utf-16le": "utf-16-le", "utf-16be": "utf-16-be", None: "utf-8"}.get(charset, charset)
    assert encoding is not None
    assert decode(text.encode(encoding), charset) == text
    if charset is None or charset.startswith("utf"):
        assert decode(("\ufeff" + text).encode(encoding), charset) == text


def test_what_cannot_be_decoded_is_replaced() -> None:
    """A page with one wrong byte is still a page."""
    assert decode(b"a\xffb", "utf-8") == "a\ufffdb"
    with pytest.raises(LookupError):
        decode(b"a", "no such charset")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a":"\xc3\xbc"}'),
        ("application/json", b'\xef\xbb\xbf{"a":"\xc3\xbc"}'),
        ("application/json; charset=latin1", b'{"a":"\xfc"}'),
        ("application/json; charset=latin1", b'{"a":"\xc3\xbc"}'),
        ("application/json", '\ufeff{"a":"ü"}'.encode("utf-16-le")),
    ],
)
def test_json_is_utf_8_unless_it_is_not(content_type: str, body: bytes) -> None:
    """A charset parameter means nothing for JSON (RFC 8259, 11), until the bytes are no UTF-8."""
    assert parsed_json(body, content_type) == {"a": "ü"}


def test_what_is_no_json_is_told_with_its_place() -> None:
    """Line and column, whichever way it was read."""
    for content_type in ("application/json", "application/json; charset=latin1"):
        with pytest.raises(ValueError, match="line 1 column 2"):
            parsed_json(b"{]", content_type)
