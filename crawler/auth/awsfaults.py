"""What AWS says is wrong: the code, message and region in the head and the first KiB of an error's body.

Decides how a fault reads and to which kind it belongs. Must not know keys, signing or what follows. Invariant: of a
body only the code, the first line of the message and the region are taken, each of them whole: the rest of a
SignatureDoesNotMatch holds the access key and the string that was signed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from typing import NamedTuple

from crawler.auth.scheme import Answered

# The signature is right, but for another time than the server's.
_SKEWED = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_SKEWED_TEXT = re.compile(r"Signature (expired|not yet current)|Request has expired|Request is not yet valid")
# The keys were right once.
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
# AccessDenied is none of these: the key is known and has no right here.
_REFUSED = {
    "AuthFailure",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_REFUSED_TEXT = re.compile(r"The request signature we calculated does not match")
_REGION = re.compile(r"[a-z0-9-]{2,40}")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_XML = {name: re.compile(rf"<{name}>([^<]*)</{name}>") for name in ("Code", "Message", "Region")}
_JSON = {
    "Code": re.compile(r'"(?:__type|code|Code)"\s*:\s*("(?:[^"\\]|\\.)*")'),
    "Message": re.compile(r'"[mM]essage"\s*:\s*("(?:[^"\\]|\\.)*")'),
}


class Fault(NamedTuple):
    """Each is "" where AWS does not say it. `region`: where the bucket is, fit for a header."""

    code: str = ""
    message: str = ""
    region: str = ""

    @property
    def skewed(self) -> bool:
        """Our time and the server's differ too much."""
        return self.code in _SKEWED or _SKEWED_TEXT.match(self.message) is not None

    @property
    def expired(self) -> bool:
        """The keys are no longer good; new ones may be."""
        return self.code in _EXPIRED

    @property
    def refused(self) -> bool:
        """The key or the signature is not taken."""
        return self.code in _REFUSED or _REFUSED_TEXT.match(self.message) is not None

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.code, self.message)))


def read(answered: Answered) -> Fault:
    """The fault in S3's XML, in that of the query services, in JSON or in x-amzn-ErrorType (API Gateway)."""
    text = answered.body.decode(errors="replace")
    code = _found("Code", text) or answered.headers.get("x-amzn-errortype", "")
    code = code.partition(":")[0].rpartition("#")[2]  # com.amazon.coral.service#Code, Code:http://...
    region = answered.headers.get("x-amz-bucket-region") or _found("Region", text)
    return Fault(
        code if _CODE.fullmatch(code) else "",
        _found("Message", text).strip().partition("\n")[0].strip(),
        region if _REGION.fullmatch(region) else "",
    )


def server_time(headers: Mapping[str, str]) -> float | None:
    """The Date of an answer in wall seconds (RFC 9110 6.6.1); None where it has none that can be read."""
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _found(name: str, text: str) -> str:
    """A field's text; "" where it is cut off, since of half a secret nobody could tell what it is."""
    if tag := _XML[name].search(text):
        return unescape(tag[1])
    if name in _JSON and (pair := _JSON[name].search(text)):
        try:
            return str(json.loads(pair[1]))
        except ValueError:
            return ""
    return ""
