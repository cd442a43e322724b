"""Files as objects: what is sent, what counts as confirmed, and how each fault of a store is told."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawler.cargo import Abandoned, Cargo, opened
from crawler.parcels import Parcel, Trouble, Undelivered
from crawler.s3target import S3Keys, S3Settings, S3Target
from tests.fakestore import KEYS, Answer, Object, Seen, Store, error, fake_store
from tests.servers import free_port

pytestmark = pytest.mark.slow

RIGHT = S3Keys(KEYS.access_key, KEYS.secret_key)
CONTENT = bytes(range(256)) * 20
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = "pre/job/run/bodies/ä b+c.bin"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No AWS settings of whoever runs the tests, and no asking of a real instance."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def store() -> Iterator[Store]:
    with fake_store() as found:
        yield found


def target_at(url: str, keys: S3Keys | None = RIGHT, *, timeout: float = 10.0, part: int = 1 << 26) -> S3Target:
    return S3Target(S3Settings("files", "pre", url, timeout=timeout, part=part), keys)


@pytest.fixture
def target(store: Store) -> Iterator[S3Target]:
    found = target_at(store.url)
    yield found
    found.close()


@pytest.fixture
def cargo(tmp_path: Path) -> Iterator[Cargo]:
    (tmp_path / "file").write_bytes(CONTENT)
    with opened(tmp_path / "file", Parcel(1, "run", "file", len(CONTENT)), lambda: False) as found:
        yield found


def send(target: S3Target, cargo: Cargo, *, before: bool = False) -> None:
    target.send("job/run/bodies/ä b+c.bin", cargo, before=before)


def told(target: S3Target, cargo: Cargo) -> Undelivered:
    with pytest.raises(Undelivered) as caught:
        send(target, cargo)
    assert KEYS.secret_key not in str(caught.value) + repr(caught.value)
    return caught.value


def test_an_object_has_the_content_and_its_digest(store: Store, target: S3Target, cargo: Cargo) -> None:
    """One PUT, signed, under prefix and key, with the sha256 as metadata and as a checksum; nothing is asked before."""
    send(target, cargo)
    assert store.objects == {KEY: Object(CONTENT, {"sha256": SHA256})}
    assert [seen.method for seen in store.seen] == ["PUT"]
    assert "x-amz-checksum-sha256" in store.seen[0].headers


def test_what_arrived_before_is_not_sent_again(store: Store, target: S3Target, cargo: Cargo) -> None:
    """After a kill or a lost answer the store is asked first: same size and sha256, and it is done."""
    store.objects[KEY] = Object(CONTENT, {"sha256": SHA256})
    send(target, cargo, before=True)
    assert [seen.method for seen in store.seen] == ["HEAD"]


@pytest.mark.parametrize(
    "there", [None, Object(CONTENT[1:], {"sha256": SHA256}), Object(CONTENT, {"sha256": "0"}), Object(CONTENT, {})]
)
def test_what_is_not_there_or_another_is_sent(
    store: Store, target: S3Target, cargo: Cargo, there: Object | None
) -> None:
    """Nothing, another size, another digest, none: it is written anew."""
    if there is not None:
        store.objects[KEY] = there
    send(target, cargo, before=True)
    assert store.objects[KEY] == Object(CONTENT, {"sha256": SHA256})


def test_who_may_not_look_may_write(store: Store, target: S3Target, cargo: Cargo) -> None:
    """A HEAD that is forbidden (without the right to list, S3 answers so for what is not there) keeps nothing back."""
    store.rule = lambda seen: Answer(403) if seen.method == "HEAD" else None
    send(target, cargo, before=True)
    assert store.objects[KEY].body == CONTENT


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (error(403, "AccessDenied"), Trouble.AUTH),
        (error(403, "SignatureDoesNotMatch"), Trouble.AUTH),
        (error(400, "ExpiredToken"), Trouble.AUTH),
        (error(404, "NoSuchBucket"), Trouble.NO_TARGET),
        (error(503, "SlowDown"), Trouble.BUSY),
        (error(429, "TooManyRequests"), Trouble.BUSY),
        (error(500, "InternalError"), Trouble.FAILED),
        (error(400, "BadDigest"), Trouble.MISMATCH),
        (error(400, "KeyTooLongError"), Trouble.REFUSED),
        (Answer(502, b"<html>"), Trouble.FAILED),
        (Answer(0), Trouble.CONNECTION),
    ],
)
def test_each_fault_has_its_name(
    store: Store, target: S3Target, cargo: Cargo, answer: Answer, trouble: Trouble
) -> None:
    """One request, no tries of botocore's own, and a sentence that quotes nothing of the store's text."""
    store.rule = lambda seen: answer
    assert told(target, cargo).trouble is trouble
    assert len(store.seen) == 1


def test_a_store_that_is_not_there(cargo: Cargo) -> None:
    """Nobody listens."""
    target = target_at(f"http://127.0.0.1:{free_port()}")
    assert told(target, cargo).trouble is Trouble.CONNECTION
    target.close()


def test_a_store_that_says_nothing(store: Store, cargo: Cargo) -> None:
    """Silence ends after the timeout, by its name."""
    answered = threading.Event()
    store.rule = lambda seen: Answer(0) if answered.wait(10) else None
    target = target_at(store.url, timeout=0.2)
    try:
        assert told(target, cargo).trouble is Trouble.TIMEOUT
    finally:
        answered.set()
        target.close()


def test_no_keys_anywhere(store: Store, cargo: Cargo) -> None:
    """Neither the job nor botocore's chain has any: nothing is sent."""
    target = target_at(store.url, None)
    assert told(target, cargo).trouble is Trouble.AUTH
    assert store.seen == []
    target.close()


