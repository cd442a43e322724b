"""XML in pieces: what is told, what is refused, and that nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.xmltext import MAX_DEPTH, MAX_TEXT, MAX_TOKEN, Refused, XmlReader
from tests import hostilepages


class Told:
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.elements: list[tuple[str, str]] = []
        self.attributes: list[dict[str, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.attributes.append(attributes)
        if name == "stop":
            raise Refused("is stopped")

    def end(self, name: str, text: str) -> None:
        self.elements.append((name, text))


def read(data: bytes, *, charset: str | None = None, step: int = 10**6) -> tuple[Told, str | None]:
    told = Told()
    reader = XmlReader(told, charset)
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.feed(b"", last=True)
    return told, reader.fault


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_elements_as_they_end(step: int) -> None:
    """With their own text, prefixes left out, declared or not."""
    told, fault = read(b"<a><x:b c='1' y:d='2'>t<e>u</e>v&amp;</x:b><![CDATA[<w>]]></a>", step=step)
    assert told.elements == [("e", "u"), ("b", "tv&"), ("a", "<w>")]
    assert told.attributes == [{}, {"c": "1", "y:d": "2"}, {}]
    assert fault is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<a><b></a>", "broken XML"),
        (b"<a><b>", "broken XML"),
        (b"", "broken XML"),
        (b"<a>&nbsp;</a>", "broken XML"),
        (b"<?xml version='1.0' encoding='no-such'?><a/>", "charset"),
        (b"<?xml version='1.0' encoding='shift_jis'?><a>\x83\x5c</a>", "charset"),
        (hostilepages.entity_bomb(), "entities"),
        (b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "entities"),
        (b"<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://h.example/'> %x;]><a/>", "entities"),
        (b"<a>" * (MAX_DEPTH + 1), "nested"),
        (b"<a b='" + b"x" * (3 * MAX_TOKEN), "tag or comment"),
        (b"<a><!--" + b"x" * (3 * MAX_TOKEN), "tag or comment"),
        (b"<a><stop/><b/></a>", "is stopped"),
    ],
)
def test_what_is_not_read_on(data: bytes, said: str) -> None:
    """The fault says why; it is the rest of a sentence."""
    assert said in (read(data, step=50_000)[1] or "")


def test_after_a_fault_nothing_is_told() -> None:
    """What came before it was."""
    told, _ = read(b"<a><b>1</b></c><b>2</b></a>", step=1)
    assert told.elements == [("b", "1")]


def test_an_external_subset_is_not_read() -> None:
    """A DOCTYPE that names one is let through, since many feeds have it; nothing is fetched."""
    told, fault = read(b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a>x</a>")
    assert (told.elements, fault) == ([("a", "x")], None)


def test_text_is_bounded() -> None:
    """Of one text not much more than MAX_TEXT is kept."""
    told, fault = read(b"<a>" + b"line\n" * MAX_TEXT + b"</a>", step=10_000)
    assert MAX_TEXT <= len(told.elements[0][1]) <= 2 * MAX_TEXT
    assert fault is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252", "koi8-r"])
def test_charsets(encoding: str) -> None:
    """That of the declaration."""
    data = f"<?xml version='1.0' encoding='{encoding}'?><a>\N{COPYRIGHT SIGN}</a>".encode(encoding)
    assert read(data)[0].elements == [("a", "\N{COPYRIGHT SIGN}")]


@given(
    st.lists(
        st.sampled_from(["<a>", "</a>", "<b c='", "'/>", "<!--", "-->", "<![CDATA[", "]]>", "&lt;", "&x;", "<?x"])
        | st.text(max_size=3)
    ),
    st.integers(1, 20),
)
def test_nothing_raises(parts: list[str], step: int) -> None:
    """Whatever it is, in whatever pieces, the same is told."""
    data = "".join(parts).encode("utf-8", "replace")
    assert read(data, step=step)[0].elements == read(data)[0].elements
