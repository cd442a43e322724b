"""What [output.upload] may say, and by which sentence the rest is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crawler.jobupload import Upload, kind_of, references


def upload(to: str = "s3://bucket/prefix", **given: Any) -> Upload:
    return Upload.model_validate({"to": to, **given})


def refusal(to: str = "s3://bucket/prefix", **given: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        upload(to, **given)
    return "; ".join(fault["msg"] for fault in caught.value.errors())


@pytest.mark.parametrize(
    ("to", "scheme"),
    [
        ("s3://bucket", "s3"),
        ("s3://my.bucket-1/a/b/", "s3"),
        ("gs://bucket/prefix", "gs"),
        ("sftp://user@host:2222/srv/data", "sftp"),
        ("file:///srv/data", "file"),
        ("memory://x/y", "memory"),
    ],
)
def test_targets_are_named_by_url(to: str, scheme: str) -> None:
    """Any scheme that can be written to; a slash at the end says nothing."""
    said = upload(to)
    assert said.scheme == scheme
    assert said.to == to.rstrip("/")


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("bucket/prefix", "is no target"),
        ("simplecache::s3://bucket", "is no target"),
        ("s3://bucket/a\nb", "is no target"),
        ("https://host/upload", "nothing can be uploaded by https://"),
        ("filecache://x", "nothing can be uploaded by filecache://"),
        ("sftp://me:hidden@host/x", "has a password in it"),
        ("s3://b/x", "cannot name a bucket"),
        ("s3:///prefix", "cannot name a bucket"),
        ("s3://bucket/a/../b", "an empty part"),
        ("s3://bucket/a//b", "an empty part"),
        ("file://srv/data", "from the root on"),
        ("file://", "from the root on"),
        ("ftp://host/x", "in the open"),
    ],
)
def test_what_is_no_target_is_refused(to: str, why: str) -> None:
    """By a sentence, in which no password stands."""
    told = refusal(to)
    assert why in told
    assert "hidden" not in told


def test_plain_http_goes_to_this_machine_only() -> None:
    """Unless it is asked for."""
    assert upload(endpoint="http://127.0.0.1:9000").endpoint == "http://127.0.0.1:9000/"
    assert "plain http" in refusal(endpoint="http://minio.example:9000")
    assert upload(endpoint="http://minio.example:9000", allow_insecure=True).endpoint == "http://minio.example:9000/"
    assert "plain http" in refusal("gs://b/x", options={"endpoint_url": "http://store.example"})
    assert "plain http" in refusal("gs://b/x", options={"endpoint_url": "HTTP://store.example"})
    assert upload("gs://b/x", options={"endpoint_url": "http://localhost:4443"}).options


def test_an_endpoint_holds_no_credentials() -> None:
    """They would stand in the job file."""
    told = refusal(endpoint="https://me:hidden@store.example")
    assert "credentials in the URL" in told
    assert "hidden" not in told


def test_keys_belong_together() -> None:
    """Both or none; not beside a profile; no token without them."""
    assert "belong together" in refusal(access_key="AKIA")
    assert "belong together" in refusal(secret_key="env:KEY")
    assert "one of them" in refusal(access_key="AKIA", secret_key="env:KEY", profile="up")
    assert "session_token" in refusal(session_token="env:TOKEN")


def test_secrets_are_references() -> None:
    """Also in options whose name says that they hold one; what was written instead is not shown."""
    assert "hidden" not in refusal(access_key="AKIA", secret_key="hidden")
    told = refusal("sftp://host/x", options={"password": "hidden"})
    assert "is no reference" in told
    assert "hidden" not in told
    said = upload("sftp://host/x", options={"password": "env:SFTP", "username": "me"})
    assert references(said) == {"options.password": "env:SFTP"}


def test_references_are_found_by_their_keys() -> None:
    """An access key may be one; a plain one is none."""
    said = upload(access_key="env:ID", secret_key="file:key", session_token="cmd:token")
    assert references(said) == {"access_key": "env:ID", "secret_key": "file:key", "session_token": "cmd:token"}
    assert references(upload(access_key="AKIA", secret_key="env:KEY")) == {"secret_key": "env:KEY"}


def test_what_has_no_effect_is_refused() -> None:
    """What is of S3 at other targets, options at S3, a kind twice, no kind."""
    assert "region is of s3://" in refusal("gs://b/x", region="eu-west-1")
    assert "options are for other targets" in refusal(options={"a": "b"})
    assert "twice" in refusal(what=["bodies", "bodies"])
    assert refusal(what=[])
    assert upload(what="segments").what == ("segments",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bodies/ab/cd/abcd", "bodies"),
        ("bodies/page.warc.gz", "bodies"),
        ("warc/crawl-00000.warc.gz", "segments"),
        ("warc/crawl-00000.cdxj", "segments"),
        ("tar/shard-00000.tar", "segments"),
        ("records.jsonl", "records"),
        ("records.jsonl.zst", "records"),
        ("records/part-00000.parquet", "records"),
        ("summary.json", "records"),
        ("frames.jsonl", "records"),
    ],
)
def test_files_have_their_kind(name: str, kind: str) -> None:
    """By their names: bodies are whatever stands among them."""
    assert kind_of(name) == kind
