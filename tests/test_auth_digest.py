"""Digest, against the RFC's examples and a small server that checks by itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.auth.digest import ORIGINS, Digest
from crawler.auth.digestanswer import Answer, authorization, chosen
from crawler.auth.scheme import AGAIN, Answered, Draft, Judgement, Scheme, Signed, Step
from crawler.challenges import parse

URL = "http://a.example/dir/index.html?x=1&y"
HASHLIB = {"MD5": "md5", "SHA-512": "sha512", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
RFC_NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
RFC_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
RFC_OPAQUE = "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


def fields(header: str) -> dict[str, str]:
    """What a server reads in an Authorization header."""
    assert header.startswith("Digest ")
    pairs = re.findall(r'([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^",]+))(?:, |$)', header.removeprefix("Digest "))
    return {name: re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in pairs}


class Server:
    """An origin that wants Digest: it counts what it gave, checks each answer, and never takes a count twice."""

    def __init__(
        self, algorithm: str = "SHA-256", qop: str = "auth", extra: str = "", realm: str = "r", first: int = 0
    ) -> None:
        self.algorithm, self.qop, self.extra, self.realm = algorithm, qop, extra, realm
        self.user, self.password = "user", "pass"
        self.life = 10**9  # how often a nonce is good
        self.says_stale = True
        self.nonces: dict[str, set[str]] = {}
        self.numbers = count(first)
        self.asked = 0
        self.info = ""

    def challenge(self, *, stale: bool = False) -> list[str]:
        nonce = f"nonce{next(self.numbers)}"
        self.nonces[nonce] = set()
        line = f'Digest realm="{self.realm}", nonce="{nonce}", opaque="o{nonce}"'
        line += f", algorithm={self.algorithm}" if self.algorithm else ""
        line += f', qop="{self.qop}"' if self.qop else ""
        return [line + (", stale=true" if stale else "") + self.extra]

    def answer(self, header: str | None, method: str, uri: str, body: bytes = b"") -> Answered:
        self.asked += 1
        if header is None:
            return Answered(401, {}, self.challenge())
        said = fields(header)
        used = self.nonces.get(said["nonce"])
        number = said.get("nc", f"old{len(used or ())}")
        if used is None or len(used) >= self.life:
            return Answered(401, {}, self.challenge(stale=self.says_stale))
        assert number not in used, "a count was used twice"
        used.add(number)
        if said["uri"] != uri or said["response"] != self.expected(said, method, uri, body):
            return Answered(401, {}, self.challenge())
        assert said["opaque"] == f"o{said['nonce']}"
        return Answered(200, {"Authentication-Info": self.info} if self.info else {})

    def expected(self, said: dict[str, str], method: str, uri: str, body: bytes) -> str:
        name = HASHLIB[(self.algorithm or "MD5").upper().removesuffix("-SESS")]

        def h(data: bytes) -> bytes:
            return hashlib.new(name, data).hexdigest().encode()

        a1 = h(f"{self.user}:{self.realm}:{self.password}".encode())
        if self.algorithm.upper().endswith("-SESS"):
            a1 = h(b":".join([a1, said["nonce"].encode(), said["cnonce"].encode()]))
        a2 = f"{method}:{uri}".encode() + (b":" + h(body) if said.get("qop") == "auth-int" else b"")
        middle = [said[key].encode() for key in (("nonce", "nc", "cnonce", "qop") if self.qop else ("nonce",))]
        return h(b":".join([a1, *middle, h(a2)])).decode()


def drafted(scheme: Digest, url: str = URL, method: str = "GET", body: bytes = b"", turn: int = 0) -> Draft:
    return Draft(method, url, {}, {name: hashlib.new(name, body).digest() for name in scheme.wants}, len(body), turn)


def uri_of(url: str) -> str:
    return re.sub(r"^https?://[^/]*", "", url)


def steps(
    scheme: Digest, server: Server, url: str = URL, method: str = "GET", body: bytes = b""
) -> Iterator[Judgement]:
    """One request, round by round, as long as it is sent again."""
    rng = Random(1)
    for turn in range(10):
        draft = drafted(scheme, url, method, body, turn)
        signed = scheme.sign(draft, 0.0, rng)
        answered = server.answer(signed.headers.get("Authorization"), method, uri_of(url), body)
        judgement = scheme.accept(draft, signed, answered, 0.0)
        yield judgement
        if judgement != AGAIN:
            return


def ends(scheme: Digest, server: Server, url: str = URL, method: str = "GET", body: bytes = b"") -> list[Step]:
    return [judgement.step for judgement in steps(scheme, server, url, method, body)]


A, F, R = Step.AGAIN, Step.FINE, Step.REJECTED


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_with_md5_and_sha256(algorithm: str, response: str) -> None:
    """RFC 7616 3.9.1, every field of it."""
    line = (
        f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, '
        f'nonce="{RFC_NONCE}", opaque="{RFC_OPAQUE}"'
    )
    question = chosen(parse([line]), "http://www.example.org/dir/index.html")
    assert question is not None
    header = authorization(question, "Mufasa", "Circle of Life", Answer("GET", "/dir/index.html", 1, RFC_CNONCE))
    assert fields(header) == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": RFC_NONCE,
        "nc": "00000001",
        "cnonce": RFC_CNONCE,
        "qop": "auth",
        "response": response,
        "opaque": RFC_OPAQUE,
    }


def test_the_example_with_sha512_256_charset_and_userhash() -> None:
    """RFC 7616 3.9.2 with its erratum 4897: the RFC itself holds the hashes of a draft of SHA-512/256."""
    line = (
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
        'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
        'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    question = chosen(parse([line]), "http://api.example.org/doe.json")
    assert question is not None
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    header = authorization(question, "Jäsøn Doe", "Secret, or not?", Answer("GET", "/doe.json", 1, cnonce))
    said = fields(header)
    assert said["username"] == "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    assert said["response"] == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    assert said["userhash"] == "true"


def test_the_example_of_rfc_2617() -> None:
    """RFC 2617 3.5: algorithm absent."""
    line = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    question = chosen(parse([line]), "http://www.nowhere.org/dir/index.html")
    assert question is not None
    answer = Answer("GET", "/dir/index.html", 1, "0a4f113b")
    said = fields(authorization(question, "Mufasa", "Circle Of Life", answer))
    assert said["response"] == "6629fae49393a05397450978507c4ef1"
    assert "algorithm" not in said


@pytest.mark.parametrize(
    "algorithm", ["", "MD5", "md5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess", "SHA-512"]
)
@pytest.mark.parametrize("qop", ["", "auth", "auth-int", "auth-int, auth"])
def test_a_server_takes_every_form(algorithm: str, qop: str) -> None:
    """The first request learns, all that follow are taken at once, whatever their body."""
    scheme, server = Digest("user", "pass"), Server(algorithm, qop)
    assert ends(scheme, server, method="POST", body=b"one") == [A, F]
    assert ends(scheme, server, method="POST", body=b"two") == [F]
    assert ends(scheme, server, "http://a.example/") == [F]
    assert len(server.nonces) == 1


def test_bodies_are_hashed_only_where_a_server_wants_it() -> None:
    """Hashing a body of gigabytes is not free: auth-int only where nothing else is offered."""
    for qop, wants in (("auth", set()), ("auth-int,auth", set()), ("auth-int", {"sha256"})):
        scheme = Digest("user", "pass")
        assert scheme.wants == set()
        assert ends(scheme, Server(qop=qop)) == [A, F]
        assert scheme.wants == wants


def test_a_request_drafted_without_the_digest_comes_back() -> None:
    """It was on its way when auth-int was learned."""
    scheme, server = Digest("user", "pass"), Server(qop="auth-int")
    assert ends(scheme, server) == [A, F]
    early = Draft("GET", URL, {})
    signed = scheme.sign(early, 0.0, Random(1))
    assert signed.headers == {}
    assert scheme.accept(early, signed, server.answer(None, "GET", uri_of(URL)), 0.0) == AGAIN


def test_the_strongest_is_chosen() -> None:
    """Whatever the order; of -sess and plain the server's own; what is not known is passed over."""

    def named(*algorithms: str) -> str | None:
        lines = [f"Digest realm=r, nonce=n, algorithm={one}" for one in algorithms]
        question = chosen(parse(lines), URL)
        return question.algorithm if question else None

    assert named("MD5", "SHA-256", "SHA-512-256") == "SHA-512-256"
    assert named("SHA-256-sess", "SHA-256", "MD5") == "SHA-256-sess"
    assert named("SHA3-512", "MD5") == "MD5"
    assert named("SHA3-512") is None


