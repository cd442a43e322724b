"""Job files that use every sink, and how the crawler is started on them: by the command, or by a program that listens.

A Build is a copy of the package, so that what is tested stays what it is while the source is worked on, and so that
it can be sabotaged.
"""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import crawler
from tests.chaos.site import Page

NAME = "chaos"
PACKAGE = Path(crawler.__file__).parent
_DRIVER = Path(__file__).with_name("driver.py")
# What a CSV or a log has to quote.
_NOTES = ('a,"b"', "two\nlines", "=1+1", "ü – \u202e", "")


class Sinks(NamedTuple):
    """Which outputs a job writes; `compress`: JSON lines in zstd; a layout that is not said is left to chance."""

    records: tuple[str, ...]
    bodies: tuple[str, ...]
    compress: bool = False
    layout: str | None = None

    def __str__(self) -> str:
        return "+".join((*self.records, *self.bodies)) + (" zstd" if self.compress else "")

    @property
    def lines(self) -> str:
        """The file that holds the records as JSON lines while the run is at work."""
        if "jsonl" not in self.records:
            return "journal.jsonl.zst"
        return "records.jsonl.zst" if self.compress else "records.jsonl"


FEW = Sinks(("jsonl",), ("files",))
ALL = Sinks(("jsonl", "csv", "parquet"), ("files", "warc", "tar"))
PACKED = Sinks(("jsonl", "csv", "parquet"), ("warc", "tar"), compress=True)
TABLES = Sinks(("csv", "parquet"), ("files", "tar"))
VARIANTS = (ALL, FEW, PACKED, TABLES)


class Build(NamedTuple):
    """A copy of the package below `folder`."""

    folder: Path

    @classmethod
    def copy(cls, folder: Path, source: Path = PACKAGE) -> Build:
        """Take the package as it is now."""
        shutil.copytree(source, folder / "crawler", ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(folder / "crawler", quiet=2)
        return cls(folder)

    def start(self, command: Sequence[str | Path], cwd: Path, wrap: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start Python with this build on its path, perhaps under a tracer; its output goes to `cwd`/said."""
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        with open(cwd / "said", "ab") as said:
            return subprocess.Popen([*wrap, sys.executable, *command], cwd=cwd, env=env, stdout=said, stderr=said)


class Work(NamedTuple):
    """A job in a folder of its own: its file, what it has to bring, and what was acknowledged where it is driven."""

    folder: Path
    file: Path
    pages: list[Page]
    sinks: Sinks
    driven: bool

    @property
    def job_folder(self) -> Path:
        """Where its state and runs are."""
        return self.folder / "out" / NAME

    @property
    def acknowledged(self) -> Path:
        """The file with a line for each record that was given out."""
        return self.folder / "acknowledged"

    @property
    def command(self) -> list[str | Path]:
        """The arguments of Python that run it."""
        if self.driven:
            return [_DRIVER, self.file, self.acknowledged]
        return ["-m", "crawler", "run", self.file, "--quiet"]

    def acked(self) -> set[str]:
        """URLs that were given out so far; a line that was cut short by a kill is none."""
        if not self.acknowledged.exists():
            return set()
        return set(self.acknowledged.read_text().rpartition("\n")[0].split("\n")) - {""}


def write_job(
    folder: Path, pages: list[Page], sinks: Sinks, rng: Random, *, driven: bool = False, out: Path | None = None
) -> Work:
    """A job over these pages, shuffled; slow enough that it commits several times.

    `out` is where its outputs go where that is not `folder`/out (it is linked there then).
    """
    folder.mkdir(parents=True)
    if out is not None:
        (folder / "out").symlink_to(out)
    rows = [{"url": page.url, "note": rng.choice(_NOTES)} for page in rng.sample(pages, len(pages))]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output: dict[str, Any] = {"dir": str(out or folder / "out"), **_said(sinks)}
    if "files" in sinks.bodies:
        output["layout"] = sinks.layout or rng.choice(("hash", "mirror"))
    if {"warc", "tar"} & set(sinks.bodies):
        output["segment_size"] = "1MiB"
    if sinks.compress:
        output["compress"] = True
    if "parquet" in sinks.records:
        output["part_rows"] = 100
    job = {
        "name": NAME,
        "input": {"files": ["rows.jsonl"]},
        "request": {"contact": "nobody@example.org"},
        "limits": {"workers": 24, "rate": "160/s"},
        "connection": {"allow_private": True},
        "output": output,
    }
    file = folder / "job.json"
    file.write_text(json.dumps(job, indent=1))
    return Work(folder, file, pages, sinks, driven)


def _said(sinks: Sinks) -> dict[str, Any]:
    """One form without brackets, as people write it."""
    forms = {"records": sinks.records, "bodies": sinks.bodies}
    return {key: list(said) if len(said) > 1 else said[0] for key, said in forms.items()}


def accepts(build: Build, folder: Path, sinks: Sinks) -> str | None:
    """Ask `crawler check` whether these sinks are known; None when they are, else what it said."""
    folder.mkdir()
    file = folder / "job.json"
    output = {"dir": str(folder / "out"), **_said(sinks)}
    file.write_text(json.dumps({"name": NAME, "input": {"urls": ["http://127.0.0.1/"]}, "output": output}))
    process = build.start(["-m", "crawler", "check", file], folder)
    return None if process.wait(60) == 0 else (folder / "said").read_text()
