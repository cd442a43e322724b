"""What an S3-compatible store, or botocore on the way there, says is wrong, as a Trouble and a sentence.

Decides by the code and status of an error, or by the name of an exception. Must not know botocore itself. Invariant: of
what a store says only the code and the Date are taken, since the rest may quote keys and what was signed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crawler.auth.awsfaults import Fault, server_time
from crawler.parcels import Trouble, Undelivered

_CODE = re.compile(r"[A-Za-z0-9._-]{1,60}\Z")
_CODES = {
    Trouble.AUTH: "AccessDenied AllAccessDisabled AccountProblem InvalidPayer NotSignedUp",
    Trouble.NO_TARGET: "NoSuchBucket InvalidBucketName PermanentRedirect IllegalLocationConstraintException",
    Trouble.BUSY: "SlowDown ServiceUnavailable Busy TooManyRequests Throttling ThrottlingException",
    Trouble.TIMEOUT: "RequestTimeout",
    Trouble.MISMATCH: "BadDigest InvalidDigest XAmzContentSHA256Mismatch IncompleteBody InvalidPart InvalidPartOrder",
}
_BY_CODE = {code: trouble for trouble, codes in _CODES.items() for code in codes.split()}
_BY_STATUS = {
    **dict.fromkeys((401, 403), Trouble.AUTH),
    **dict.fromkeys((301, 307, 404), Trouble.NO_TARGET),
    **dict.fromkeys((429, 503), Trouble.BUSY),
    **dict.fromkeys((408, 504), Trouble.TIMEOUT),
}
_NO_KEYS = (
    "NoCredentialsError PartialCredentialsError CredentialRetrievalError MetadataRetrievalError TokenRetrievalError "
    "NoAuthTokenError SSOTokenLoadError UnauthorizedSSOTokenError ProfileNotFound"
)
# Of botocore; what is not named here is trouble with the connection.
_BY_NAME = {
    **dict.fromkeys(("ConnectTimeoutError", "ReadTimeoutError"), (Trouble.TIMEOUT, "the store did not answer in time")),
    **dict.fromkeys(_NO_KEYS.split(), (Trouble.AUTH, "no keys were found for it where AWS's own tools look")),
    "ParamValidationError": (Trouble.REFUSED, "its key or bucket cannot be one"),
    "ResponseParserError": (Trouble.FAILED, "the answer is not S3's"),
    "SSLError": (Trouble.CONNECTION, "the store's certificate is not trusted, or TLS failed"),
}


class Skewed(Undelivered):
    """Our clock and the store's differ; `at` is its time in wall seconds, where it told."""

    def __init__(self, why: str, at: float | None) -> None:
        super().__init__(Trouble.CLOCK, why)
        self.at = at


def of_answer(response: Mapping[str, Any]) -> Undelivered:
    """What an error answer means, as botocore parsed it."""
    told = response.get("Error", {}).get("Code", "")
    code = told if isinstance(told, str) and _CODE.match(told) else ""
    about = response.get("ResponseMetadata", {})
    status = about.get("HTTPStatusCode", 0)
    why = f"the store answers {' '.join(filter(None, (str(status), code if code != str(status) else '')))}"
    fault = Fault(code)
    if fault.skewed:
        return Skewed(f"{why}: our clock and its clock differ", server_time(about.get("HTTPHeaders", {})))
    if fault.refused or fault.expired:
        return Undelivered(Trouble.AUTH, why)
    trouble = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if trouble is None:
        trouble = Trouble.REFUSED if 400 <= status < 500 else Trouble.FAILED
    return Undelivered(trouble, why)


def of_no_answer(name: str) -> Undelivered:
    """What an exception of this name means."""
    trouble, why = _BY_NAME.get(name, (Trouble.CONNECTION, f"no answer of the store ({name})"))
    return Undelivered(trouble, why)