def test_a_thousand_requests_share_a_nonce() -> None:
    """Signed in any order before the first is answered: each has its own count, growing by one, and its own cnonce."""
    scheme, server, rng = Digest("user", "pass"), Server(), Random(1)
    assert ends(scheme, server) == [A, F]
    signed = [scheme.sign(drafted(scheme), 0.0, rng) for _ in range(1000)]
    said = [fields(one.headers["Authorization"]) for one in signed]
    assert [int(one["nc"], 16) for one in said] == list(range(2, 1002))
    assert len({one["cnonce"] for one in said}) == 1000
    assert all(len(one["cnonce"]) * 4 >= 64 for one in said)
    order = list(signed)
    rng.shuffle(order)
    assert all(server.answer(one.headers["Authorization"], "GET", uri_of(URL)).status == 200 for one in order)


def test_many_that_begin_at_once_end_with_one_nonce() -> None:
    """Each got a challenge of its own; all answer the one that was learned first."""
    scheme, server, rng = Digest("user", "pass"), Server(), Random(1)
    drafts = [drafted(scheme) for _ in range(50)]
    first = [scheme.sign(draft, 0.0, rng) for draft in drafts]
    for draft, signed in zip(drafts, first, strict=True):
        assert scheme.accept(draft, signed, server.answer(None, "GET", uri_of(URL)), 0.0) == AGAIN
    second = [fields(scheme.sign(drafted(scheme, turn=1), 0.0, rng).headers["Authorization"]) for _ in drafts]
    assert {one["nonce"] for one in second} == {"nonce0"}


