"""README, example jobs and help texts say what the program does."""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from random import Random
from typing import Any, get_args

import click
import pytest

from crawler.auth.hmactemplate import FIELDS
from crawler.auth.plugin import Plugin
from crawler.auth.scheme import Answered, Draft, Step
from crawler.cli import cli
from crawler.credentials import Credentials
from crawler.demo import serve_in_thread
from crawler.errors import POLICY, ExitCode, Reason
from crawler.identity import headers_of
from crawler.jobauth import Auth
from crawler.jobfile import load
from crawler.jobsecrets import references_of
from crawler.masking import Mask
from crawler.model import Place, Row
from crawler.paging import Paging
from crawler.secretrefs import FORMS
from crawler.tables import json_row

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OUTPUTS = (ROOT / "docs" / "outputs.md").read_text()
FRAGMENTS = re.findall(r"(?ms)^```toml\n(.*?)^```", README)
JOBS = sorted((ROOT / "jobs").glob("*.toml"))
_SHORT_HELP = 62  # characters that the list of commands shows on a terminal of 80


def table(heading: str) -> str:
    """The table rows below a heading."""
    text = README.split(f"\n### {heading}\n")[1].split("\n#")[0]
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def test_the_readme_names_every_reason() -> None:
    """Each slug stands in the table of reasons once, and nothing else does."""
    named = [slug for row in table("Reasons").splitlines() for slug in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert sorted(named) == sorted("status-NNN" if reason is Reason.STATUS else reason.value for reason in Reason)


def test_the_readme_says_what_is_tried_again() -> None:
    """The last column of the table of reasons is that of the policy table."""
    words = {"no": 1, "once": 2, "yes": None}
    for row in table("Reasons").splitlines()[2:]:
        _, slugs, *_, again, _ = row.split("|")
        for slug in re.findall(r"`([^`]+)`", slugs):
            if slug != "status-NNN":
                assert POLICY[Reason(slug)].tries == words[again.strip()], slug


def test_the_readme_names_every_exit_code() -> None:
    """The table of exit codes is whole."""
    assert [int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table("Exit codes"))] == [*ExitCode]


@pytest.mark.parametrize("name", [name for name in cli.commands if name not in ("completion", "demo")])
def test_the_readme_shows_every_command(name: str) -> None:
    """What the program can do can be found in the README."""
    assert f"crawler {name}" in README


@pytest.mark.parametrize("name", list(cli.commands))
def test_every_command_says_in_a_line_what_it_does(name: str) -> None:
    """The list of commands cuts no sentence short, and each option has a help text."""
    command = cli.commands[name]
    assert (command.help or "").split("\n")[0].endswith(".")
    assert not command.get_short_help_str(_SHORT_HELP).endswith("...")
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_the_job_in_the_readme_is_one(tmp_path: Path) -> None:
    """The job that is explained line by line loads as it stands."""
    (tmp_path / "urls.txt").write_text("https://example.org/\n")
    (tmp_path / "more.csv.gz").write_bytes(b"")
    (tmp_path / "docs.toml").write_text(FRAGMENTS[0])
    assert load(tmp_path / "docs.toml").job.name == "docs"


@pytest.mark.parametrize("number", range(1, len(FRAGMENTS)))
def test_each_part_of_a_job_in_the_readme_is_one(number: int, tmp_path: Path) -> None:
    """With a name, and an input where it has none, each loads; the secrets in it are found where the README says."""
    (tmp_path / "uploads.jsonl").write_text("")
    head = "" if "[input]" in FRAGMENTS[number] else '[input]\nurls = ["https://example.org/"]\n'
    (tmp_path / "docs.toml").write_text(f'name = "docs"\n{head}{FRAGMENTS[number]}')
    job = load(tmp_path / "docs.toml").job
    values = dict.fromkeys(references_of(job).values(), "a-value")
    if job.auth:
        assert Credentials(job, tmp_path, values.__getitem__, Mask(values.values()))


def test_the_rows_in_the_readme_are_rows() -> None:
    """Each line is a request with a body, and nothing in it is taken for a column of the user's."""
    chapter = README.split("\n## Requests\n")[1].split("\n## ")[0]
    [text] = re.findall(r"(?ms)^```json\n(.*?)^```", chapter)
    for line in text.splitlines():
        row = json_row(Place("rows.jsonl", 1), line.encode(), "url")
        assert isinstance(row, Row)
        assert row.input is None
        assert row.body_file or row.multipart


