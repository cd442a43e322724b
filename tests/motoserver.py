"""moto's server of S3 on loopback, with one user who may do everything; its checks of keys and signatures are on."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.peers import LOOPBACK, running
from tests.servers import free_port


class MotoServer(NamedTuple):
    """Where it is, and the user's key; it has a bucket "files"."""

    url: str
    access_key: str
    secret_key: str


@contextmanager
def moto_server(folder: Path) -> Iterator[MotoServer]:
    """From when it listens until the end of the block; its log goes to the folder."""
    from botocore.session import Session

    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", LOOPBACK, "-p", str(port)]
    with running(command, [port], folder / "moto.log", patience=60):
        place = {"region_name": "us-east-1", "endpoint_url": url}
        anybody = {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
        session = Session()
        session.create_client("s3", **place, **anybody).create_bucket(Bucket="files")
        iam = session.create_client("iam", **place, **anybody)
        iam.create_user(UserName="me")
        allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="me", PolicyName="all", PolicyDocument=json.dumps(allowed))
        pair = iam.create_access_key(UserName="me")["AccessKey"]
        plain = {"Content-Type": "text/plain"}
        switch = urllib.request.Request(f"{url}/moto-api/reset-auth", data=b"0", headers=plain)
        with urllib.request.urlopen(switch, timeout=10):
            pass
        yield MotoServer(url, pair["AccessKeyId"], pair["SecretAccessKey"])
