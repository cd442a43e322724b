"""The cookies of one job: what servers left with us, and what goes along with a request (RFC 6265bis 5.7, 5.8).

Decides, with `now` in wall seconds. Must not know files, messages or the job; hosts and paths come from canonical
URLs. Invariant: every cookie in a jar passes `fault`, however it came; it goes to hosts that domain-match alone, and
over TLS alone where it is Secure; a jar stays within its bounds. No repr shows a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from crawler.cookierules import Cookie, domain_match, fault, path_match, received
from crawler.setcookie import MAX_AGE, octets, parse

MAX_COOKIES = 3300
MAX_PER_DOMAIN = 180
MAX_SENT = 150
MAX_SENT_OCTETS = 8190 - len("Cookie: ")  # servers stop reading a header line at 8,190
# Room is made for some at once, as Chromium does, so that a full jar does not look for a victim each time.
_LEFT, _LEFT_PER_DOMAIN = 3000, 150


class _Kept:
    """A cookie in the jar; `created` and `used` count the jar's events, which no clock can turn back."""

    __slots__ = ("cookie", "created", "pair", "size", "used")

    def __init__(self, cookie: Cookie, created: int, used: int) -> None:
        self.cookie = cookie
        self.created = created
        self.used = used
        self.pair = f"{cookie.name}={cookie.value}" if cookie.name else cookie.value
        self.size = octets(self.pair)

    def expired(self, now: float) -> bool:
        return self.cookie.expires is not None and self.cookie.expires <= now


_Domain = dict[tuple[str, str, bool], _Kept]