def test_a_stale_nonce_is_renewed_even_in_the_second_round() -> None:
    """The password is right, so it is no rejection; a server that finds all stale comes to an end."""
    scheme, server = Digest("user", "pass"), Server()
    assert ends(scheme, server) == [A, F]
    server.life = 1
    assert ends(scheme, server) == [A, F]
    server.nonces.clear()
    assert ends(scheme, server) == [A, F]
    server.life = 0
    assert ends(scheme, server) == [A, A, A, A, R]
    assert ends(Digest("user", "pass"), server) == [A, A, A, A, R]


def test_a_nonce_that_was_taken_may_expire_without_a_word() -> None:
    """Some servers do not say stale; a wrong password is still found out at once."""
    scheme, server = Digest("user", "pass"), Server()
    server.says_stale = False
    assert ends(scheme, server) == [A, F]
    server.nonces.clear()
    assert ends(scheme, server) == [A, F]
    server.password = "changed"
    assert ends(scheme, server)[-1] == R


@pytest.mark.parametrize(("status", "step"), [(204, A), (302, A), (400, R), (403, R), (500, R)])
def test_only_a_success_proves_a_nonce(status: int, step: Step) -> None:
    """An error may come from before the password was looked at."""
    scheme, server, rng = Digest("user", "pass"), Server(), Random(1)
    draft = drafted(scheme)
    scheme.accept(draft, Signed({}), Answered(401, {}, server.challenge()), 0.0)
    scheme.accept(draft, scheme.sign(draft, 0.0, rng), Answered(status, {}), 0.0)
    signed = scheme.sign(draft, 0.0, rng)
    assert scheme.accept(draft, signed, Answered(401, {}, server.challenge()), 0.0).step is step


def test_a_session_keeps_its_nonce_and_cnonce() -> None:
    """RFC 7616 3.4.2: its key is computed once, with both, so a nextnonce is not for it."""
    scheme, server, rng = Digest("user", "pass"), Server("SHA-256-sess"), Random(1)
    server.info = 'nextnonce="fresh"'
    assert ends(scheme, server) == [A, F]
    said = [fields(scheme.sign(drafted(scheme), 0.0, rng).headers["Authorization"]) for _ in range(3)]
    assert {one["nonce"] for one in said} == {"nonce0"}
    assert len({one["cnonce"] for one in said}) == 1
    assert len({one["nc"] for one in said}) == 3


def test_a_wrong_password_is_rejected_in_the_second_round() -> None:
    """And each further request asks anew, as the nonce may be what is wrong."""
    scheme, server = Digest("user", "hunter2"), Server(realm="the realm")
    for _ in range(3):
        asked = server.asked
        *_, last = steps(scheme, server)
        assert last == (R, 'the server does not take this Digest credential for realm "the realm"')
        assert server.asked - asked == 2
    server.password = "hunter2"
    assert ends(scheme, server) == [A, F]


