"""AWS SigV4: published examples, a verifier of our own written from AWS's documents, and what errors lead to.

The examples with AKIAIOSFODNN7EXAMPLE stand in the Amazon S3 API Reference, "Authenticating Requests (AWS Signature
Version 4)": single chunk, multiple chunks, query parameters.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from crawler.auth.awsfaults import read, server_time
from crawler.auth.awssigner import PIECE, framed_length
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step
from crawler.auth.sigv4 import Keys, Settings, SigV4
from crawler.urls import parse

EXAMPLE = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MAY_24 = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
NOW = 1_800_000_000.0
RNG = Random(1)
URL = "https://files.s3.eu-west-1.amazonaws.com/report.csv"
SKEWED = b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"


def draft(
    url: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b"", round: int = 0
) -> Draft:
    return Draft(method, url, headers or {}, {"sha256": hashlib.sha256(body).digest()}, len(body), round)


def aws_encoded(text: str, keep: str = "") -> str:
    return quote(unquote_to_bytes(text), safe="-_.~" + keep)


class Verifier:
    """Says what a server of AWS would say of a request as it came off the wire; knows nothing of botocore."""

    def __init__(self, keys: Keys, *, s3: bool = True) -> None:
        self.keys = keys
        self.s3 = s3

    def hmac(self, key: bytes, text: str) -> bytes:
        return hmac.digest(key, text.encode(), "sha256")

    def signature(self, text: str, scope: str) -> str:
        key = f"AWS4{self.keys.secret_key}".encode()
        for part in scope.split("/"):
            key = self.hmac(key, part)
        return self.hmac(key, text).hex()

    def canonical_query(self, query: str) -> str:
        pairs = []
        for pair in filter(None, query.split("&")):
            name, _, value = pair.replace("+", "%20").partition("=")
            if name != "X-Amz-Signature":
                pairs.append((aws_encoded(name), aws_encoded(value)))
        return "&".join(f"{name}={value}" for name, value in sorted(pairs))

    def head(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[str, str]:
        """The signature that was sent and the right one; `body` None leaves its hash unchecked."""
        path, _, query = target.partition("?")
        sent = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
        asked = dict(pair.partition("=")[::2] for pair in query.split("&"))
        if "X-Amz-Signature" in asked:
            fields = {name.removeprefix("X-Amz-"): unquote(value) for name, value in asked.items()}
            stamp = fields["Date"]
            payload = "UNSIGNED-PAYLOAD" if self.s3 else hashlib.sha256(body or b"").hexdigest()
        else:
            assert sent["authorization"].startswith("AWS4-HMAC-SHA256 ")
            fields = dict(part.strip().split("=", 1) for part in sent["authorization"][17:].split(","))
            stamp = sent["x-amz-date"]
            payload = sent.get("x-amz-content-sha256") or hashlib.sha256(body or b"").hexdigest()
        if body is not None and re.fullmatch("[0-9a-f]{64}", payload):
            assert payload == hashlib.sha256(body).hexdigest()
        access, _, scope = fields["Credential"].partition("/")
        assert access == self.keys.access_key
        assert scope.split("/")[0] == stamp[:8]
        names = fields["SignedHeaders"].split(";")
        assert {"host"} | {name for name in sent if name.startswith("x-amz-")} <= set(names)
        lines = "".join(f"{name}:{sent[name]}\n" for name in names)
        path = aws_encoded(path, "/") if self.s3 else quote(path, safe="/~")
        whole = "\n".join((method, path, self.canonical_query(query), lines, ";".join(names), payload))
        text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(whole.encode()).hexdigest()))
        return fields["Signature"], self.signature(text, scope)

    def chunk(self, data: bytes, before: str, stamp: str, scope: str) -> str:
        empty, hashed = hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest()
        return self.signature("\n".join(("AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, before, empty, hashed)), scope)

    def body(self, wire: bytes, headers: Mapping[str, str]) -> bytes:
        """What stands in a streamed body; every signature in it is checked."""
        found = re.search(r"Credential=[^/]+/(\S+?), .*Signature=(\w+)", headers["authorization"])
        assert found is not None
        scope, before = found.groups()
        whole = b""
        while True:
            line, _, wire = wire.partition(b"\r\n")
            size, _, sent = line.partition(b";chunk-signature=")
            data, wire = wire[: int(size, 16)], wire[int(size, 16) :]
            assert wire[:2] == b"\r\n"
            wire = wire[2:]
            before = self.chunk(data, before, headers["x-amz-date"], scope)
            assert sent.decode() == before
            whole += data
            if not data:
                assert wire == b""
                assert len(whole) == int(headers["x-amz-decoded-content-length"])
                return whole


def wire_of(made: Draft, signed: Signed) -> tuple[str, CIMultiDict[str]]:
    """Target and headers as they go onto the wire."""
    url = signed.url or made.url
    host, slash, rest = url.partition("://")[2].partition("/")
    headers = CIMultiDict({"Host": host, **made.headers})
    headers.update(signed.headers)
    return slash + rest, headers


def checks(verifier: Verifier, made: Draft, signed: Signed, body: bytes = b"") -> bool:
    sent, right = verifier.head(made.method, *wire_of(made, signed), body)
    return sent == right


def signature_of(signed: Signed) -> str:
    return signed.headers["Authorization"].rpartition("=")[2]


def answer(status: int, body: bytes = b"", **headers: str) -> Answered:
    return Answered(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), (), body)


def dated(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def asked(scheme: SigV4, status: int, body: bytes = b"", *, round: int = 0, **headers: str) -> Judgement:
    """What the scheme makes of this answer to a request that it just signed."""
    made = draft(URL, round=round)
    return scheme.accept(made, scheme.sign(made, NOW, RNG), answer(status, body, **headers), NOW)


def xml(code: str, message: str = "", more: str = "") -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>".encode()


@pytest.mark.parametrize(
    ("target", "headers", "signature"),
    [
        ("/test.txt", {"Range": "bytes=0-9"}, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
        ("/?lifecycle", {}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("/?max-keys=2&prefix=J", {}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_published_requests_get_the_published_signatures(
    target: str, headers: dict[str, str], signature: str
) -> None:
    """GET of an object, of a sub-resource without a value, of a list: as AWS prints them."""
    made = draft("https://examplebucket.s3.amazonaws.com" + target, headers=headers)
    signed = SigV4(Settings("us-east-1"), EXAMPLE).sign(made, MAY_24, RNG)
    assert signature_of(signed) == signature


def test_the_published_presigned_url_comes_out() -> None:
    """The query form, valid for a day: AWS's URL to the last character's meaning."""
    made = draft("https://examplebucket.s3.amazonaws.com/test.txt")
    signed = SigV4(Settings("us-east-1", form="query", expires=86400), EXAMPLE).sign(made, MAY_24, RNG)
    signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert signed.url is not None
    assert signed.url.endswith(f"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}")
    assert not signed.headers


def test_the_published_upload_in_pieces_gets_the_published_signatures() -> None:
    """65 KiB in two pieces and the end: seed and all three signatures are AWS's, and so is the Content-Length."""
    body = b"a" * 66560
    made = draft(
        "https://s3.amazonaws.com/examplebucket/chunkObject.txt",
        "PUT",
        {"x-amz-storage-class": "REDUCED_REDUNDANCY"},
        body,
    )
    signed = SigV4(Settings("us-east-1", payload="streaming"), EXAMPLE).sign(made, MAY_24, RNG)
    assert signature_of(signed) == "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    assert signed.headers["Content-Length"] == "66824"
    assert signed.framing is not None
    frames = [signed.framing.frame(piece) for piece in (body[:PIECE], body[PIECE:], b"")]
    assert [frame.partition(b"\r\n")[0] for frame in frames] == [
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        b"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        b"0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]
    assert sum(map(len, frames)) == 66824


