"""Logging of a run: everything into run.log, what a person should see to the terminal, both safe to print.

Does: set up and take down handlers of the logger "crawler", and of the libraries below it, whose warnings would go to
stderr as they are. Must not decide what is logged, nor know where secrets come from. Invariant: no control character
of a URL or server text reaches a terminal or begins a line of a log; no line shows what a mask knows as a secret, nor a
traceback the values of variables; trouble with logging (a full disk, a lost terminal) never ends the run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from time import monotonic
from weakref import ref

import orjson

from crawler.masking import NOTHING, Mask
from crawler.stamps import stamp
from crawler.urls import printable

log = logging.getLogger("crawler")

PER_MINUTE = 5
_RUN_LOG = "run.log"
_LONGEST = 4000  # characters of a message or a line of a traceback
_LEVELS = {"crawler": logging.INFO, "aiohttp": logging.WARNING, "asyncio": logging.WARNING}
_EXTRAS = ("url", "reason", "request_id")


class _Masks:
    """What hides secrets now: the newest mask, and those before it as long as their jobs hold them.

    One for the whole process, as loggers are: of two jobs at work at once each may be told of by the other's lines.
    """

    def __init__(self) -> None:
        self.newest = NOTHING
        self._all: tuple[ref[Mask], ...] = ()

    def add(self, mask: Mask) -> None:
        self.newest = mask
        self._all = (*(one for one in self._all if one() not in (None, mask)), ref(mask))

    def __call__(self, text: str) -> str:
        for one in self._all:
            mask = one()
            if mask is not None:
                text = mask(text)
        return text


_masks = _Masks()


def mask_with(mask: Mask) -> None:
    """From now on no line shows what `mask` knows, nor what it learns; whoever else began so is not forgotten."""
    _masks.add(mask)


def masked(text: str) -> str:
    """Text without the secrets of any job at work."""
    return _masks(text)


class Limiter:
    """At most so many lines of one kind in a span of seconds; the rest is counted. The span begins with a line."""

    def __init__(self, limit: int = PER_MINUTE, span: float = 60.0) -> None:
        self._limit = limit
        self._span = span
        self._kinds: dict[str, tuple[float, int]] = {}  # kind -> beginning, lines; the oldest beginning first

    def __repr__(self) -> str:
        return f"<Limiter {self._limit} in {self._span:g} s, {len(self._kinds)} kinds>"

    def allow(self, kind: str, now: float) -> bool:
        """May this line be shown. Ask for what is `over` first: here the span of a kind never ends."""
        began, lines = self._kinds.get(kind, (now, 0))
        self._kinds[kind] = began, lines + 1
        return lines < self._limit

    def over(self, now: float) -> list[tuple[str, int]]:
        """The kinds whose span has ended and that had lines hidden, with their number; each is told once."""
        ended = []
        for kind, (began, lines) in self._kinds.items():
            if now - began < self._span:
                break
            ended.append((kind, lines - self._limit))
        for kind, _ in ended:
            del self._kinds[kind]
        return [(kind, hidden) for kind, hidden in ended if hidden > 0]


class Format(logging.Formatter):
    """One line a record, as text or JSON; tracebacks follow indented, or as a field."""

    def __init__(self, as_json: bool, *, stamp: bool = True) -> None:
        super().__init__()
        self._as_json = as_json
        self._stamp = stamp

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        message = printable(masked(_message(record)), _LONGEST)  # masked first, since a cut or an escape would hide it
        values = ((name, getattr(record, name, None)) for name in _EXTRAS)
        more = {name: printable(masked(str(value)), _LONGEST) for name, value in values if value}
        if not self._as_json and more.get("url", "") in message:
            more.pop("url", None)  # once in a line is enough for people
        trace = _trace(record)
        at = stamp(record.created)
        if self._as_json:
            data = {"at": at, "event": "log", "level": record.levelname.lower(), "message": message, **more}
            return orjson.dumps({**data, "traceback": "\n".join(trace)} if trace else data).decode()
        fields = "".join(f" {name}={_quoted(value)}" for name, value in more.items())
        line = f"{at} {record.levelname} {message}{fields}" if self._stamp else message
        return "\n".join([line, *(f"    {part}" for part in trace)])


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # a line with the wrong arguments is better than none
        return f"{record.msg} {record.args!r}"


def _trace(record: logging.LogRecord) -> list[str]:
    if record.exc_info:
        text = masked(logging.Formatter().formatException(record.exc_info))
    elif record.exc_text:  # a filter made it one already
        text = masked(record.exc_text)
    else:
        return []
    return [printable(line, _LONGEST) for line in text.split("\n")]


def _quoted(value: str) -> str:
    return orjson.dumps(value).decode() if not value or any(mark in value for mark in ' "=') else value


class _File(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """The disk is full or gone: the run itself will say so."""

    def reopen(self) -> None:
        """Go on in the file that has the name now; in the old one where there is none to be had. Raises OSError."""
        file = self._open()
        self.acquire()
        try:
            old, self.stream = self.stream, file
        finally:
            self.release()
        if old is not None:
            with suppress(OSError):
                old.close()

    def close(self) -> None:
        """Close; what could not be written is lost."""
        with suppress(OSError):
            super().close()


class _Terminal(logging.Handler):
    """Shows lines through the progress display, a few of each kind; tells of the others when their minute is over."""

    def __init__(self, show: Callable[[str], None], level: int, clock: Callable[[], float], *, see: str) -> None:
        super().__init__(level)
        self._show = show
        self._clock = clock
        self._see = see
        self._limiter = Limiter()

    def emit(self, record: logging.LogRecord) -> None:
        """Show, or count."""
        try:
            now = self._clock()
            self._tell(now)
            if self._limiter.allow(getattr(record, "reason", None) or str(record.msg), now):
                self._show(self.format(record))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """The terminal is gone: run.log has the line."""

    def close(self) -> None:
        """Tell of what is still hidden."""
        with suppress(Exception):
            self._tell(inf)
        super().close()

    def _tell(self, now: float) -> None:
        for kind, hidden in self._limiter.over(now):
            text = f"({hidden} more '{kind}' {'warning' if hidden == 1 else 'warnings'}{self._see})"
            self._show(self.format(logging.makeLogRecord({"msg": text, "levelname": "WARNING"})))


def reopen() -> None:
    """Whoever rotates logs has renamed run.log: go on in a new one. Never raises."""
    for handler in logging.getLogger("crawler").handlers:
        if isinstance(handler, _File):
            try:
                handler.reopen()
            except OSError as error:
                log.warning("%s cannot be opened anew, so the log goes on in the old file: %s", _RUN_LOG, error)


@contextmanager
def logging_to(
    run_folder: Path | None,
    show: Callable[[str], None],
    *,
    as_json: bool,
    quiet: bool,
    clock: Callable[[], float] = monotonic,
) -> Iterator[None]:
    """Log to run.log (where there is a folder) and, through `show`, to the terminal while inside.

    Quiet shows errors only. A run.log that cannot be opened is told and done without. `clock` gives seconds.
    """
    file = _opened(run_folder, show, as_json) if run_folder else None
    level = logging.ERROR if quiet else logging.WARNING
    terminal = _Terminal(show, level, clock, see=", see run.log" if file else "")
    terminal.setFormatter(Format(as_json, stamp=False))
    handlers = [file, terminal] if file else [terminal]
    before = [(logger, logger.level, logger.propagate) for logger in map(logging.getLogger, _LEVELS)]
    for logger, _, _ in before:
        logger.setLevel(_LEVELS[logger.name])
        logger.propagate = False
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level, propagate in before:
            for handler in handlers:
                logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        for handler in handlers:
            handler.close()


def _opened(run_folder: Path, show: Callable[[str], None], as_json: bool) -> _File | None:
    path = run_folder / _RUN_LOG
    formatter = Format(as_json)
    try:
        file = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        text = f"{path} cannot be written, so this run has no log: {error}"
        show(Format(as_json, stamp=False).format(logging.makeLogRecord({"msg": text, "levelname": "WARNING"})))
        return None
    file.setFormatter(formatter)
    return file
