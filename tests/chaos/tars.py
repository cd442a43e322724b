"""Tar shards as tarfile reads them, each to its very end, and single members by where their records say they are."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.chaos.site import Page

_FILE = re.compile(r"(tar/|shards/)?[\w.-]+\.tar\Z")
_BLOCK = 512


def owns(path: Path) -> bool:
    """Is this a file of ours."""
    return _FILE.match(str(path)) is not None


def judge(folder: Path, records: Sequence[dict[str, Any]]) -> list[str]:
    """The faults of the shards of a run that came to its end: each body once, whole archives, no name twice."""
    faults: list[str] = []
    digests: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.tar")):
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    names[member.name] += 1
                    file = archive.extractfile(member)
                    if file is None:
                        faults.append(f"{path.name}: {member.name} is no file")
                    elif not _is_metadata(member.name):
                        digests[sha256(file.read()).hexdigest()] += 1
        except tarfile.TarError as error:
            faults.append(f"{path.name}: {error}")
        data = path.read_bytes()
        if len(data) % _BLOCK or not data.endswith(bytes(2 * _BLOCK)):
            faults.append(f"{path.name}: has no end")
    wanted = Counter(str(record["sha256"]) for record in records if record["outcome"] == "fetched")
    faults += [f"tar: a body {digest[:12]} is missing" for digest in wanted - digests]
    faults += [f"tar: a body {digest[:12]} is doubled or unknown" for digest in digests - wanted]
    faults += [f"tar: {name} stands there {n} times" for name, n in names.items() if n > 1]
    return faults


def _is_metadata(name: str) -> bool:
    return name.endswith(".json")


def spot(folder: Path, place: dict[str, Any], page: Page) -> str | None:
    """What is wrong with the member at a place, which is to be the body of this page; None where all is right."""
    path = folder / place["file"]
    if not path.is_file():
        return f"{place['file']} is not there"
    with path.open("rb") as file:
        file.seek(place["offset"])
        data = file.read(place["length"])
    try:
        with tarfile.open(fileobj=io.BytesIO(data + bytes(2 * _BLOCK)), mode="r:") as archive:
            found = [file.read() for member in archive if (file := archive.extractfile(member)) is not None]
    except (tarfile.TarError, json.JSONDecodeError) as error:
        return f"{place['file']}: {error}"
    if not found or sha256(found[0]).hexdigest() != page.sha256:
        return f"{place['file']}: what stands there is not the page"
    return None
