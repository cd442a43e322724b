"""Logging of a run: everything into run.log, what a person should see to the terminal, both safe to print.

Does: set up and take down handlers of the logger "crawler". Must not decide what is logged. Invariant: no control
character of a URL or server text reaches a terminal or begins a line of a log; a full disk never ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from crawler.urls import printable

PER_MINUTE = 5


class Limiter:
    """At most so many lines of one kind a minute; the rest is counted."""

    def __init__(self, per_minute: int = PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._kinds: dict[str, tuple[float, int]] = {}

    def pass_(self, kind: str, now: float) -> bool:
        """May this line be shown."""
        began, count = self._kinds.get(kind, (now, 0))
        if now - began >= 60:
            began, count = now, 0
        self._kinds[kind] = (began, count + 1)
        return count < self._per_minute

    def first_hidden(self, kind: str) -> bool:
        """Is this the first line of its kind that is not shown."""
        return self._kinds.get(kind, (0, 0))[1] == self._per_minute + 1


class Format(logging.Formatter):
    """One line a record, as text or JSON; tracebacks follow indented, or as a field."""

    def __init__(self, as_json: bool, *, stamp: bool = True) -> None:
        super().__init__()
        self._as_json = as_json
        self._stamp = stamp

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        stamp = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message = printable(record.getMessage(), 4000)
        more = {name: getattr(record, name) for name in ("reason", "request_id") if getattr(record, name, None)}
        trace = self.formatException(record.exc_info) if record.exc_info else None
        if self._as_json:
            data = {"at": stamp, "event": "log", "level": record.levelname.lower(), "message": message, **more}
            return orjson.dumps({**data, "traceback": trace} if trace else data).decode()
        fields = "".join(f" {name}={value}" for name, value in more.items())
        line = f"{stamp} {record.levelname} {message}{fields}" if self._stamp else f"{message}"
        return "\n".join([line, *(f"    {printable(part, 4000)}" for part in trace.splitlines())]) if trace else line


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """The disk is full or gone: the run itself will say so."""


class _Terminal(logging.Handler):
    """Shows lines through the progress display, a few of each kind."""

    def __init__(self, show: Callable[[str], None], level: int) -> None:
        super().__init__(level)
        self._show = show
        self._limiter = Limiter()

    def emit(self, record: logging.LogRecord) -> None:
        """Show, or count."""
        kind = getattr(record, "reason", None) or str(record.msg)
        if self._limiter.pass_(kind, record.created):
            self._show(self.format(record))
        elif self._limiter.first_hidden(kind):
            self._show(f"(more like this within the minute: see run.log) {kind}")


@contextmanager
def logging_to(run_folder: Path, show: Callable[[str], None], *, as_json: bool, quiet: bool) -> Iterator[None]:
    """Log to run.log and, through `show`, to the terminal while inside. Quiet shows errors only."""
    logger = logging.getLogger("crawler")
    file = _File(run_folder / "run.log", encoding="utf-8", errors="backslashreplace")
    file.setFormatter(Format(as_json))
    terminal = _Terminal(show, logging.ERROR if quiet else logging.WARNING)
    terminal.setFormatter(Format(as_json, stamp=False))
    before = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(file)
    logger.addHandler(terminal)
    try:
        yield
    finally:
        logger.removeHandler(terminal)
        logger.removeHandler(file)
        file.close()
        logger.level, logger.propagate = before
