"""An S3 store on loopback that misbehaves as a test says: it checks every signature by code that is not botocore's."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from multidict import CIMultiDict

from crawler.auth.sigv4 import Keys
from tests.test_auth_sigv4 import Verifier, dated

KEYS = Keys("AKIASTORE", "store/secret")


class Seen(NamedTuple):
    """One request: `key` without its bucket, `query` as it came, `body` the bytes of it."""

    method: str
    key: str
    query: str
    headers: CIMultiDict[str]
    body: bytes


class Answer(NamedTuple):
    """`status` 0: the connection is cut."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Object(NamedTuple):
    body: bytes
    meta: dict[str, str]


def error(status: int, code: str) -> Answer:
    """An error as S3 words it, with what must never be shown."""
    text = f"<Error><Code>{code}</Code><Message>store/secret says no</Message></Error>"
    return Answer(status, text.encode())


class Store:
    """The bucket `files`. `rule` sees each request before it has an effect, and answers in place of the store."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, Object] = {}
        self.parts: dict[str, dict[int, bytes]] = {}  # of multipart uploads under way, by "key id"
        self.seen: list[Seen] = []
        self.rule: Callable[[Seen], Answer | None] = lambda seen: None
        self.alter: Callable[[Seen, Answer], Answer] = lambda seen, answer: answer
        self.ahead = 0.0  # seconds that its clock is ahead of ours
        self.under_way = self.peak = 0
        self.lock = threading.Lock()

    def of(self, method: str) -> list[str]:
        """The keys of all requests with a method, in their order."""
        return [seen.key for seen in self.seen if seen.method == method]

    def answer(self, seen: Seen, target: str) -> Answer:
        """What the store does with a request."""
        with self.lock:
            self.seen.append(seen)
        if said := self.rule(seen):
            return said
        if fault := self._unsigned(seen, target):
            return fault
        return self.alter(seen, self._done(seen))

    def _unsigned(self, seen: Seen, target: str) -> Answer | None:
        sent, right = Verifier(KEYS).head(seen.method, target, seen.headers)
        if sent != right or seen.headers["x-amz-content-sha256"] != hashlib.sha256(seen.body).hexdigest():
            return error(403, "SignatureDoesNotMatch")
        signed_at = datetime.strptime(seen.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(signed_at - time.time() - self.ahead) > 900:
            return error(403, "RequestTimeTooSkewed")
        return None

    def _done(self, seen: Seen) -> Answer:
        query = parse_qs(seen.query, keep_blank_values=True)
        meta = {name[11:]: value for name, value in seen.headers.items() if name.startswith("x-amz-meta-")}
        md5 = hashlib.md5(seen.body)
        told = seen.headers.get("content-md5")
        if told and told != base64.b64encode(md5.digest()).decode():
            return error(400, "BadDigest")
        if "uploads" in query or "uploadId" in query:
            return self._multipart(seen, query, meta)
        if seen.method == "PUT":
            self.objects[seen.key] = Object(seen.body, {name.lower(): value for name, value in meta.items()})
            return Answer(200, b"", {"ETag": f'"{md5.hexdigest()}"'})
        found = self.objects.get(seen.key)
        if found is None:
            return Answer(404)
        headers = {"Content-Length": str(len(found.body))}
        return Answer(200, b"", headers | {f"x-amz-meta-{name}": value for name, value in found.meta.items()})

    def _multipart(self, seen: Seen, query: dict[str, list[str]], meta: dict[str, str]) -> Answer:
        if seen.method == "GET":
            rows = (
                f"<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>" for key, id in map(str.split, self.parts)
            )
            return Answer(200, f"<ListMultipartUploadsResult>{''.join(rows)}</ListMultipartUploadsResult>".encode())
        if "uploads" in query:
            id = f"up{len(self.seen)}"
            self.parts[f"{seen.key} {id}"] = {}
            self.meta = meta
            return Answer(200, f"<R><UploadId>{id}</UploadId></R>".encode())
        name = f"{seen.key} {query['uploadId'][0]}"
        if seen.method == "DELETE":
            del self.parts[name]
            return Answer(204)
        if seen.method == "PUT":
            self.parts[name][int(query["partNumber"][0])] = seen.body
            return Answer(200, b"", {"ETag": f'"{hashlib.md5(seen.body).hexdigest()}"'})
        bodies = [body for _, body in sorted(self.parts.pop(name).items())]
        self.objects[seen.key] = Object(b"".join(bodies), self.meta)
        tag = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
        return Answer(200, f'<R><ETag>"{tag}-{len(bodies)}"</ETag></R>'.encode())


def _handler(store: Store) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            with store.lock:
                store.under_way += 1
                store.peak = max(store.peak, store.under_way)
            try:
                self._one()
            finally:
                with store.lock:
                    store.under_way -= 1

        def _one(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path, _, query = self.path.partition("?")
            key = unquote(re.sub("^/files/?", "", path))
            answer = store.answer(Seen(self.command, key, query, CIMultiDict(self.headers.items()), body), self.path)
            if not answer.status:
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            self.send_header("Date", dated(time.time() + store.ahead))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers and answer.status != 204:
                self.send_header("Content-Length", "0" if self.command == "HEAD" else str(len(answer.body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else answer.body)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _any

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler


@contextmanager
def fake_store() -> Iterator[Store]:
    """A store that listens."""
    store = Store()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store))
    server.daemon_threads = True
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
