"""Which addresses are refused, by the places where their packets end; how pins are written."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler import urls
from crawler.addresses import Pin, guarded, in_the_open, parse_pins

V4 = st.integers(0, 2**32 - 1)
NEAR = ["0.0.0.0", "0.0.0.8", "8.8.8.8", "9.255.255.255", "100.128.0.1", "172.32.0.1", "223.255.255.255"]
REFUSED = ["10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.0.0.8", "192.88.99.1"]
REFUSED += ["192.168.1.1", "198.19.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
SPECIAL = st.sampled_from(NEAR + REFUSED).map(lambda text: int(IPv4Address(text)))


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "shared (100.64/10)"),
        ("100.127.255.255", "shared (100.64/10)"),
        ("100.100.100.200", "metadata"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.8", "reserved"),
        ("192.0.0.192", "metadata"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "reserved"),
        ("192.168.0.1", "private"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.7", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("[::1]", "loopback"),
        ("100::1", "discard-only"),
        ("2001:2::1", "benchmarking"),
        ("2001:10::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("5f00::1", "reserved"),
        ("4000::1", "reserved"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("fd00:ec2::254", "metadata"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("[fe80::1%3]", "link-local"),
        ("febf:ffff::1", "link-local"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
        ("::ffff:7f00:1", "loopback"),
        ("::ffff:10.0.0.1%eth0", "private"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::127.0.0.1", "loopback"),
        ("::10.0.0.1", "private"),
        ("::8.8.8.8", "reserved"),
        ("::ffff:0:8.8.8.8", "reserved"),
        ("64:ff9b::7f00:1", "loopback"),
        ("64:ff9b::10.0.0.1", "private"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a9fe:a9fe::1", "metadata"),
        ("64:ff9b:1::127.0.0.1", "loopback"),
        ("64:ff9b:1:7f00:0:100::", "loopback"),  # a prefix of 48 bits
        ("64:ff9b:1:7f:0:1::", "loopback"),  # of 56
        ("64:ff9b:1:9:7f:0:100:0", "loopback"),  # of 64
        ("64:ff9b:1::", "unspecified"),
    ],
)
def test_special_addresses_have_a_kind(address: str, kind: str) -> None:
    """Each special network is refused by its name, in whatever form it is wrapped."""
    assert guarded(address) == kind


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2a00:1450:4001::1",
        "[2a00:1450:4001::1]",
        "3ffe::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "2002:808:808::1",
    ],
)
def test_public_addresses_pass(address: str) -> None:
    """The neighbours of special networks are public, and so is what carries a public address."""
    assert guarded(address) is None


@pytest.mark.parametrize("text", ["", "localhost", "0x7f.1", "127.1", "2130706433", "127.0.0.01", "::1::", "1.1.1.1%x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A form that only some parsers read is not let through for lack of a network that holds it."""
    assert guarded(text) == "not an address"


@pytest.mark.parametrize(
    "host",
    [
        "[::ffff:7f00:1]",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "127.0.0.1.",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "0",
        "[::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "%31%32%37.0.0.1",
    ],
)
def test_disguises_do_not_survive_the_canonical_url(host: str) -> None:
    """However a page spells it, the host of the canonical URL is refused."""
    assert guarded(urls.join("http://example.org/", f"http://{host}/").host) not in (None, "not an address")


FORMS: dict[str, Callable[[int], int]] = {
    "mapped": lambda v4: 0xFFFF << 32 | v4,
    "nat64": lambda v4: 0x0064_FF9B << 96 | v4,
    "local-nat64": lambda v4: 0x0064_FF9B_0001 << 80 | v4,
    "6to4": lambda v4: 0x2002 << 112 | v4 << 80 | 1,
    "teredo-client": lambda v4: 0x2001_0000 << 96 | 0x0808_0808 << 64 | (v4 ^ 0xFFFF_FFFF),
    "teredo-server": lambda v4: 0x2001_0000 << 96 | v4 << 64 | 0xF7F7_F7F7,
}


@pytest.mark.parametrize("form", FORMS)
@given(v4=V4 | SPECIAL)
def test_a_wrapped_address_is_judged_as_the_bare_one(form: str, v4: int) -> None:
    """An IPv4 address is refused, and by the same name, exactly when the IPv6 address that carries it is."""
    assert guarded(str(IPv6Address(FORMS[form](v4)))) == guarded(str(IPv4Address(v4)))


@given(v4=st.sampled_from(REFUSED), prefix=st.sampled_from([48, 56, 64, 96]), subnet=st.integers(0, 2**48 - 1))
def test_a_local_prefix_of_any_length_hides_nothing(v4: str, prefix: int, subnet: int) -> None:
    """RFC 6052 places the address by the length of the prefix, around the octet at bit 64: each place is read."""
    left = {48: 40, 56: 32, 64: 24, 96: 0}[prefix]  # bits to the right of the address, that octet not counted
    joined = (subnet << left + 32 | int(IPv4Address(v4)) << left) & (1 << 72) - 1
    carrier = 0x0064_FF9B_0001 << 80 | joined >> 56 << 64 | joined & (1 << 56) - 1
    assert guarded(str(IPv6Address(carrier))) is not None


