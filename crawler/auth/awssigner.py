"""A request signed by botocore's SigV4 signers: in the header, in the query (presigned), or its body piece by piece.

Decides what is signed and how URL and headers are spelled for it. Must not know which keys, region and time are right,
nor answers. botocore's add_auth reads the clock and logs what it signs (the session token is in there), so its steps
are taken one by one here. Invariant: what is signed is what goes onto the wire, and headers that a hop may change are
not signed.

The pieces (STREAMING-AWS4-HMAC-SHA256-PAYLOAD) are laid out here, since botocore has none: Amazon S3 API Reference,
"Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from crawler.auth.scheme import Draft, Signed

PIECE = 65536  # bytes of a body that are signed together; S3 takes no less than 8 KiB
_UNSIGNED = "UNSIGNED-PAYLOAD"
_STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_EMPTY = sha256(b"").hexdigest()
_FRAME = len(";chunk-signature=") + 64 + len("\r\n\r\n")
_S3 = {"s3", "s3-object-lambda", "s3-outposts"}  # as botocore names the services that sign like S3
# Beside those that botocore leaves out: what caches, proxies and aiohttp may change.
_CHANGING = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cache-control"}
    | {"content-length", "cookie", "date", "forwarded", "origin", "pragma", "referer", "via", "x-forwarded-for"}
    | {"x-forwarded-host", "x-forwarded-proto", "x-request-id"}
)


class Keys(NamedTuple):
    """A key pair; `expires_at` in wall seconds, None where it does not."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return "<Keys>"


class Settings(NamedTuple):
    """`expires` in seconds, for the query form. Streaming is for bodies in the header form alone; a presigned S3 URL
    never covers the payload.
    """

    region: str
    service: str = "s3"
    form: Literal["header", "query"] = "header"
    payload: Literal["signed", "unsigned", "streaming"] = "signed"
    expires: int = 3600

    @property
    def hashes(self) -> bool:
        """Is the SHA-256 of the body needed."""
        return self.payload == "signed" and not self.presigns

    @property
    def presigns(self) -> bool:
        """A URL of S3 that carries its own signature."""
        return self.form == "query" and self.service in _S3


class Chunks:
    """A body in signed pieces: each signature covers the one before it, the first that of the head. All pieces are of
    PIECE bytes but the last; `frame` raises ValueError otherwise, since the length was said before. A copy that is made
    before the first piece serves for sending the body once more.
    """

    def __init__(self, signer: Any, request: Any, seed: str) -> None:
        self._signer = signer
        self._request = request
        self._before = seed
        self._last = False

    def __repr__(self) -> str:
        return "<Chunks>"

    def length(self, total: int) -> int:
        """Bytes on the wire for a body of `total` bytes."""
        return framed_length(total)

    def frame(self, data: bytes) -> bytes:
        """The next piece as it goes onto the wire; b"" is the end."""
        if len(data) > PIECE or (data and self._last):
            raise ValueError(f"a signed body is cut into pieces of {PIECE} bytes")
        self._last = len(data) < PIECE
        scope = self._signer.credential_scope(self._request)
        said = self._signer.stamp, scope, self._before, _EMPTY, sha256(data).hexdigest()
        self._before = self._signer.signature("\n".join(("AWS4-HMAC-SHA256-PAYLOAD", *said)), self._request)
        return b"%x;chunk-signature=%s\r\n%s\r\n" % (len(data), self._before.encode(), data)


class _Steps:
    """botocore's SigV4Auth.add_auth without its clock and its log; `hashed` stands for the payload."""

    stamp: str
    hashed: str

    def payload(self, request: Any) -> str:
        return self.hashed

    def add_auth(self: Any, request: Any) -> str:
        request.context["timestamp"] = self.stamp
        request.url, _, query = request.url.partition("?")
        self._modify_request_before_signing(request)
        url, _, credential = request.url.partition("?")
        query = "&".join(filter(None, (query, credential)))  # here, since botocore drops repeated names
        request.url = f"{url}?{query}" if query else url
        signature: str = self.signature(self.string_to_sign(request, self.canonical_request(request)), request)
        self._inject_signature_to_request(request, signature)
        return signature


