"""Which hosts share a pace."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from crawler.keys import Keys

NAMES = st.sampled_from(["a.example", "b.example", "www.a.example", "127.0.0.1", "[::1]", "co.uk"])


def domain(host: str) -> str | None:
    """The last two labels; None for a name of one."""
    labels = host.split(".")
    return ".".join(labels[-2:]) if len(labels) > 1 else None


def test_by_host_every_name_is_its_own_key() -> None:
    """Nothing is asked, nothing remembered."""
    keys = Keys()
    assert keys.plain
    assert not keys.by_address
    assert keys.key_of("www.a.example") == "www.a.example"
    assert not keys.unknown("www.a.example")
    assert repr(keys) == "<Keys 0 known>"


def test_by_domain_the_hosts_of_one_share_a_key() -> None:
    """What has no domain is its own key; each name is looked up once."""
    asked: list[str] = []

    def registrable(host: str) -> str | None:
        asked.append(host)
        return domain(host)

    keys = Keys(registrable)
    assert not keys.plain
    assert not keys.by_address
    for _ in range(3):
        assert keys.key_of("www.a.example") == keys.key_of("img.a.example") == keys.key_of("a.example") == "a.example"
        assert keys.key_of("localhost") == "localhost"
    assert sorted(asked) == ["a.example", "img.a.example", "localhost", "www.a.example"]
    assert not keys.unknown("b.example")


def test_the_public_suffix_list_tells_domains() -> None:
    """Two companies under co.uk share nothing, their own hosts do."""
    suffixes = PublicSuffixList()
    keys = Keys(suffixes.privatesuffix)
    assert keys.key_of("www.one.co.uk") == keys.key_of("one.co.uk") == "one.co.uk"
    assert keys.key_of("two.co.uk") == "two.co.uk"
    assert keys.key_of("co.uk") == "co.uk"


def test_by_address_names_of_one_address_share_a_key() -> None:
    """Once that is known; until then somebody has to look it up."""
    keys = Keys(by_address=True)
    assert not keys.plain
    assert keys.by_address
    assert keys.unknown("a.example")
    assert keys.key_of("a.example") == "a.example"
    keys.learn("a.example", "192.0.2.1")
    keys.learn("b.example", "192.0.2.1")
    keys.learn("gone.example", None)
    assert keys.key_of("a.example") == keys.key_of("b.example") == "192.0.2.1"
    assert keys.key_of("gone.example") == "gone.example"
    assert not any(map(keys.unknown, ["a.example", "b.example", "gone.example"]))


def test_inputs_without_a_host_need_no_address() -> None:
    """A bad input has an empty host, and keeps it."""
    keys = Keys(by_address=True)
    assert not keys.unknown("")
    assert keys.key_of("") == ""
    assert Keys(domain).key_of("") == ""


@given(st.booleans(), st.lists(st.tuples(NAMES, st.sampled_from([None, "192.0.2.1", "192.0.2.2"])), max_size=30))
def test_a_key_once_known_stays(by_address: bool, lookups: list[tuple[str, str | None]]) -> None:
    """Names that move to another address keep the pace that they had."""
    keys = Keys(by_address=True) if by_address else Keys(domain)
    first: dict[str, str] = {}
    for name, address in lookups:
        if by_address:
            keys.learn(name, address)
            first.setdefault(name, address or name)
        else:
            first.setdefault(name, keys.key_of(name))
        assert {known: keys.key_of(known) for known in first} == first
