"""From a section to its target, and what is said where that cannot be."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from crawler.errors import JobError
from crawler.fstarget import FileSystemTarget
from crawler.jobupload import Upload
from crawler.s3target import S3Target
from crawler.targets import Target, target_of

SECRETS = {"env:ID": "AKIAME", "env:KEY": "hidden", "env:TOKEN": "hidden-too"}


def made(to: str, **given: Any) -> Target:
    return target_of(Upload.model_validate({"to": to, **given}), SECRETS.__getitem__)


def why(to: str, **given: Any) -> str:
    with pytest.raises(JobError) as caught:
        made(to, **given)
    return str(caught.value)


def test_s3_is_spoken_by_botocore() -> None:
    """With the keys that the job refers to; none of them is shown."""
    target = made("s3://bucket/a/b", access_key="env:ID", secret_key="env:KEY", session_token="env:TOKEN")
    assert isinstance(target, S3Target)
    found = target._session.get_credentials()
    assert (found.access_key, found.secret_key, found.token) == ("AKIAME", "hidden", "hidden-too")
    assert "hidden" not in repr(target) + repr(vars(target))
    target.close()


def test_all_else_is_spoken_by_fsspec() -> None:
    """With the options of the job, references among them resolved."""
    target = made("memory://x/y", options={"token": "env:KEY", "plain": "text"})
    assert isinstance(target, FileSystemTarget)
    assert target._options == {"token": "hidden", "plain": "text"}
    assert "hidden" not in repr(target)


@pytest.mark.parametrize(
    ("to", "module", "hint"), [("s3://bucket", "botocore", "aws"), ("memory://x", "fsspec", "fsspec")]
)
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, to: str, module: str, hint: str) -> None:
    """With what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == module] + [module]:
        monkeypatch.setitem(sys.modules, name, None)
    assert f"crawler[{hint}]" in why(to)


def test_a_file_system_whose_package_is_missing_is_named() -> None:
    """fsspec knows it, but its package is not there."""
    assert "oci://" in why("oci://bucket/x")


def test_an_unknown_kind_is_named() -> None:
    """Nothing knows it."""
    assert "nosuch" in why("nosuch://x")


def test_a_profile_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Before anything is fetched."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert "ProfileNotFound" in why("s3://bucket", profile="nobody")
