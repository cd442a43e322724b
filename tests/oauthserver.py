"""OAuth 2 on loopback: a token endpoint that counts and rotates, a resource that checks tokens, and a foreign server.

The foreign one is npm's oauth2-mock-server: its tokens are JWTs, which a resource checks by the keys it publishes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from tests.peers import LOOPBACK, running
from tests.servers import free_port

CLIENT, SECRET = "me", "s3cret/of+client"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Site:
    """A handler at a port; what was stopped is refused, and starts again at the same port."""

    def __init__(self, handler: Handler, address: str) -> None:
        self._handler = handler
        self._address = address
        self._runner: web.ServerRunner | None = None
        self.port = free_port()

    async def start(self) -> None:
        """Listen."""
        self._runner = web.ServerRunner(web.Server(self._handler), shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._address, self.port, backlog=4096, reuse_address=True).start()

    async def stop(self) -> None:
        """End all connections, and listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def url(self, path: str = "/") -> str:
        return f"http://{self._address}:{self.port}{path}"


@asynccontextmanager
async def site(handler: Handler, address: str = LOOPBACK) -> AsyncIterator[Site]:
    """A handler that listens at an address of loopback."""
    one = Site(handler, address)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


class TokenCall(NamedTuple):
    """One request to the token endpoint: when (monotonic), how it was answered, what it held."""

    at: float
    status: int
    grant: str
    refresh: str | None


class Endpoint:
    """A token endpoint. Tokens live `life` seconds and say that they live `says`; refresh tokens are good once."""

    def __init__(self, life: float, says: float | None = None, refresh: str = "r0") -> None:
        self.life = life
        self.says = life if says is None else says
        self.calls: list[TokenCall] = []
        self.good: dict[str, float] = {}  # until when (monotonic)
        self._refresh = refresh  # the one that is good now

    @property
    def given(self) -> list[TokenCall]:
        """The calls that got a token."""
        return [call for call in self.calls if call.status == 200]

    def knows(self, token: str) -> bool:
        """Is it one of ours, and good at this moment."""
        return monotonic() < self.good.get(token, 0.0)

    def revoke(self) -> None:
        """No token that was given is good any more."""
        self.good.clear()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        grant, refresh = form.get("grant_type", ""), form.get("refresh_token")
        status, said = self._answer(request.headers.get("Authorization", ""), grant, refresh)
        self.calls.append(TokenCall(monotonic(), status, grant, refresh))
        return web.json_response(said, status=status)

    def _answer(self, authorization: str, grant: str, refresh: str | None) -> tuple[int, dict[str, object]]:
        right = base64.b64encode(f"{CLIENT}:s3cret%2Fof%2Bclient".encode()).decode()  # RFC 6749 2.3.1
        if authorization != f"Basic {right}":
            return 401, {"error": "invalid_client", "error_description": f"unknown: {authorization}"}
        number = len(self.calls) + 1
        token = f"access-token-{number}"
        said: dict[str, object] = {"access_token": token, "token_type": "Bearer", "expires_in": self.says}
        if grant == "refresh_token":
            if refresh != self._refresh:
                return 400, {"error": "invalid_grant"}
            self._refresh = said["refresh_token"] = f"refresh-token-{number}"
        self.good[token] = monotonic() + self.life
        return 200, said


class Resource:
    """Pages for whoever brings a good token; it looks at the token first and answers `latency` seconds later.

    Without `good` whoever asks is let in.
    """

    def __init__(self, good: Callable[[str], bool] | None, latency: float = 0.0) -> None:
        self._good = good
        self._latency = latency
        self.statuses: dict[str, list[int]] = {}  # by path, in the order in which they were asked for
        self.times: list[float] = []  # of those that were let in
        self.secrets = ""  # what came with the requests where nothing should
        self._awaited = 0
        self._reached = asyncio.Event()

    async def reached(self, count: int) -> None:
        """Wait until so many were let in."""
        self._awaited = count
        if len(self.times) < count:
            self._reached.clear()
            await asyncio.wait_for(self._reached.wait(), 60)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/robots.txt":
            return web.Response(status=404)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        well = self._good is None or (scheme == "Bearer" and self._good(token))
        if self._good is None:
            self.secrets += token
        self.statuses.setdefault(request.path, []).append(200 if well else 401)
        if well:
            self.times.append(monotonic())
            if len(self.times) >= self._awaited:
                self._reached.set()
        if self._latency:
            await asyncio.sleep(self._latency)
        if well:
            return web.Response(body=request.path.encode())
        return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'})

    @property
    def refused(self) -> list[list[int]]:
        """The answers to each path that was refused at all."""
        return [statuses for statuses in self.statuses.values() if 401 in statuses]


def node_modules(folder: Path) -> Path:
    """Where oauth2-mock-server is: CRAWLER_NODE_MODULES, else it is installed into `folder`."""
    if given := os.environ.get("CRAWLER_NODE_MODULES"):
        if given == "none":
            pytest.skip("npm's registry is out of reach (.ci/run)")
        return Path(given)
    command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run([*command, "oauth2-mock-server@8.2.3"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"oauth2-mock-server cannot be installed: {done.stderr[-2000:]}"
    return folder / "node_modules"


_SCRIPT = """
import { OAuth2Server } from "%s";
const server = new OAuth2Server(), [port, life] = process.argv.slice(1).map(Number);
await server.issuer.keys.generate("RS256");
server.service.on("beforeTokenSigning", ({ payload }) => { payload.exp = Date.now() / 1000 + life; });
server.service.on("beforeResponse", (response, request) => {
  response.body.expires_in = life;
  console.log("given " + Date.now() / 1000 + " " + request.body.grant_type);
});
await server.start(port, "127.0.0.1");
"""


class MockServer:
    """A running oauth2-mock-server; its own log counts the tokens."""

    def __init__(self, url: str, log: Path) -> None:
        self.token_url = f"{url}/token"
        self._log = log
        with urllib.request.urlopen(f"{url}/jwks", timeout=10) as answer:
            [key] = json.load(answer)["keys"]
        modulus, exponent = (int.from_bytes(_decoded(key[name])) for name in ("n", "e"))
        self._key = RSAPublicNumbers(exponent, modulus).public_key()
        self._until: dict[str, float] = {}  # of tokens that were checked

    @property
    def given(self) -> list[float]:
        """When tokens were given, wall seconds."""
        lines = [line.split() for line in self._log.read_text().splitlines() if line.startswith("given ")]
        assert {line[2] for line in lines} <= {"client_credentials"}
        return [float(line[1]) for line in lines]

    def knows(self, token: str) -> bool:
        """Has it the server's signature, and not ended yet (RFC 7519)."""
        if token not in self._until:
            signed, _, signature = token.rpartition(".")
            try:
                self._key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
            except (InvalidSignature, ValueError):
                return False
            self._until[token] = float(json.loads(_decoded(signed.partition(".")[2]))["exp"])
        return time.time() < self._until[token]


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextmanager
def mock_server(folder: Path, life: float) -> Iterator[MockServer]:
    """oauth2-mock-server, whose tokens live `life` seconds."""
    port, log = free_port(), folder / "oauth.log"
    module = (node_modules(folder) / "oauth2-mock-server/dist/index.mjs").as_uri()
    command = ["node", "--input-type=module", "-e", _SCRIPT % module, str(port), str(life)]
    with running(command, [port], log):
        yield MockServer(f"http://{LOOPBACK}:{port}", log)
