"""`crawler cron`: the line, or the units, that start a job by the clock.

Does: check job and schedule, print or install what starts it. Must not know how schedules are read nor what a crontab
looks like. Invariant: nothing is printed or changed before job and schedule are found right; stdout holds nothing but
what can be put into a crontab or a unit file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.errors import JobError

if TYPE_CHECKING:
    from crawler.crontext import Start
    from crawler.jobfile import LoadedJob
    from crawler.schedule import Schedule

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@click.command()
@click.argument("job", metavar="JOB")
@click.argument("schedule", metavar="SCHEDULE", required=False)
@click.option("--install", is_flag=True, help="Put it into your crontab, in place of what stands there for this job.")
@click.option("--remove", is_flag=True, help="Take what was installed for this job out again.")
@click.option("--systemd", is_flag=True, help="A service and a timer unit for systemd instead of a crontab line.")
@click.option("--log", metavar="FILE", help="Append what would be mailed to a file instead.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a key: --set limits.rate=5/s")
def cron(
    job: str, schedule: str | None, install: bool, remove: bool, systemd: bool, log: str | None, sets: Sequence[str]
) -> None:
    """Print the crontab line that starts a job by the clock.

    SCHEDULE is five fields, or @daily and the like.

    The job is checked first. The line stands in the folder that you stand in now, and says nothing unless something is
    wrong: what it prints then, cron mails to you.

    \b
      crawler cron nightly.toml "15 2 * * *"
      crawler cron nightly.toml "15 2 * * *" --install
      crawler cron nightly.toml @daily --systemd --install
      crawler cron nightly.toml --remove
    """
    path = Path(job).absolute()
    if remove:
        if install or schedule is not None or log is not None or sets:
            raise JobError("--remove takes nothing but JOB and --systemd")
        (_remove_units if systemd else _remove_line)(path)
        return
    if schedule is None:
        raise JobError("SCHEDULE is missing; write it like '*/15 * * * *': minute, hour, day, month, weekday")
    if systemd and log is not None:
        raise JobError("--log is for crontabs; with --systemd the journal has what is printed")
    loaded, when = _checked(path, schedule, sets)
    if systemd:
        _units(path, loaded, when, sets, install=install)
        return
    from crawler.crontext import line

    try:
        entry = line(when.text, _start(path, loaded, sets, log))
    except ValueError as error:
        raise JobError(str(error)) from None
    if install:
        _install_line(path, entry)
    else:
        click.echo(entry)


def _checked(path: Path, schedule: str, sets: Sequence[str]) -> tuple[LoadedJob, Schedule]:
    """The job, whole and with its inputs, and the schedule. Raises JobError with what is wrong with either."""
    from crawler.crawling import functions_of
    from crawler.jobfile import load
    from crawler.parts import sources_of
    from crawler.schedule import parse
    from crawler.sources import preflight

    try:
        when = parse(schedule)
    except ValueError as error:
        raise JobError(f"schedule: {error}") from None
    loaded = load(path, sets)
    if "-" in loaded.job.input.files:
        raise JobError("input.files: '-' is stdin, of which there is none under cron")
    preflight(sources_of(loaded))
    functions_of(loaded)
    return loaded, when


def _start(path: Path, loaded: LoadedJob, sets: Sequence[str], log: str | None, *more: str) -> Start:
    """How the job is started from nowhere: all paths absolute, programs found as they are here."""
    from crawler.crontext import Start

    said = [*sets, *more]
    if not Path(loaded.job.output.dir).is_absolute():
        said.append(f"output.dir={os.path.abspath(loaded.job.output.dir)}")
    script = Path(sys.executable).with_name("crawler")
    program = [str(script)] if os.access(script, os.X_OK) else [sys.executable, "-m", "crawler"]
    words = [*program, "run", "--quiet", str(path)]
    for text in said:
        words += ["--set", text]
    programs = os.path.dirname(sys.executable)
    environment = {"PATH": _PATH if programs in _PATH.split(":") else f"{programs}:{_PATH}"}
    return Start(os.getcwd(), environment, words, os.path.abspath(log) if log is not None else None)


def _install_line(path: Path, entry: str) -> None:
    from crawler.crontabs import read_crontab, write_crontab
    from crawler.crontext import with_block

    before = read_crontab()
    try:
        after = with_block(before, str(path), entry)
    except ValueError as error:
        raise JobError(f"crontab: {error}") from None
    if after == before:
        click.echo("crawler: it stands in your crontab already", err=True)
        return
    write_crontab(after)
    click.echo(f"crawler: put into your crontab; take it out with: crawler cron {path} --remove", err=True)


def _remove_line(path: Path) -> None:
    from crawler.crontabs import read_crontab, write_crontab
    from crawler.crontext import without_block

    before = read_crontab()
    try:
        after = without_block(before, str(path))
    except ValueError as error:
        raise JobError(f"crontab: {error}") from None
    if after == before:
        click.echo("crawler: your crontab has nothing for this job", err=True)
        return
    write_crontab(after)
    click.echo("crawler: taken out of your crontab", err=True)


def _units(path: Path, loaded: LoadedJob, when: Schedule, sets: Sequence[str], *, install: bool) -> None:
    from crawler.crontabs import unit_folder, write_unit
    from crawler.unittext import Service, service_unit, timer_unit

    jitter = loaded.job.run.jitter
    # The timer puts the start off; twice would be once too often.
    start = _start(path, loaded, sets, None, *(["run.jitter=0s"] if jitter else []))
    if any(mark in text for text in (start.folder, *start.words) for mark in "\n\r"):
        raise JobError("a path with a line break cannot stand in a unit")
    service = Service(loaded.job.name, str(path), start.words, start.folder, start.environment)
    units = {"service": service_unit(service), "timer": timer_unit(service, when, jitter)}
    if not install:
        for kind, text in units.items():
            click.echo(f"# ~/.config/systemd/user/crawler-{loaded.job.name}.{kind}\n{text}")
        return
    changed = [
        write_unit(unit_folder() / f"crawler-{loaded.job.name}.{kind}", text, str(path)) for kind, text in units.items()
    ]
    if not any(changed):
        click.echo("crawler: the units stand there already", err=True)
        return
    click.echo(
        f"crawler: written to {unit_folder()}; start the timer with:\n"
        f"  systemctl --user daemon-reload && systemctl --user enable --now crawler-{loaded.job.name}.timer\n"
        f"and let it run while you are not logged in: loginctl enable-linger",
        err=True,
    )


def _remove_units(path: Path) -> None:
    """By the mark in each unit: the job file itself may be gone."""
    from crawler.crontabs import remove_unit, unit_folder
    from crawler.unittext import MARK

    folder, removed = unit_folder(), list[str]()
    for unit in sorted([*folder.glob("crawler-*.timer"), *folder.glob("crawler-*.service")]):
        first = unit.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0]
        if first == f"{MARK}{path}" and remove_unit(unit, str(path)):
            removed.append(unit.name)
    if not removed:
        click.echo("crawler: there is no unit of this job", err=True)
        return
    click.echo(f"crawler: removed {', '.join(removed)}; let systemd know:", err=True)
    click.echo(f"  systemctl --user stop {removed[-1]}; systemctl --user daemon-reload", err=True)
