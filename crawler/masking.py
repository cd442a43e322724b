"""What is a secret is taken out of any text, by its value: raw, percent-encoded, escaped, or inside of Base64.

Decides where a secret stands in a text. Must not know where secrets come from nor where texts go. Invariant: a text
that holds no secret comes back as it is, the very same object; of one that stands in it, in any of these forms, all is
replaced, also where secrets overlap. Values shorter than SHORTEST are let through: to hide "on" or "42" would eat the
text and hide nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from crawler.secretforms import Form, forms_of, parts_left

SHORTEST = 4  # characters
STARS = "***"
CUT = "…"  # where `printable` and others have cut a text
_LEARNED = 32  # secrets learned at run time that are kept: tokens come and go
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#@:]*)(?::([^/?#]*))?@")


class _Finder(NamedTuple):
    """All forms of all secrets. Where none of `anchors` stands in a text, no secret does."""

    generation: int
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    plain: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Finder {self.generation} anchors={len(self.anchors)}>"


class Mask:
    """Replaces secrets by ***. Where there are none it costs some 50 ns for each form of each secret, four for most.

    A URL's password is a secret of its own, beside the whole URL.
    """

    def __init__(self, values: Iterable[str]) -> None:
        self._given = tuple(dict.fromkeys(_parts(values)))
        self._learned: tuple[str, ...] = ()  # the oldest first
        self._generation = 0  # grows with what is learned; log lines come from other threads as well
        self._finder: _Finder | None = None

    def __repr__(self) -> str:
        return f"<Mask of {len(self._given)} secrets and {len(self._learned)} learned>"

    @property
    def knows(self) -> bool:
        """Is there any secret."""
        return bool(self._given or self._learned)

    def add(self, value: str) -> None:
        """One more secret, for good."""
        self._check()
        self._given = tuple(dict.fromkeys((*self._given, *_parts([value]))))
        self._generation += 1

    def learn(self, value: str) -> None:
        """One more secret, which will be followed by others (a token); of these the newest 32 are kept."""
        self._check()
        for part in _parts([value]):
            if part not in self._given:
                known = part in self._learned
                others = tuple(one for one in self._learned if one != part)
                self._learned = (*others, part)[-_LEARNED:]
                self._generation += not known

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self._masked(text) if self._suspect(text) else text

    def of_bytes(self, data: bytes) -> bytes:
        """The same for UTF-8, or nearly so. JSON is for `of_json`: a secret of digits may look like a number."""
        text = data.decode("utf-8", "surrogateescape")
        masked = self(text)
        return data if masked is text else masked.encode("utf-8", "surrogateescape")

    def of_json(self, data: bytes) -> bytes:
        """The same for a JSON text, which stays one: the texts in it are masked, with or without a line end."""
        if not self._suspect(data.decode()):  # a search in text takes half the time of one in bytes
            return data
        value = orjson.loads(data)
        masked = self.deep(value)
        if masked is value:
            return data
        return orjson.dumps(masked, option=orjson.OPT_APPEND_NEWLINE if data.endswith(b"\n") else None)

    def deep(self, value: Any) -> Any:
        """The same for whatever JSON can say: all texts in it, keys as well; the same object where nothing changes."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, Mapping):
            pairs = [(self.deep(key), self.deep(item), key, item) for key, item in value.items()]
            same = all(new_key is key and new is item for new_key, new, key, item in pairs)
            return value if same else {new_key: new for new_key, new, _, _ in pairs}
        if isinstance(value, list | tuple):
            items = [self.deep(item) for item in value]
            return value if all(new is item for new, item in zip(items, value, strict=True)) else items
        return value

    def _all(self) -> tuple[str, ...]:
        return (*self._given, *self._learned)

    def _check(self) -> None:
        if self is NOTHING:
            raise TypeError("NOTHING is shared and learns nothing; make a Mask")

    def _made(self) -> _Finder:
        """The finder for all that is known now: compiled when it is first needed, some 5 ms for ten secrets."""
        finder, generation = self._finder, self._generation  # before the values are read
        if finder is None or finder.generation != generation:
            finder = self._finder = _finder([form for value in self._all() for form in forms_of(value)], generation)
        return finder

    def _suspect(self, text: str) -> bool:
        """May there be a secret, or the head of one that was cut."""
        finder = self._finder
        if finder is None or finder.generation != self._generation:
            finder = self._made()
        for anchor in finder.anchors:  # `any` with a generator takes twice the time
            if anchor in text:
                return True
        return CUT in text and bool(finder.anchors)

    def _masked(self, text: str) -> str:
        spans = [(found.start(1), found.end(1)) for found in self._made().pattern.finditer(text)]
        for start, end in reversed(_merged([*spans, *self._cut(text)])):
            text = text[:start] + STARS + text[end:]
        return text

    def _cut(self, text: str) -> Iterator[tuple[int, int]]:
        """What cuts have left of secrets."""
        return parts_left(text, CUT, self._made().plain) if CUT in text else iter(())


def _parts(values: Iterable[str]) -> Iterator[str]:
    """Each value that is long enough, and the credential in one that is a URL (a proxy's), as written and decoded."""
    for value in values:
        found = _USERINFO.match(value)
        credential = (found[2] or found[1]) if found else ""
        yield from (part for part in (value, credential, unquote(credential)) if len(part) >= SHORTEST)


def _finder(forms: Iterable[Form], generation: int) -> _Finder:
    """The forms as one pattern. It looks ahead only, so that it finds what overlaps, and tries the longest first."""
    longest = sorted(set(forms), key=lambda form: (-len(form.text), form.text))
    pattern = f"(?=({'|'.join(form.pattern for form in longest) or '(?!)'}))"
    anchors = tuple(dict.fromkeys(form.anchor for form in longest))
    return _Finder(
        generation,
        anchors,
        re.compile(pattern),
        tuple(form.text for form in longest),
    )


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap or touch as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


NOTHING = Mask(())
