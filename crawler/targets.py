"""Where finished files are copied to: the one small thing a target does, and the target that a job names.

Does: choose, and name what must be installed. Must not know runs or the checkpoint. Invariant: a package that is
missing, or a section that leads nowhere, is told before anything is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from crawler.cargo import Cargo
from crawler.errors import JobError
from crawler.jobupload import Upload
from crawler.secretrefs import is_reference


class Target(Protocol):
    """Blocks; used by several threads at once."""

    def send(self, key: str, cargo: Cargo, *, before: bool) -> None:
        """Put a file under a key ("job/run/name"), whole or not at all; what stands there already is replaced.

        `before`: an attempt may have got through, so it is looked for first, where the target can tell. Raises
        Undelivered, and Abandoned as the cargo does.
        """

    def close(self) -> None:
        """Close connections."""


def target_of(said: Upload, value: Callable[[str], str], *, env_proxies: bool = False) -> Target:
    """The target of a section; `value` gives that of a reference. Raises JobError."""

    def text(given: str) -> str:
        return value(given) if is_reference(given) else given

    if said.scheme != "s3":
        from crawler.fstarget import FileSystemTarget

        options = {key: text(given) for key, given in said.options.items()}
        try:
            return FileSystemTarget(said.to, options)
        except ImportError as error:
            hint = "pip install 'crawler[fsspec]'" if (error.name or "").startswith("fsspec") else str(error)
            raise JobError(
                f"output.upload.to: {said.scheme}:// needs a package that is not installed: {hint}"
            ) from None
        except ValueError as error:
            raise JobError(f"output.upload: {error}") from None
    from crawler.s3target import S3Keys, S3Settings, S3Target

    keys = None
    if said.access_key is not None and said.secret_key is not None:
        token = value(said.session_token) if said.session_token is not None else None
        keys = S3Keys(text(said.access_key), value(said.secret_key), token)
    bucket, _, prefix = said.to.removeprefix("s3://").partition("/")
    settings = S3Settings(
        bucket, prefix, said.endpoint, said.region, said.profile, said.parallel, said.timeout, env_proxies
    )
    try:
        return S3Target(settings, keys)
    except ImportError:
        raise JobError("output.upload.to: s3:// needs botocore; pip install 'crawler[aws]'") from None
    except ValueError as error:
        raise JobError(f"output.upload: {error}") from None