@given(
    key=st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="?#\\"), min_size=1, max_size=20),
    query=st.text("ab=&+%/ :,;'()!*$@~é", max_size=20),
    form=st.sampled_from(["header", "query"]),
    service=st.sampled_from(["s3", "execute-api"]),
)
def test_any_url_is_signed_as_the_server_reads_it(key: str, query: str, form: str, service: str) -> None:
    """Whatever a canonical URL holds (brackets, plus, escapes, repeated names), the verifier comes to the same."""
    settings = Settings("eu-west-1", service, form)  # type: ignore[arg-type]
    keys = EXAMPLE._replace(session_token="to/ken+==")
    made = draft(parse(f"https://host.example:8443/b/{key}?{query}").href, headers={"Content-Type": "text/x"})
    signed = SigV4(settings, keys).sign(made, NOW, RNG)
    if service != "s3" and "//" in made.url[8:].partition("?")[0]:
        return  # such paths are normalised, as the vectors show; the verifier has not been taught it
    assert checks(Verifier(keys, s3=service == "s3"), made, signed)


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("https://h.example/a=b/c(1).txt", "https://h.example/a%3Db/c%281%29.txt"),
        ("https://h.example/dir%2Ffile%c3%a9", "https://h.example/dir/file%C3%A9"),
        ("https://h.example/a//b/%7Ex", "https://h.example/a//b/~x"),
        ("https://h.example/?prefix=a/b+c&acl", "https://h.example/?prefix=a%2Fb%20c&acl"),
        ("https://h.example/100%", "https://h.example/100%25"),
    ],
)
def test_s3_is_asked_in_the_one_spelling_that_it_signs(url: str, wire: str) -> None:
    """S3 decodes and encodes before it checks, so the wire carries that spelling; the object is the same."""
    assert SigV4(Settings("r"), EXAMPLE).sign(draft(url), NOW, RNG).url == wire


