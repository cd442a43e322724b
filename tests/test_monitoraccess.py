"""Who is let in: names, origins, tokens."""

from __future__ import annotations

import pytest

from crawler.monitoraccess import Doors, Keys, is_loopback

DOORS = Doors(8088)
TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1:8088", "localhost:8088", "[::1]:8088", "LocalHost:8088"])
def test_our_names_are_let_in(host: str) -> None:
    """Each name of loopback with our port, in any case."""
    assert DOORS.refuse([host], [], []) is None
    assert DOORS.refuse([host], [f"http://{host}"], ["same-origin"]) is None


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["evil.example:8088"],
        ["127.0.0.1"],
        ["127.0.0.1:80"],
        ["127.0.0.1.evil.example:8088"],
        ["localhost:8088", "evil.example"],
        ["127.0.0.2:8088"],
        ["user@127.0.0.1:8088"],
    ],
)
def test_other_names_are_refused(hosts: list[str]) -> None:
    """A name that leads to our address by DNS, another port, none, or two."""
    no = DOORS.refuse(hosts, [], [])
    assert no is not None
    assert no.status == 403


@pytest.mark.parametrize(
    "origins",
    [
        ["http://evil.example"],
        ["null"],
        ["https://127.0.0.1:8088"],
        ["http://127.0.0.1:9999"],
        ["http://localhost:8088"],
        ["http://127.0.0.1:8088", "http://evil.example"],
        [""],
    ],
)
def test_other_origins_are_refused(origins: list[str]) -> None:
    """Another site, another port, another scheme; an origin is that of the Host which was asked."""
    assert DOORS.refuse(["127.0.0.1:8088"], origins, []) is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "x"])
def test_other_sites_are_refused(site: str) -> None:
    """A link or image on another page, on another port of this machine too."""
    assert DOORS.refuse(["127.0.0.1:8088"], [], [site]) is not None
    assert DOORS.refuse(["127.0.0.1:8088"], [], ["none"]) is None


def test_a_wildcard_has_any_address_but_no_name() -> None:
    """DNS rebinding needs a name."""
    doors = Doors(8088, ["0.0.0.0"])
    assert doors.refuse(["10.1.2.3:8088"], [], []) is None
    assert doors.refuse(["[fe80::1]:8088"], [], []) is None
    assert doors.refuse(["evil.example:8088"], [], []) is not None
    assert doors.refuse(["10.1.2.3:80"], [], []) is not None
    assert DOORS.refuse(["10.1.2.3:8088"], [], []) is not None


def test_what_was_bound_has_its_name() -> None:
    """An address, IPv6 in brackets, and port 80 unsaid."""
    assert Doors(8088, ["10.1.2.3"]).refuse(["10.1.2.3:8088"], [], []) is None
    assert Doors(8088, ["fd00::1"]).refuse(["[fd00::1]:8088"], [], []) is None
    assert Doors(80).refuse(["localhost"], [], []) is None


def test_orders_need_the_token_as_bearer() -> None:
    """No cookie, no other scheme, no prefix of it."""
    keys = Keys(TOKEN, "session", reading=False, control=True)
    assert keys.may_order(f"Bearer {TOKEN}")
    assert keys.may_order(f"bearer {TOKEN}")
    for said in (None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer session", "Bearer é"):
        assert not keys.may_order(said)


def test_without_control_nothing_can_be_ordered() -> None:
    """Not even with the token, or where there is none."""
    assert not Keys(TOKEN, "session", reading=True, control=False).may_order(f"Bearer {TOKEN}")
    assert not Keys(None, "session", reading=True, control=True).may_order("Bearer None")


def test_reading_is_free_unless_it_is_not() -> None:
    """Then the token or the cookie, which is another text, opens."""
    assert Keys(TOKEN, "session", reading=False, control=True).may_read(None, None)
    keys = Keys(TOKEN, "session", reading=True, control=False)
    assert keys.may_read(f"Bearer {TOKEN}", None)
    assert keys.may_read(None, "session")
    for authorization, cookie in ((None, None), (None, TOKEN), ("Bearer session", None), ("Bearer x", "y")):
        assert not keys.may_read(authorization, cookie)


def test_no_repr_shows_the_token() -> None:
    """Nor the session."""
    text = repr(Keys(TOKEN, "session-text", reading=True, control=True))
    assert TOKEN not in text
    assert "session-text" not in text


def test_loopback_is_all_of_127_and_one_of_ipv6() -> None:
    """One address elsewhere is enough to be reached; none is no loopback."""
    assert is_loopback(["127.0.0.1", "::1", "127.9.9.9"])
    assert not is_loopback(["127.0.0.1", "10.0.0.1"])
    assert not is_loopback(["0.0.0.0"])
    assert not is_loopback(["::"])
    assert not is_loopback([])