@given(number=V4 | SPECIAL)
def test_no_stricter_list_is_known_to_the_standard_library(number: int) -> None:
    """What `ipaddress` does not call global is refused."""
    address = IPv4Address(number)
    assert address.is_global or guarded(str(address)) is not None


@given(number=st.integers(0, 2**128 - 1) | st.integers(0x2000 << 112, (0x2002 << 112) - 1))
def test_ipv6_outside_global_unicast_is_refused(number: int) -> None:
    """Of what carries no IPv4 address, only global unicast (2000::/3) as the standard library sees it may pass."""
    address = ip_address(number) if number >> 32 else IPv6Address(number)
    if guarded(str(address)) is None:
        assert number >> 125 == 1
        assert IPv6Address(number).is_global or IPv6Address(number).teredo


def test_pins_are_read() -> None:
    """Hosts become canonical, ports stay where they are given, IPv6 is understood with and without brackets."""
    pins = {
        "Example.ORG": "192.0.2.1",
        "example.org:443": "192.0.2.1:8443",
        "a.test.": "::1",
        "b.test": "[2001:DB8::1]",
        "c.test:80": "[::1]:8080",
        "bücher.test": "127.0.0.1",
        "my_host": "127.0.0.1",
    }
    assert parse_pins(pins) == {
        "example.org": Pin("192.0.2.1", None),
        "example.org:443": Pin("192.0.2.1", 8443),
        "a.test": Pin("::1", None),
        "b.test": Pin("2001:db8::1", None),
        "c.test:80": Pin("::1", 8080),
        "xn--bcher-kva.test": Pin("127.0.0.1", None),
        "my_host": Pin("127.0.0.1", None),
    }


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("127.0.0.1", "10.0.0.1", "only names can be pinned"),
        ("127.1:80", "10.0.0.1", "only names can be pinned"),
        ("8.8.8.8", "10.0.0.1", "only names can be pinned"),
        ("::1", "10.0.0.1", "only names can be pinned"),
        ("[::1]:80", "10.0.0.1", "only names can be pinned"),
        ("", "10.0.0.1", "not a host name"),
        (":80", "10.0.0.1", "not a host name"),
        ("http://a.test", "10.0.0.1", "port"),
        ("a.test/x", "10.0.0.1", "not a host name"),
        ("a test", "10.0.0.1", "not a host name"),
        ("u@a.test", "10.0.0.1", "not a host name"),
        ("a.test:", "10.0.0.1", "port"),
        ("a.test:0", "10.0.0.1", "port"),
        ("a.test:65536", "10.0.0.1", "port"),
        ("a.test:８０", "10.0.0.1", "port"),
        ("a.test", "", "not an IP address"),
        ("a.test", "b.test", "not an IP address"),
        ("a.test", "127.1", "not an IP address"),
        ("a.test", "127.0.0.1:", "port"),
        ("a.test", "127.0.0.1:http", "port"),
        ("a.test", "[::1]:99999", "port"),
        ("a.test", "[127.0.0.1]:80", "not an IP address"),
        ("a.test", "[::1", "not an IP address"),
    ],
)
def test_a_faulty_pin_is_named(key: str, value: str, says: str) -> None:
    """A pin that could not work is refused in a sentence that quotes it."""
    with pytest.raises(ValueError, match=says):
        parse_pins({key: value})


def test_a_host_is_pinned_once() -> None:
    """Two spellings of one host are a mistake."""
    with pytest.raises(ValueError, match="twice"):
        parse_pins({"a.test": "127.0.0.1", "A.test.": "127.0.0.2"})


KEYS = st.text(max_size=12) | st.from_regex(r"[a-z.:\[\]0-9%]{1,12}", fullmatch=True)


@given(key=KEYS, value=st.sampled_from(["::1", "[::1]:1", "x"]))
def test_any_text_is_a_pin_or_a_sentence(key: str, value: str) -> None:
    """Whatever the job says is refused in a sentence of ours, or taken; and what is taken is taken again."""
    fault: Exception | None = None
    try:
        pins = parse_pins({key: value})
        assert parse_pins(dict.fromkeys(pins, value)) == pins
    except ValueError as error:
        fault = error
    assert fault is None or str(fault).startswith('"')


@pytest.mark.parametrize(
    ("href", "open_"),
    [
        ("http://a.example/", True),
        ("https://a.example/", False),
        ("http://localhost:8080/x", False),
        ("http://api.localhost/", False),
        ("http://127.3.2.1/", False),
        ("http://[::1]:80/", False),
        ("http://10.0.0.1/", True),
        ("http://localhost.example/", True),
    ],
)
def test_plain_http_to_another_machine_is_in_the_open(href: str, open_: bool) -> None:
    """What stays on this machine nobody else can read."""
    assert in_the_open(href) is open_
