"""A site that changes, fetched by the line that a crontab gets: five runs, and what they transferred and told."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from tests.servers import Nginx

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PAGES = 200


class Site:
    """Pages under nginx, which gives each an ETag and a Last-Modified; changes leave a trail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = random.Random(7)
        self.clock = 1_780_000_000
        self.names: list[str] = []
        for _ in range(PAGES):
            self.add()
        self.link()

    def add(self) -> str:
        name = f"page-{len(self.names)}.html"
        self.names.append(name)
        self.write(name)
        return name

    def write(self, name: str, text: str | None = None) -> None:
        self.clock += 10
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or f"<title>{name}</title><p>{self.rng.random()}")
        os.utime(path, (self.clock, self.clock))

    def link(self) -> None:
        self.write(
            "index.html", "".join(f'<a href="{name}">x</a>' for name in self.names if (self.root / name).exists())
        )

    def change(self, some: int) -> set[str]:
        there = [name for name in self.names if (self.root / name).exists()]
        chosen = self.rng.sample(there, some)
        for name in chosen:
            self.write(name)
        return set(chosen)

    def remove(self, some: int) -> set[str]:
        there = [name for name in self.names if (self.root / name).exists()]
        chosen = self.rng.sample(there, some)
        for name in chosen:
            (self.root / name).unlink()
        return set(chosen)


def crawler(*words: object, where: Path) -> str:
    command = [sys.executable, "-m", "crawler", *map(str, words)]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_cron(line: str, where: Path) -> subprocess.Popen[str]:
    """The command of a crontab line, as cron starts it: by /bin/sh, with next to no environment, from home."""
    command = line.split(None, 5)[5].replace("\\%", "%")
    home = {"HOME": str(where), "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=where, env=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def job(where: Path, url: str, more: str = "") -> Path:
    path = where / "jobs" / "nightly.toml"
    path.parent.mkdir()
    path.write_text(
        f'name = "nightly"\n[input]\nurls = ["{url}/index.html"]\n[request]\ncontact = "ops@example.org"\n'
        f"[limits]\nper_host = 8\nrobots = 'ignore'\n[crawl]\n[run]\nkeep_runs = 3\n{more}"
    )
    return path


def crontab_line(path: Path, where: Path) -> str:
    line = crawler("cron", path, "*/15 * * * *", where=where).strip()
    assert line.startswith("*/15 * * * * ")
    assert "\n" not in line
    return line


def names(lines: str) -> set[str]:
    """The pages that lines of `crawler diff` name."""
    return {line.split("\t")[1].rsplit("/", 1)[1] for line in lines.splitlines()}


def test_five_runs_transfer_what_changed_and_say_so(tmp_path: Path) -> None:
    """Bodies are transferred for new and changed pages alone, by nginx's own log; `crawler diff` names each change."""
    site = Site(tmp_path / "www")
    with Nginx(site.root, tmp_path / "nginx", log=True) as server:
        line = crontab_line(job(tmp_path, server.url), tmp_path)
        seen, expected = 0, {"new": {*site.names, "index.html"}, "changed": set[str](), "gone": set[str]()}
        for number in range(5):
            if number:
                changed = site.change(5 + number)
                gone = site.remove(2)
                new = {site.add() for _ in range(3)}
                site.link()
                expected = {"new": new, "changed": {*(changed - gone), "index.html"}, "gone": gone}
            started = by_cron(line, tmp_path)
            said, _ = started.communicate(timeout=60)
            assert (started.returncode, said) == (0, "")
            asked = server.requests()[seen:]
            seen += len(asked)
            bodies = Counter(uri.rsplit("/", 1)[1] for _, status, uri, *_ in asked if status == "200")
            assert bodies == Counter(expected["new"] | expected["changed"])
            assert {status for _, status, *_ in asked} <= {"200", "304"}
            if number:
                for what, pages in expected.items():
                    assert names(crawler("diff", "jobs/nightly.toml", "--only", what, where=tmp_path)) == pages
        folder = tmp_path / "output" / "nightly"
        assert len(list((folder / "runs").iterdir())) == 3
        changes = orjson.loads((folder / "latest" / "summary.json").read_bytes())["changes"]
        assert {what: changes[what] for what in expected} == {what: len(pages) for what, pages in expected.items()}
        there = {name for name in [*site.names, "index.html"] if (site.root / name).exists()}
        bodies = {}
        for text in (folder / "latest" / "records.jsonl").read_bytes().splitlines():
            record = orjson.loads(text)
            bodies[record["url"].rsplit("/", 1)[1]] = (folder / "latest" / record["body"]).read_bytes()
        assert bodies == {name: (site.root / name).read_bytes() for name in there}
        assert crawler("verify", "jobs/nightly.toml", where=tmp_path).startswith("run ")


def test_of_two_starts_that_overlap_one_runs(tmp_path: Path) -> None:
    """The second ends with 75 as soon as it has started, says nothing, and asks the site for nothing."""
    site = Site(tmp_path / "www")
    with Nginx(site.root, tmp_path / "nginx", log=True) as server:
        line = crontab_line(job(tmp_path, server.url, '[hosts."127.0.0.1"]\nrate_per_host = "20/s"\n'), tmp_path)
        first = by_cron(line, tmp_path)
        deadline = time.monotonic() + 30
        while not server.log.exists() or len(server.requests()) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        began = time.monotonic()
        second = by_cron(line, tmp_path)
        said, _ = second.communicate(timeout=30)
        took = time.monotonic() - began
        assert first.poll() is None, "the first was over already"
        assert (second.returncode, said) == (75, "")
        assert took < 3.0, "most of it is the start of the program"
        assert first.communicate(timeout=60)[0] == ""
        assert first.returncode == 0
        assert len(server.requests()) == PAGES + 1
