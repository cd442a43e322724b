"""HMAC signing, by signatures that others published."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from email.utils import formatdate
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from crawler.auth.hmac import Hmac, Settings, key_of
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Scheme, Signed, Step, Unsignable
from crawler.urls import parse

URL = "https://api.example/v1/things?b=2&a=1"
PLAIN = Settings(b"hunter2", "{method}\n{path_query}\n{timestamp}", {"X-Sign": "{signature}", "X-Time": "{timestamp}"})


def sign(settings: Settings, draft: Draft, now: float = 0.0) -> Signed:
    return Hmac(settings).sign(draft, now, Random(1))


def signed_text(string: str, draft: Draft, now: float = 0.0, **more: Any) -> str:
    """The header that carries the template itself, and whose signature is checked beside it."""
    settings = Settings(b"k", string, {"X-Sign": "{signature}"}, **more)
    given = sign(settings, draft, now).headers["X-Sign"]
    shown = sign(settings._replace(headers={"X-Sign": "{signature}", "X-Text": string}), draft, now).headers["X-Text"]
    assert given == hmac.new(b"k", shown.encode(), "sha256").hexdigest()
    return shown


def test_binance() -> None:
    """The example of Binance's documentation: timestamp and signature in the query, the key's name in a header."""
    settings = Settings(
        b"NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
        "{query}",
        {"X-MBX-APIKEY": "{key_id}"},
        {"timestamp": "{timestamp}", "signature": "{signature}"},
        key_id="vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
        timestamp="unix_ms",
    )
    query = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
    signed = sign(settings, Draft("POST", f"https://api.binance.com/api/v3/order?{query}", {}), 1499827319.559)
    assert signed.url == (
        f"https://api.binance.com/api/v3/order?{query}&timestamp=1499827319559"
        "&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    )
    assert signed.headers == {"X-MBX-APIKEY": settings.key_id}
    again = sign(settings, Draft("POST", signed.url, {}), 1499827319.559)
    assert again.url == signed.url  # parameters that came back in a Location are replaced


def test_http_message_signatures() -> None:
    """RFC 9421 B.2.5: hmac-sha256 over three components."""
    params = '("date" "@authority" "content-type");created={unix};keyid="{key_id}"'
    settings = Settings(
        key_of("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==", "base64"),
        '"date": {header:Date}\n"@authority": {host}\n"content-type": {header:content-type}\n'
        f'"@signature-params": {params}',
        {"Signature-Input": f"sig-b25={params}", "Signature": "sig-b25=:{signature}:"},
        key_id="test-shared-secret",
        encoding="base64",
    )
    sent = {"date": "Tue, 20 Apr 2021 02:07:55 GMT", "Content-Type": "application/json"}
    signed = sign(settings, Draft("POST", "http://example.com/foo?param=Value&Pet=dog", sent), 1618884473)
    assert signed.headers["Signature"] == "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:"
    assert signed.headers["Signature-Input"] == (
        'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    )


def test_hawk() -> None:
    """The example of Hawk's README (its nonce given)."""
    settings = Settings(
        b"werxhqb98rpaxn39848xrunpaw3489ruxnpa98w4rxn",
        "hawk.1.header\n{timestamp}\nj4h3g2\n{method}\n{path_query}\n{hostname}\n{port}\n\nsome-app-ext-data\n",
        {
            "Authorization": 'Hawk id="{key_id}", ts="{timestamp}", nonce="j4h3g2", ext="some-app-ext-data", '
            'mac="{signature}"'
        },
        key_id="dh37fgj492je",
        encoding="base64",
    )
    signed = sign(settings, Draft("GET", "http://example.com:8000/resource/1?b=1&a=2", {}), 1353832234)
    assert signed.headers["Authorization"] == (
        'Hawk id="dh37fgj492je", ts="1353832234", nonce="j4h3g2", ext="some-app-ext-data", '
        'mac="6R4rV5iE+NPoym+WwjeHzjAGXUtLNIxmo1vpMofpLAE="'
    )