def test_what_another_request_learned_meanwhile_is_tried() -> None:
    """The mark tells which nonce was used: a 401 for an old one says nothing of the new one, at most twice."""
    scheme, server, rng = Digest("user", "pass"), Server(), Random(1)
    assert ends(scheme, server) == [A, F]
    slow = [(drafted(scheme, turn=turn), scheme.sign(drafted(scheme), 0.0, rng)) for turn in range(4)]
    server.nonces.clear()
    assert ends(scheme, server) == [A, F]  # renewed
    steps_ = [scheme.accept(draft, signed, Answered(401, {}, server.challenge()), 0.0).step for draft, signed in slow]
    assert steps_ == [A, A, R, R]
    assert ends(scheme, server) == [F]


def test_each_origin_has_its_own_challenge() -> None:
    """A challenge is never answered at another origin: not of another host, port or scheme (GHSA-hpj7)."""
    scheme, server = Digest("user", "pass"), Server()
    assert ends(scheme, server) == [A, F]
    for url in ("https://a.example/", "http://a.example:8080/", "http://b.example/", "http://sub.a.example/"):
        assert scheme.sign(drafted(scheme, url), 0.0, Random(1)).headers == {}
        assert ends(scheme, Server(realm=url), url) == [A, F]
    assert ends(scheme, server) == [F]


def test_origins_are_bounded() -> None:
    """The one learned first is asked anew."""
    scheme = Digest("user", "pass")
    for number in range(ORIGINS + 1):
        assert ends(scheme, Server(), f"http://h{number}.example/") == [A, F]
    assert repr(scheme) == f"<Digest origins={ORIGINS}>"
    assert ends(scheme, Server(), "http://h0.example/") == [A, F]


def test_a_domain_tells_where_to_answer_unasked() -> None:
    """RFC 7616 3.3: elsewhere at the origin nothing is sent before it is asked for."""
    scheme, server = Digest("user", "pass"), Server(extra=', domain="/a http://a.example/b/ http://evil.example/"')
    assert ends(scheme, server, "http://a.example/a/1") == [A, F]
    for url, signs in (
        ("http://a.example/a/2", True),
        ("http://a.example/b/", True),
        ("http://a.example/c", False),
        ("http://evil.example/", False),
    ):
        assert bool(scheme.sign(drafted(scheme, url), 0.0, Random(1)).headers) is signs
    assert ends(scheme, server, "http://a.example/c") == [A, F]  # asked for outside of its own domain


def test_two_realms_of_one_origin() -> None:
    """Another realm's challenge is no rejection."""
    scheme, one, two = Digest("user", "pass"), Server(realm="one"), Server(realm="two", first=100)
    assert ends(scheme, one) == [A, F]
    assert ends(scheme, two, "http://a.example/two") == [A, F]
    assert ends(scheme, one) == [A, F]


def test_nextnonce_is_used_from_then_on() -> None:
    """RFC 7616 3.5; its count begins anew, and a late answer does not bring an old one back."""
    scheme, server, rng = Digest("user", "pass"), Server(), Random(1)
    assert ends(scheme, server) == [A, F]
    draft = drafted(scheme)
    early, late = scheme.sign(draft, 0.0, rng), scheme.sign(draft, 0.0, rng)
    scheme.accept(draft, early, Answered(200, {"Authentication-Info": 'nextnonce="fresh", qop=auth'}), 0.0)
    scheme.accept(draft, late, Answered(200, {"Authentication-Info": 'nextnonce="older"'}), 0.0)
    said = fields(scheme.sign(draft, 0.0, rng).headers["Authorization"])
    assert (said["nonce"], said["nc"]) == ("fresh", "00000001")


@pytest.mark.parametrize("info", ["", "nextnonce", 'nextnonce=""', "=,", 'nextnonce="a\x01b"', 'rspauth="x"'])
def test_an_authentication_info_that_says_nothing_changes_nothing(info: str) -> None:
    """The nonce stays, and the count goes on."""
    scheme, server = Digest("user", "pass"), Server()
    server.info = info
    assert ends(scheme, server) == [A, F]
    assert ends(scheme, server) == [F]
    assert fields(scheme.sign(drafted(scheme), 0.0, Random(1)).headers["Authorization"])["nc"] == "00000003"


