"""What a run shows while it works: a live bar on a terminal, else a plain or JSON line now and then.

Does: render Snapshots. Must not know the pipeline, nor keep time itself: `update` is called with each Snapshot and
shows it when it is due by the snapshot's own clock. Invariant: one line a time, in a stable order of keys, without
control characters; a stream that fails never ends a run.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import orjson

from crawler.tally import Snapshot
from crawler.urls import printable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

EVERY = 10.0  # seconds between lines
_CLOSE, _CLOSELY = 1.0, 60.0  # seconds between lines of the file at first, and for how long: plots of short runs
_SLOW = 2.0  # seconds after which the oldest request in flight is worth a word


class Progress(Protocol):
    """One way to show a run."""

    def update(self, snapshot: Snapshot) -> None:
        """Show a moment, if one is due."""
        ...

    def message(self, text: str) -> None:
        """Show a line of text; it must be printable."""
        ...

    def close(self, last: Snapshot | None = None) -> None:
        """The run is over; `last` is how it stood then."""
        ...


class Cadence:
    """When the next line is due: the first after one span of seconds, then one in each. For the first `closely`
    seconds a span is `close` seconds, then `every`.
    """

    def __init__(self, every: float = EVERY, close: float = 0.0, closely: float = 0.0) -> None:
        self._every = every
        self._close = close
        self._closely = closely
        self._began: float | None = None
        self._next = 0.0

    def due(self, now: float) -> bool:
        """Is a line due; then the next is due a span from now, however late this one is."""
        if self._began is not None and now < self._next:
            return False
        first = self._began is None
        if self._began is None:
            self._began = now
        self._next = now + (self._close if now < self._began + self._closely else self._every)
        return not first


class LineProgress:
    """A line every ten seconds: text that greps well, or JSON."""

    def __init__(self, stream: IO[str] | None, *, as_json: bool, every: float = EVERY) -> None:
        self._stream = stream
        self._line = json_line if as_json else plain_line
        self._cadence = Cadence(every)

    def update(self, snapshot: Snapshot) -> None:
        """Print when a line is due. The time at work counts, since the wall clock may be put back."""
        if self._cadence.due(snapshot.elapsed):
            self.message(self._line(snapshot))

    def message(self, text: str) -> None:
        """Print a line; a stderr that is closed or gone is no reason to end a run."""
        if self._stream is None:  # print() would take stdout
            return
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    def close(self, last: Snapshot | None = None) -> None:
        """Print the last moment where it is given."""
        if last is not None:
            self.message(self._line(last))


class QuietProgress(LineProgress):
    """Shows nothing but messages: what is quiet lets through is worth it."""

    def update(self, snapshot: Snapshot) -> None:
        """Shows nothing."""

    def close(self, last: Snapshot | None = None) -> None:
        """Shows nothing."""


class BarProgress:
    """The live bar of a terminal (rich): two lines, and a third where something is waited for."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        # Drawn at each update: no thread is needed. stdout stays as it is, since it may be a file or pipe.
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
        with suppress(OSError, ValueError):
            self._live.start()

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        with suppress(OSError, ValueError):
            self._live.update(self._drawn(snapshot), refresh=True)

    def message(self, text: str) -> None:
        """Print above the bar; `text` is no markup, and long lines are left to the terminal."""
        with suppress(OSError, ValueError):
            self._console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def close(self, last: Snapshot | None = None) -> None:
        """Give the terminal back; the bar vanishes, for the summary says it all."""
        with suppress(OSError, ValueError):
            self._live.stop()

    def _drawn(self, snapshot: Snapshot) -> Group:
        from rich.console import Group
        from rich.text import Text

        width = self._console.width
        lines = [self._head(snapshot, width), Text("  " + _facts(snapshot, width - 2))]
        if waits := _waits(snapshot):
            lines.append(Text("  " + waits, "dim"))
        if snapshot.failed:
            lines[1].highlight_regex(r"[\d,]+ failed", "red")
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _head(self, snapshot: Snapshot, width: int) -> Text:
        from rich.text import Text

        done, full = ("#", "-") if self._console.options.ascii_only else ("━", "─")
        name = Text(printable(snapshot.job), "bold")
        name.truncate(20, overflow="ellipsis")
        share, counts = _share(snapshot), f"{snapshot.done:,}/{snapshot.known:,}{'+' if snapshot.importing else ''}"
        cells = max(0, width - name.cell_len - len(counts) - 8)
        filled = cells * share // 100
        bar = ((done * filled, "green"), (full * (cells - filled), "dim"))
        return Text.assemble(name, " ", *bar, f" {share:3d}% {counts}")


class ProgressFile:
    """progress.jsonl in the run's folder: a line every second of the first minute, then every ten, and one at the end.

    Whoever rotates logs may rename it: each line goes to the file that has the name then.
    """

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / "progress.jsonl"
        self._file: IO[str] | None = None
        self._cadence = Cadence(EVERY, _CLOSE, _CLOSELY)
        torn = False
        with suppress(OSError):  # no room or no right to write: whatever matters more will meet it, and say so
            torn = self._path.exists() and _torn(self._path)
            self._file = _appended(self._path)
        if torn:
            self._write("")

    def update(self, snapshot: Snapshot) -> None:
        """Append when due."""
        if self._cadence.due(snapshot.elapsed):
            self._write(json_line(snapshot))

    def close(self, last: Snapshot) -> None:
        """Append the last moment."""
        self._write(json_line(last))
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _write(self, line: str) -> None:
        if self._file is None:
            return
        with suppress(OSError, ValueError):
            if _renamed(self._path, self._file):
                file = _appended(self._path)
                self._file.close()
                self._file = file
            self._file.write(line + "\n")
            self._file.flush()


