"""A job's schedule as systemd has it: a service unit, and a timer unit with the calendar events of a cron schedule.

Decides the text of both units. Must not know files or systemctl. Invariant: the calendar events match at the very
minutes at which cron would start the job; nothing in a word of the command is a specifier, a variable or a quote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from crawler.schedule import DAY, HOUR, MINUTE, MONTH, REBOOT, WEEKDAY, WEEKDAYS, Schedule, Span

_STOP = 60  # seconds: a stopped run drains for 30, and writes its summary
MARK = "# crawler: "


class Service(NamedTuple):
    """What a unit starts: words of the command, its folder and environment; `source` is the path of the job file."""

    job: str
    source: str
    words: Sequence[str]
    folder: str
    environment: Mapping[str, str]


def on_calendar(schedule: Schedule) -> list[str]:
    """Calendar events that together match when the schedule does; none for @reboot.

    Two where a day matches by its number or by its weekday: systemd starts a unit once for both.
    """
    if schedule.text == REBOOT:
        return []
    time = f"{_listed(schedule.hours, HOUR)}:{_listed(schedule.minutes, MINUTE)}:00"
    months, days = _listed(schedule.months, MONTH), _listed(schedule.days, DAY)
    weekdays = _weekdays(schedule.weekdays)
    if schedule.either:
        return [f"*-{months}-{days} {time}", f"{weekdays}*-{months}-* {time}"]
    return [f"{weekdays}*-{months}-{days} {time}"]


def _listed(values: Sequence[int], span: Span) -> str:
    """Values as systemd writes them: all of them, a range, from one on with a step, or one by one."""
    if len(values) == len(span.all):
        return "*"
    steps = {later - earlier for earlier, later in pairwise(values)}
    if len(values) > 2 and len(steps) == 1:
        [step] = steps
        if values[-1] + step > span.most:
            return f"{values[0]}/{step}" if step > 1 else f"{values[0]:02d}..{values[-1]:02d}"
        return f"{values[0]:02d}..{values[-1]:02d}" + (f"/{step}" if step > 1 else "")
    return ",".join(f"{value:02d}" for value in values)


def _weekdays(values: Sequence[int]) -> str:
    if len(values) == len(WEEKDAY.all):
        return ""
    return ",".join(WEEKDAYS[value].capitalize() for value in values) + " "


def service_unit(service: Service) -> str:
    """The .service: one start of the job. A run that was left unfinished, or found another at work, is no failure."""
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in service.environment.items())
    return (
        f"{MARK}{service.source}\n"
        f"[Unit]\nDescription=crawler: {_plain(service.job)}\n\n"
        f"[Service]\nType=oneshot\nWorkingDirectory={_plain(service.folder)}\n{environment}"
        f"ExecStart={' '.join(map(_word, service.words))}\n"
        f"# 3: stopped by a budget, the next start goes on; 75: another start is at work\n"
        f"SuccessExitStatus=3 75\n"
        f"# the first signal lets what is under way end, within 30 s\n"
        f"KillMode=mixed\nTimeoutStopSec={_STOP}\n"
    )


def timer_unit(service: Service, schedule: Schedule, jitter: float) -> str:
    """The .timer; `jitter` in seconds is the most that a start is put off."""
    if schedule.text == REBOOT:
        events = "OnStartupSec=10\n"
    else:
        events = "".join(f"OnCalendar={event}\n" for event in on_calendar(schedule)) + "Persistent=true\n"
    return (
        f"{MARK}{service.source}\n"
        f"[Unit]\nDescription=crawler: {_plain(service.job)}, {schedule.text}\n\n"
        f"[Timer]\n{events}AccuracySec=1s\n"
        + (f"RandomizedDelaySec={jitter:g}\n" if jitter else "")
        + "\n[Install]\nWantedBy=timers.target\n"
    )


def _plain(text: str) -> str:
    """A value that is no list of words: only specifiers mean something in it."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a command (systemd.service(5), "Command lines")."""
    return _quoted(text.replace("$", "$$"))


def _quoted(text: str) -> str:
    """One word; in an assignment a dollar means nothing."""
    said = text.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%")
    return said if text and _bare(text) else f'"{said}"'


def _bare(text: str) -> bool:
    return all(mark.isalnum() or mark in "/._-=:,@+" for mark in text)
