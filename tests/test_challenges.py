"""What a server asks for."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.challenges import LIMIT, Challenge, offered, parse, refusal, said, wanted

TOKEN = st.text("abcXYZ019!#$%&'*+.^_`|~-", min_size=1, max_size=12)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_one_challenge_with_parameters() -> None:
    """Names of parameters are lower case, values unquoted, the scheme stays as it was spelled."""
    assert parse(['Digest Realm="a b", qop="auth,auth-int", stale = TRUE, nonce="n"']) == [
        Challenge("Digest", {"realm": "a b", "qop": "auth,auth-int", "stale": "TRUE", "nonce": "n"})
    ]


def test_the_example_of_the_rfc() -> None:
    """RFC 9110 11.6.1: two challenges in one line, a comma and escapes within quotes."""
    line = 'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\", now"'
    assert parse([line]) == [
        Challenge("Basic", {"realm": "simple"}),
        Challenge("Newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps", now'}),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Negotiate", [Challenge("Negotiate", {})]),
        ("Negotiate, NTLM", [Challenge("Negotiate", {}), Challenge("NTLM", {})]),
        ("NTLM TlRMTVNTUAAC==, Basic", [Challenge("NTLM", {}, "TlRMTVNTUAAC=="), Challenge("Basic", {})]),
        (", ,Basic realm=x,, charset=UTF-8,", [Challenge("Basic", {"realm": "x", "charset": "UTF-8"})]),
        ("Basic , realm=x", [Challenge("Basic", {"realm": "x"})]),
        ('Basic realm="", Bearer', [Challenge("Basic", {"realm": ""}), Challenge("Bearer", {})]),
    ],
)
def test_forms_of_the_grammar(line: str, expected: list[Challenge]) -> None:
    """Bare schemes, token68, empty list members, tokens as values."""
    assert parse([line]) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Digest realm="x" qop="auth"', [Challenge("Digest", {"realm": "x", "qop": "auth"})]),  # a comma forgotten
        ("Basic realm=My Site, charset=UTF-8", [Challenge("Basic", {"realm": "My", "charset": "UTF-8"})]),
        ('Basic realm="never closed', [Challenge("Basic", {"realm": "never closed"})]),
        ("Basic realm=a, realm=b", [Challenge("Basic", {"realm": "a"})]),
        ('realm="x"', []),
        ("NTLM TlRM==, realm=x, Basic", [Challenge("NTLM", {}, "TlRM=="), Challenge("Basic", {})]),
        ("", []),
        ("=, ;;, (x)", []),
    ],
)
def test_what_breaks_the_grammar_is_read_as_far_as_it_goes(line: str, expected: list[Challenge]) -> None:
    """Servers err; no challenge is invented from the pieces."""
    assert parse([line]) == expected


def test_several_lines_are_one_list() -> None:
    """The order of the lines is kept, and a challenge never goes on in the next line."""
    assert [one.scheme for one in parse(["Basic", 'realm="x", Bearer', "Digest"])] == ["Basic", "Bearer", "Digest"]


@given(
    st.lists(
        st.tuples(st.text("abcXYZ", min_size=1, max_size=8), st.lists(st.tuples(TOKEN, VALUE), min_size=1, max_size=4)),
        max_size=5,
    )
)
def test_what_was_written_is_read(offers: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """Any challenges written by the grammar come back, whatever stands in the quotes."""
    texts = [f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in pairs) for scheme, pairs in offers]
    expected = []
    for scheme, pairs in offers:
        params: dict[str, str] = {}
        for name, value in pairs:
            params.setdefault(name.lower(), value)
        expected.append(Challenge(scheme, params))
    assert parse([", ".join(texts)]) == expected
    assert parse(texts) == expected


@given(st.lists(st.text(), max_size=4))
def test_junk_never_raises(lines: list[str]) -> None:
    """Whatever a server sends is read, and a short printable text said of it."""
    challenges = parse(lines)
    assert len(challenges) <= LIMIT
    for text in (wanted(challenges), refusal(lines, "Basic")):
        assert not any(char in text for char in "\r\n\0\x1b\u202e\x7f\x85")
        assert len(text) < 2500


@given(st.text('Basic ="\\,\t', max_size=60))
def test_junk_of_the_grammars_own_characters_never_raises(line: str) -> None:
    """Nor what looks nearly right: each challenge has a scheme of the text."""
    assert all(challenge.scheme.lower() in line.lower() for challenge in parse([line]))


@pytest.mark.parametrize("piece", ['"', "\\", '\\"', "a=", "a ", 'a="', ", ", "a=,", "\t", 'a="\\'])
def test_long_junk_takes_linear_time(piece: str) -> None:
    """64 KiB of what makes a pattern go back and forth is read in a moment."""
    begin = time.process_time()
    parse(["Basic " + piece * (65536 // len(piece))])
    assert time.process_time() - begin < 0.5


def test_at_most_twenty_are_kept() -> None:
    """However many a server names."""
    assert len(parse(["Basic, " * 1000] * 3)) == LIMIT


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('Digest realm="x", nonce="n"', 'Digest realm "x"'),
        ("Basic, Bearer", "Basic or Bearer"),
        ('Digest realm="x", nonce="1", Digest realm="x", nonce="2", Basic', 'Digest realm "x" or Basic'),
        ("A, B, C", "A, B or C"),
        ("A, B, C, D, E, F", "A, B, C, D or another of 6"),
        ('Basic realm="a\x1b[2J\u202eb"', 'Basic realm "a\\x1b[2J\\u202eb"'),
        ("", ""),
    ],
)
def test_how_people_name_what_is_wanted(line: str, expected: str) -> None:
    """Each once, with its realm, safe for a terminal."""
    assert wanted(parse([line])) == expected


def test_a_long_realm_is_cut() -> None:
    """A sentence stays one."""
    assert wanted(parse([f'Basic realm="{"x" * 5000}"'])) == f'Basic realm "{"x" * 60}…"'


def test_the_sentence_for_a_refused_credential() -> None:
    """It names what the server wants where that is another scheme, else the realm."""
    assert refusal(['Digest realm="x"'], "Basic") == 'the server wants Digest realm "x", this section offers Basic'
    assert refusal(["bearer", 'basic realm="x"'], "Basic") == (
        'the server does not take this Basic credential for realm "x"'
    )
    assert refusal([], "Basic") == "the server does not take this Basic credential, and does not say what it wants"


def test_own_secrets_in_a_servers_words_are_masked() -> None:
    """Also where the cut would leave half of one, and where one secret holds another."""
    line = f'Digest realm="{"x" * 55}hunter2 hunter22"'
    assert "hunt" not in refusal([line], "Basic", ["hunter2", "hunter22"])
    assert said("a hunter22 b", ["hunter2", "hunter22"]) == "a *** b"
    assert said("abc", [""]) == "abc"


def test_those_of_one_scheme() -> None:
    """Schemes compare without case."""
    challenges = parse(["DIGEST realm=a, Basic realm=b, digest realm=c"])
    assert [one.params["realm"] for one in offered(challenges, "Digest")] == ["a", "c"]