def test_cosmos_db() -> None:
    """The example of Azure Cosmos DB's documentation: lower case, and a signature that is percent-encoded."""
    settings = Settings(
        key_of("dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw==", "base64"),
        "{method|lower}\ndbs\ndbs/ToDoList\n{timestamp|lower}\n\n",
        {"x-ms-date": "{timestamp}", "authorization": "type%3Dmaster%26ver%3D1.0%26sig%3D{signature|percent}"},
        encoding="base64",
        timestamp="http",
    )
    signed = sign(settings, Draft("GET", "https://a.documents.azure.com/dbs/ToDoList", {}), 1493254272)
    assert signed.headers == {
        "x-ms-date": "Thu, 27 Apr 2017 00:51:12 GMT",
        "authorization": "type%3Dmaster%26ver%3D1.0%26sig%3Dc09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu%2Bc%2Bc%3D",
    }


def test_http_signatures_of_the_draft() -> None:
    """draft-cavage: a published request, its date a header of the request."""
    settings = Settings(
        b"PennyLunaLuka",
        "(request-target): {method|lower} {path_query}\ndate: {header:date}",
        {
            "Authorization": 'Signature keyId="{key_id}",algorithm="hmac-sha256",headers="(request-target) date",'
            'signature="{signature}"'
        },
        key_id="kids",
        encoding="base64",
    )
    url = "http://h.example/signature-prototype-1.0-SNAPSHOT/api/colors/preferred"
    signed = sign(settings, Draft("GET", url, {"Date": "Tue, 07 Jun 2014 20:51:35 GMT"}))
    assert signed.headers["Authorization"].endswith('signature="g+GNqWOXhigFV9ujbZN50J54HDeNZa1L4Bom+HIozqE="')


def test_azure_app_configuration() -> None:
    """Its documented shape: the body's hash is a header that is signed as well."""
    settings = Settings(
        b"k",
        "{method}\n{path_query}\n{timestamp};{host};{header:x-ms-content-sha256}",
        {
            "x-ms-date": "{timestamp}",
            "x-ms-content-sha256": "{body_hash}",
            "Authorization": "HMAC-SHA256 Credential={key_id}&Signature={signature}",
        },
        key_id="id",
        encoding="base64",
        timestamp="http",
        body_encoding="base64",
    )
    digest = hashlib.sha256(b"body").digest()
    assert Hmac(settings).wants == {"sha256"}
    signed = sign(settings, Draft("PUT", "https://a.example:8443/kv?x=1", {}, {"sha256": digest}, 4), 0.0)
    hashed = b64encode(digest).decode()
    text = f"PUT\n/kv?x=1\nThu, 01 Jan 1970 00:00:00 GMT;a.example:8443;{hashed}"
    signature = b64encode(hmac.new(b"k", text.encode(), "sha256").digest()).decode()
    assert signed.headers == {
        "x-ms-date": "Thu, 01 Jan 1970 00:00:00 GMT",
        "x-ms-content-sha256": hashed,
        "Authorization": f"HMAC-SHA256 Credential=id&Signature={signature}",
    }


def test_azure_storage() -> None:
    """Its documented string to sign for listing a container: headers that are added and the query as lines."""
    settings = Settings(
        b"k",
        "{method}\n\n\n{content_length}\n\n{header:Content-Type}\n\n\n\n\n\n\n"
        "x-ms-date:{header:x-ms-date}\nx-ms-version:{header:x-ms-version}\n/myaccount{path}{query_lines}",
        {
            "x-ms-date": "{timestamp}",
            "x-ms-version": "2015-02-21",
            "Authorization": "SharedKey myaccount:{signature}",
        },
        encoding="base64",
        timestamp="http",
    )
    url = "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20"
    text = (
        "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n"
        "/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    )
    signature = b64encode(hmac.new(b"k", text.encode(), "sha256").digest()).decode()
    signed = sign(settings, Draft("GET", url, {}), 1435361952)
    assert signed.headers["Authorization"] == f"SharedKey myaccount:{signature}"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{method} {scheme} {host} {hostname} {port}", "PUT https a.example:8443 a.example 8443"),
        ("{path}|{query}|{path_query}", "/p%20q/|b=2&a=1&A=3|/p%20q/?b=2&a=1&A=3"),
        ("{sorted_query}", "A=3&a=1&b=2"),
        ("{query_lines}", "\na:1,3\nb:2"),
        ("{url}", "https://a.example:8443/p%20q/?b=2&a=1&A=3"),
        (
            "{unix} {unix_ms} {iso8601} {iso8601_ms}",
            "1607418537 1607418537715 2020-12-08T09:08:57Z 2020-12-08T09:08:57.715Z",
        ),
        ("{http}", "Tue, 08 Dec 2020 09:08:57 GMT"),
        ("{content_length}", "4"),
        ("{header:accept}{header: X-None }", "*/*"),
        ("{body_hash}", hashlib.sha256(b"body").hexdigest()),
        ("{body_sha512} {body_md5}", f"{hashlib.sha512(b'body').hexdigest()} {hashlib.md5(b'body').hexdigest()}"),
        ("{method|lower} { path | upper }", "put /P%20Q/"),
        ("{ not closed } }{", None),
        ("{method.__class__}", None),
        ("{0}", None),
        ("plain text } {", "plain text } {"),
    ],
)
def test_fields(template: str, text: str | None) -> None:
    """What each says of a request; what is none is refused, and nothing is ever evaluated."""
    body = {name: hashlib.new(name, b"body").digest() for name in ("sha256", "sha512", "md5")}
    draft = Draft("PUT", "https://a.example:8443/p%20q/?b=2&a=1&A=3", {"Accept": "*/*"}, body, 4)
    if text is None:
        with pytest.raises(ValueError, match="there is no field"):
            signed_text(template, draft)
    else:
        assert signed_text(template, draft, 1607418537.715) == text