def test_the_signer_in_the_readme_signs() -> None:
    """It is a plugin as it stands: what it signs can be checked with the key alone, and it is asked again at a 419."""
    text = README.split("\n## Credentials\n")[1].split("\n## ")[0]
    [program] = re.findall(r"(?ms)^```python\n(.*?)^```", text)
    names: dict[str, Any] = {}
    exec(program, names)
    plugin = Plugin(names["Stamp"], "signers:Stamp", {"key": "a-key"})
    digest = hashlib.sha256(b"{}").digest()
    draft = Draft("POST", "https://e.org/", {}, {"sha256": digest}, 2)
    signed = plugin.sign(draft, 1_700_000_000.5, Random(1))
    expected = hmac.new(b"a-key", b"1700000000 POST https://e.org/ " + digest, "sha256").hexdigest()
    assert signed.headers == {"X-Time": "1700000000", "X-Sign": expected}
    assert plugin.wants == {"sha256"}
    assert plugin.accept(draft, signed, Answered(419, {}), 0.0).step is Step.AGAIN


def test_the_readme_names_every_key_of_credentials() -> None:
    """Each type of [auth] has a row with all its keys, and nothing else; so have paging and the references."""
    common = {"type", "hosts", "allow_insecure"}
    kinds = [kind.model_fields for kind in get_args(get_args(Auth)[0])]
    known = {get_args(fields["type"].annotation)[0]: set(fields) - common for fields in kinds}
    rows = [row.split("|") for row in table("Credentials").splitlines()]
    told = {row[1].strip(" `"): set(re.findall(r"`([a-z_]+)`", row[2])) for row in rows if row[1].strip(" `") in known}
    assert set(told) == set(known)
    for name, keys in known.items():
        assert keys <= told[name], name
        assert told[name] <= keys | {"auth", "query"}, name  # values that are named without quotes
    assert all(f"`paging.{name}`" in README for name in Paging.model_fields)
    assert all(f"| `{form.replace('...', '…')}` |" in README for form in FORMS.values())


def test_the_readme_names_every_field_of_a_signature() -> None:
    """The fields of HMAC templates are told, and all that are told exist."""
    told = set(re.findall(r"`\{([a-z0-9_]+)\}`", table("Credentials")))
    assert told == set(FIELDS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_programs_in_the_readme_run(number: int, tmp_path: Path) -> None:
    """Each program of "As a library" runs as it stands, against a site on loopback, and says what it is said to say."""
    text = README.split("\n## As a library\n")[1].split("\n## ")[0]
    programs = re.findall(r"(?ms)^```python\n(.*?)^```", text)
    assert len(programs) == 3
    with serve_in_thread() as site:
        (tmp_path / "docs.toml").write_text(f'name = "docs"\n[input]\nurls = ["{site.at("/articles/1")}"]\n')
        program = programs[number].replace("https://example.org", site.url)
        command = [sys.executable, "-W", "error", "-c", program]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False, text=True)
        length = len(site.expected("/articles/1") or b"")
    assert ended.stderr == ""
    first, *_, second = ended.stdout.splitlines()
    if number == 0:
        assert first == f"200 {site.at('/articles/1')} {length}"
        assert second.startswith(f"200 {site.at('/api/echo')} ")
    elif number == 2:
        assert (first, second) == ("300 things that come back", "50 pages OK")
    else:
        assert first == f"{site.at('/articles/1')} {length}"
        assert second.startswith("OK output/docs/runs/")


@pytest.mark.slow
def test_the_programs_about_outputs_read_them(tmp_path: Path) -> None:
    """Each program of docs/outputs.md runs as it stands behind the example job, and says what it is said to say."""
    programs = re.findall(r"(?ms)^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)", OUTPUTS)
    assert len(programs) == OUTPUTS.count("```python")
    for file in ("dataset.toml", "dataset-files.csv"):
        (tmp_path / file).write_bytes((ROOT / "jobs" / file).read_bytes())
    with serve_in_thread() as site:
        base = f"request.base_url={site.url}/"
        command = [sys.executable, "-m", "crawler", "run", "--quiet", "dataset.toml", "--set", base]
        subprocess.run(command, cwd=tmp_path, timeout=60, check=True)
    for program, said in programs:
        ended = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert textwrap.dedent(said) in ended.stdout


@pytest.mark.parametrize("path", JOBS, ids=[path.stem for path in JOBS])
def test_example_jobs_say_who_asks(path: Path) -> None:
    """A newcomer who copies an example is not warned, and finds where the address is to stand."""
    job = load(path).job
    assert job.request.contact is not None
    assert f"(+{job.request.contact})" in headers_of(job)["User-Agent"]


def test_an_example_job_is_about_politeness() -> None:
    """jobs/polite.toml shows each thing that the README tells under Politeness."""
    job = load(ROOT / "jobs/polite.toml").job
    assert job.limits.robots == "obey"
    assert {"breaker", "retry", "hosts", "connection"} <= job.model_fields_set
    assert len(job.hosts) > 1