def sign(settings: Settings, draft: Draft, keys: Keys, region: str, at: float) -> Signed:
    """What signs the draft with the time `at` in wall seconds; `url` is set where it must be spelled otherwise."""
    signer = _signer(settings, keys, region)
    signer.stamp = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    signer.hashed = _hashed(settings, draft)
    request = _request(settings, draft, signer.hashed)
    seed = signer.add_auth(request)
    given = {(name.lower(), value) for name, value in draft.headers.items()}
    return Signed(
        {name: value for name, value in request.headers.items() if (name.lower(), value) not in given},
        request.url if request.url != draft.url else None,
        framing=Chunks(signer, request, seed) if signer.hashed == _STREAMING else None,
        piece=PIECE,
    )


def framed_length(total: int) -> int:
    """Bytes on the wire of a body of `total` bytes in signed pieces."""
    whole, rest = divmod(total, PIECE)
    sizes = whole * len(f"{PIECE:x}") + (len(f"{rest:x}") if rest else 0) + len("0")
    return total + sizes + (whole + bool(rest) + 1) * _FRAME


@cache
def _class(s3: bool, query: bool) -> Any:
    from botocore import auth  # type: ignore[import-untyped]

    base = (
        (auth.S3SigV4QueryAuth if s3 else auth.SigV4QueryAuth) if query else auth.S3SigV4Auth if s3 else auth.SigV4Auth
    )
    return type("Signer", (_Steps, base), {})


def _signer(settings: Settings, keys: Keys, region: str) -> Any:
    from botocore.credentials import ReadOnlyCredentials  # type: ignore[import-untyped]

    query = settings.form == "query"
    more = {"expires": settings.expires} if query else {}
    pair = ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.session_token)
    return _class(settings.service in _S3, query)(pair, settings.service, region, **more)


def _hashed(settings: Settings, draft: Draft) -> str:
    """What stands for the payload in the canonical request."""
    if settings.hashes:
        return draft.digests["sha256"].hex()
    if settings.payload == "streaming" and not settings.presigns:
        return (_STREAMING if settings.form == "header" else _UNSIGNED) if draft.length else _EMPTY
    return _UNSIGNED


def _request(settings: Settings, draft: Draft, hashed: str) -> Any:
    """The draft as botocore's signers take it."""
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

    request = AWSRequest(method=draft.method, url=_spelled(draft.url, settings.service in _S3))
    for name, value in draft.headers.items():
        if name.lower() not in _CHANGING:
            request.headers[name] = value  # appends: a name may come twice
    if hashed == _STREAMING:
        codings = ["aws-chunked", *request.headers.get_all("Content-Encoding", ())]
        del request.headers["Content-Encoding"]
        request.headers["Content-Encoding"] = ",".join(codings)
        request.headers["Content-Length"] = str(framed_length(draft.length))
        request.headers["X-Amz-Decoded-Content-Length"] = str(draft.length)
    if settings.service not in _S3 and hashed in (_UNSIGNED, _STREAMING):
        request.headers["X-Amz-Content-SHA256"] = hashed  # S3's signers say it by themselves
    return request


def _spelled(url: str, s3: bool) -> str:
    """The URL as AWS writes it again before it checks the signature; what it means stays the same.

    S3 decodes a path and encodes all but the unreserved characters; other services take it as it came. Every query is
    decoded, `+` as a space, and encoded so.
    """
    head, _, query = url.partition("?")
    start = head.find("/", len("https://"))
    if s3 and start > 0:
        head = head[:start] + quote(unquote_to_bytes(head[start:]))
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    query = "&".join(_text(name) + equals + _text(value) for name, equals, value in pairs)
    return f"{head}?{query}" if query else head


def _text(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="")
