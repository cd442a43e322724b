"""The canonical URL of a link: joined to its page's base, and spelled in one way.

Decides what a link leads to, or that it leads nowhere. Must not know scope, or what was seen before. Invariant: for
every result x, `urls.parse(x).href == x`, since URLs are compared by their text; no href raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from urllib.parse import unquote_plus

import can_ada

from crawler.jobcrawl import Crawl
from crawler.urls import MAX_LENGTH, BadURL, parse

# Parameters that say who came from where, never what is wanted: Google Analytics' utm_*, and the list of Brave's
# query filter (brave-core, query_filter), which Firefox's query stripping shares for the most part.
TRACKING = (
    "utm_*", "fbclid", "gclid", "gbraid", "wbraid", "dclid", "msclkid", "yclid", "twclid", "igshid", "mc_eid", "mc_cid",
    "mkt_tok", "_hsenc", "_hsmi", "__hssc", "__hstc", "__hsfp", "hsCtaTracking", "_openstat", "oly_anon_id",
    "oly_enc_id", "vero_conv", "vero_id", "wickedid", "rb_clickid", "s_cid", "ml_subscriber", "ml_subscriber_hash",
    "__s",
)  # fmt: skip
# Parameters that name a visit: those of Heritrix (its StripSessionIDs and FixupQueryString rules), with PHP's, ASP's,
# ColdFusion's, osCommerce's and Zen Cart's own. What is called `sid` elsewhere is one only if it is long enough.
SESSIONS = ("phpsessid", "jsessionid", "aspsessionid*", "cfid", "cftoken", "oscsid", "zenid")
_LONG_SID = r"(?:sid|session_?id)=[0-9a-z]{16,}"
_PATH_SESSION = re.compile(r";jsessionid=[^/?;]*", re.IGNORECASE | re.ASCII)


class Canon:
    """What of [crawl] changes how URLs are spelled; one for all pages."""

    def __init__(self, said: Crawl) -> None:
        self._sort = said.sort_query
        self._dropped = _dropped(said.drop_params, said.drop_tracking)
        self._tracking = said.drop_tracking
        self._plain = not (self._sort or self._dropped)

    def __repr__(self) -> str:
        return f"<Canon sorts={self._sort} drops={self._dropped is not None}>"

    def joiner(self, url: str, base: str | None = None) -> Joiner:
        """Of the links of the page at a canonical URL; `base` is what its <base href> says, as written."""
        return Joiner(url, base, None if self._plain else self.spelled)

    def canonical(self, text: str) -> str | None:
        """The form of an absolute URL by itself, without any page; None where `urls.parse` refuses it."""
        try:
            return self.spelled(parse(text).href)
        except BadURL:
            return None

    def spelled(self, href: str) -> str:
        """A URL of the standard's form, without what is dropped, its query sorted by name where that is asked for.

        Parameters keep their spelling, empty and repeated ones too; those of one name keep their order.
        """
        head, mark, query = href.partition("?")
        if self._tracking and ";" in head:
            head = _PATH_SESSION.sub("", head)
        if not query:
            return head + mark
        pairs = kept = query.split("&")
        if self._dropped is not None:
            kept = [pair for pair in pairs if not self._dropped(pair)]
        if not kept:
            return head
        if self._sort:
            kept = sorted(kept, key=_name)
        return f"{head}?{'&'.join(kept)}"


class Joiner:
    """The links of one page. A <base href> that leads to no http(s) URL is left aside (HTML standard, 4.2.3).

    `refused` counts links that lead nowhere: `scheme` (neither http nor https), `bad` (no URL), `long` (over 16 KiB);
    and `credentials`, which were dropped from a URL that is followed all the same. A text counts once a page.
    """

    def __init__(self, url: str, base: str | None = None, respell: Callable[[str], str] | None = None) -> None:
        self.refused: dict[str, int] = {}
        self._respell = respell
        self._base = _base(url, base)
        self._known: dict[str, str | None] = {}

    def __repr__(self) -> str:
        return f"<Joiner {len(self._known)} joined, refused={self.refused}>"

    def join(self, href: str) -> str | None:
        """Where a link leads: the canonical URL, without fragment and userinfo; None where it leads nowhere."""
        if "#" in href:
            bare = href[: href.index("#")]
            if not bare or bare[-1] > " ":  # white space before the fragment is encoded, at the end it is dropped
                href = bare
        known = self._known
        if href not in known:
            known[href] = self._joined(href)
        return known[href]

    def _joined(self, href: str) -> str | None:
        if len(href) > MAX_LENGTH:
            return self._nowhere("long")
        url = _joined(self._base, href)
        if url is None:
            return self._nowhere("bad")
        if url.has_credentials():
            self._nowhere("credentials")
            url.username = url.password = ""
        found: str = url.href
        if not found.startswith(("https://", "http://")):
            return self._nowhere("scheme")
        if "#" in found:
            found = found[: found.index("#")]
        if self._respell is not None:
            found = self._respell(found)
        return found if len(found) <= MAX_LENGTH else self._nowhere("long")

    def _nowhere(self, why: str) -> str | None:
        self.refused[why] = self.refused.get(why, 0) + 1
        return None


def _base(url: str, base: str | None) -> can_ada.URL:
    """What links are joined to; the page's own URL where <base> is hostile, broken or missing."""
    page = can_ada.parse(url)
    found = _joined(page, base) if base is not None and len(base) <= MAX_LENGTH else None
    return found if found is not None and found.protocol in ("https:", "http:") else page


def _joined(base: can_ada.URL, href: str) -> can_ada.URL | None:
    try:
        return base + href
    except ValueError:
        return None
    except TypeError:  # lone surrogates: what a browser makes of them is U+FFFD (Web IDL, USVString)
        return _joined(base, href.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _dropped(globs: Sequence[str], tracking: bool) -> Callable[[str], object] | None:
    """Tells of a parameter as it stands in a query whether it goes; None where all stay."""
    exact = "|".join(translate(glob) for glob in globs)
    named = "|".join(translate(glob) for glob in (*TRACKING, *SESSIONS)) if tracking else ""
    if not exact and not named:
        return None
    ours = re.compile("|".join(filter(None, (exact, f"(?i:{named})" if named else "")))).match
    session = re.compile(_LONG_SID, re.IGNORECASE | re.ASCII).fullmatch if tracking else None

    def goes(pair: str) -> object:
        return ours(_decoded(pair)) or (session is not None and session(pair))

    return goes


def _name(pair: str) -> str:
    return pair.partition("=")[0]


def _decoded(pair: str) -> str:
    name = _name(pair)
    return unquote_plus(name) if "%" in name or "+" in name else name
