"""Basic by the entries of a netrc."""

from __future__ import annotations

import netrc
from base64 import b64encode
from pathlib import Path
from random import Random

import pytest

from crawler.auth.netrc import Netrc, entries_of
from crawler.auth.scheme import FINE, Answered, Draft, Scheme, Step

ENTRIES = {"a.example": ("ann", "pa"), "B.example": ("bob", "pb"), "::1": ("six", "ps")}


def sent(scheme: Netrc, url: str) -> dict[str, str]:
    return dict(scheme.sign(Draft("GET", url, {}), 0.0, Random(1)).headers)


def basic(login: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("https://a.example/", "ann:pa"),
        ("https://a.example:8443/x?y", "ann:pa"),
        ("http://b.example/", "bob:pb"),
        ("http://[::1]:8080/", "six:ps"),
        ("http://[::1]/", "six:ps"),
    ],
)
def test_each_host_gets_its_own(url: str, login: str) -> None:
    """On any port, and without regard to case."""
    assert sent(Netrc(ENTRIES), url) == basic(login)


@pytest.mark.parametrize(
    "url",
    [
        "https://c.example/",
        "https://sub.a.example/",
        "https://a.example.evil.example/",
        "https://evil.example/a.example",
        "https://evil.example:80/?a.example",
        "https://xa.example/",
    ],
)
def test_a_host_without_an_entry_gets_nothing(url: str) -> None:
    """A URL that merely looks like another host's is no way to its password (CVE-2024-47081)."""
    assert sent(Netrc(ENTRIES), url) == {}
    assert sent(Netrc(ENTRIES, ("dee", "pd")), url) == basic("dee:pd")


def test_the_standard_librarys_reading(tmp_path: Path) -> None:
    """`entries_of` takes the hosts of netrc.netrc."""
    path = tmp_path / "netrc"
    path.write_text(
        "machine a.example login ann password pa\nmachine b.example password pb\ndefault login dee password pd\n"
    )
    path.chmod(0o600)
    entries, default = entries_of(netrc.netrc(str(path)).hosts)
    assert entries == {"a.example": ("ann", "pa"), "b.example": ("", "pb")}
    assert default == ("dee", "pd")
    assert sent(Netrc(entries, default), "https://b.example/") == basic(":pb")


def test_a_401_rejects_only_what_was_sent() -> None:
    """A host without an entry has no credential that could be wrong."""
    scheme: Scheme = Netrc(ENTRIES)
    for url, step in (("https://a.example/", Step.REJECTED), ("https://c.example/", Step.FINE)):
        draft = Draft("GET", url, {})
        signed = scheme.sign(draft, 0.0, Random(1))
        judged = scheme.accept(draft, signed, Answered(401, {}, ["Digest realm=pa"]), 0.0)
        assert judged.step is step
        assert "pa" not in judged.error
        assert scheme.accept(draft, signed, Answered(404, {}), 0.0) == FINE
    assert (scheme.wants, scheme.reads_errors, scheme.stale(1e9)) == (frozenset(), False, False)


@pytest.mark.parametrize("login", [("a:zq", "p"), ("u", "zq\n"), ("zq\0", "p"), ("u", "zq\ud800")])
def test_what_cannot_be_sent_is_refused_by_host(login: tuple[str, str]) -> None:
    """The host is named, the value never; the default as well."""
    with pytest.raises(ValueError, match=r"a\.example") as caught:
        Netrc({"a.example": login})
    assert "zq" not in str(caught.value)
    with pytest.raises(ValueError, match="default"):
        Netrc({}, login)


def test_no_repr_shows_a_password() -> None:
    """Only how many hosts there are."""
    assert repr(Netrc(ENTRIES)) == "<Netrc hosts=3>"