def test_a_url_that_needs_no_spelling_is_left_alone() -> None:
    """The header form says no URL where the wire's is the draft's; other services keep their path as it is."""
    assert SigV4(Settings("r"), EXAMPLE).sign(draft("https://h.example/a/b%20c?x=1"), NOW, RNG).url is None
    assert SigV4(Settings("r", "es"), EXAMPLE).sign(draft("https://h.example/a=b/%2F"), NOW, RNG).url is None


def test_every_value_of_a_repeated_name_stays_in_a_presigned_url() -> None:
    """botocore would keep the first one only."""
    signed = SigV4(Settings("r", form="query"), EXAMPLE).sign(draft("https://h.example/k?tag=a&tag=b"), NOW, RNG)
    assert "?tag=a&tag=b&X-Amz-Algorithm=" in (signed.url or "")
    assert checks(Verifier(EXAMPLE), draft("https://h.example/k"), signed)


@pytest.mark.parametrize("body", [b"", b"text", bytes(PIECE), bytes(PIECE + 1), bytes(3 * PIECE)])
def test_a_streamed_body_arrives_whole_at_a_verifier(body: bytes) -> None:
    """Each piece is signed over the one before; the length on the wire is the one that was said."""
    made = draft(URL, "PUT", {"Content-Encoding": "gzip"}, body)
    signed = SigV4(Settings("eu-west-1", payload="streaming"), EXAMPLE).sign(made, NOW, RNG)
    _, headers = wire_of(made, signed)
    assert checks(Verifier(EXAMPLE), made, signed, body)
    if not body:
        assert signed.framing is None
        assert headers["x-amz-content-sha256"] == hashlib.sha256(b"").hexdigest()
        return
    assert signed.framing is not None
    pieces = [body[start : start + signed.piece] for start in range(0, len(body), signed.piece)]
    wire = b"".join(map(signed.framing.frame, [*pieces, b""]))
    assert headers["content-encoding"] == "aws-chunked,gzip"
    assert int(headers["content-length"]) == len(wire) == signed.framing.length(len(body))
    assert Verifier(EXAMPLE).body(wire, headers) == body


def test_a_body_can_be_sent_anew_behind_the_same_head() -> None:
    """Copies that are made before the first piece each have the whole chain of signatures."""
    made = draft(URL, "PUT", body=b"some text")
    framing = SigV4(Settings("r", payload="streaming"), EXAMPLE).sign(made, NOW, RNG).framing
    first, second = copy.copy(framing), copy.copy(framing)
    assert first is not None
    assert second is not None
    broken = first.frame(b"some text")
    assert second.frame(b"some text") == broken
    assert first.frame(b"") == second.frame(b"")


def test_pieces_of_another_size_are_refused() -> None:
    """The length was said and signed, so a piece too long, or one behind a short one, is a bug."""
    made = draft(URL, "PUT", body=bytes(10))
    framing = SigV4(Settings("r", payload="streaming"), EXAMPLE).sign(made, NOW, RNG).framing
    assert framing is not None
    with pytest.raises(ValueError, match="65536"):
        framing.frame(bytes(PIECE + 1))
    framing.frame(bytes(4))
    with pytest.raises(ValueError, match="65536"):
        framing.frame(bytes(6))


