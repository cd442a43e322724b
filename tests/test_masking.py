"""Masking by value: all forms, overlaps, cuts; what holds no secret stays the very same object."""

from __future__ import annotations

import html
import json
import re
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from timeit import repeat
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from crawler.masking import NOTHING, Mask
from crawler.secretforms import forms_of

SECRET = "p4ss/w\"o+rd ä&\\=%<'€"
# No asterisk, which masking itself writes; no comma, of which there are others in what surrounds a secret.
secrets = st.text(st.characters(exclude_characters="*,\r\n", exclude_categories=["Cs", "Cc"]), min_size=4, max_size=30)
ALPHABET = string.ascii_letters + string.digits + "-._~+/="
tokens = st.text(ALPHABET, min_size=4, max_size=40)


FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda text: text,
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "quote_plus": quote_plus,
    "quote twice": lambda text: quote(quote(text, safe=""), safe=""),
    "quote like browsers": lambda text: quote(text, safe="!'()*;:@&=+$,/?"),
    "small digits": lambda text: "".join(
        f"%{octet:02x}" if octet > 127 or octet in b' "%&' else chr(octet) for octet in text.encode()
    ),
    "json": json.dumps,
    "json utf-8": lambda text: json.dumps(text, ensure_ascii=False),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "json of php": lambda text: json.dumps(text).replace("/", "\\/"),
    "html": html.escape,
    "html of numbers": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 unpadded": lambda text: b64encode(text.encode()).decode().rstrip("="),
    "base64 for urls": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "basic, 1 before": lambda text: b64encode(f"u{text}".encode()).decode(),
    "basic, 2 before": lambda text: b64encode(f"u:{text}".encode()).decode(),
    "basic, 4 before": lambda text: b64encode(f"ann:{text}".encode()).decode(),
    "within base64": lambda text: b64encode(f"token={text}&more=1".encode()).decode(),
    "base64 in a query": lambda text: quote_plus(b64encode(f"anna:{text}".encode()).decode()),
    "base64 in json of php": lambda text: b64encode(text.encode()).decode().replace("/", "\\/"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "secret", [SECRET, "s3cr3t-token.0123456789_ABCDEF~", "k/+8", "пароль", "\\\\srv\\\\", "    x"]
)
def test_every_form_is_found(form: str, secret: str) -> None:
    """However a secret was encoded: of the form that stands in a text nothing is left, what surrounds it stays."""
    shown = FORMS[form](secret)
    masked = Mask([secret])(f"before, {shown}, after")
    assert re.fullmatch(r"before, (b?[\"'\\]*|[A-Za-z0-9]*)\*\*\*([\"'\\]*|[A-Za-z0-9]*(=|%3D)*), after", masked)
    assert Mask([secret]).of_bytes(f"before, {shown}, after".encode()) == masked.encode()


@given(secrets, st.sampled_from(sorted(FORMS)), st.text(max_size=10), st.text(max_size=10))
def test_no_form_of_any_secret_is_left(secret: str, form: str, before: str, after: str) -> None:
    """For any secret, in any form and between any texts, it cannot be read out of the masked text any more."""
    assume("*" not in before + after)
    shown = FORMS[form](secret)
    masked = Mask([secret])(f"{before} {shown} {after}")
    assert "***" in masked
    assert secret not in masked
    assert shown not in masked


@given(st.lists(tokens, min_size=1, max_size=5), st.data())
def test_secrets_that_overlap_leave_no_tail(values: list[str], data: st.DataObject) -> None:
    """Any text made of pieces of secrets is left without each of them."""
    pieces = st.lists(st.sampled_from([*values, *(value[:3] for value in values), *(value[2:] for value in values)]))
    masked = Mask(values)("".join(data.draw(pieces)))
    assert [value for value in values if value in masked] == []


def test_overlaps_are_hidden_as_one() -> None:
    """Of two secrets that share characters, one in another, one twice in itself, and side by side."""
    assert Mask(["hello1234", "1234world"])("<hello1234world>") == "<***>"
    assert Mask(["inner", "outer-inner-outer"])("<outer-inner-outer> <inner>") == "<***> <***>"
    assert Mask(["token", "token-and-more"])("<token-and-more> <token>") == "<***> <***>"
    assert Mask(["abab"])("<ababab>") == "<***>"
    assert Mask(["token"])("<tokentoken>") == "<***>"


@given(st.lists(tokens, max_size=3), st.text(max_size=60))
@example([], "any text … cut")
@example(["secret"], "any text … cut")
def test_what_holds_no_secret_is_the_very_same(values: list[str], text: str) -> None:
    """No copy, no change."""
    mask = Mask(values)
    assume("***" not in mask(text))
    assert mask(text) is text
    data = orjson.dumps([text.encode("utf-8", "replace").decode()])
    assert mask.of_json(data) is data or "***" in mask.deep(orjson.loads(data))[0]


def test_of_short_values_nothing_is_made() -> None:
    """Three characters are let through, four are not."""
    assert Mask(["", "a", "the"])("the text") == "the text"
    assert Mask(["text"])("the text") == "the ***"


