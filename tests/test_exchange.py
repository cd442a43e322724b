"""What goes along with one attempt, in which order, and what is learned of the answer."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from random import Random
from time import time as wall_clock
from typing import Any

import pytest
from multidict import CIMultiDict

from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step
from crawler.authenticate import Authenticator, Section
from crawler.cookies import Jar
from crawler.errors import Reason
from crawler.exchange import Exchange, Means, Refused
from crawler.hosts import HostRules, Hosts
from crawler.jobfile import build
from crawler.model import Content, Fetched, Field, FileBody, Message, Multipart, Request, Timing
from crawler.outgoing import Framed
from crawler.routing import Routing
from crawler.spool import EMPTY

URL = "https://a.test/x"


class Told:
    """The head of an answer."""

    def __init__(self, status: int = 200, *headers: tuple[str, str]) -> None:
        self.status = status
        self.headers = CIMultiDict(headers)

    def all(self, name: str) -> list[str]:
        return self.headers.getall(name, [])


class Scheme:
    """Keeps what it is shown."""

    name = "Fake"
    reads_errors = True

    def __init__(self, signed: Signed | None = None, judgement: Judgement = FINE) -> None:
        self.wants = frozenset({"sha256"})
        self.signed = signed or Signed({"authorization": "Fake"})
        self.judgement = judgement
        self.drafts: list[Draft] = []
        self.answers: list[Answered] = []

    def stale(self, now: float) -> bool:
        return False

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        self.drafts.append(draft)
        return self.signed

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        self.answers.append(answered)
        return self.judgement


class Framing:
    def length(self, total: int) -> int:
        return total + 2

    def frame(self, data: bytes) -> bytes:
        return data


def host(folder: Path, **connection: Any) -> HostRules:
    data = {"name": "t", "input": {"urls": [URL]}, "connection": connection}
    return Hosts(build(data, folder).job).of("a.test")


def request(body: Content | None = None, url: str = URL, method: str = "POST") -> Request:
    return Request(1, url, "a.test", method=method, body=body)


def auth(scheme: Scheme, *hosts: str) -> Authenticator:
    return Authenticator([Section("x", scheme, hosts or ("*",))])


def jar(url: str = URL, line: str = "j=1") -> Jar:
    one = Jar()
    one.accept(url, [line], wall_clock())
    return one


async def prepared(exchange: Exchange, one: Request, **headers: str) -> Message:
    return await exchange.prepare(Message(one.method, one.url, headers))


async def test_the_signature_comes_last(tmp_path: Path) -> None:
    """The scheme sees the cookies, the type and the digest of the very body, and nothing is added after it."""
    scheme, one = Scheme(), request(b"data")
    one.rounds = 2
    exchange = Exchange(one, host(tmp_path), Means(jar(), auth(scheme)))
    message = await prepared(exchange, one, **{"X-Own": "1", "Authorization": "row"})
    [draft] = scheme.drafts
    assert draft == Draft(
        "POST",
        URL,
        {"X-Own": "1", "Authorization": "row", "Cookie": "j=1"},
        {"sha256": sha256(b"data").digest()},
        4,
        2,
        b"data",
    )
    assert message.headers == {"X-Own": "1", "authorization": "Fake", "Cookie": "j=1"}
    assert message.body == b"data"
    assert exchange.reads_errors


async def test_a_query_that_carries_the_credential_is_what_goes_out(tmp_path: Path) -> None:
    """The signed URL is on the wire; the request stays where it stood."""
    one = request()
    exchange = Exchange(one, host(tmp_path), Means(auth=auth(Scheme(Signed({}, url=f"{URL}?sig=1")))))
    assert (await prepared(exchange, one)).url == f"{URL}?sig=1"
    assert one.url == URL


async def test_a_body_in_signed_pieces_is_framed(tmp_path: Path) -> None:
    """With the length that it has on the wire."""
    one = request(b"data")
    exchange = Exchange(one, host(tmp_path), Means(auth=auth(Scheme(Signed({}, framing=Framing())))))
    message = await prepared(exchange, one)
    assert isinstance(message.body, Framed)
    assert message.body.length == 6


@pytest.mark.parametrize(
    ("named", "sent"), [({}, "text/plain"), ({"content-type": "x/own"}, "x/own")], ids=["guessed", "named"]
)
async def test_a_file_has_the_type_that_was_said_or_that_of_its_name(
    tmp_path: Path, named: dict[str, str], sent: str
) -> None:
    """One Content-Type, whoever says it."""
    (tmp_path / "a.txt").write_text("x")
    one = request(FileBody(str(tmp_path / "a.txt")))
    message = await prepared(Exchange(one, host(tmp_path), Means()), one, **named)
    assert [text for name, text in message.headers.items() if name.lower() == "content-type"] == [sent]


async def test_a_multipart_names_its_boundary_whatever_else_is_said(tmp_path: Path) -> None:
    """Its own Content-Type stands over a row's, or nobody could read it."""
    one = request(Multipart((Field("a", "1"),)))
    message = await prepared(Exchange(one, host(tmp_path), Means()), one, **{"Content-Type": "multipart/form-data"})
    assert isinstance(message.body, bytes)
    [told] = message.headers.values()
    assert told.startswith("multipart/form-data; boundary=")
    assert told.partition("boundary=")[2].encode() in message.body


