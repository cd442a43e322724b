"""Errors of a store as troubles: by code, by status, by the exception's name."""

from __future__ import annotations

from typing import Any

import pytest

from crawler.parcels import Trouble
from crawler.s3faults import Skewed, of_answer, of_no_answer


def answered(code: Any, status: int, **headers: str) -> dict[str, Any]:
    about = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    return {"Error": {"Code": code, "Message": "hidden"}, "ResponseMetadata": about}


@pytest.mark.parametrize(
    ("code", "status", "trouble"),
    [
        ("AccessDenied", 403, Trouble.AUTH),
        ("InvalidAccessKeyId", 403, Trouble.AUTH),
        ("ExpiredToken", 400, Trouble.AUTH),
        ("403", 403, Trouble.AUTH),
        ("NoSuchBucket", 404, Trouble.NO_TARGET),
        ("PermanentRedirect", 301, Trouble.NO_TARGET),
        ("SlowDown", 503, Trouble.BUSY),
        ("ServiceUnavailable", 503, Trouble.BUSY),
        ("429", 429, Trouble.BUSY),
        ("RequestTimeout", 400, Trouble.TIMEOUT),
        ("BadDigest", 400, Trouble.MISMATCH),
        ("EntityTooLarge", 400, Trouble.REFUSED),
        ("InternalError", 500, Trouble.FAILED),
        (None, 200, Trouble.FAILED),
    ],
)
def test_a_code_goes_before_a_status(code: Any, status: int, trouble: Trouble) -> None:
    """And the sentence holds both, and nothing of the message."""
    fault = of_answer(answered(code, status))
    assert fault.trouble is trouble
    assert str(status) in str(fault)
    assert "hidden" not in str(fault)


def test_a_code_that_is_none_is_not_shown() -> None:
    """A text of the server's own goes nowhere."""
    assert "hidden" not in str(of_answer(answered("hidden\x1b[0m", 500)))


def test_a_skewed_clock_tells_the_right_time() -> None:
    """The Date of the answer; None where there is none."""
    fault = of_answer(answered("RequestTimeTooSkewed", 403, date="Thu, 01 Jan 1970 00:16:40 GMT"))
    assert isinstance(fault, Skewed)
    assert (fault.trouble, fault.at) == (Trouble.CLOCK, 1000.0)
    silent = of_answer(answered("RequestTimeTooSkewed", 403))
    assert isinstance(silent, Skewed)
    assert silent.at is None


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("ReadTimeoutError", Trouble.TIMEOUT),
        ("NoCredentialsError", Trouble.AUTH),
        ("EndpointConnectionError", Trouble.CONNECTION),
        ("ParamValidationError", Trouble.REFUSED),
        ("WhateverElse", Trouble.CONNECTION),
    ],
)
def test_exceptions_are_told_by_their_names(name: str, trouble: Trouble) -> None:
    """What is unknown is trouble with the connection, and named."""
    assert of_no_answer(name).trouble is trouble
