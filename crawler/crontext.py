"""A crontab's text: the line that starts a job, and the block of lines that is ours in somebody's crontab.

Decides the text. Must not know where a crontab is kept. Invariant: what stands outside our own block stays byte for
byte; what cannot stand in a crontab is refused, for cron would read something else without a word.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LONGEST = 998  # characters of a command that every cron takes


class Start(NamedTuple):
    """How a job is started: the folder to stand in, variables, words; `log` is appended to, where there is one."""

    folder: str
    environment: Mapping[str, str]
    words: Sequence[str]
    log: str | None = None


def command(start: Start) -> str:
    """The command as /bin/sh reads it."""
    variables = "".join(f"{name}={shlex.quote(value)} " for name, value in start.environment.items())
    log = f" >>{shlex.quote(start.log)} 2>&1" if start.log is not None else ""
    return f"cd {shlex.quote(start.folder)} && {variables}exec {shlex.join(start.words)}{log}"


def line(schedule: str, start: Start) -> str:
    """The crontab line. Raises ValueError for what no crontab can hold."""
    said = command(start)
    if any(mark in said for mark in "\n\r\0"):
        raise ValueError("a path with a line break cannot stand in a crontab")
    if "\\" in said:  # the crons do not agree on what it means
        raise ValueError("a path or value with a backslash cannot stand in a crontab; rename it, or write a script")
    said = said.replace("%", r"\%")  # else the rest is the input of the command (crontab(5))
    if len(said.encode()) > LONGEST:
        raise ValueError(f"the command has {len(said.encode())} bytes, cron takes {LONGEST}; use shorter paths")
    return f"{schedule} {said}"


def with_block(crontab: str, key: str, entry: str) -> str:
    """The crontab with `entry` between our marks: in place of what stood there, else at its end.

    `key` is the path of the job file. Raises ValueError where a mark has no other half.
    """
    block = f"{_begin(key)}\n{entry}\n{_end(key)}\n"
    span = _span(crontab, key)
    if span is not None:
        return crontab[: span[0]] + block + crontab[span[1] :]
    return crontab + ("\n" if crontab and not crontab.endswith("\n") else "") + block


def without_block(crontab: str, key: str) -> str:
    """The crontab without our block, the same where there is none. Raises ValueError as `with_block` does."""
    span = _span(crontab, key)
    return crontab if span is None else crontab[: span[0]] + crontab[span[1] :]


def _span(crontab: str, key: str) -> tuple[int, int] | None:
    """Where our block stands."""
    begins, ends, position = [], [], 0
    for text in crontab.split("\n"):
        after = min(len(crontab), position + len(text) + 1)
        if text == _begin(key):
            begins.append(position)
        elif text == _end(key):
            ends.append(after)
        position = after
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or begins[0] >= ends[0]:
        raise ValueError(f"the marks '{_begin(key)}' and '{_end(key)}' do not stand there once each; put that right")
    return begins[0], ends[0]


def _begin(key: str) -> str:
    return f"# crawler: {key} begin"


def _end(key: str) -> str:
    return f"# crawler: {key} end"
