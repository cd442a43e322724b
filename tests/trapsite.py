"""A site built from traps, as one pure function: a target (path and query) gives status, headers and body.

`REAL` are the paths of its real pages, each of which says something of its own; all else is endless. Links are
relative, so it can be served anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from urllib.parse import parse_qsl, urlencode

DOCS = [f"/docs/{name}.html" for name in ("install", "usage", "options", "faq", "changes")]
THREADS = [f"/forum/t/{number}" for number in range(1, 121)]
PRODUCTS = [f"/product/{number}" for number in range(1, 61)]
EVENTS = [f"/event/{number}" for number in (1, 2, 3)]
MEMBERS = [f"/members/{name}" for name in ("ann", "bob", "cy", "dee")]
LISTS = ["/", "/docs/", "/forum/", *(f"/forum/?page={number}" for number in range(2, 7)), "/shop", "/members/"]
REAL = frozenset([*LISTS, *DOCS, *THREADS, *PRODUCTS, *EVENTS, *MEMBERS])

_FILTERS = {
    "color": ["red", "green", "blue", "black"],
    "size": ["s", "m", "l", "xl"],
    "brand": ["acme", "bolt", "core"],
}
_WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "inlet",
    "jetty",
    "knoll",
    "larch",
    "maple",
    "north",
    "ocean",
    "pearl",
]

Answer = tuple[int, Mapping[str, str], bytes]


def answer(target: str) -> Answer:
    """What the site answers; everything is there, also what is not."""
    path, _, query = target.partition("?")
    given = dict(parse_qsl(query))
    first = path.split("/")[1]
    pages = {
        "": lambda: page("A site of traps", ["docs/", "forum/", "shop", "calendar/2031/1", "members/", *_TRAPS]),
        "docs": lambda: _docs(path),
        "forum": lambda: _forum(path, given),
        "shop": lambda: _shop(given),
        "product": lambda: _product(path),
        "calendar": lambda: _calendar(path),
        "event": lambda: page(f"Event {_name(path)}: {_words(path)}", ["/"]),
        "members": lambda: _members(path, given),
        "loop": lambda: page("A folder in itself", ["a/", "b/a/", "./", "../loop/"]),
        "endless": lambda: page("More and more", [f"/endless/{_number(path) + step}" for step in range(1, 6)]),
        "longer": lambda: page("Longer and longer", [f"{path}{'x' * len(path)}"]),
    }
    return pages.get(first, lambda: _missing(path))()


_TRAPS = ["loop/", "endless/1", "longer/x", "old/page-1"]


def page(text: str, links: Iterable[str]) -> Answer:
    """An HTML page that says so, with such links."""
    anchors = "".join(f'<a href="{escape(link)}">.</a>' for link in links)
    body = f"<html><title>{escape(text)}</title><body><p>{escape(text)}</p>{anchors}</body></html>"
    return 200, {"Content-Type": "text/html; charset=utf-8"}, body.encode()


def _docs(path: str) -> Answer:
    if path == "/docs/":
        return page("Documentation", [link.removeprefix("/docs/") for link in DOCS])
    return page(f"Manual: {_words(path)}", ["/docs/"]) if path in DOCS else _missing(path)


def _forum(path: str, given: Mapping[str, str]) -> Answer:
    """Lists of twenty threads; each thread leads to the one before and after it, as real forums do."""
    if path == "/forum/":
        start = (int(given.get("page", "1")) - 1) * 20
        more = [f"?page={given_page}" for given_page in (start // 20, start // 20 + 2) if 1 < given_page < 7]
        return page(f"Threads {_words(str(start))}", [*THREADS[start : start + 20], *more])
    if path not in THREADS:
        return _missing(path)
    near = THREADS.index(path)
    return page(f"Thread about {_words(path)}", THREADS[max(0, near - 1) : near + 2])


def _shop(given: Mapping[str, str]) -> Answer:
    """Each filter can be set beside all others, in any order, and sorted in any way."""
    shown = [link for link in PRODUCTS if all(_fits(link, value) for value in given.values())][:12] or PRODUCTS
    links = [
        f"/shop?{urlencode({**given, name: value})}"
        for name, values in {**_FILTERS, "sort": ["name", "price"], "view": ["list", "grid"]}.items()
        for value in values
    ]
    return page("Shop " + " ".join(map(_words, shown)), [*(shown if given else PRODUCTS), *links])


def _fits(link: str, value: str) -> bool:
    return sha256(f"{link}{value}".encode()).digest()[0] < 160


def _product(path: str) -> Answer:
    if path not in PRODUCTS:
        return _missing(path)
    near = PRODUCTS.index(path)
    return page(f"Product {_words(path)}. " + "Free delivery. " * 50, ["/shop", *PRODUCTS[near + 1 : near + 4]])


def _calendar(path: str) -> Answer:
    """Months for ever, each with a page for each day; three days have an event."""
    year, month, *day = (int(part) for part in path.split("/")[2:])
    events = [EVENTS[day[0] - 1]] if (year, month) == (2031, 1) and day and day[0] <= len(EVENTS) else []
    if day:
        return page(f"{day[0]}.{month}.{year}: {events or 'no events'}", [f"/calendar/{year}/{month}", *events])
    after = divmod(year * 12 + month, 12)
    before = divmod(year * 12 + month - 2, 12)
    months = [f"/calendar/{year}/{month + 1}" for year, month in (before, after)]
    days = [f"/calendar/{year}/{month}/{day}" for day in range(1, 29)]
    return page(f"Calendar of {month}/{year} " + " ".join(map(str, range(1, 29))), [*days, *months])


def _members(path: str, given: Mapping[str, str]) -> Answer:
    """Each link has another session id than the page."""
    links = [
        f"{link}?sid={sha256(f'{path}{given}{link}'.encode()).hexdigest()[:32]}" for link in ("/members/", *MEMBERS)
    ]
    if path != "/members/" and path not in MEMBERS:
        return _missing(path)
    return page(f"Member {_words(path)}", links)


def _missing(path: str) -> Answer:
    """A soft 404 with links that lead to further ones."""
    last = _number(path)
    links = [f"page-{last * 3 + step}" for step in range(3)]
    return page(f"Sorry, {path} is not here. Perhaps you look for one of these?", links)


def _words(text: str) -> str:
    """Some words that belong to this text alone."""
    return " ".join(_WORDS[byte % 16] for byte in sha256(text.encode()).digest()[:12])


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _number(path: str) -> int:
    return int("".join(filter(str.isdecimal, _name(path)))[-15:] or "0")
