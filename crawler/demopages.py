"""The HTML of the demo site: an almanac of articles, linked to each other, pleasant to look at in a browser.

Decides wording and looks alone. Must not know sockets, the other paths' content, the clock or who asks. Invariant: a
page is a pure function of its number, the same in every process and on every machine.
"""

from __future__ import annotations

from functools import cache
from html import escape
from random import Random

ARTICLES = 300

_STYLE = """body{margin:0 auto;max-width:44rem;padding:1.5rem;font:1.05rem/1.65 Georgia,serif}
body{color:#2b2926;background:#fbf9f4}header,footer{font:.85rem/1.5 system-ui,sans-serif;color:#857e72}
header{border-bottom:1px solid #e2dbcc;padding-bottom:.7rem}
footer{border-top:1px solid #e2dbcc;margin-top:2.5rem;padding-top:.7rem}h1{font-size:1.9rem;line-height:1.2}
a{color:#9a3b1f;text-decoration:none}a:hover{text-decoration:underline}nav{display:flex;justify-content:space-between}
ol.all{columns:2;padding-left:2.2rem;font-size:.95rem}aside{background:#f2ecdf;border-radius:.5rem;padding:.3rem 1.3rem}
@media(prefers-color-scheme:dark){body{background:#1d1b19;color:#d9d3c7}a{color:#e59a76}aside{background:#292622}}"""

QUALITIES = ("Patient", "Second", "Borrowed", "Quiet", "Crooked", "Last", "Winter", "Unfinished", "Wandering", "Brass")
THINGS = ("Lighthouse", "Orchard", "Ferry", "Clock", "Library", "Bridge", "Bakery", "Observatory", "Signal", "Mill")
PLACES = ("Verrin", "Oldmarsh", "Kestrel Bay", "Tannery Row", "Upper Lode", "Saltholm", "Dunmere", "the North Quay")
_SENTENCES = (
    "The {thing} was built in {year} by people who meant to come back, and most of them did.",
    "Travellers who reach {place} by the morning boat hear it before they see it.",
    "A {quality} {thing} stood here earlier; its stones are now part of the harbour wall.",
    "Records from {year} mention {count} visitors, a stray dog and one very long winter.",
    "Every letter sent from {place} returns to {place} in the end, usually with interest.",
    "The keeper counts to {count} each evening, finds nothing missing and writes that down.",
    "It has been repaired {count} times since {year}, each time with the same five tools.",
    "Children in {place} learn the way there first, and the way home at about the same moment.",
    "What the guidebooks call {quality} the neighbours call ordinary, and both are right.",
    "Nothing here is in a hurry: a question asked in {year} was answered only last spring.",
)
_FAULTS = (
    ("/api/items", "the catalogue, page by page"),
    ("/slow/1500", "an answer that takes its time"),
    ("/status/404", "any status you like"),
    ("/flaky/2/tea", "fails twice, then works"),
    ("/limited/tea", "five a second, then 429"),
    ("/redirect/3", "three redirects to an article"),
    ("/redirect-loop/a", "redirects that never end"),
    ("/compressed/gzip/7", "an article, compressed"),
    ("/large/1.bin", "a large file, with ranges"),
    ("/reset", "a connection reset half-way"),
    ("/truncated", "a body shorter than it says"),
    ("/stats", "what this site was asked so far"),
)


def pick(rng: Random, choices: tuple[str, ...]) -> str:
    # Only random() is promised to give the same sequence in every version of Python; choice() is not.
    return choices[int(rng.random() * len(choices))]


def number(rng: Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low))


def _title(n: int) -> str:
    rng = Random(n)
    return f"The {pick(rng, QUALITIES)} {pick(rng, THINGS)} of {pick(rng, PLACES)}"


def _paragraph(rng: Random) -> str:
    words = {
        "quality": pick(rng, QUALITIES).lower(),
        "thing": pick(rng, THINGS).lower(),
        "place": pick(rng, PLACES),
        "year": number(rng, 1780, 1960),
        "count": number(rng, 3, 90),
    }
    first = number(rng, 0, len(_SENTENCES))
    chosen = (_SENTENCES[(first + 3 * k) % len(_SENTENCES)] for k in range(number(rng, 3, 6)))
    return "<p>" + " ".join(chosen).format(**words) + "</p>"


def _document(title: str, body: str) -> bytes:
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)} · The Loopback Almanac</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        '<header><a href="/">The Loopback Almanac</a> · stories of things that come back</header>\n'
        f"{body}\n<footer>Served from your own machine by <code>crawler demo</code>.</footer>\n</body>\n</html>\n"
    )
    return page.encode()


@cache
def index() -> bytes:
    """The front page: a link to every article, and to every way of misbehaving."""
    articles = "\n".join(f'<li><a href="/articles/{n}">{_title(n)}</a></li>' for n in range(1, ARTICLES + 1))
    faults = "\n".join(f'<li><a href="{path}"><code>{path}</code></a> – {what}</li>' for path, what in _FAULTS)
    body = (
        f"<h1>{ARTICLES} things that come back</h1>\n<p>A small site for trying out a crawler. Nothing on it ever "
        f'changes.</p>\n<aside>\n<p>And some doors that stick:</p>\n<ul>\n{faults}\n</ul>\n</aside>\n<ol class="all">\n'
        f"{articles}\n</ol>"
    )
    return _document("Contents", body)


@cache
def article(n: int) -> bytes:
    """Article `n`, 1..ARTICLES, as HTML in UTF-8. Raises KeyError for any other number."""
    if not 1 <= n <= ARTICLES:
        raise KeyError(n)
    rng = Random(-n - 1_000)  # not the title's sequence
    text = "\n".join(_paragraph(rng) for _ in range(number(rng, 4, 8)))
    related = sorted({number(rng, 1, ARTICLES + 1) for _ in range(4)} - {n})
    links = "\n".join(f'<li><a href="/articles/{other}">{_title(other)}</a></li>' for other in related)
    before = f'<a rel="prev" href="/articles/{n - 1}">← {_title(n - 1)}</a>' if n > 1 else "<span></span>"
    after = f'<a rel="next" href="/articles/{n + 1}">{_title(n + 1)} →</a>' if n < ARTICLES else "<span></span>"
    body = (
        f"<article>\n<h1>{_title(n)}</h1>\n{text}\n</article>\n<aside>\n<p>Related</p>\n<ul>\n{links}\n</ul>\n"
        f"</aside>\n<nav>{before}{after}</nav>"
    )
    return _document(_title(n), body)
