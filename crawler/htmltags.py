"""The start tags of an HTML page, found without building its tree: in one pass, at a third of what a tree costs.

Decides what is a tag: by the tokenizer of the HTML standard (13.2.5), so not what stands in a comment, a script, a
<title> or a quoted value. Must not know what the tags are wanted for. Other than a browser it reads on within <iframe>,
<noframes> and <noembed>, since it shows none of them, takes <script/> to be empty, as XHTML means it, and ends a script
at its first end tag, even behind "<!--<script>".

Invariant: nothing raises, and each byte is looked at a bounded number of times, whatever the page holds; a tree of
10^5 nested elements takes half a minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from html import unescape
from html.entities import html5
from itertools import islice

LARGEST = 16 * 1024**2  # bytes of a page that are looked at
MAX_ATTRIBUTES = 200  # of one tag

_STEPS = 5000  # tags that are passed over in one go, while no other thread can run


def _either(word: str) -> str:
    """A pattern of the word in any case; the flag for it would be slower."""
    return "".join(f"[{letter}{letter.upper()}]" for letter in word)


_WHITE = r"[ \t\n\r\f]"
_ENDED = r"(?=[ \t\n\r\f/>])"
_NAME = r"[^ \t\n\r\f/>=][^ \t\n\r\f/>=]*+"
_VALUE = r"""(?> "[^"]*+(?:"|\Z) | '[^']*+(?:'|\Z) | [^ \t\n\r\f>]*+ )"""
_ONE = rf"[ \t\n\r\f/]*+ (?: =?+{_NAME} | = ) (?: {_WHITE}*+ = {_WHITE}*+ {_VALUE} )?+"
# To the ">" of a tag, or the end of the page: quotes are such only behind a name and "=". The same of most tags,
# quicker; where it fails, the first is to be tried.
_REST = rf"(?: {_ONE} )*+ [ \t\n\r\f/]*+"
_QUICK = r"""[ \t\n\r\f] [^>="']*+ (?: (?<![ \t\n\r\f/"])="[^"]*+" [^>="']*+ )*+ >"""
_TAG = rf"[a-zA-Z][^ \t\n\r\f/>]*+ (?: > | {_QUICK} | {_REST} )"
_HREF = _either("href")


def _raw(name: str) -> str:
    """What stands in an element whose content is no markup."""
    return rf"(?: [^<]++ | <(?!/{_either(name)}[ \t\n\r\f/>]) )*+"


def _raw_element(name: str) -> str:
    return rf"{_either(name)}{_ENDED} {_REST} (?: (?<=/)> | >{_raw(name)} | \Z )"


_COMMENT = r"!-- (?: -?> | (?: [^-]++ | -(?!-) | --++(?!!?>) )*+ (?: -++!?> | \Z ) )"
_NO_TAG = rf"{_COMMENT} | [!?][^>]*+ | (?![a-zA-Z])"
_END_TAG = rf"/[a-zA-Z][a-zA-Z0-9]*+> | /{_TAG} | /[^>]*+"
# Most tags are passed over in a hurry: letters with which none of those begins that are looked for. Then fewer, with
# which no name begins that `named_tags` is asked for.
_TAIL = rf"""[^ \t\n\r\f/>="']*+ (?: > | {_QUICK} )"""
_DULL = rf"(?: [cdeghjknopqruvwyz] | s(?![ct]) | t(?![ie]) | l(?!in) | b(?!a) | i(?!f) ) {_TAIL}"
_DULLEST = rf"(?: [cdghjknpqrwyz] | sp | l(?!in) | em(?=[ >]) ) {_TAIL}"
# So are anchors of the commonest form that lead within their page: a third of all in documentation.
_WITHIN = r"""a (?: [ ](?!href=)[a-z-]++="[^"]*+" )*+ [ ]href="\#[^"]*+" (?: [ ][a-z-]++="[^"]*+" )*+ >"""
_NAMES = ("area", "link", "base", "meta", "iframe", "frame")
# An <a> has an `href` as it is written, with its opening quote, up to the "#" ("&#" begins a reference).
_ANCHOR = rf"""(?P<a>[aA]){_ENDED}
    (?: (?![ \t\n\r\f/]*+{_HREF}[ \t\n\r\f/=>]) {_ONE} ){{0,{MAX_ATTRIBUTES}}}+
    [ \t\n\r\f/]*+ {_HREF} {_WHITE}*+ = {_WHITE}*+
    (?: (?P<double>"(?:[^"\#&]++|&\#?+)*+\#?+) [^"]*+" | (?P<other>{_VALUE}) ) (?: > | {_QUICK} | {_REST} > )"""


@cache
def _linking() -> re.Pattern[bytes]:
    """Each match is what is passed over and then one tag, or nothing at the end of the page."""
    names = "|".join(map(_either, _NAMES))
    raws = " | ".join(map(_raw_element, ("script", "style", "textarea", "title", "xmp")))
    pattern = rf"""(?: [^<]*+ < (?: {_END_TAG} | {_DULL} | {_WITHIN}
            | (?!(?:[aA]|{names}){_ENDED}) (?: {raws} | {_TAG} | {_NO_TAG} ) ) ){{0,{_STEPS}}}+ [^<]*+
        (?: < (?: {_ANCHOR} | (?P<name>{names}){_ENDED} (?P<rest>{_REST}) > | [a-zA-Z]{_REST} ) )?+"""
    return re.compile(pattern.encode(), re.VERBOSE)


@cache
def _named(names: frozenset[str] | None, ends: bool = False) -> re.Pattern[bytes]:
    """The same of all tags of these names (None: of all), and of end tags."""
    script, style = _either("script") + _ENDED, _either("style") + _ENDED
    raws = " | ".join(map(_raw_element, ("textarea", "title", "xmp")))
    given = "|".join(map(_either, sorted(names))) if names else rf"{'/?+' if ends else ''}[a-zA-Z][^ \t\n\r\f/>]*+"
    dull = f"{_DULLEST} |" if names else ""
    passed = r"/(?![a-zA-Z])[^>]*+" if ends else _END_TAG
    name = rf"(?: {script} | {style} | (?:{given}){_ENDED} )"
    pattern = rf"""(?: [^<]*+ < (?: {passed} | {dull} {raws} | (?!{name}) (?: {_TAG} | {_NO_TAG} ) )
        ){{0,{_STEPS}}}+ [^<]*+
        (?: < (?: (?P<name> (?P<script>{script}) | (?P<style>{style}) | (?:{given}){_ENDED} ) (?P<rest>{_REST})
            (?: (?<=/)> | > (?(script){_raw("script")}) (?(style)(?P<text>{_raw("style")})) )
            | [a-zA-Z]{_REST} ) )?+"""
    return re.compile(pattern.encode(), re.VERBOSE)


@cache
def _plain() -> re.Pattern[bytes]:
    """A page of tags with at most 100 values, and few names without one between two of them."""
    names = ("script", "style", "textarea", "title", "xmp")
    raws = " | ".join(map(_raw_element, names))
    dull = r"""[cdghjknpqruwyz] [^>="']{0,300}+ (?: ="[^"]*+" [^>="']{0,300}+ ){0,100}+ >"""
    rest = rf"[^>=]{{0,300}}+ (?: = {_WHITE}*+ {_VALUE} [^>=]{{0,300}}+ ){{0,100}}+ (?:>|\Z)"
    markup = f"(?!(?:{'|'.join(map(_either, names))}){_ENDED}) [a-zA-Z] {rest}"
    pattern = rf"(?: [^<]*+ < (?: /[a-zA-Z0-9]*+> | {dull} | {raws} | /?{markup} | {_NO_TAG} ) )*+ [^<]*+ \Z"
    return re.compile(pattern.encode(), re.VERBOSE)


_ATTRIBUTE = re.compile(
    rf"""[ \t\n\r\f/]*+ (=?{_NAME}|=) (?: {_WHITE}*+ = {_WHITE}*+ ({_VALUE}) )?+""".encode(), re.VERBOSE
)
_REFERENCE = re.compile("&(?:#[0-9]{1,40}+;?|#[xX][0-9a-fA-F]{1,40}+;?|([A-Za-z][A-Za-z0-9]{0,40}+(?:;|(?!=))))")


def linking_tags(page: bytes) -> Iterator[re.Match[bytes]]:
    """The tags that lead to other pages. The groups are, in this order: of an <a> `a`, where it begins, and its href as
    `double` (with the opening quote, up to its "#") or `other`; of <area>, <link>, <base>, <meta>, <iframe> and <frame>
    `name` and `rest`. A match may also be of no tag.

    The page's ASCII must be ASCII, as it is in UTF-8 and nearly all charsets.
    """
    return _linking().finditer(page, 0, LARGEST)


def named_tags(page: bytes, names: frozenset[str] | None) -> Iterator[re.Match[bytes]]:
    """The start tags of these names (in lower case, none beginning with a letter of _DULLEST), of <script> and <style>
    besides, or all (None): `name`, `rest`, and `text` within a <style>. A match may also be of no tag.
    """
    return _named(names).finditer(page, 0, LARGEST)


def every_tag(page: bytes) -> Iterator[re.Match[bytes]]:
    """All start and end tags; the `name` of an end tag begins with "/"."""
    return _named(None, ends=True).finditer(page, 0, LARGEST)


def plain_attributes(page: bytes) -> bool:
    """Has no tag of the page more attributes than some thousand; quicker than to count them."""
    return _plain().match(page) is not None


def attribute_count(rest: bytes) -> int:
    """How many attributes stand in what follows a tag's name, those of one name included."""
    return sum(1 for _ in _ATTRIBUTE.finditer(rest))


def attributes(rest: bytes) -> Mapping[bytes, bytes]:
    """The attributes in what follows a tag's name, by lower-case names; of two of a name the first counts."""
    said: dict[bytes, bytes] = {}
    for found in islice(_ATTRIBUTE.finditer(rest), MAX_ATTRIBUTES):
        said.setdefault(found[1].lower(), bare(found[2] or b""))
    return said


def bare(value: bytes) -> bytes:
    """A value without its quotes."""
    if value[:1] in (b'"', b"'"):
        return value[1:-1] if value[-1:] == value[:1] and len(value) > 1 else value[1:]
    return value


def resolved(text: str) -> str:
    """The value with its character references resolved, as they are in attributes (13.2.5.73): without a ";" they count
    only where no "=" or letter follows.
    """
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return html5.get(found[1], found[0])
    digits = found[0].strip("&#;")
    number = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
    if 0x80 <= number < 0xA0:  # meant as windows-1252 (13.2.5.80)
        return unescape(found[0])
    return "\ufffd" if not 0 < number < 0x110000 or 0xD800 <= number < 0xE000 else chr(number)
