"""Uploads end to end: moto with its authentication switched on, as the store; files, table, threads and all."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from crawler import shippinglog
from crawler.dock import Dock
from crawler.errors import StorageError
from crawler.folders import JobFolder
from crawler.jobupload import Upload
from crawler.parcels import Counts, Parcel, Thing, Trouble
from crawler.runlist import last_of
from crawler.shipping import Errands, Shipper
from crawler.targets import target_of
from tests.fakestore import KEYS, Answer, Seen, Store, error, fake_store
from tests.motoserver import moto_server
from tests.servers import Nginx

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

MIB = 1 << 20
LARGE = 100 * MIB
SMALL = 300


class Moto(NamedTuple):
    """A running server with the bucket `files`; `client` may do everything."""

    url: str
    access_key: str
    secret_key: str
    client: Any

    def objects(self) -> dict[str, tuple[int, str]]:
        """Size and metadata sha256 of every object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="files")
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        heads = {key: self.client.head_object(Bucket="files", Key=key) for key in keys}
        return {key: (head["ContentLength"], head["Metadata"]["sha256"]) for key, head in heads.items()}


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Moto]:
    from botocore.session import Session

    with moto_server(tmp_path) as made:
        keys = {"aws_access_key_id": made.access_key, "aws_secret_access_key": made.secret_key}
        client = Session().create_client("s3", region_name="us-east-1", endpoint_url=made.url, **keys)
        yield Moto(*made, client)
        client.close()


class Run:
    """A run's folder and its table."""

    def __init__(self, folder: Path, db: sqlite3.Connection) -> None:
        self.folder = folder
        self.db = db
        shippinglog.create(db)

    def add(self, name: str, content: bytes, *, known: bool = True) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest() if known else None
        shippinglog.add(self.db, "run", [Thing(name, len(content), sha256)])

    async def ship(self, moto: Moto, **given: Any) -> tuple[Counts, Shipper]:
        """One start that ends when nothing more arrives."""
        section = {"to": "s3://files/pre", "endpoint": moto.url, "access_key": moto.access_key} | given
        said = Upload.model_validate({"secret_key": "env:SECRET", "backoff": {"initial": "0s"}} | section)

        async def read(after: int, limit: int) -> list[Parcel]:
            return shippinglog.waiting(self.db, after, limit)

        errands = Errands(
            lambda parcel: self.folder / parcel.name,
            lambda parcel: f"job/{parcel.run}/{parcel.name}",
            read,
            lambda end: shippinglog.settle(self.db, [end]),
        )
        counts = shippinglog.counts(self.db, "run")
        dock = Dock(said.parallel, said.attempts, said.backoff, probing=counts.failed > 0)
        target = target_of(said, {"env:SECRET": moto.secret_key, "env:WRONG": "wrong/secret"}.__getitem__)
        shipper = Shipper(target, dock, errands, counts, said.parallel, Random(1))
        shipper.start()
        try:
            return await shipper.finish(), shipper
        finally:
            await shipper.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        yield Run(tmp_path / "run", db)