async def test_a_file_that_is_not_there_ends_the_attempt(tmp_path: Path) -> None:
    """Before anything is sent or signed."""
    scheme, one = Scheme(), request(FileBody(str(tmp_path / "gone")))
    with pytest.raises(Refused) as caught:
        await prepared(Exchange(one, host(tmp_path), Means(auth=auth(scheme))), one)
    assert (caught.value.reason, caught.value.status) == (Reason.UPLOAD_UNREADABLE, None)
    assert not scheme.drafts


async def test_a_credential_that_must_not_go_ends_the_attempt(tmp_path: Path) -> None:
    """Before its body is opened."""
    one = request(FileBody("/nowhere"), url="http://a.test/")
    with pytest.raises(Refused) as caught:
        await prepared(Exchange(one, host(tmp_path), Means(auth=auth(Scheme()))), one)
    assert caught.value.reason is Reason.AUTH_INSECURE


async def test_a_robots_txt_is_asked_for_without_anything(tmp_path: Path) -> None:
    """No cookie, no credential, and no cookie of its answer is kept; its way is that of its host."""
    scheme, cookies = Scheme(), jar()
    one = Request(0, "https://a.test/robots.txt", "a.test")
    one.robots = "https://a.test"
    routing = Routing(str, str)
    exchange = Exchange(one, host(tmp_path, proxy="http://p.test:1"), Means(cookies, auth(scheme), routing))
    message = await prepared(exchange, one)
    assert message.headers == {}
    assert message.route.proxy is not None
    exchange.arrived(Told(200, ("Set-Cookie", "r=1")))  # type: ignore[arg-type]
    assert cookies.header("https://a.test/", wall_clock()) == "j=1"
    assert not scheme.drafts


async def test_cookies_of_any_answer_are_kept(tmp_path: Path) -> None:
    """Of an error or a redirect as well, from every line."""
    cookies, one = Jar(), request()
    exchange = Exchange(one, host(tmp_path), Means(cookies))
    await prepared(exchange, one)
    exchange.arrived(Told(302, ("Set-Cookie", "a=1"), ("set-cookie", "b=2; Path=/")))  # type: ignore[arg-type]
    assert cookies.header(URL, wall_clock()) == "a=1; b=2"


@pytest.mark.parametrize(
    ("judgement", "reason", "again"),
    [
        (FINE, None, False),
        (AGAIN, None, True),
        (Judgement(Step.REJECTED, "no"), Reason.AUTH_REJECTED, False),
        (Judgement(Step.CLOCK, "off"), Reason.AUTH_CLOCK, False),
    ],
)
async def test_the_scheme_hears_the_answer(
    tmp_path: Path, judgement: Judgement, reason: Reason | None, again: bool
) -> None:
    """All WWW-Authenticate lines and the begin of the body; what it says becomes the end, or another round."""
    scheme, one = Scheme(judgement=judgement), request()
    exchange = Exchange(one, host(tmp_path), Means(auth=auth(scheme)))
    await prepared(exchange, one)
    outcome = Fetched(one, "id", 401, {}, EMPTY, Timing(0.0))
    told = Told(401, ("WWW-Authenticate", "A"), ("WWW-Authenticate", "B"))
    if reason is None:
        exchange.judged(outcome, told, b"why")  # type: ignore[arg-type]
    else:
        with pytest.raises(Refused) as caught:
            exchange.judged(outcome, told, b"why")  # type: ignore[arg-type]
        assert (caught.value.reason, caught.value.status) == (reason, 401)
        assert "[auth.x]" in caught.value.error
    assert outcome.again == again
    [answered] = scheme.answers
    assert (list(answered.challenges), answered.body, answered.status) == (["A", "B"], b"why", 401)


async def test_no_scheme_hears_what_it_did_not_sign(tmp_path: Path) -> None:
    """An answer of a host that no section is bound to."""
    scheme, one = Scheme(judgement=AGAIN), request()
    exchange = Exchange(one, host(tmp_path), Means(auth=auth(scheme, "b.test")))
    await prepared(exchange, one)
    outcome = Fetched(one, "id", 401, {}, EMPTY, Timing(0.0))
    exchange.judged(outcome, Told(401), b"")  # type: ignore[arg-type]
    assert not outcome.again
    assert not exchange.reads_errors
    assert not scheme.drafts + scheme.answers  # type: ignore[operator]


async def test_a_proxy_is_told_how_it_did(tmp_path: Path) -> None:
    """Its own faults speak against it until it is put out; those of a site do not."""
    rules = host(tmp_path, proxy=["http://p1.test:1", "http://p2.test:2"])

    async def chosen(routing: Routing, reason: Reason | None) -> str:
        one = request()
        exchange = Exchange(one, rules, Means(routing=routing))
        proxy = (await prepared(exchange, one)).route.proxy
        assert proxy is not None
        if proxy.host == "p1.test" and reason is not None:
            exchange.failed(reason)
        else:
            exchange.arrived(Told())  # type: ignore[arg-type]
        return proxy.host

    for reason, left in ((Reason.PROXY_REFUSED, {"p2.test"}), (Reason.READ_TIMEOUT, {"p1.test", "p2.test"})):
        routing = Routing(str, str)
        for _ in range(20):
            await chosen(routing, reason)
        assert {await chosen(routing, None) for _ in range(4)} == left