def test_fields_without_anything() -> None:
    """No query, no body, default ports, an origin without a path."""
    template = "{path}|{query}|{path_query}|{sorted_query}|{query_lines}|{content_length}|{port}"
    assert signed_text(template, Draft("GET", "http://a.example/", {})) == "/||/||||80"
    assert signed_text("{port}", Draft("GET", "https://[::1]/", {})) == "443"


def test_text_of_a_url_or_header_is_no_template() -> None:
    """Braces in them stay braces."""
    draft = Draft("GET", "https://a.example/?{key_id}", {"X": "{signature}{method}"})
    assert signed_text("{query}{header:x}", draft) == "{key_id}{signature}{method}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64", "base64url"])
def test_algorithms_and_encodings(algorithm: Any, encoding: Any) -> None:
    """As the standard library computes them."""
    settings = PLAIN._replace(algorithm=algorithm, encoding=encoding)
    for now in range(8):  # so that base64 has each kind of character and padding
        given = sign(settings, Draft("GET", URL, {}), now).headers["X-Sign"]
        raw = hmac.new(b"hunter2", f"GET\n/v1/things?b=2&a=1\n{now}".encode(), algorithm).digest()
        if encoding == "base64url":
            given = given.replace("-", "+").replace("_", "/") + "=" * (-len(given) % 4)
        assert (bytes.fromhex(given) if encoding == "hex" else b64decode(given, validate=True)) == raw


def test_bodies_are_hashed_only_where_a_template_says_so() -> None:
    """By the algorithm, or by the one that is named, wherever it stands."""
    assert Hmac(PLAIN).wants == set()
    assert Hmac(PLAIN._replace(string="{body_hash}")).wants == {"sha256"}
    assert Hmac(PLAIN._replace(string="{body_hash}", algorithm="sha512")).wants == {"sha512"}
    assert Hmac(PLAIN._replace(headers={**PLAIN.headers, "Content-MD5": "{body_md5}"})).wants == {"md5"}


def test_each_request_has_its_own_nonce() -> None:
    """One for all templates of a request, 128 bits of the given chance."""
    scheme, rng = Hmac(PLAIN._replace(string="{nonce}", headers={"X-N": "{nonce}", "X-S": "{signature}"})), Random(1)
    signed = [scheme.sign(Draft("GET", URL, {}), 0.0, rng) for _ in range(100)]
    assert len({one.headers["X-N"] for one in signed}) == 100
    for one in signed:
        assert len(bytes.fromhex(one.headers["X-N"])) == 16
        assert one.headers["X-S"] == hmac.new(b"hunter2", one.headers["X-N"].encode(), "sha256").hexdigest()