def test_the_same_nonce_said_again_goes_on_counting() -> None:
    """A server that calls its only nonce stale: no count is used twice with it."""
    scheme, rng = Digest("user", "pass"), Random(1)
    line = "Digest realm=r, nonce=n, qop=auth"
    draft = drafted(scheme)
    scheme.accept(draft, Signed({}), Answered(401, {}, [line]), 0.0)
    counts = []
    for _ in range(3):
        signed = scheme.sign(draft, 0.0, rng)
        counts.append(fields(signed.headers["Authorization"])["nc"])
        assert scheme.accept(draft, signed, Answered(401, {}, [f"{line}, stale=true"]), 0.0) == AGAIN
    assert counts == ["00000001", "00000002", "00000003"]


@pytest.mark.parametrize(
    ("extra", "user", "username"),
    [
        ("", 'a"b\\c', ("username", 'a"b\\c')),
        ("", "Jäsøn", ("username", "Jäsøn")),
        (", charset=UTF-8", "Jäsøn Doe", ("username*", "UTF-8''J%C3%A4s%C3%B8n%20Doe")),
        (", charset=UTF-8", "plain", ("username", "plain")),
        (", userhash=false", "plain", ("username", "plain")),
        (", userhash=true", "plain", ("username", hashlib.sha256(b"plain:r").hexdigest())),
    ],
)
def test_forms_of_the_user(extra: str, user: str, username: tuple[str, str]) -> None:
    """Quoted, extended (RFC 8187) or hashed."""
    scheme, server = Digest(user, "pass"), Server(extra=extra)
    server.user = user
    assert ends(scheme, server) == [A, F]
    said = fields(scheme.sign(drafted(scheme), 0.0, Random(1)).headers["Authorization"])
    assert {name: value for name, value in said.items() if name.startswith("username")} == dict([username])


def judge(*lines: str, status: int = 401) -> Judgement:
    scheme = Digest("user", "hunter2")
    return scheme.accept(drafted(scheme), Signed({}), Answered(status, {}, lines), 0.0)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('Basic realm="x"', 'the server wants Basic realm "x", this section offers Digest'),
        ("Digest realm=r, nonce=n, algorithm=SHA3-512", "not known here (algorithm SHA3-512)"),
        ("Digest realm=r, nonce=n, qop=auth-conf", "not known here (qop auth-conf)"),
        ("Digest realm=r", "not known here (no nonce)"),
        ('Digest realm="a\x01b", nonce=n', "not known here"),
        (f'Digest realm=r, nonce="{"n" * 5000}"', "not known here"),
        ('Digest realm=r, nonce=n, opaque="\ud800"', "not known here"),
    ],
)
def test_what_cannot_be_answered_is_rejected(line: str, error: str) -> None:
    """With the server's own words; nothing unsafe or huge is sent back to it."""
    step, said = judge(line)
    assert step is R
    assert error in said


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=10), st.text(max_size=30))
def test_whatever_a_server_asks_the_answer_can_be_sent(realm: str, nonce: str, algorithm: str, domain: str) -> None:
    """Never raises; a header that is sent holds no control character and can be encoded."""
    scheme, draft = Digest("user", "pass"), Draft("GET", URL, {})
    line = f'Digest realm="{realm}", nonce="{nonce}", algorithm="{algorithm}", domain="{domain}", qop="auth"'
    scheme.accept(draft, Signed({}), Answered(401, {}, [line]), 0.0)
    header = scheme.sign(draft, 0.0, Random(1)).headers.get("Authorization", "")
    header.encode()
    assert not re.search(r"[\x00-\x1f\x7f]", header)


@pytest.mark.parametrize("status", [200, 304, 403, 407, 500])
def test_all_but_401_is_fine(status: int) -> None:
    """A 407 is the proxy's."""
    assert judge("Digest realm=r, nonce=n", status=status).step is F


def test_nothing_shows_the_credential() -> None:
    """Neither repr nor a sentence."""
    scheme: Scheme = Digest("user", "hunter2")
    said = judge('Basic realm="hunter2"').error + judge("Digest qop=hunter2").error
    assert "hunter2" not in said + repr(scheme)
    assert (scheme.reads_errors, scheme.stale(1e9)) == (False, False)
    for user, password in (("zq\n", "p"), ("u", "zq\0")):
        with pytest.raises(ValueError, match="control characters") as caught:
            Digest(user, password)
        assert "zq" not in str(caught.value)
