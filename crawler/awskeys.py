"""AWS keys from where AWS's own tools look: environment, profile, container, instance (botocore's credential chain).

Does: files, environment and the metadata service's HTTP, blocking, so it is called in a thread. Must not know the job
or requests. Invariant: no text of an error comes from botocore, since it may quote what a credential process printed.
"""

from __future__ import annotations

from datetime import datetime

from crawler.auth.sigv4 import Keys


class KeysMissing(Exception):
    """No keys were found; the text is a sentence that names where they were looked for."""


class KeySource:
    """The chain for one profile; None takes AWS_PROFILE or the default one. A profile that is named here goes before
    the keys of the environment, as it does with AWS's own tools.
    """

    def __init__(self, profile: str | None = None) -> None:
        self._profile = profile

    def __repr__(self) -> str:
        return f"<KeySource profile={self._profile}>"

    def load(self) -> Keys:
        """The keys that hold now. Blocks: an instance is asked for a second, once, unless AWS_EC2_METADATA_DISABLED or
        AWS_METADATA_SERVICE_TIMEOUT and _NUM_ATTEMPTS say otherwise. Raises KeysMissing.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
        from botocore.session import Session  # type: ignore[import-untyped]

        try:
            # A new session each time: one that is kept holds on to keys of the environment and of files.
            found = Session(profile=self._profile).get_credentials()
            if found is not None:
                pair = found.get_frozen_credentials()
                expires: datetime | None = getattr(found, "_expiry_time", None)  # botocore has no public name for it
                until = expires.timestamp() if expires is not None else None
                return Keys(pair.access_key, pair.secret_key, pair.token, until)
        except (BotoCoreError, ClientError, OSError, ValueError) as error:
            raise KeysMissing(f"{self._looked()}; it ended with {type(error).__name__}") from None
        raise KeysMissing(self._looked())

    def _looked(self) -> str:
        if self._profile is not None:
            return f"no AWS keys are to be had by the profile '{self._profile}' of the AWS configuration"
        return (
            "no AWS keys were found: looked for AWS_ACCESS_KEY_ID in the environment, in the profiles of the AWS "
            "configuration, and at the metadata services of the container and of the instance"
        )