def test_the_credential_in_a_url_is_a_secret_of_its_own() -> None:
    """A proxy by reference: its password is hidden where it stands alone, decoded as well."""
    mask = Mask(["http://anna:p%40ss%2Fword@proxy.example:3128"])
    assert mask("to http://anna:p%40ss%2Fword@proxy.example:3128 now") == "to *** now"
    assert mask("said p@ss/word and p%40ss%2Fword") == "said *** and ***"
    assert mask("anna at proxy.example:3128") == "anna at proxy.example:3128"
    assert Mask(["https://ghp_0123456789@host/"])("ghp_0123456789 here") == "*** here"


def test_what_a_cut_has_left_is_hidden() -> None:
    """Server text is cut before it is masked: the head of a secret before the cut, and the tail after it, go too."""
    mask = Mask(["0123456789abcdef"])
    assert mask("Location /a?key=0123456789ab…") == "Location /a?key=***…"
    assert mask("Location /a?key=012345… and …9abcdef.") == "Location /a?key=***… and …***."
    assert mask("key=01234…") == "key=01234…"  # five characters tell little
    assert mask("an … and another …") == "an … and another …"


def test_secrets_are_learned() -> None:
    """A token that came at run time is hidden from then on; of many the newest are kept, and those given for ever."""
    mask = Mask(["given-secret"])
    assert mask("token-0") == "token-0"
    for number in range(40):
        mask.learn(f"token-{number:02d}")
    assert mask("token-39 token-08 given-secret") == "*** *** ***"
    assert mask("token-07") == "token-07"
    mask.learn("token-08")
    mask.learn("token-40")
    assert mask("token-08 token-09 token-40") == "*** token-09 ***"


def test_what_is_added_stays() -> None:
    """A password out of a file is not pushed out by tokens."""
    mask = Mask(())
    assert mask("of-netrc") == "of-netrc"
    mask.add("of-netrc")
    for number in range(40):
        mask.learn(f"token-{number:02d}")
    assert mask("of-netrc token-39") == "*** ***"


def test_bytes_that_are_not_utf_8() -> None:
    """They stay as they are, around what is masked."""
    assert Mask(["secret"]).of_bytes(b"\xff secret \xe4") == b"\xff *** \xe4"
    data = b"\xff \xe4"
    assert Mask(["secret"]).of_bytes(data) is data


def test_nothing_learns_nothing() -> None:
    """The mask that all share cannot be spoilt by one."""
    with pytest.raises(TypeError):
        NOTHING.learn("secret-secret")
    with pytest.raises(TypeError):
        NOTHING.add("secret-secret")
    assert NOTHING("secret-secret") == "secret-secret"


def test_deep() -> None:
    """Texts in lists and tables, keys too; numbers stay, and whatever has no secret is the same object."""
    mask = Mask(["12345678", "secret"])
    clean = {"a": ["b", {"c": 1.5}], "n": 12345678}
    value = {"x": "is secret", "secret": [1, "12345678", None], "clean": clean, "t": ("y", "secret")}
    masked = mask.deep(value)
    assert masked == {"x": "is ***", "***": [1, "***", None], "clean": clean, "t": ["y", "***"]}
    assert masked["clean"] is clean
    assert mask.deep(clean) is clean


def test_json_stays_json() -> None:
    """A secret of digits is no reason to spoil a number; the order of keys and the line end stay."""
    mask = Mask(["12345678", 'qu"ote'])
    line = orjson.dumps({"bytes": 12345678, "error": '12345678 qu"ote', "body": None}) + b"\n"
    assert mask.of_json(line) == b'{"bytes":12345678,"error":"*** ***","body":null}\n'
    assert mask.of_json('["at 123456…"]'.encode()) == '["at ***…"]'.encode()
    same = '{"bytes":12345678,"text":"1234…"}\n'.encode()
    assert mask.of_json(same) is same


@given(secrets)
def test_anchors_stand_in_all_their_matches(secret: str) -> None:
    """Without its anchor no form can match, which is what makes a text without secrets cheap."""
    for form in forms_of(secret):
        assert form.anchor in form.text


@pytest.mark.slow
@pytest.mark.parametrize("secret", ["\\" * 20 + "x1", '"' * 20, "%25" * 10, "aaaa" * 8, "&" * 12 + ";", " " * 20])
@pytest.mark.parametrize("noise", ["\\", '\\"', "%25", "a", "&amp;", "+", "%", "&#0", "…"])
def test_no_text_makes_it_slow(secret: str, noise: str) -> None:
    """A server that knows how secrets look cannot keep us busy: 20 kB take less than a second."""
    text = noise * (20_000 // len(noise)) + "…"
    mask = Mask([secret])
    assert min(repeat(lambda: mask(text), number=1, repeat=1)) < 1.0


def test_the_repr_shows_no_value() -> None:
    """Numbers only."""
    mask = Mask(["s3cret-1"])
    mask.learn("s3cret-2")
    assert repr(mask) == "<Mask of 1 secrets and 1 learned>"
