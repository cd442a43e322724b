"""`crawler pause`, `resume`, `stop` and `set`: a running job controlled from the shell.

Does: words in, an order to the job's socket, its answer in one line. Must not know how orders are carried out.
Invariant: exit code 0 means that the job has taken the order; 2 that it is not running or refused it, 75 that it did
not answer in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from crawler.errors import JobError

_JOB = click.argument("job", metavar="JOB")


def folder_of(job: str) -> Path:
    """The folder of a job: of a job file, or itself (or its `control`) where it is named. Raises JobError."""
    path = Path(job)
    if (path / "state.db").exists():
        return path
    from crawler.jobfile import load

    loaded = load(path, (), inputs=False)
    return Path(loaded.job.output.dir) / loaded.job.name


def _told(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """The answer to an order. Raises CrawlerError."""
    from crawler.control import ask
    from crawler.urls import printable

    answer = ask(folder, order)
    if answer.get("ok") is not True:
        raise JobError(f"{folder.name}: {printable(str(answer.get('error')), 1000)}")
    return answer


def _under_way(answer: dict[str, Any]) -> str:
    number = answer.get("in_flight")
    if not isinstance(number, int) or not number:
        return "nothing is under way"
    return f"{number:,} {'request' if number == 1 else 'requests'} under way may end"


@click.command()
@_JOB
def pause(job: str) -> None:
    """Let a running job begin nothing new.

    What is under way ends and is kept. `crawler resume` goes on; a job that is run anew is not paused.
    """
    folder = folder_of(job)
    click.echo(f"{folder.name} is paused; {_under_way(_told(folder, {'do': 'pause'}))}")


@click.command()
@_JOB
def resume(job: str) -> None:
    """Let a paused job go on."""
    folder = folder_of(job)
    answer = _told(folder, {"do": "resume"})
    click.echo(f"{folder.name} goes on" if answer.get("was_paused") else f"{folder.name} was not paused, and goes on")


@click.command()
@_JOB
@click.option("--now", is_flag=True, help="Cut what is under way; the next run fetches it.")
def stop(job: str, now: bool) -> None:
    """Stop a running job, as Ctrl-C does.

    What is under way ends and is kept; the next run goes on where this one stood.
    """
    folder = folder_of(job)
    answer = _told(folder, {"do": "stop", "now": now})
    click.echo(f"{folder.name} stops; {'what is under way is cut' if now else _under_way(answer)}")


@click.command("set")
@_JOB
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
def set_(job: str, settings: Sequence[str]) -> None:
    """Change limits of a running job, until it ends.

    Keys are limits.rate, limits.bandwidth, limits.per_host, limits.rate_per_host, and hosts."NAME".rate_per_host and
    .per_host. The value none lifts a limit. What a host itself asks for (Crawl-delay, Retry-After) holds all the same.

    \b
      crawler set myjob.toml limits.rate=5/s
      crawler set myjob.toml 'hosts."example.org".rate_per_host=1/s' limits.per_host=2
    """
    from crawler.orders import NoOrder, setting_of

    pairs = []
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise JobError(f"'{text}' is no setting; write it like limits.rate=5/s")
        try:
            setting_of(key.strip(), value.strip())
        except NoOrder as error:
            raise JobError(str(error)) from None
        pairs.append((key.strip(), value.strip()))
    folder = folder_of(job)
    for key, value in pairs:  # all of them were looked at before the first is sent
        answer = _told(folder, {"do": "set", "key": key, "value": value})
        click.echo(f"{folder.name}: {answer['key']} = {answer['value']}{_followed(answer)}")


def _followed(answer: dict[str, Any]) -> str:
    number = answer.get("hosts")
    if not isinstance(number, int):
        return ""
    if not number:
        return ", but no host follows: none of that name is known yet, or the job file gives theirs"
    return f", {number:,} {'host follows' if number == 1 else 'hosts follow'}"
