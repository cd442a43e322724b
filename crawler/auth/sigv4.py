"""AWS Signature Version 4 as a scheme: keys, the region of a bucket, the server's clock, and what an error means.

Decides with which keys, region and time a request is signed, and whether it is to be signed once more. Must not know
how a signature is made (awssigner), where keys come from, or the wire. Invariant: one request is signed anew a bounded
number of times whatever a server says, and no sentence holds a key, a token or a signature.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote

from crawler.auth import awsfaults, awssigner
from crawler.auth.awssigner import Keys, Settings
from crawler.auth.scheme import AGAIN, FINE, Answered, Draft, Judgement, Signed, Step
from crawler.urls import BadURL, join, netloc, printable

__all__ = ["Keys", "Settings", "SigV4"]

_VIRTUAL = re.compile(r".+\.s3[.-]")  # hosts of which the bucket is a part
_SIGNATURE = re.compile(r"[0-9a-fA-F]{64}")
_REMEMBERED = 1024  # hosts and buckets of which something was learned
_ROUNDS = 2  # how often one request is signed anew
_SKEW = 300.0  # seconds: some services refuse at 5 minutes, S3 at 15
_SOON = 60.0  # seconds before they expire, keys are fetched anew


class _Mark(NamedTuple):
    """What a request was signed with; `offset` in seconds, None where no clock was learned."""

    keys: Keys
    region: str
    offset: float | None


class SigV4:
    """One pair of keys. Those `keys` that are given here are the only ones; without, `stale` asks for them, and they
    are put into the attribute.
    """

    name = "AWS SigV4"
    reads_errors = True

    def __init__(self, settings: Settings, keys: Keys | None = None) -> None:
        self.keys = keys
        self._settings = settings
        self._renewable = keys is None
        self._expired: Keys | None = None  # the last ones that were refused as such
        self._regions: dict[str, str] = {}  # by host, or host and bucket
        self._offsets: dict[str, float] = {}  # by host: its clock less ours, in seconds

    def __repr__(self) -> str:
        return f"<SigV4 {self._settings.service} {self._settings.region} {self._settings.form}>"

    @property
    def wants(self) -> frozenset[str]:
        """SHA-256 where the signature covers the payload as a whole."""
        return frozenset({"sha256"} if self._settings.hashes else ())

    def stale(self, now: float) -> bool:
        """No keys, or (where others can be had) some that expire within a minute; `now` in wall seconds."""
        if self.keys is None:
            return True
        return self._renewable and self.keys.expires_at is not None and now > self.keys.expires_at - _SOON

    def sign(self, draft: Draft, now: float, rng: Random) -> Signed:
        """Signed for `now` by the server's clock, where that is known. Raises ValueError without keys."""
        if self.keys is None:
            raise ValueError("there are no keys to sign with")
        region = self._regions.get(_place(draft.url), self._settings.region)
        mark = _Mark(self.keys, region, self._offsets.get(netloc(draft.url)))
        signed = awssigner.sign(self._settings, draft, self.keys, region, now + (mark.offset or 0.0))
        return signed._replace(mark=mark)

    def accept(self, draft: Draft, signed: Signed, answered: Answered, now: float) -> Judgement:
        """AccessDenied is FINE: the keys are good, but have no right to this. So is a 403 that says nothing (HEAD)."""
        mark = signed.mark
        if answered.status not in (301, 307, 308, 400, 401, 403) or not isinstance(mark, _Mark):
            return FINE
        fault = awsfaults.read(answered)
        if self._leads_to_region(draft, mark, answered, fault.region):
            return AGAIN
        date = awsfaults.server_time(answered.headers)
        gap = None if date is None else date - now
        far = gap is not None and abs(gap - (mark.offset or 0.0)) > _SKEW
        if fault.skewed or (far and draft.method == "HEAD" and answered.status == 403):
            return self._clock(draft, mark, gap, fault.code)
        if fault.expired and self._renews(mark.keys, draft.round):
            return AGAIN
        if fault.expired or fault.refused or answered.status == 401:
            said = _without(str(fault), mark.keys) or f"status {answered.status}"
            return Judgement(Step.REJECTED, f"{netloc(draft.url)} does not take the AWS signature: {said}")
        return FINE

    def _leads_to_region(self, draft: Draft, mark: _Mark, answered: Answered, region: str) -> bool:
        """Is the same URL to be signed for another region. A Location is a hop, and signed for that region there."""
        if region in ("", mark.region) or draft.round >= _ROUNDS or answered.status in (401, 403):
            return False
        _remember(self._regions, _place(draft.url), region)
        location = answered.headers.get("location")
        if location is not None:
            try:
                _remember(self._regions, _place(join(draft.url, location).href), region)
            except BadURL:
                return False
        return location is None

    def _clock(self, draft: Draft, mark: _Mark, gap: float | None, code: str) -> Judgement:
        """The server's clock is learned, but not by a request that was signed with what was learned already."""
        host = netloc(draft.url)
        named = f" ({code})" if code else ""
        if gap is None:
            return Judgement(Step.CLOCK, f"our clock and that of {host} differ too much{named}; it sends no Date")
        if draft.round and mark.offset is not None:
            side = "behind" if gap > 0 else "ahead of"
            text = (
                f"our clock is {_minutes(abs(gap))} {side} that of {host}{named}; corrected by its Date, it refuses too"
            )
            return Judgement(Step.CLOCK, text)
        _remember(self._offsets, host, gap)
        return AGAIN

    def _renews(self, keys: Keys, round: int) -> bool:
        """May other keys help: not where the source gave those again, or others that are no better."""
        if not self._renewable or round >= _ROUNDS:
            return False
        if keys != self.keys:
            return True  # others came meanwhile, or are on their way
        if keys == self._expired or (round and self._expired is not None):
            return False
        self.keys, self._expired = None, keys
        return True


def _place(url: str) -> str:
    """What has one region: a host, or a bucket where it stands in the path."""
    host = netloc(url)
    if _VIRTUAL.match(host):
        return host
    start = url.find(host) + len(host) + 1
    return f"{host}/{url[start:].partition('?')[0].partition('/')[0]}"


def _remember(table: dict[str, Any], key: str, value: object) -> None:
    table.pop(key, None)
    if len(table) >= _REMEMBERED:
        del table[next(iter(table))]
    table[key] = value


def _minutes(seconds: float) -> str:
    number = round(seconds / 60)
    return "less than a minute" if number == 0 else "1 minute" if number == 1 else f"{number} minutes"


def _without(text: str, keys: Keys) -> str:
    """An error's text without what was signed with, fit to be shown."""
    for secret in filter(None, (keys.secret_key, keys.session_token, keys.access_key)):
        text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return printable(_SIGNATURE.sub("***", text))
