"""What a credential costs: processor time for each request with each scheme, and of `sign` alone.

Whole runs in this process, each beside one without a credential, so that start-up and imports count for nothing. The
requests go to the site of the cpu benchmark; it asks for Digest and gives tokens and a cookie, and checks nothing.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from hashlib import new
from pathlib import Path
from random import Random
from timeit import repeat
from typing import NamedTuple

from benchmarks.site import Nginx, folder, make_pages, write_job
from benchmarks.table import Line
from crawler.auth.scheme import Answered, Draft, Scheme
from crawler.errors import ExitCode
from crawler.grants import TokenAnswer, TokenRequest
from crawler.jobfile import load
from crawler.means import given
from crawler.opening import Options
from crawler.shell import run_shown

WORKERS = 64
_ENV = "CRAWLER_BENCH_SECRET"
_SECRET = "7f3e0c5a9b1d42688e6f"
_CHALLENGE = f'Digest realm="pages", qop="auth", algorithm=SHA-256, nonce="{"5ca1ab1e" * 4}"'
_TOKEN = f'{{"access_token": "{"a1B2c3D4" * 8}", "token_type": "Bearer", "expires_in": 3600}}'


class Case(NamedTuple):
    """One way to ask: what the job says, and the folder of the site that it asks."""

    name: str
    settings: str = ""
    at: str = ""
    signs: bool = True


def _auth(type_: str, keys: str) -> str:
    return f'[auth.bench]\nhosts = ["127.0.0.1"]\ntype = "{type_}"\n{keys}\n'


def _cases(site: str) -> list[Case]:
    secret = f'"env:{_ENV}"'
    hmac = f"key = {secret}\nheaders = {{ X-Time = '{{timestamp}}', X-Signature = '{{signature}}' }}\nstring = "
    aws = f'access_key = "AKIDEXAMPLE"\nsecret_key = {secret}\n'
    token = f'token_url = "{site}/token"\nclient_id = "bench"\nclient_secret = {secret}'
    return [
        Case("a header of the host's own", '[hosts."127.0.0.1"]\nheaders = { X-Bench = "yes" }', signs=False),
        Case("cookie jar, one cookie", "[cookies]\njar = true", "/cookie", signs=False),
        Case("basic", _auth("basic", f'user = "bench"\npassword = {secret}')),
        Case("bearer", _auth("bearer", f"token = {secret}")),
        Case("key in a header", _auth("key", f"headers = {{ X-Api-Key = {secret} }}")),
        Case("hmac of method, path, time", _auth("hmac", hmac + r'"{method}\n{path}\n{timestamp}"')),
        Case("hmac with the body's hash", _auth("hmac", hmac + r'"{method}\n{path}\n{timestamp}\n{body_sha256}"')),
        Case("digest, one nonce", _auth("digest", f'user = "bench"\npassword = {secret}'), "/asked"),
        Case("oauth2, one token", _auth("oauth2", token)),
        Case("sigv4, payload signed", _auth("sigv4", aws)),
        Case("sigv4, payload unsigned", _auth("sigv4", aws + 'payload = "unsigned"')),
    ]


def run(*, quick: bool, full: bool) -> list[Line]:
    """Each case beside a run without, round by round; medians, and of the ratios within each pair."""
    count, rounds = (2_000, 3) if quick else (5_000, 9 if full else 5)
    os.environ[_ENV] = _SECRET
    with folder() as where:
        paths = make_pages(where / "www", count)
        with Nginx(where / "www", where / "nginx", extra=_locations(where / "www")) as server:
            without = Case("none")
            cases = [without, *_cases(server.url)]
            jobs = {case: _job(where, number, server.url, paths, case) for number, case in enumerate(cases)}
            for job in jobs.values():
                _spent(job)  # what is imported late is so before the first round
            pairs = [(case, _spent(jobs[without]), _spent(jobs[case])) for _ in range(rounds) for case in cases[1:]]
            urls = [server.url + path for path in paths]
            alone = {case: _sign(jobs[case], urls) for case in cases[1:] if case.signs}
    base = statistics.median(plain for _, plain, _ in pairs)
    lines = [Line("CPU per request, no credential", f"{base / count * 1e6:.0f} us", "the yardstick")]
    for case in cases[1:]:
        ratio = statistics.median(with_ / plain for one, plain, with_ in pairs if one == case)
        measured = f"{ratio:.2f}x, {(ratio - 1) * base / count * 1e6:+.0f} us"
        sign = f", sign() alone {alone[case] * 1e6:.1f} us" if case in alone else ""
        lines.append(Line(f"  {case.name}", measured + sign, "beside it"))
    return lines


def _locations(root: Path) -> str:
    """The pages once more, where a request without a credential is refused, and where one gets a cookie."""
    return (
        f"location = /token {{ default_type application/json; return 200 '{_TOKEN}'; }}\n"
        f"location /asked/ {{ alias {root}/; set $asked ''; add_header WWW-Authenticate $asked always;\n"
        f"if ($http_authorization = '') {{ set $asked '{_CHALLENGE}'; return 401; }} }}\n"
        f"location /cookie/ {{ alias {root}/; set $given ''; add_header Set-Cookie $given;\n"
        "if ($http_cookie = '') { set $given 'session=5ca1ab1e5ca1ab1e; Path=/'; } }\n"
    )


def _job(where: Path, number: int, site: str, paths: Sequence[str], case: Case) -> Path:
    limits = f"[limits]\nworkers = {WORKERS}\nper_host = {WORKERS}\n"
    output = f'[output]\ndir = "{where}/out"\nbodies = "none"\n'
    urls = [f"{site}{case.at}{path}" for path in paths]
    write_job(where, f"job{number}", urls, limits + output + case.settings)
    return where / f"job{number}.toml"


def _spent(job: Path) -> float:
    """Seconds of processor, in all threads, for one run from the start."""
    loaded = load(job, ["run.again=all"])
    before = time.process_time()
    code = run_shown(loaded, Options(fresh=True), log_format="text", quiet=True)
    spent = time.process_time() - before
    assert code == ExitCode.OK, f"{job.read_text()}\nended with {code}"
    return spent


def _sign(job: Path, urls: Sequence[str]) -> float:
    """Seconds for one signature of a GET, once the scheme has all that it needs; no two URLs are the same."""
    scheme, rng, now = _ready(job, urls[0]), Random(1), time.time()
    headers = {"X-Request-ID": "bench-1-1-0"}
    digests = {name: new(name, b"").digest() for name in scheme.wants}
    drafts = [Draft("GET", url, headers, digests) for url in urls]

    def sign_all() -> None:
        for draft in drafts:
            scheme.sign(draft, now, rng)

    return min(repeat(sign_all, number=1)) / len(drafts)


def _ready(job: Path, url: str) -> Scheme:
    async def ask(request: TokenRequest) -> TokenAnswer:
        return TokenAnswer(200, {}, _TOKEN.encode())

    credentials, now = given(load(job)).credentials, time.time()
    assert credentials is not None
    [section] = credentials.sections(ask)

    async def renew() -> None:
        assert section.renew is not None
        assert await section.renew() is None

    if section.renew is not None:
        asyncio.run(renew())
    scheme, draft = section.scheme, Draft("GET", url, {})
    if scheme.name == "Digest":
        scheme.accept(draft, scheme.sign(draft, now, Random(1)), Answered(401, {}, [_CHALLENGE]), now)
    return scheme