def test_a_signature_in_the_query() -> None:
    """It is added last, percent-encoded, to the signed URL alone, which stays canonical."""
    settings = Settings(b"k", "{path_query}", {}, {"sig": "{signature}", "ts": "{timestamp}"}, encoding="base64")
    draft = Draft("GET", URL, {})
    for now in range(8):
        url = sign(settings, draft, now).url or ""
        assert parse(url).href == url
        pairs = parse_qsl(urlsplit(url).query)
        text = f"/v1/things?b=2&a=1&ts={now}"
        assert pairs[-1] == ("sig", b64encode(hmac.new(b"k", text.encode(), "sha256").digest()).decode())
        assert pairs[:-1] == [("b", "2"), ("a", "1"), ("ts", str(now))]
    assert sign(PLAIN, draft).url is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"key": b""}, "the key is empty"),
        ({"string": "{metod}"}, "no field 'metod'; did you mean method"),
        ({"string": "{method|lowr}"}, "no filter 'lowr'; did you mean lower"),
        ({"string": "{zzzzzzzzzzz}"}, "there are method, url"),
        ({"string": "{header:}"}, "does not name a header"),
        ({"string": "{header:a b}"}, "does not name a header"),
        ({"string": "{signature}"}, "in the text that is signed"),
        ({"string": "{header:x-sign}"}, "the header X-Sign, which carries the signature"),
        ({"headers": {"X-Time": "{timestamp}"}}, "no header and no parameter carries"),
        ({"string": "{key_id}"}, "there is no key_id"),
        ({"key_id": "a\nb"}, "key_id has control characters"),
        ({"algorithm": "sha1"}, "algorithm 'sha1' is not one of sha256, sha512"),
        ({"encoding": "hax"}, "encoding 'hax'"),
        ({"timestamp": "epoch"}, "timestamp 'epoch'"),
        ({"body_encoding": "base85"}, "body_encoding 'base85'"),
        ({"headers": {"X Sign": "{signature}"}}, "header name"),
        ({"headers": {"X-Sign": "{signature}\r\n"}}, "control characters"),
        ({"headers": {"X-Sign": "\ud800{signature}"}}, "does not allow"),
        ({"params": {"": "{signature}"}}, "does not allow"),
        ({"params": {"s": "\0{signature}"}}, "does not allow"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], error: str) -> None:
    """Before any request, and the key is never shown."""
    with pytest.raises(ValueError, match=error) as caught:
        Hmac(PLAIN._replace(**change))
    assert "hunter2" not in str(caught.value)


def test_keys_come_in_three_forms() -> None:
    """A key that is not what it is said to be is refused and not shown, nor kept with the exception."""
    assert key_of("aGk") == b"aGk"
    assert key_of("aGk=\n", "base64") == b"hi"
    assert key_of("6869", "hex") == b"hi"
    for text, form in (("zq!", "base64"), ("zqzq", "hex"), ("zq\ud800", "text")):
        with pytest.raises(ValueError, match="the key is not") as caught:
            key_of(text, form)  # type: ignore[arg-type]
        assert "zq" not in str(caught.value)
        assert caught.value.__context__ is None


def accept(scheme: Hmac, status: int, date: float | str | None, turn: int = 0, url: str = URL) -> Judgement:
    """What an answer means that was signed and answered at 10,000,000 s by our clock."""
    draft = Draft("GET", url, {}, round=turn)
    signed = scheme.sign(draft, 1e7, Random(1))
    text = formatdate(date, usegmt=True) if isinstance(date, float) else date
    return scheme.accept(draft, signed, Answered(status, {"Date": text} if text else {}, ["HMAC realm=x"]), 1e7)


def stamped(scheme: Hmac, url: str = URL) -> int:
    return int(scheme.sign(Draft("GET", url, {}), 1e7, Random(1)).headers["X-Time"])


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("gap", [1200, -1200, 301, -301])
def test_a_wrong_clock_is_corrected_once(status: int, gap: int) -> None:
    """The server's Date gives the offset, which all later requests to its origin are signed with."""
    scheme = Hmac(PLAIN)
    assert accept(scheme, status, 1e7 + gap) == AGAIN
    assert stamped(scheme) == 1e7 + gap
    assert accept(scheme, 200, 1e7 + gap, 1) == FINE
    assert stamped(scheme, "https://other.example/") == 1e7