async def test_everything_is_there_with_its_digest(moto: Moto, run: Run) -> None:
    """Hundreds of small files and one of 100 MiB in parts, which memory does not see; then nothing is sent twice."""
    for n in range(SMALL):
        run.add(f"bodies/{n % 7}/ä {n}+.bin", os.urandom(n))
    large = os.urandom(LARGE)
    run.add("warc/large-00000.warc.gz", large, known=False)
    digest = hashlib.sha256(large).hexdigest()
    del large
    tracemalloc.start()
    try:
        counts, _ = await run.ship(moto)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts == Counts(SMALL + 1, 0, 0, LARGE + sum(range(SMALL)))
    assert peak < 40 * MIB
    objects = moto.objects()
    assert objects.pop("pre/job/run/warc/large-00000.warc.gz") == (LARGE, digest)
    files = list(run.folder.rglob("*.bin"))
    assert objects == {
        f"pre/job/run/{path.relative_to(run.folder)}": (
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    }


async def test_a_start_whose_reports_were_lost_sends_nothing_again(moto: Moto, run: Run) -> None:
    """All arrived, and the process was killed before that was committed: each object has one version."""
    moto.client.put_bucket_versioning(Bucket="files", VersioningConfiguration={"Status": "Enabled"})
    for n in range(20):
        run.add(f"bodies/{n}", os.urandom(100))
    saved = run.db.execute("SELECT * FROM uploads").fetchall()
    assert (await run.ship(moto))[0].done == 20
    run.db.executemany("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?)", saved)
    assert (await run.ship(moto))[0].waiting == 0
    assert len(moto.client.list_object_versions(Bucket="files")["Versions"]) == 20


@pytest.mark.parametrize(
    ("wrong", "trouble"),
    [
        ({"secret_key": "env:WRONG"}, Trouble.AUTH),
        ({"access_key": "AKIAUNKNOWN"}, Trouble.AUTH),
        ({"to": "s3://nosuch/pre"}, Trouble.NO_TARGET),
    ],
)
async def test_what_is_wrong_is_named_and_the_next_start_sends_all(
    moto: Moto, run: Run, wrong: dict[str, str], trouble: Trouble
) -> None:
    """Few requests, no file lost; with the right words all arrive."""
    for n in range(50):
        run.add(f"bodies/{n}", b"x")
    counts, shipper = await run.ship(moto, **wrong)
    assert (counts.done, counts.waiting + counts.failed) == (0, 50)
    assert shipper.trouble is not None
    assert shipper.trouble.trouble is trouble
    assert moto.secret_key not in str(shipper.trouble)
    assert (await run.ship(moto))[0] == Counts(50, 0, 0, 50)


# -- the command ------------------------------------------------------------------------------------------------------

PAGES = 240
OWN = {"run.log", "progress.json", "progress.jsonl", "summary.json"}  # tell of a run, and stay here


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Nginx]:
    """Small pages, no two alike but every tenth."""
    (tmp_path / "root").mkdir()
    tmp_path.chmod(0o755)
    extra = 'location /same/ { return 200 "the same"; } location /page/ { return 200 "$uri $uri $uri"; }'
    with Nginx(tmp_path / "root", tmp_path / "nginx", extra=extra) as server:
        yield server


@pytest.fixture
def store() -> Iterator[Store]:
    with fake_store() as one:
        yield one


