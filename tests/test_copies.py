"""Bodies of earlier runs, given once more."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest
from multidict import CIMultiDict

from crawler.copies import Copies, Stored, known_headers
from crawler.known import Known
from crawler.spool import SMALL, Keep


def known(run: Path, data: bytes, name: str = "bodies/x") -> Known:
    """What is known of a body that lies in the folder of run number 4."""
    path = run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Known("http://a/", 4, 1.0, 1.0, 1.0, sha256=sha256(data).hexdigest(), bytes=len(data), body=name)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    return tmp_path / "run"


def copies(run: Path, *, keeps: bool = True, needed: bool = True) -> Copies:
    return Copies({4: run}, Keep(str(run.parent / "parts") if keeps else None), needed=needed)


async def test_a_small_body_is_read(run: Path) -> None:
    """Its bytes, and the first of them for who looks into it."""
    one = known(run, b"hello there")
    assert copies(run).has(one)
    given = await copies(run).give(one, "r-1", 5)
    assert given is not None
    assert given[0].data == b"hello there"
    assert given[1] == b"hello"


async def test_a_large_body_is_linked(run: Path) -> None:
    """A further name of the same file, which whoever stores it may move."""
    one = known(run, b"z" * (SMALL + 1))
    for _ in range(2):  # the second time something is left of the first
        given = await copies(run).give(one, "r-1", 3)
        assert given is not None
        body, start = given
        assert body.part is not None
        assert os.path.samefile(body.part, run / "bodies/x")
        assert start == b"zzz"


async def test_where_nothing_is_kept_it_is_only_counted(run: Path) -> None:
    """Size and digest, whatever its size; where no body is needed no file is looked for."""
    for size in (10, SMALL + 1):
        given = await copies(run, keeps=False).give(known(run, b"z" * size), "r-1", 2)
        assert given is not None
        assert (given[0].size, given[0].data, given[0].part, given[1]) == (size, None, None, b"zz")
    nowhere = Known("http://a/", 9, 1.0, 1.0, 1.0, sha256="aa", bytes=3)
    assert copies(run, needed=False).has(nowhere)
    assert await copies(run, needed=False).give(nowhere, "r-1", 2) is not None


async def test_what_is_not_as_it_was_is_not_given(run: Path) -> None:
    """Edited, cut, gone, a link, of a run that went: none of them passes for the body."""
    one = known(run, b"hello there")
    (run / "bodies/x").write_bytes(b"HELLO there")
    assert await copies(run).give(one, "r-1", 5) is None
    (run / "bodies/x").write_bytes(b"hello")
    assert not copies(run).has(one)
    assert await copies(run).give(one, "r-1", 5) is None
    (run / "bodies/x").unlink()
    assert not copies(run).has(one)
    assert await copies(run).give(one, "r-1", 5) is None
    (run / "secret").write_bytes(b"hello there")
    (run / "bodies/x").symlink_to(run / "secret")
    assert await copies(run).give(one, "r-1", 5) is None
    assert not copies(run).has(one._replace(holder=5))


def test_the_headers_of_a_304_update_what_is_known() -> None:
    """What it says counts, but for a length, which is that of no body (RFC 9110 15.4.5)."""
    one = Known("u", 1, 1.0, 1.0, 1.0, etag='"a"', last_modified="then", content_type="text/html")
    headers = known_headers(one, CIMultiDict({"ETag": 'W/"a"', "content-length": "0", "Date": "now"}))
    assert dict(headers) == {"ETag": 'W/"a"', "Date": "now", "Content-Type": "text/html", "Last-Modified": "then"}
    assert Stored(headers).all("etag") == ['W/"a"']
    assert Stored(headers).all("Link") == []