def test_a_clock_that_cannot_be_corrected_is_named() -> None:
    """How far, and in which direction; and when the corrected signature is refused as well."""
    scheme = Hmac(PLAIN)
    assert accept(scheme, 401, 1e7 + 1200, 1) == (Step.CLOCK, "the server's clock is 1200 s ahead of ours")
    assert accept(scheme, 401, 1e7 - 1200) == AGAIN
    assert accept(scheme, 401, 1e7 - 1200, 1) == (
        Step.CLOCK,
        "the server's clock is 1200 s behind ours, and a signature by its clock is refused as well",
    )
    assert accept(scheme, 403, 1e7 - 1200, 1) == FINE  # a page that is forbidden, whatever the clock


def test_a_clock_that_comes_right_again_is_followed() -> None:
    """The offset that was learned is itself corrected."""
    scheme = Hmac(PLAIN)
    assert accept(scheme, 401, 1e7 + 1200) == AGAIN
    assert accept(scheme, 401, 1e7) == AGAIN
    assert stamped(scheme) == 1e7


@pytest.mark.parametrize("date", [1e7, 1e7 + 299, 1e7 - 299, None, "", "soon", "Sun, 99 Foo 2020", "9" * 500])
def test_without_a_gap_a_401_rejects(date: float | str | None) -> None:
    """Also where the Date tells nothing; a 403 is the server's own word then."""
    assert accept(Hmac(PLAIN), 401, date) == (
        Step.REJECTED,
        'the server does not take this HMAC credential for realm "x"',
    )
    assert accept(Hmac(PLAIN), 403, date) == FINE


def test_a_missing_date_does_not_undo_what_was_learned() -> None:
    """A 401 without one says nothing of clocks."""
    scheme = Hmac(PLAIN)
    assert accept(scheme, 401, 1e7 + 1200) == AGAIN
    assert accept(scheme, 401, None).step is not Step.AGAIN
    assert stamped(scheme) == 1e7 + 1200


def test_templates_without_time_know_no_clock() -> None:
    """Then a wrong clock is not what is wrong."""
    scheme = Hmac(Settings(b"k", "{method}", {"X-Sign": "{signature}"}))
    assert accept(scheme, 401, 1e7 + 5000).step is Step.REJECTED
    for field in ("unix", "iso8601_ms", "timestamp", "http"):
        timed = Hmac(Settings(b"k", "{method}", {"X-Sign": "{signature}", "X-T": f"{{{field}}}"}))
        assert accept(timed, 401, 1e7 + 5000) == AGAIN


def test_clocks_of_a_thousand_origins_are_remembered() -> None:
    """The oldest is forgotten then."""
    scheme = Hmac(PLAIN)
    for number in range(1001):
        assert accept(scheme, 401, 1e7 + 1200, 0, f"https://h{number}.example/") == AGAIN
    assert stamped(scheme, "https://h0.example/") == 1e7
    assert stamped(scheme, "https://h1.example/") == 1e7 + 1200


@pytest.mark.parametrize("status", [200, 304, 400, 407, 500])
def test_other_statuses_are_fine(status: int) -> None:
    """Whatever their Date."""
    assert accept(Hmac(PLAIN), status, 1e7 + 5000) == FINE


def test_nothing_shows_the_key() -> None:
    """No repr, of the settings neither."""
    scheme: Scheme = Hmac(PLAIN)
    signed = scheme.sign(Draft("GET", URL, {}), 0.0, Random(1))
    text = repr(scheme) + repr(PLAIN) + repr(signed) + str(PLAIN)
    assert "hunter2" not in text
    assert signed.headers["X-Sign"] not in text
    assert (scheme.reads_errors, scheme.stale(1e9)) == (False, False)


def test_a_body_that_is_signed_itself() -> None:
    """Some exchanges sign the text of the body; one that stands in a file cannot be signed so, and that is said."""
    draft = Draft("POST", URL, {}, {}, 8, 0, b'{"a": 1}')
    assert signed_text("{method}{body}", draft) == 'POST{"a": 1}'
    assert signed_text("{method}{body}", Draft("GET", URL, {})) == "GET"
    for body in (None, b"\xff"):
        with pytest.raises(Unsignable, match="sign its hash"):
            sign(PLAIN._replace(string="{body}"), Draft("POST", URL, {}, {}, 1, 0, body))