class Jar:
    """The cookies of a job. `changes` grows whenever one is stored, replaced or removed: a writer compares it."""

    def __init__(self) -> None:
        self._sites: dict[str, dict[str, _Domain]] = {}  # by the last two labels, then by domain
        self._secure: dict[tuple[str, str], set[_Kept]] = {}  # the Secure ones by site and name
        self._count = 0
        self._events = 0
        self.changes = 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Jar cookies={self._count}>"

    def cookies(self, now: float) -> list[Cookie]:
        """Those that are not expired, the oldest first."""
        alive = [kept for kept in self._all() if not kept.expired(now)]
        return [kept.cookie for kept in sorted(alive, key=lambda kept: kept.created)]

    def copy(self, now: float) -> Jar:
        """A jar with the same cookies, for who writes them down elsewhere."""
        copy = Jar()
        copy.restore(self.cookies(now), now)
        return copy

    def accept(self, url: str, lines: Sequence[str], now: float) -> int:
        """Take the Set-Cookie lines of one answer from a canonical URL; how many cookies that changed."""
        changed = 0
        secure, host, path = _parts(url)
        for line in lines:
            said = parse(line, now)
            cookie = received(said, secure, host, path) if said is not None else None
            if cookie is None or (not secure and self._covers_secure(cookie)):
                continue
            changed += self._put(cookie, now)
        return changed

    def restore(self, cookies: Iterable[Cookie], now: float) -> int:
        """Take cookies from a file, oldest first, by the same rules; how many that changed."""
        changed = 0
        for cookie in cookies:
            if cookie.expires is not None:
                cookie = cookie._replace(expires=min(cookie.expires, now + MAX_AGE))
            changed += self._put(cookie, now)
        return changed

    def clear_session(self) -> None:
        """Remove the cookies that were to last until the end of the session only."""
        for kept in [kept for kept in self._all() if kept.cookie.expires is None]:
            self._drop(kept)

    def header(self, url: str, now: float) -> str | None:
        """The value of the Cookie header for a request to a canonical URL; None where there is nothing to send.

        Longest paths first, then the oldest (5.8.3); what exceeds 150 cookies or a line of 8,190 bytes stays at home.
        """
        secure, host, path = _parts(url)
        site = _site(host)
        group = self._sites.get(site)
        if group is None:
            return None
        found = [
            kept
            for domain in _domains(host, site)
            for kept in group.get(domain, {}).values()
            if (not kept.cookie.host_only or domain == host)
            and (secure or not kept.cookie.secure)
            and path_match(path, kept.cookie.path)
            and not kept.expired(now)
        ]
        found.sort(key=lambda kept: (-len(kept.cookie.path), kept.created))
        self._events += 1
        room, pairs = MAX_SENT_OCTETS, []
        for kept in found[:MAX_SENT]:
            room -= kept.size
            if room < 0:
                break
            room -= len("; ")
            kept.used = self._events
            pairs.append(kept.pair)
        return "; ".join(pairs) if pairs else None

    def _all(self) -> Iterator[_Kept]:
        return (kept for group in self._sites.values() for domain in group.values() for kept in domain.values())

    def _put(self, cookie: Cookie, now: float) -> bool:
        if fault(cookie):
            return False
        key = (cookie.name, cookie.path, cookie.host_only)
        old = self._sites.get(_site(cookie.domain), {}).get(cookie.domain, {}).get(key)
        if cookie.expires is not None and cookie.expires <= now:
            if old is not None:
                self._drop(old)
            return old is not None
        if old is not None and old.cookie == cookie:
            return False
        if old is not None:
            self._drop(old)
        self._events += 1
        kept = _Kept(cookie, self._events if old is None else old.created, self._events)
        domain = self._sites.setdefault(_site(cookie.domain), {}).setdefault(cookie.domain, {})
        domain[key] = kept
        if cookie.secure:
            self._secure.setdefault((_site(cookie.domain), cookie.name), set()).add(kept)
        self._count += 1
        self.changes += 1
        if len(domain) > MAX_PER_DOMAIN:
            self._thin(domain.values(), _LEFT_PER_DOMAIN, now, spare_secure=True)
        if self._count > MAX_COOKIES:
            self._thin(self._all(), _LEFT, now)
        return True

    def _thin(self, among: Iterable[_Kept], left: int, now: float, *, spare_secure: bool = False) -> None:
        """Remove expired cookies, then the least recently used (5.7), until `left` are.

        Within a domain Secure ones go last, so that what comes in the clear cannot push them out.
        """
        order = sorted(among, key=lambda k: (not k.expired(now), spare_secure and k.cookie.secure, k.used))
        for kept in order[: len(order) - left]:
            self._drop(kept)

    def _drop(self, kept: _Kept) -> None:
        cookie = kept.cookie
        site = _site(cookie.domain)
        group = self._sites[site]
        domain = group[cookie.domain]
        del domain[cookie.name, cookie.path, cookie.host_only]
        if not domain:
            del group[cookie.domain]
        if not group:
            del self._sites[site]
        if cookie.secure:
            namesakes = self._secure[site, cookie.name]
            namesakes.remove(kept)
            if not namesakes:
                del self._secure[site, cookie.name]
        self._count -= 1
        self.changes += 1

    def _covers_secure(self, cookie: Cookie) -> bool:
        """Would it hide a Secure cookie, which what came in the clear must leave alone (5.7 step 15)."""
        return any(
            (domain_match(kept.cookie.domain, cookie.domain) or domain_match(cookie.domain, kept.cookie.domain))
            and path_match(cookie.path, kept.cookie.path)
            for kept in self._secure.get((_site(cookie.domain), cookie.name), ())
        )


def _parts(url: str) -> tuple[bool, str, str]:
    """Is it by TLS, to which host, for which path; of a canonical URL."""
    scheme, _, rest = url.partition("://")
    netloc, _, path = rest.partition("/")
    host, colon, port = netloc.rpartition(":")
    return scheme in ("https", "wss"), host if colon and port.isdigit() else netloc, "/" + path.partition("?")[0]


def _site(host: str) -> str:
    """Its last two labels: whoever domain-matches has the same, but for a single label, which is nobody's parent."""
    return host[host.rfind(".", 0, max(host.rfind("."), 0)) + 1 :]


def _domains(host: str, site: str) -> Iterator[str]:
    """The host and its parents, down to the site."""
    while True:
        yield host
        if len(host) <= len(site):
            return
        host = host.partition(".")[2]