class Work:
    """A job file that uses every output, and the command on it."""

    def __init__(self, folder: Path, site: Nginx, upload: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        self.folder = folder
        self.file = folder / "job.json"
        self.secrets = secrets
        urls = [f"{site.url}/{'page' if n % 10 else 'same'}/{n}" for n in range(PAGES)]
        outputs = {"records": ["jsonl", "csv", "parquet"], "bodies": ["files", "warc", "tar"], "segment_size": "20KB"}
        said = {"backoff": {"initial": "1ms", "max": "50ms"}, **upload}
        job = {
            "name": "up",
            "input": {"urls": urls},
            "limits": {"per_host": 8, "rate": "60/s"},
            "output": {"dir": str(folder / "out"), "layout": "hash", **outputs, "upload": said},
        }
        self.file.write_text(json.dumps(job))

    @property
    def run_folder(self) -> Path:
        return (self.folder / "out/up/latest").resolve()

    def start(self, command: str = "run", *more: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "crawler", command, str(self.file), *more]
        return subprocess.Popen(
            line, env=os.environ | self.secrets, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder
        )

    def do(self, command: str = "run", *more: str) -> tuple[int, bytes]:
        """Exit code and all that it said."""
        process = self.start(command, *more)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def files(self, prefix: str = "pre/") -> dict[str, bytes]:
        """By their keys, what of the last run is to be at the target."""
        run = self.run_folder
        return {
            f"{prefix}up/{run.name}/{path.relative_to(run)}": path.read_bytes()
            for path in run.rglob("*")
            if path.is_file() and path.name not in OWN
        }

    def assert_right(self) -> None:
        """Each page has one record, and the body that it names."""
        records = [json.loads(line) for line in (self.run_folder / "records.jsonl").read_bytes().splitlines()]
        assert len(records) == len({record["url"] for record in records}) == PAGES
        for record in records:
            assert hashlib.sha256((self.run_folder / record["body"]).read_bytes()).hexdigest() == record["sha256"]

    def committed(self) -> set[str]:
        """By their keys, the finished files that the checkpoint vouches for; none where it is not made yet."""
        state = self.folder / "out/up/state.db"
        found = set[str]()
        if not state.exists():
            return found
        with closing(sqlite3.connect(state)) as db, suppress(sqlite3.OperationalError):
            marks = {name: mark for name, *mark in db.execute("SELECT name, length, closed FROM segments")}
            states = dict(db.execute("SELECT name, state FROM sinks"))
            length, _ = marks.get("records.jsonl", (0, 0))
            lines = (self.run_folder / "records.jsonl").read_bytes()[:length].splitlines() if length else []
            found |= {json.loads(line)["body"] for line in lines} | {
                name for name, (_, closed) in marks.items() if closed
            }
            found |= set(json.loads(states.get("sent", "{}")))
        return {f"pre/up/{self.run_folder.name}/{name}" for name in found}

    def over(self) -> bool:
        """Is the run finished by its checkpoint, though its process may still be there."""
        with suppress(StorageError):  # where it was killed before its tables were made
            last = last_of(JobFolder(self.folder / "out", "up"))
            return last is not None and last.state == "finished"
        return False

    def bytes_written(self) -> bytes:
        """Of every file that the command left, but what was fetched by its job is nothing secret either."""
        return b"".join(path.read_bytes() for path in (self.folder / "out").rglob("*") if path.is_file())


@pytest.fixture
def work(tmp_path: Path, site: Nginx, store: Store) -> Work:
    """To the store that misbehaves as it is told."""
    upload = {"to": "s3://files/pre", "endpoint": store.url, "access_key": "env:AK", "secret_key": "env:SK"}
    return Work(tmp_path, site, upload, {"AK": KEYS.access_key, "SK": KEYS.secret_key})


def with_role(moto: Moto) -> dict[str, str]:
    """Keys for some time, with a session token."""
    from botocore.session import Session

    place = {"region_name": "us-east-1", "endpoint_url": moto.url}
    keys = {"aws_access_key_id": moto.access_key, "aws_secret_access_key": moto.secret_key}
    everybody = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    session = Session()
    iam = session.create_client("iam", **place, **keys)
    role = iam.create_role(RoleName="up", AssumeRolePolicyDocument=json.dumps(everybody))["Role"]["Arn"]
    iam.put_role_policy(RoleName="up", PolicyName="all", PolicyDocument=json.dumps(allowed))
    sts = session.create_client("sts", **place, **keys)
    found = sts.assume_role(RoleArn=role, RoleSessionName="session")["Credentials"]
    return {"AK": found["AccessKeyId"], "SK": found["SecretAccessKey"], "ST": found["SessionToken"]}


def test_a_whole_run_arrives_and_no_secret_is_told(moto: Moto, site: Nginx, tmp_path: Path) -> None:
    """Every finished file with its bytes, each by one PUT; keys and token are in nothing that any command leaves."""
    secrets = with_role(moto)
    keys = {"access_key": "env:AK", "secret_key": "env:SK", "session_token": "env:ST"}
    work = Work(tmp_path, site, {"to": "s3://files/pre", "endpoint": moto.url, **keys}, secrets)
    commands = [("check",), ("plan",), ("run",), ("status",), ("verify",)]
    ends = [work.do(*command) for command in commands]
    assert [code for code, _ in ends] == [0] * len(commands), ends
    files = work.files()
    assert set(moto.objects()) == set(files)
    for key, data in files.items():
        assert moto.client.get_object(Bucket="files", Key=key)["Body"].read() == data
    puts = [line for line in (tmp_path / "moto.log").read_text().splitlines() if '"PUT /files/pre/' in line]
    assert len(puts) == len(files)
    shown = b"".join(said for _, said in ends) + work.bytes_written()
    assert not [name for name, value in secrets.items() if value.encode() in shown]
    uploads = json.loads((work.run_folder / "summary.json").read_bytes())["uploads"]
    assert uploads == {"done": len(files), "waiting": 0, "failed": 0, "bytes": sum(map(len, files.values()))}


def test_a_refusal_tells_no_secret(moto: Moto, site: Nginx, tmp_path: Path) -> None:
    """A token that is not the key's: exit 1 with the slug, and the values stand nowhere."""
    secrets = with_role(moto) | {"ST": "a-token-of-somebody-else"}
    keys = {"access_key": "env:AK", "secret_key": "env:SK", "session_token": "env:ST"}
    work = Work(tmp_path, site, {"to": "s3://files/pre", "endpoint": moto.url, **keys}, secrets)
    code, said = work.do("run", "--log-format", "json")
    assert code == 1
    shown = said + work.bytes_written()
    assert b"upload-auth" in shown
    assert not [name for name, value in secrets.items() if value.encode() in shown]
    work.assert_right()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_kills_lose_nothing_and_nothing_comes_before_its_commit(work: Work, store: Store, seed: int) -> None:
    """SIGKILL in mid-run and while the last uploads are waited for; keys are sent at most twice."""
    rng = Random(seed)

    def slowly(seen: Seen) -> Answer | None:
        time.sleep(rng.uniform(0.01, 0.1))
        return error(503, "SlowDown") if rng.random() < 0.03 else None

    store.rule = slowly
    kills = waits = 0
    for _ in range(9):
        process = work.start()
        goal = len(store.objects) + rng.randrange(50)
        while len(store.objects) < goal and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        said, _ = process.communicate()
        if work.over():  # the next start would begin another run
            break
        assert process.returncode == -signal.SIGKILL, said
        kills += 1
        committed = work.committed()
        waits += f"pre/up/{work.run_folder.name}/records.jsonl" in committed
        assert {seen.key for seen in store.seen} <= committed
    else:
        code, said = work.do()
        assert code == 0, said
    assert work.over(), said
    assert kills > 3
    print(f"seed {seed}: {kills} kills, {waits} of them in the wait at the end, {len(store.seen)} requests")
    work.assert_right()
    assert {key: each.body for key, each in store.objects.items()} == work.files()
    refused = 1  # of a key that is refused now and then
    assert max(Counter(store.of("PUT")).values()) <= 2 + refused
    with closing(sqlite3.connect(work.folder / "out/up/state.db")) as db:
        assert db.execute("SELECT count(*) FROM uploads").fetchone() == (0,)
        assert db.execute("SELECT files FROM uploaded").fetchall() == [(len(store.objects),)]


def test_an_interrupt_does_not_wait_for_a_silent_store(work: Work, store: Store) -> None:
    """Ctrl-C while uploads wait ends the process within seconds, though the store is asked and says nothing: exit 3."""
    silent = time.monotonic() + 60
    store.rule = lambda seen: time.sleep(max(0, silent - time.monotonic())) if len(store.of("PUT")) > 50 else None
    process = work.start()
    while not any(name.endswith("/records.jsonl") for name in work.committed()):
        assert process.poll() is None
        time.sleep(0.1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=40)
    assert time.monotonic() - began < 20, said  # 5 for the uploads, and what a loaded machine takes
    assert process.returncode == 3, said
    silent = 0.0
    assert work.do()[0] == 0
    assert {key: each.body for key, each in store.objects.items()} == work.files()
