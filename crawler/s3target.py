"""Finished files as objects of an S3-compatible store, by botocore.

Does: PUT, HEAD and multipart uploads, blocking; corrects a clock that is off. Must not know runs or retries. Invariant:
a file counts as sent only when the store has confirmed its digest (the SHA-256 or ETag of the answer) and its size; no
text of an error comes from botocore or the store but a code, since others may quote keys.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from contextlib import suppress
from hashlib import md5
from typing import Any, NamedTuple

from crawler.cargo import Abandoned, Cargo, Slice
from crawler.parcels import Trouble, Undelivered
from crawler.s3faults import Skewed, of_answer, of_no_answer

MIB = 1024 * 1024
_PART = 64 * MIB  # a larger file is sent in parts, each of them confirmed
_PARTS = 10_000  # S3 takes no more
_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]+)?\Z")


class S3Keys(NamedTuple):
    """A key of AWS or of what speaks like it."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return "<S3Keys>"


class S3Settings(NamedTuple):
    """Where objects go; `timeout` in seconds of silence. None: as botocore's own configuration says."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    parallel: int = 4
    timeout: float = 60.0
    env_proxies: bool = False
    part: int = _PART


class S3Target:
    """One bucket and prefix. Without `keys` botocore's chain finds some (environment, profile, container, instance)."""

    def __init__(self, settings: S3Settings, keys: S3Keys | None = None) -> None:
        """Raises ImportError without botocore, ValueError with a sentence where the settings are no good."""
        from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

        self._settings = settings
        self._ahead = 0.0  # seconds that the store's clock is ahead of ours
        try:
            self._client = self._made(keys)
        except (BotoCoreError, ValueError) as error:
            raise ValueError(f"no client for S3 can be made of this ({type(error).__name__})") from None
        self._client.meta.events.register_last("request-created.s3", self._sign_for_its_clock)

    def __repr__(self) -> str:
        return f"<S3Target {self._settings.bucket}/{self._settings.prefix}>"

    def send(self, key: str, cargo: Cargo, *, before: bool) -> None:
        """See targets.Target."""
        key = "/".join(filter(None, (self._settings.prefix, key)))
        if before and self._is_there(key, cargo):
            return
        if cargo.size > self._settings.part:
            if before:
                self._clear_away(key)
            self._send_in_parts(key, cargo)
        else:
            self._put(key, cargo)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def _made(self, keys: S3Keys | None) -> Any:
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.session import Session  # type: ignore[import-untyped]

        said = self._settings
        self._session = Session(profile=said.profile)
        if keys is not None:
            self._session.set_credentials(*keys)
        config = Config(
            connect_timeout=min(10.0, said.timeout),
            read_timeout=said.timeout,
            max_pool_connections=said.parallel,
            retries={"total_max_attempts": 1, "mode": "standard"},  # when to try again is decided elsewhere
            s3={"addressing_style": "path"} if said.endpoint else None,
            # Trailing checksums are unknown to many compatible stores; we send Content-MD5 and SHA-256.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies=None if said.env_proxies else {},
        )
        region = said.region or self._session.get_config_variable("region") or "us-east-1"
        return self._session.create_client("s3", region_name=region, endpoint_url=said.endpoint, config=config)

    def _is_there(self, key: str, cargo: Cargo) -> bool:
        """Does the store hold this very content under the key. Who may not look is told so by the PUT that follows."""
        try:
            found = self._call("head_object", Key=key)
        except Undelivered as error:
            if error.trouble in (Trouble.AUTH, Trouble.NO_TARGET, Trouble.REFUSED):
                return False
            raise
        return found.get("ContentLength") == cargo.size and found.get("Metadata", {}).get("sha256") == cargo.sha256

    def _put(self, key: str, cargo: Cargo) -> None:
        answer = self._call(
            "put_object",
            Key=key,
            Body=Slice(cargo, 0, cargo.size),
            ContentLength=cargo.size,
            ContentMD5=b64encode(cargo.hashes.md5).decode(),
            ChecksumSHA256=b64encode(cargo.hashes.sha256).decode(),
            Metadata={"sha256": cargo.sha256},
        )
        self._confirm(key, cargo, answer, cargo.hashes.md5.hex())

    def _send_in_parts(self, key: str, cargo: Cargo) -> None:
        size = max(self._settings.part, -(-cargo.size // _PARTS))
        begun = self._call("create_multipart_upload", Key=key, Metadata={"sha256": cargo.sha256})["UploadId"]
        try:
            parts, digests = [], []
            for number, start in enumerate(range(0, cargo.size, size), 1):
                tag, digest = self._send_part(key, begun, number, cargo, (start, min(size, cargo.size - start)))
                parts.append({"PartNumber": number, "ETag": tag})
                digests.append(digest)
            whole = {"Parts": parts}
            answer = self._call("complete_multipart_upload", Key=key, UploadId=begun, MultipartUpload=whole)
        except BaseException:
            with suppress(Undelivered):  # what is not taken away costs its owner money, but does no harm
                self._call("abort_multipart_upload", Key=key, UploadId=begun)
            raise
        tag = md5(b"".join(digests), usedforsecurity=False).hexdigest()
        self._confirm(key, cargo, answer, f"{tag}-{len(digests)}")

    def _send_part(self, key: str, begun: str, number: int, cargo: Cargo, range_: tuple[int, int]) -> tuple[str, bytes]:
        """Its ETag and MD5."""
        digest = cargo.hash(*range_).md5
        answer = self._call(
            "upload_part",
            Key=key,
            UploadId=begun,
            PartNumber=number,
            Body=Slice(cargo, *range_),
            ContentLength=range_[1],
            ContentMD5=b64encode(digest).decode(),
        )
        _check_tag(answer, digest.hex())
        return answer.get("ETag", ""), digest

    def _confirm(self, key: str, cargo: Cargo, answer: dict[str, Any], tag: str) -> None:
        """Is what arrived what was sent. Raises Undelivered."""
        if (told := answer.get("ChecksumSHA256")) is not None and "-" not in told:
            if told != b64encode(cargo.hashes.sha256).decode():
                raise Undelivered(Trouble.MISMATCH, "the store has another SHA-256 for the file than it has here")
            return
        # Where a store encrypts with somebody's key, the ETag is no digest.
        if not _check_tag(answer, tag) and not self._is_there(key, cargo):
            raise Undelivered(Trouble.MISMATCH, "the store does not show the file as it was sent")

    def _clear_away(self, key: str) -> None:
        """Parts that a killed process left behind are stored, and paid for, until somebody takes them away."""
        with suppress(Undelivered):
            for begun in self._call("list_multipart_uploads", Prefix=key).get("Uploads", ()):
                if begun.get("Key") == key:
                    self._call("abort_multipart_upload", Key=key, UploadId=begun["UploadId"])

    def _call(self, operation: str, **given: Any) -> dict[str, Any]:
        """One operation, once more where the answer shows that our clock is off. Raises Undelivered, Abandoned."""
        try:
            return self._called(operation, given)
        except Undelivered as error:
            if error.trouble is not Trouble.CLOCK or not self._learned(error):
                raise
        if isinstance(given.get("Body"), Slice):
            given["Body"].seek(0)
        return self._called(operation, given)

    def _called(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(Bucket=self._settings.bucket, **given)
            return answer
        except ClientError as error:
            raise of_answer(error.response) from None
        except Exception as error:  # of botocore, of the HTTP library below, of the cargo that it reads
            raise _own(error) or of_no_answer(type(error).__name__) from None

    def _learned(self, error: Undelivered) -> bool:
        """Take over the store's clock; False where that is no news."""
        if not isinstance(error, Skewed) or error.at is None:
            return False
        ahead, self._ahead = self._ahead, error.at - time.time()
        return abs(self._ahead - ahead) > 60

    def _sign_for_its_clock(self, request: Any, **_: Any) -> None:
        """Sign a request of botocore's anew, with the store's time. It has signed with ours, and may be right."""
        if not self._ahead or "Authorization" not in request.headers:
            return
        signer = _shifted(self._ahead)
        signing = request.context.get("signing", {})
        region = signing.get("region") or self._client.meta.region_name
        keys = self._session.get_credentials().get_frozen_credentials()
        signer(keys, signing.get("signing_name", "s3"), region).add_auth(request)


def _own(error: BaseException | None) -> Exception | None:
    """What the cargo said while it was read, if that is what went wrong."""
    for _ in range(20):  # some errors are, by way of others, their own cause
        if error is None or isinstance(error, (Undelivered, Abandoned)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _check_tag(answer: dict[str, Any], right: str) -> bool:
    """Is the ETag of an answer a digest at all. Raises Undelivered where it is another one."""
    tag = answer.get("ETag", "").strip('"').lower()
    keyed = "SSECustomerAlgorithm" in answer or answer.get("ServerSideEncryption", "").startswith("aws:kms")
    if keyed or not _MD5.match(tag):
        return False
    if tag != right:
        raise Undelivered(Trouble.MISMATCH, "the ETag of the answer is not that of what was sent")
    return True


def _shifted(ahead: float) -> Any:
    """botocore's signer for a clock that is so many seconds ahead of ours."""
    from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth  # type: ignore[import-untyped]

    class Shifted(S3SigV4Auth):  # type: ignore[misc]
        def _set_necessary_date_headers(self, request: Any) -> None:
            request.context["timestamp"] = time.strftime(SIGV4_TIMESTAMP, time.gmtime(time.time() + ahead))
            super()._set_necessary_date_headers(request)

    return Shifted
