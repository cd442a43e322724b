"""Whole runs whose bodies must hold what rows, headers and formats promise."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from base64 import b64encode
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.jobs import Row, run
from tests.servers import Asked, raw_site, reply

pytestmark = pytest.mark.slow

SMALL = b"a small body"
LARGE = Random(5).randbytes(700_000)  # goes through a file


def digest(name: str, data: bytes) -> str:
    return hashlib.new(name, data).hexdigest()


def field(name: str, data: bytes) -> str:
    return b64encode(hashlib.new(name, data).digest()).decode()


def answered(asked: Asked) -> bytes:
    data = LARGE if "large" in asked.path else SMALL
    other, coded = data[:-1] + b"?", gzip.compress(data, mtime=0)
    given: dict[str, dict[str, object]] = {
        "repr": {"Repr-Digest": f"sha-256=:{field('sha256', data)}:"},
        "repr512": {"Repr-Digest": f"sha-512=:{field('sha512', data)}:"},
        "content": {"Content-Digest": f"sha-512=:{field('sha512', data)}:"},
        "md5": {"Content-MD5": field("md5", data)},
        "old": {"Digest": f"SHA-256={field('sha256', data)}"},
        "wrong-repr": {"Repr-Digest": f"sha-256=:{field('sha256', other)}:"},
        "wrong-content": {"Content-Digest": f"sha-512=:{field('sha512', other)}:"},
        "wrong-md5": {"Content-MD5": field("md5", other)},
        "unknown": {"Repr-Digest": "sha-9=:AAAA:"},
        "coded": {
            "Content-Encoding": "gzip",
            "Repr-Digest": f"sha-256=:{field('sha256', coded)}:",
        },
    }
    said = asked.path.rpartition("/")[2]
    return reply(body=coded if said == "coded" else data, headers=given.get(said))


@pytest.mark.parametrize("kind", ["small", "large"])
async def test_what_is_promised_holds_or_fails_after_one_more_try(tmp_path: Path, kind: str) -> None:
    """Columns and digest fields, of bodies in memory and in files; a wrong one leaves no file."""
    data = LARGE if kind == "large" else SMALL
    columns: dict[str, dict[str, Any]] = {
        "sha256": {"sha256": digest("sha256", data)},
        "sha512": {"sha512": digest("sha512", data)},
        "md5": {"md5": digest("md5", data)},
        "size": {"size": len(data)},
        "wrong-sha256": {"sha256": digest("sha256", b"")},
        "wrong-sha512": {"sha512": digest("sha512", b"")},
        "wrong-md5-column": {"md5": digest("md5", b"")},
        "wrong-size": {"size": len(data) + 1},
    }
    said = ["repr", "repr512", "content", "md5", "old", "unknown", "coded", "wrong-repr", "wrong-content", "wrong-md5"]
    async with raw_site(answered) as site:
        rows: list[Row] = [
            {"case": name, "url": site.url(f"/{kind}/c-{name}"), **more} for name, more in columns.items()
        ]
        rows += [{"case": f"h-{name}", "url": site.url(f"/{kind}/{name}")} for name in said]
        results = await run(tmp_path, rows)
    expected = {name: "digest-mismatch" if name.startswith("wrong") else "fetched" for name in columns}
    expected["wrong-size"] = "size-mismatch"
    expected |= {f"h-{name}": "digest-mismatch" if name.startswith("wrong") else "fetched" for name in said}
    assert results.ends() == expected
    tries = Counter(site.paths())
    assert all(count == (2 if "wrong" in path else 1) for path, count in tries.items())
    assert results.body("h-coded") == data
    assert {file.read_bytes() for file in (results.folder / "bodies").rglob("*") if file.is_file()} == {data}
    assert list((results.folder.parent.parent / "parts").iterdir()) == []


async def test_a_file_that_was_cut_at_its_source_is_found(tmp_path: Path) -> None:
    """With the right Content-Length, small and large; whole ones and unknown kinds pass."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", LARGE)
    large, small = file.getvalue(), gzip.compress(SMALL)
    bodies = {"/large": large, "/large-cut": large[:-30], "/small": small, "/small-cut": small[:-3], "/text": SMALL}
    async with raw_site(lambda asked: reply(body=bodies[asked.path])) as site:
        rows: list[Row] = [{"case": path, "url": site.url(path)} for path in bodies]
        results = await run(tmp_path, rows, expect={"verify_format": True})
    assert results.ends() == {path: "bad-content" if "cut" in path else "fetched" for path in bodies}
    assert "is a zip, and" in results.of("/large-cut")["error"]
    assert "is a gzip, and" in results.of("/small-cut")["error"]