@given(st.integers(0, 1 << 40))
def test_the_framed_length_is_that_of_the_pieces(total: int) -> None:
    """Counted piece by piece for small bodies, and never less than the body and a signature each for any."""
    sizes = [PIECE] * (total // PIECE) + [total % PIECE] * (total % PIECE > 0) if total < 1 << 24 else []
    if sizes or not total:
        assert framed_length(total) == sum(len(b"%x;chunk-signature=" % n) + 64 + 4 + n for n in [*sizes, 0])
    assert framed_length(total) >= total + 85 * (total // PIECE + 1)


@pytest.mark.parametrize(
    ("settings", "hashed", "wants"),
    [
        (Settings("r"), hashlib.sha256(b"data").hexdigest(), {"sha256"}),
        (Settings("r", payload="unsigned"), "UNSIGNED-PAYLOAD", set()),
        (Settings("r", "vpc-lattice-svcs", payload="unsigned"), "UNSIGNED-PAYLOAD", set()),
        (Settings("r", payload="streaming"), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", set()),
        (Settings("r", "sns"), None, {"sha256"}),
        (Settings("r", form="query"), None, set()),
        (Settings("r", "sts", form="query"), None, {"sha256"}),
    ],
)
def test_the_payload_is_covered_as_the_job_says(settings: Settings, hashed: str | None, wants: set[str]) -> None:
    """The hash is asked for where it is needed alone, and said where the service wants it said."""
    scheme = SigV4(settings, EXAMPLE)
    made = draft(URL, "PUT", body=b"data")
    if not wants:
        made = made._replace(digests={})
    signed = scheme.sign(made, NOW, RNG)
    assert scheme.wants == wants
    assert CIMultiDict(signed.headers).get("x-amz-content-sha256") == hashed
    assert checks(Verifier(EXAMPLE, s3=settings.service == "s3"), made, signed, b"data")


def test_headers_that_a_hop_may_change_are_not_signed() -> None:
    """What names the payload and the service is signed; agent, codings, cookies and ids of ours may change."""
    changing = {"User-Agent": "a", "Accept-Encoding": "gzip", "Cookie": "a=b", "X-Request-ID": "1", "Date": "now"}
    firm = {"Content-Type": "text/plain", "Content-MD5": "x", "x-amz-acl": "private", "Range": "bytes=0-1"}
    scheme = SigV4(Settings("r"), EXAMPLE)
    signed = scheme.sign(draft(URL, headers={**changing, **firm}), NOW, RNG)
    named = re.search("SignedHeaders=([^,]*)", signed.headers["Authorization"])
    assert named is not None
    assert named[1] == "content-md5;content-type;host;range;x-amz-acl;x-amz-content-sha256;x-amz-date"
    assert signature_of(scheme.sign(draft(URL, headers=firm), NOW, RNG)) == signature_of(signed)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/b/k", "http://127.0.0.1/b", "https://[::1]:1/b", URL])
def test_the_host_is_signed_as_the_wire_says_it(url: str) -> None:
    """With its port where that is not the default one."""
    made = draft(url)
    assert checks(Verifier(EXAMPLE), made, SigV4(Settings("r"), EXAMPLE).sign(made, NOW, RNG))


def test_a_session_token_goes_along_signed() -> None:
    """In a header, or in the query where that is the form."""
    keys = EXAMPLE._replace(session_token="the/token+")
    signed = SigV4(Settings("r"), keys).sign(draft(URL), NOW, RNG)
    assert CIMultiDict(signed.headers)["x-amz-security-token"] == "the/token+"
    assert "x-amz-security-token" in signed.headers["Authorization"]
    presigned = SigV4(Settings("r", form="query"), keys).sign(draft(URL), NOW, RNG)
    assert "X-Amz-Security-Token=the%2Ftoken%2B&" in (presigned.url or "")


def test_nothing_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """No repr, and no log of botocore at any level, holds a key, the token or the signature."""
    keys = Keys("AKIDSECRET", "SECRET", "SECRETTOKEN", NOW)
    with caplog.at_level(logging.DEBUG):
        scheme = SigV4(Settings("r", payload="streaming"), keys)
        signed = scheme.sign(draft(URL, "PUT", body=b"x"), NOW, RNG)
    shown = f"{keys!r} {keys} {scheme!r} {signed!r} {signed.mark!r} {signed.framing!r} {caplog.text}"
    assert "SECRET" not in shown
    assert signature_of(signed) not in shown


def test_keys_are_asked_for_where_none_are_there_or_they_end_soon() -> None:
    """Within a minute of their end; the job's own have no others to be had, so they are tried."""
    scheme = SigV4(Settings("r"))
    assert scheme.stale(NOW)
    with pytest.raises(ValueError, match="no keys"):
        scheme.sign(draft(URL), NOW, RNG)
    scheme.keys = EXAMPLE
    assert not scheme.stale(NOW)
    scheme.keys = EXAMPLE._replace(expires_at=NOW + 60)
    assert not scheme.stale(NOW)
    assert scheme.stale(NOW + 0.5)
    assert not SigV4(Settings("r"), EXAMPLE._replace(expires_at=NOW)).stale(NOW)


@pytest.mark.parametrize("off", [1200.0, -1200.0])
@pytest.mark.parametrize(
    "body",
    [
        SKEWED,
        xml("RequestExpired"),
        xml("AccessDenied", "Request has expired"),
        b'{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired: 2013"}',
        b'{"__type":"InvalidSignatureException","message":"Signature not yet current: 2013"}',
    ],
)
def test_a_clock_that_is_off_is_corrected_once_by_the_date_of_the_answer(off: float, body: bytes) -> None:
    """The next signature is by the server's time, on that host alone; refused again, the gap is named in minutes."""
    scheme = SigV4(Settings("r"), EXAMPLE)
    assert asked(scheme, 403, body, date=dated(NOW + off)) == AGAIN
    stamp = datetime.fromtimestamp(NOW + off, UTC).strftime("%Y%m%dT%H%M%SZ")
    assert CIMultiDict(scheme.sign(draft(URL), NOW, RNG).headers)["x-amz-date"] == stamp
    other = scheme.sign(draft("https://other.example/"), NOW, RNG)
    assert CIMultiDict(other.headers)["x-amz-date"] == datetime.fromtimestamp(NOW, UTC).strftime("%Y%m%dT%H%M%SZ")
    judged = asked(scheme, 403, body, round=1, date=dated(NOW + off))
    assert judged.step is Step.CLOCK
    assert f"20 minutes {'behind' if off > 0 else 'ahead of'} that of files.s3" in judged.error


def test_a_request_that_was_under_way_when_the_clock_was_learned_is_sent_again() -> None:
    """Of many that were signed by the wrong time, each is signed anew; one sent back for its region as well."""
    scheme = SigV4(Settings("r"), EXAMPLE)
    late, later = draft(URL), draft(URL, round=1)
    signed = [scheme.sign(late, NOW, RNG), scheme.sign(later, NOW, RNG)]
    told = answer(403, SKEWED, date=dated(NOW + 1200))
    assert asked(scheme, 403, SKEWED, date=dated(NOW + 1200)) == AGAIN
    assert scheme.accept(late, signed[0], told, NOW) == AGAIN
    assert scheme.accept(later, signed[1], told, NOW) == AGAIN


def test_without_a_date_the_clock_cannot_be_corrected() -> None:
    """Said at once, since another try would fare no better."""
    judged = asked(SigV4(Settings("r"), EXAMPLE), 403, SKEWED)
    assert judged.step is Step.CLOCK
    assert "no Date" in judged.error


def test_a_refused_head_is_looked_at_by_its_date() -> None:
    """It has no body: far from our time it is signed anew, by the right time it is a plain 403."""
    scheme = SigV4(Settings("r"), EXAMPLE)
    made = draft(URL, "HEAD")
    told = answer(403, date=dated(NOW + 1200))
    assert scheme.accept(made, scheme.sign(made, NOW, RNG), told, NOW) == AGAIN
    assert scheme.accept(made, scheme.sign(made, NOW, RNG), told, NOW) == FINE
    fresh = SigV4(Settings("r"), EXAMPLE)
    assert fresh.accept(made, fresh.sign(made, NOW, RNG), answer(403, date=dated(NOW + 30)), NOW) == FINE


@pytest.mark.parametrize(
    "told",
    [
        answer(403, xml("SignatureDoesNotMatch", "It does not match.", "<AWSAccessKeyId>AKIAIOSFODNN7EXAMPLE")),
        answer(403, xml("InvalidAccessKeyId", "The key 'AKIAIOSFODNN7EXAMPLE' is not known.")),
        answer(400, xml("ExpiredToken", "The token tok/en has expired.")),
        answer(400, xml("InvalidToken", "Not tok%2Fen")),
        answer(400, b'{"__type":"a.b#UnrecognizedClientException","message":"The security token is invalid."}'),
        answer(403, b'{"message":"The request signature we calculated does not match\\n\\nThe Canonical tok/en"}'),
        answer(403, b'{"message":"No."}', x_amzn_errortype="InvalidSignatureException:http://x/"),
        answer(401),
        answer(403, xml("SignatureDoesNotMatch", "\x1b[31m" + "f" * 64)),
    ],
)
def test_a_key_that_is_not_taken_is_named_without_itself(told: Answered) -> None:
    """REJECTED, with AWS's code and the first line of its message, printable; no key, token or signature."""
    keys = EXAMPLE._replace(session_token="tok/en")
    scheme = SigV4(Settings("r"), keys)
    made = draft(URL)
    judged = scheme.accept(made, scheme.sign(made, NOW, RNG), told, NOW)
    assert judged.step is Step.REJECTED
    assert judged.error.startswith("files.s3.eu-west-1.amazonaws.com does not take the AWS signature: ")
    assert judged.error.isprintable()
    assert (read(told).code or "") in judged.error
    for secret in (*keys[:3], "tok%2Fen", "f" * 64, "Canonical"):
        assert str(secret) not in judged.error


@pytest.mark.parametrize(
    "told",
    [
        answer(403, xml("AccessDenied", "Access Denied")),
        answer(403),
        answer(404, xml("NoSuchKey")),
        answer(400, xml("EntityTooLarge")),
        answer(200, xml("SignatureDoesNotMatch")),
        answer(503, xml("SlowDown")),
        answer(403, b'{"message":"Missing Authentication Token"}'),
        answer(301, location="https://elsewhere.example/"),
    ],
)
def test_what_is_no_fault_of_the_key_is_left_to_its_status(told: Answered) -> None:
    """No right to an object, a page that is not there, or a busy server say nothing of the credential."""
    scheme = SigV4(Settings("r"))
    scheme.keys = EXAMPLE
    made = draft(URL)
    assert scheme.accept(made, scheme.sign(made, NOW, RNG), told, NOW) == FINE
    assert scheme.keys == EXAMPLE


def test_expired_keys_are_fetched_anew_once() -> None:
    """The first answer drops them; those under way are sent again with the new ones, which are not dropped by them."""
    scheme = SigV4(Settings("r"))
    scheme.keys = old = Keys("OLD", "x", "t")
    made = draft(URL)
    under_way = scheme.sign(made, NOW, RNG)
    assert asked(scheme, 400, xml("ExpiredToken")) == AGAIN
    assert scheme.stale(NOW)
    assert scheme.accept(made, under_way, answer(400, xml("ExpiredToken")), NOW) == AGAIN
    scheme.keys = new = Keys("NEW", "x", "t")
    assert scheme.accept(made, under_way, answer(400, xml("ExpiredToken")), NOW) == AGAIN
    assert scheme.keys == new != old
    assert asked(scheme, 400, xml("ExpiredToken"), round=1).step is Step.REJECTED


def test_a_source_that_gives_expired_keys_again_is_not_asked_for_ever() -> None:
    """The same keys a second time are refused at once, for every request."""
    scheme = SigV4(Settings("r"))
    scheme.keys = EXAMPLE
    assert asked(scheme, 400, xml("ExpiredToken")) == AGAIN
    scheme.keys = EXAMPLE
    assert asked(scheme, 400, xml("ExpiredToken")).step is Step.REJECTED
    assert not scheme.stale(NOW)


@pytest.mark.parametrize(
    "told",
    [
        answer(400, xml("AuthorizationHeaderMalformed", "wrong", "<Region>eu-north-1</Region>")),
        answer(400, x_amz_bucket_region="eu-north-1"),
        answer(301, xml("PermanentRedirect"), x_amz_bucket_region="eu-north-1"),
        answer(307, xml("TemporaryRedirect"), x_amz_bucket_region="eu-north-1"),
    ],
)
def test_the_region_of_a_bucket_is_learned(told: Answered) -> None:
    """Signed anew for the region that S3 names, this bucket alone; told the same again, it is left to its status."""
    scheme = SigV4(Settings("us-east-1"), EXAMPLE)
    made = draft("https://s3.amazonaws.com/north/key", "HEAD")
    assert scheme.accept(made, scheme.sign(made, NOW, RNG), told, NOW) == AGAIN
    signed = scheme.sign(draft("https://s3.amazonaws.com/north/other?x=/"), NOW, RNG)
    assert "/eu-north-1/s3/aws4_request" in signed.headers["Authorization"]
    signed_other = scheme.sign(draft("https://s3.amazonaws.com/south/key"), NOW, RNG)
    assert "/us-east-1/s3/aws4_request" in signed_other.headers["Authorization"]
    assert scheme.accept(made, signed, told, NOW) != AGAIN


def test_a_redirect_to_another_region_is_signed_for_it_there() -> None:
    """The Location is a hop of its own; where it leads, the region is known already."""
    scheme = SigV4(Settings("us-east-1"), EXAMPLE)
    where = "https://files.s3.eu-north-1.amazonaws.com/report.csv"
    assert asked(scheme, 307, x_amz_bucket_region="eu-north-1", location=where) == FINE
    assert "/eu-north-1/" in scheme.sign(draft(where), NOW, RNG).headers["Authorization"]


@pytest.mark.parametrize("region", ["eu west", "x\r\nEvil: 1", "../x", "é", "a" * 41])
def test_a_region_that_is_none_is_not_learned(region: str) -> None:
    """It would go into a header."""
    body = xml("AuthorizationHeaderMalformed", "wrong", f"<Region>{region}</Region>")
    scheme = SigV4(Settings("us-east-1"), EXAMPLE)
    assert asked(scheme, 400, body).step is Step.REJECTED
    assert "/us-east-1/" in scheme.sign(draft(URL), NOW, RNG).headers["Authorization"]


@pytest.mark.parametrize("kind", ["region", "clock", "keys"])
def test_no_server_makes_us_sign_for_ever(kind: str) -> None:
    """Ever other regions, times or refusals end after a few rounds."""
    scheme = SigV4(Settings("us-east-1"))
    rounds = 0
    for rounds in range(20):
        scheme.keys = Keys(f"K{rounds}", "x", "t")
        told = {
            "region": answer(400, x_amz_bucket_region=f"region-{rounds}"),
            "clock": answer(403, SKEWED, date=dated(NOW + 10_000 * rounds)),
            "keys": answer(400, xml("ExpiredToken")),
        }[kind]
        made = draft(URL, round=rounds)
        if scheme.accept(made, scheme.sign(made, NOW, RNG), told, NOW) != AGAIN:
            break
    assert 0 < rounds <= 2


def test_what_is_learned_is_bounded() -> None:
    """Of ten thousand buckets with regions of their own the latest thousand are remembered."""
    scheme = SigV4(Settings("us-east-1"), EXAMPLE)
    for number in range(1500):
        url = f"https://b{number}.s3.amazonaws.com/"
        made = draft(url)
        scheme.accept(made, scheme.sign(made, NOW, RNG), answer(400, x_amz_bucket_region="eu-north-1"), NOW)
    assert "/us-east-1/" in scheme.sign(draft("https://b0.s3.amazonaws.com/"), NOW, RNG).headers["Authorization"]
    assert "/eu-north-1/" in scheme.sign(draft("https://b1499.s3.amazonaws.com/"), NOW, RNG).headers["Authorization"]
    assert len(scheme._regions) <= 1024


@given(st.binary(max_size=200), st.text(max_size=30))
def test_any_bytes_can_be_read_as_an_error(body: bytes, date: str) -> None:
    """A fault's code and region are plain words, and no Date or body raises."""
    fault = read(answer(403, b"<Code>" + body + b"</Code><Region>" + body + b"</Region>", date=date))
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", fault.code)
    assert re.fullmatch(r"[a-z0-9-]*", fault.region)
    server_time({"date": date})


def test_half_a_message_is_none() -> None:
    """A body that was cut within its message may have cut a secret, so nothing of it is shown."""
    assert read(answer(403, b"<Code>AuthFailure</Code><Message>the key AKIAIOSF")).message == ""
    assert read(answer(403, b'{"__type":"AuthFailure","message":"the key AKIAIOSF')).message == ""
