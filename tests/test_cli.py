"""The command line, as a person or cron meets it."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import orjson
import pytest

from crawler.cli import main
from crawler.demo import serve_in_thread

pytestmark = pytest.mark.slow


def crawler(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "crawler", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "t"\n[input]\nurls = ["https://e.org/"]\n[limits]\nwokers = 3\n', b"did you mean 'workers'"),
        ('name = "t"\n[input]\nurls = ["https://e.org/"]\n[limits]\nrate = 3\n', b"has no unit"),
        ('name = "t"\n[input]\nfiles = ["nope.txt"]\n', b"does not exist"),
        ('name = "t"\n[input]\nfiles = ["table.csv"]\n', b"has no column 'url'"),
        ('name = "t"\n[input]\nfiles = ["empty.txt"]\n', b"no input in it"),
        ('name = "t"\n[input]\n', b"no input"),
    ],
)
def test_a_wrong_job_creates_nothing(tmp_path: Path, text: str, said: bytes) -> None:
    """Exit 2, a sentence on stderr, nothing on stdout, and the folder is as it was."""
    (tmp_path / "job.toml").write_text(text)
    (tmp_path / "table.csv").write_text("link\nhttps://e.org/\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    before = sorted(tmp_path.rglob("*"))
    ended = crawler(tmp_path, "run", "job.toml")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert said in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_init_check_and_schema(tmp_path: Path) -> None:
    """What init writes passes check; an existing file is not overwritten; schema is JSON."""
    assert crawler(tmp_path, "init", "mine").returncode == 0
    checked = crawler(tmp_path, "check", "mine.toml")
    assert checked.returncode == 0
    assert b'rate_per_host = "5/s"' in checked.stdout
    assert crawler(tmp_path, "init", "mine").returncode == 2
    assert "properties" in orjson.loads(crawler(tmp_path, "schema").stdout)
    assert b"complete" in crawler(tmp_path, "completion", "bash").stdout


def test_check_for_one_url(tmp_path: Path) -> None:
    """What holds for a URL is printed with its pattern; a bad URL is a sentence."""
    text = 'name = "t"\n[input]\nfiles = ["not-there-yet.txt"]\n[hosts."*.e.org"]\nper_host = 3\n'
    (tmp_path / "job.toml").write_text(text)
    told = crawler(tmp_path, "check", "job.toml", "--for", "https://a.e.org/")
    assert (told.returncode, told.stderr) == (0, b"")
    assert b'# hosts."*.e.org"' in told.stdout
    bad = crawler(tmp_path, "check", "job.toml", "--for", "a.e.org")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert b"did you mean 'https://a.e.org'?" in bad.stderr


def test_every_command_has_help(tmp_path: Path) -> None:
    """--help says what each command does."""
    listed = crawler(tmp_path, "--help").stdout
    for name in ("run", "fetch", "check", "status", "init", "schema", "demo", "completion"):
        assert f"  {name} ".encode() in listed
        assert crawler(tmp_path, name, "--help").returncode == 0


def test_fetch_without_a_job_file(tmp_path: Path) -> None:
    """URLs from arguments and stdin are fetched into -o; quiet prints nothing; --save-job writes the same job down."""
    with serve_in_thread() as site:
        urls = f"{site.at('/articles/1')}\n{site.at('/articles/2')}\n".encode()
        ended = crawler(tmp_path, "fetch", "-i", "-", "-o", "out", "--name", "n", "-q", stdin=urls)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
        records = (tmp_path / "out/n/latest/records.jsonl").read_bytes().splitlines()
        assert {orjson.loads(line)["outcome"] for line in records} == {"fetched"}
        saved = crawler(tmp_path, "fetch", site.at("/status/404"), "--attempts", "2", "--save-job", "s.toml")
        assert saved.returncode == 0
        failed = crawler(tmp_path, "run", "s.toml", "--quiet")
        assert failed.returncode == 1
        assert b"status-404" in failed.stderr
        summary = orjson.loads(next((tmp_path / "output").glob("*/latest/summary.json")).read_bytes())
        assert (summary["exit_code"], summary["reasons"]) == (1, {"status-404": 1})
        told = orjson.loads(crawler(tmp_path, "status", "s.toml", "--json").stdout)
        assert (told["state"], told["failed"]) == ("finished", 1)


def test_fetch_with_a_body_and_a_credential(tmp_path: Path) -> None:
    """What the flags say arrives, and the password in no file of the run, nor in the job that is saved."""
    (tmp_path / "a.txt").write_text("one line\n")
    secret = "correct-horse"
    asked = ["--user", "ada", "--password", "env:PASSWORD", "-F", "note=hello", "-F", "doc=@a.txt", "--attempts", "1"]
    environ = {**os.environ, "PASSWORD": secret}
    with serve_in_thread() as site:
        command = [sys.executable, "-m", "crawler", "fetch", site.at("/api/echo"), "--name", "n", *asked]
        subprocess.run(command, cwd=tmp_path, env=environ, check=True, timeout=60, capture_output=True)
        [body] = (tmp_path / "output/n/latest/bodies").rglob("*.json")
        echoed = orjson.loads(body.read_bytes())
        assert echoed["method"] == "POST"
        assert echoed["headers"]["Authorization"] == "Basic " + b64encode(f"ada:{secret}".encode()).decode()
        assert 'filename="a.txt"' in echoed["body"]
        assert "one line" in echoed["body"]
        body.unlink()  # a body is kept as the server sent it, in the store as well
        shutil.rmtree(tmp_path / "output/n/store")
        subprocess.run([*command, "--save-job", "s.toml"], cwd=tmp_path, check=True, timeout=60, capture_output=True)
        failed = crawler(tmp_path, "run", "s.toml", "--quiet")
    assert failed.returncode == 2
    assert b"env:PASSWORD: the environment has no such variable" in failed.stderr
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert secret.encode() not in file.read_bytes()
        assert b64encode(f"ada:{secret}".encode()) not in file.read_bytes()


def test_json_progress_is_json(tmp_path: Path) -> None:
    """With --log-format json every line of stderr parses."""
    with serve_in_thread() as site:
        ended = crawler(tmp_path, "fetch", site.at("/articles/1"), site.at("/status/404"), "--log-format", "json")
    lines = [orjson.loads(line) for line in ended.stderr.splitlines()]
    assert {"log", "progress"} <= {line["event"] for line in lines}


def test_garbage_is_collected_again_whatever_becomes_of_a_command(tmp_path: Path) -> None:
    """Start-up goes without; a program that calls the command does not stay so."""
    with pytest.raises(SystemExit):
        main(["run", str(tmp_path / "absent.toml")])
    assert gc.isenabled()
