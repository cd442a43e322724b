"""README, example jobs and help texts say what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from crawler.cli import cli
from crawler.errors import POLICY, ExitCode, Reason
from crawler.identity import headers_of
from crawler.jobfile import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
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
    [text] = re.findall(r"(?ms)^```toml\n(.*?)^```", README)
    (tmp_path / "docs.toml").write_text(text)
    assert load(tmp_path / "docs.toml").job.name == "docs"


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