def test_keys_of_the_environment_are_found(store: Store, cargo: Cargo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys in the job, botocore's chain is asked."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS.secret_key)
    target = target_at(store.url, None)
    send(target, cargo)
    assert list(store.objects) == [KEY]
    target.close()


def wrong_tag(seen: Seen, answer: Answer) -> Answer:
    return answer._replace(headers={**answer.headers, "ETag": f'"{"0" * 32}"'})


def wrong_sum(seen: Seen, answer: Answer) -> Answer:
    return answer._replace(headers={**answer.headers, "x-amz-checksum-sha256": "AAAA"})


@pytest.mark.parametrize("alter", [wrong_tag, wrong_sum])
def test_a_digest_that_is_another_is_a_failure(store: Store, target: S3Target, cargo: Cargo, alter: object) -> None:
    """200, but the ETag or the SHA-256 of the answer is not ours."""
    store.alter = alter  # type: ignore[assignment]
    assert told(target, cargo).trouble is Trouble.MISMATCH


def test_a_tag_that_is_no_digest_is_looked_behind(store: Store, target: S3Target, cargo: Cargo) -> None:
    """Encrypted with a key of its owner an ETag says nothing: then a HEAD confirms, or does not."""
    store.alter = lambda seen, answer: (
        wrong_tag(seen, answer)._replace(
            headers={**wrong_tag(seen, answer).headers, "x-amz-server-side-encryption": "aws:kms"}
        )
        if seen.method == "PUT"
        else answer
    )
    send(target, cargo)
    assert [seen.method for seen in store.seen] == ["PUT", "HEAD"]
    store.rule = lambda seen: Answer(404) if seen.method == "HEAD" else None
    assert told(target, cargo).trouble is Trouble.MISMATCH


@pytest.mark.parametrize("ahead", [7200.0, -7200.0])
def test_a_clock_that_is_off_is_corrected(store: Store, target: S3Target, cargo: Cargo, ahead: float) -> None:
    """Refused once, learned from the answer's Date, signed with the store's time from then on."""
    store.ahead = ahead
    send(target, cargo)
    send(target, cargo)
    assert [seen.method for seen in store.seen] == ["PUT"] * 3
    assert store.objects[KEY].body == CONTENT


def test_a_clock_that_cannot_be_corrected(store: Store, target: S3Target, cargo: Cargo) -> None:
    """Two requests, then it is named."""
    store.rule = lambda seen: error(403, "RequestTimeTooSkewed")
    store.ahead = 7200.0
    assert told(target, cargo).trouble is Trouble.CLOCK
    assert len(store.seen) == 2


def test_a_large_file_goes_in_parts(store: Store, cargo: Cargo) -> None:
    """Each part and the whole are confirmed; the object has the same metadata as a small one."""
    target = target_at(store.url, part=2000)
    send(target, cargo)
    assert store.objects == {KEY: Object(CONTENT, {"sha256": SHA256})}
    assert [len(seen.body) for seen in store.seen if "partNumber" in seen.query] == [2000, 2000, 1120]
    send(target, cargo, before=True)
    assert store.seen[-1].method == "HEAD"
    target.close()


@pytest.mark.parametrize("what", ["part", "whole"])
def test_a_wrong_tag_of_parts_is_a_failure(store: Store, cargo: Cargo, what: str) -> None:
    """Of one part, or of what they make together; the parts are taken away again."""
    target = target_at(store.url, part=2000)
    if what == "part":
        store.alter = lambda seen, answer: wrong_tag(seen, answer) if "partNumber=2" in seen.query else answer
    else:
        bad = f'<R><ETag>"{"0" * 32}-3"</ETag></R>'.encode()
        store.alter = lambda seen, answer: (
            answer._replace(body=bad) if seen.method == "POST" and "uploadId" in seen.query else answer
        )
    assert told(target, cargo).trouble is Trouble.MISMATCH
    assert store.parts == {}
    target.close()


def test_parts_left_behind_by_a_kill_are_taken_away(store: Store, cargo: Cargo) -> None:
    """Those of this key, and of no other."""
    target = target_at(store.url, part=2000)
    key = "pre/job/run/x"
    store.parts = {f"{key} old": {1: b"x"}, f"{key}y other": {1: b"x"}}
    target.send("job/run/x", cargo, before=True)
    assert list(store.parts) == [f"{key}y other"]
    assert store.objects[key].body == CONTENT
    target.close()


def test_a_file_that_changes_while_it_is_sent_is_told_as_such(store: Store, target: S3Target, tmp_path: Path) -> None:
    """It is cut behind the first look: its own fault, and no trouble of the connection."""
    path = tmp_path / "cut"
    path.write_bytes(CONTENT)
    with opened(path, Parcel(1, "run", "cut", len(CONTENT)), lambda: False) as cargo:
        os.truncate(path, 10)
        assert told(target, cargo).trouble is Trouble.GONE
    assert store.objects == {}


def test_who_is_abandoned_stops(store: Store, target: S3Target, tmp_path: Path) -> None:
    """At the next piece."""
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    gone = False
    with opened(path, Parcel(1, "run", "file", len(CONTENT)), lambda: gone) as cargo:
        gone = True
        with pytest.raises(Abandoned):
            send(target, cargo)
    assert store.objects == {}