def _appended(path: Path) -> IO[str]:
    return open(path, "a", encoding="utf-8")


def _renamed(path: Path, file: IO[str]) -> bool:
    try:
        return not os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return True


def _torn(path: Path) -> bool:
    """Does a file end within a line, as a full disk leaves it. Raises OSError."""
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def choose(stream: IO[str] | None, *, quiet: bool, as_json: bool) -> Progress:
    """The display that fits: nothing when quiet, a bar on a terminal, lines elsewhere. None is a closed stderr."""
    if quiet:
        return QuietProgress(stream, as_json=as_json)
    if stream is not None and not as_json and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return BarProgress(stream)
    return LineProgress(stream, as_json=as_json)


def plain_line(snapshot: Snapshot) -> str:
    """One moment as a line of text: the time, then words of the form key=value without a space within.

    What comes after `eta` is not always there.
    """
    more = "+" if snapshot.importing else ""
    eta = duration(snapshot.eta) if snapshot.eta is not None else "?"
    parts = [
        f"{datetime.fromtimestamp(snapshot.at):%H:%M:%S} job={_word(snapshot.job)}",
        f"done={snapshot.done}/{snapshot.known}{more} share={_share(snapshot)}%",
        f"rate={snapshot.rate:.1f}/s byte_rate={_close(snapshot.byte_rate)}/s",
        f"fetched={snapshot.fetched} failed={snapshot.failed} skipped={snapshot.skipped} retries={snapshot.retries}",
        f"in_flight={snapshot.in_flight} waiting={snapshot.waiting} hosts={snapshot.hosts}",
        f"eta={eta}",
        *([f"hosts_waiting={snapshot.hosts_waiting}"] if snapshot.hosts_waiting else []),
        *([f"next={duration(snapshot.next_at)}"] if snapshot.next_at is not None else []),
        *([f"uploaded={_close(snapshot.uploaded)}"] if snapshot.uploaded else []),
        *([f"eta_host={_word(snapshot.eta_host)}"] if snapshot.eta_host and snapshot.eta is not None else []),
        *([f"state={snapshot.state}"] if snapshot.state != "running" else []),
    ]
    if snapshot.longest and snapshot.longest[1] > _SLOW:
        parts.append(f"slowest={duration(snapshot.longest[1])} url={_word(snapshot.longest[0])}")
    return " ".join(parts)


def json_line(snapshot: Snapshot) -> str:
    """One moment as a line of JSON, as docs/progress.schema.json describes it."""
    return orjson.dumps({"event": "progress", **facts(snapshot)}).decode()


def facts(snapshot: Snapshot) -> dict[str, Any]:
    """What such a line holds: the keys are those of Snapshot, all of them always there."""
    data = {key: _fact(value) for key, value in snapshot._asdict().items()}
    if snapshot.longest:
        data["longest"] = {"url": printable(snapshot.longest[0], 2000), "age": round(snapshot.longest[1], 3)}
    return data


def _fact(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    return printable(value) if isinstance(value, str) else value


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1023.95:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    whole = round(seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def _close(number: float) -> str:
    return size(number).replace(" ", "")


def _word(text: str) -> str:
    """Printable, without a space."""
    return printable(text).replace(" ", "\\x20")


def _share(snapshot: Snapshot) -> int:
    return min(100, 100 * snapshot.done // snapshot.known) if snapshot.known else 0


def _facts(snapshot: Snapshot, width: int) -> str:
    """The second line of the bar: the weightiest facts first, and as many as fit whole."""
    rate = f"{snapshot.rate:,.0f}/s" if snapshot.rate >= 100 else f"{snapshot.rate:.1f}/s"
    facts = [rate, f"{size(snapshot.byte_rate)}/s"]
    if snapshot.failed:
        facts.append(f"{snapshot.failed:,} failed")
    by = f" by {printable(snapshot.eta_host, 40)}" if snapshot.eta_host else ""
    facts.append(f"eta {duration(snapshot.eta)}{by}" if snapshot.eta is not None else duration(snapshot.elapsed))
    facts += [f"{snapshot.in_flight:,} in flight", size(snapshot.bytes)]
    if snapshot.uploaded:
        facts.append(f"{size(snapshot.uploaded)} sent")
    if snapshot.retries:
        facts.append(f"{snapshot.retries:,} retries")
    while len(facts) > 1 and len(" · ".join(facts)) > width:
        facts.pop()
    return " · ".join(facts)


def _waits(snapshot: Snapshot) -> str:
    """What is waited for, where something is."""
    parts = []
    if snapshot.state == "draining":
        parts.append(f"stopping: {snapshot.in_flight:,} in flight may end, Ctrl-C again cuts them")
    if snapshot.state == "paused":
        parts.append(f"paused, {snapshot.in_flight:,} in flight may end; crawler resume goes on")
    if snapshot.hosts_waiting:
        parts.append(f"{snapshot.hosts_waiting:,} of {snapshot.hosts:,} hosts wait")
    if snapshot.next_at is not None:
        parts.append(f"next request in {duration(snapshot.next_at)}")
    if snapshot.longest and snapshot.longest[1] > _SLOW:
        parts.append(f"{duration(snapshot.longest[1])} for {printable(snapshot.longest[0])}")
    return ", ".join(parts)
