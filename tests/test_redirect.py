"""Where a 3xx leads, and what goes along."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.errors import Reason
from crawler.model import Content, Field, FileBody, Messages, Multipart, Request
from crawler.redirect import Hop, Refusal, follow, harmless


def request(method: str = "GET", body: Content | None = None, **headers: str) -> Request:
    return Request(1, "https://a.org/x/y", "a.org", method=method, body=body, headers=headers or None)


@pytest.mark.parametrize(
    ("location", "href"),
    [
        ("/z", "https://a.org/z"),
        ("z", "https://a.org/x/z"),
        ("?q", "https://a.org/x/y?q"),
        ("//b.org", "https://b.org/"),
    ],
)
def test_relative_locations_lead_on(location: str, href: str) -> None:
    """Every relative form is resolved against where the request stands."""
    step = follow(request(), 302, location, 20)
    assert isinstance(step, Hop)
    assert step.url.href == href


@pytest.mark.parametrize(("status", "location"), [(200, "/z"), (304, "/z"), (300, "/z"), (302, None)])
def test_what_is_no_redirect(status: int, location: str | None) -> None:
    """Other statuses, and a 3xx without Location, are the answer themselves."""
    assert follow(request(), status, location, 20) is None


BODIES = [b"body", FileBody("/a.bin"), Multipart((Field("a", path="/a.bin"),))]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize(
    ("status", "method", "expected", "kept"),
    [
        (301, "POST", "GET", False),
        (302, "POST", "GET", False),
        (303, "POST", "GET", False),
        (303, "PUT", "GET", False),
        (301, "PUT", "PUT", True),
        (307, "POST", "POST", True),
        (308, "PUT", "PUT", True),
    ],
)
def test_methods_change_as_the_rfc_says(status: int, method: str, expected: str, kept: bool, body: Content) -> None:
    """RFC 9110 15.4: 301, 302 and 303 make a POST a GET without body, 307 and 308 keep both, a body in files too; what
    describes the body stays with it.
    """
    asked = request(method, body, **{"Content-Type": "text/x", "content-language": "en", "X-Mine": "1"})
    step = follow(asked, status, "/z", 20)
    assert isinstance(step, Hop)
    assert (step.method, step.body) == (expected, body if kept else None)
    assert step.headers == (asked.headers if kept else {"X-Mine": "1"})


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/x/y", Reason.REDIRECT_LOOP),
        ("file:///etc/passwd", Reason.BLOCKED_SCHEME),
        ("http://[", Reason.BAD_REDIRECT),
    ],
)
def test_refusals_have_reasons(location: str, reason: Reason) -> None:
    """Circles, other schemes and what is no URL end the chain."""
    step = follow(request(), 302, location, 20)
    assert isinstance(step, Refusal)
    assert step.reason is reason


def test_long_chains_end() -> None:
    """After max_redirects hops the next is refused."""
    asked = request()
    asked.hops = tuple(f"https://a.org/{n}" for n in range(3))
    step = follow(asked, 302, "/new", 3)
    assert isinstance(step, Refusal)
    assert step.reason is Reason.TOO_MANY_REDIRECTS


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("location", ["https://b.org/", "http://a.org/", "https://a.org:444/"])
def test_a_body_stays_with_its_origin(body: Content, location: str) -> None:
    """307 to another origin does not carry the body there."""
    step = follow(request("POST", body), 307, location, 20)
    assert isinstance(step, Refusal)
    assert step.reason is Reason.CANNOT_REPLAY


def test_headers_that_could_be_keys_are_not_harmless() -> None:
    """Only what the standards know to be no credential may go to another origin."""
    said = {"X-Api-Key": "1", "Authorization": "2", "Cookie": "3", "PRIVATE-TOKEN": "4", "Accept": "5"}
    assert harmless(said) == {"Accept": "5"}
    step = follow(request(), 302, "https://b.org/", 20)
    assert isinstance(step, Hop)
    assert step.foreign


@given(st.text(max_size=80))
def test_any_location_is_answered(location: str) -> None:
    """Whatever a server writes there, nothing is raised."""
    assert isinstance(follow(request(), 302, location, 20), Hop | Refusal)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["wss://a.org/z", "https://a.org/z", "/z"])
def test_a_websocket_stays_one(status: int, location: str) -> None:
    """Its handshake is a GET, so that no status changes it; a ws(s) Location is asked for over http(s)."""
    step = follow(request("WEBSOCKET", Messages(("x",))), status, location, 20)
    assert isinstance(step, Hop)
    assert (step.url.href, step.method, step.body) == ("https://a.org/z", "WEBSOCKET", Messages(("x",)))


@pytest.mark.parametrize("location", ["http://evil:pw@b.example/", "//evil@b.example/x", "https://evil:@b.example/"])
def test_a_user_in_a_location_is_left_out_and_told(location: str) -> None:
    """Nobody asked us to be evil; the record says that the redirect wanted it."""
    request = Request(1, "http://a.example/", "a.example")
    hop = follow(request, 302, location, 5)
    assert isinstance(hop, Hop)
    assert "evil" not in hop.url.href
    assert hop.warning is not None
    assert "evil" not in hop.warning
    plain = follow(request, 302, "http://b.example/a@b?c=d@e", 5)
    assert isinstance(plain, Hop)
    assert plain.warning is None
