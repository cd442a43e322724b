"""What a run shows while it works: a live bar on a terminal, else a plain or JSON line now and then.

Does: render Snapshots. Must not know the pipeline, nor keep time itself: `update` is called with each Snapshot and
shows it when it is due by the snapshot's own clock. Invariant: one line a time, in a stable order of keys, without
control characters.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import orjson

from crawler.tally import Snapshot
from crawler.urls import printable

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable, Group
    from rich.live import Live

EVERY = 10.0  # seconds between plain lines


class Progress(Protocol):
    """One way to show a run."""

    def update(self, snapshot: Snapshot) -> None:
        """Show a moment, if one is due."""
        ...

    def message(self, text: str) -> None:
        """Show a line of text; it must be printable."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class LineProgress:
    """A line every ten seconds: text that greps well, or JSON."""

    def __init__(self, stream: IO[str], *, as_json: bool) -> None:
        self._stream = stream
        self._line = json_line if as_json else plain_line
        self._shown_at = 0.0

    def update(self, snapshot: Snapshot) -> None:
        """Print when ten seconds have passed."""
        if snapshot.at - self._shown_at >= EVERY or snapshot.at < self._shown_at:
            if self._shown_at:
                self.message(self._line(snapshot))
            self._shown_at = snapshot.at

    def message(self, text: str) -> None:
        """Print a line; a closed stderr is no reason to end a run."""
        try:
            print(text, file=self._stream, flush=True)
        except (OSError, ValueError):
            return

    def close(self) -> None:
        """Nothing to take down."""


class QuietProgress:
    """Shows errors only."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines = LineProgress(stream, as_json=False)

    def update(self, snapshot: Snapshot) -> None:
        """Shows nothing."""

    def message(self, text: str) -> None:
        """Print: what is quiet lets through is worth it."""
        self._lines.message(text)

    def close(self) -> None:
        """Nothing to take down."""


class BarProgress:
    """The live bar of a terminal (rich)."""

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        self._live: Live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def update(self, snapshot: Snapshot) -> None:
        """Redraw."""
        self._live.update(self._drawn(snapshot))

    def message(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _drawn(self, snapshot: Snapshot) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = self._console.width
        total = max(snapshot.known, 1)
        head = Table.grid(padding=(0, 1))
        more = "+" if snapshot.importing else ""
        share = f"{100 * snapshot.done // total:3d}%"
        counts = f"{snapshot.done:,}/{snapshot.known:,}{more}"
        bar = ProgressBar(
            total=total, completed=snapshot.done, width=max(10, width - len(counts) - len(snapshot.job[:20]) - 9)
        )
        head.add_row(Text(snapshot.job[:20], "bold"), bar, share, counts)
        facts = [f"{snapshot.rate:.0f}/s", f"{size(snapshot.byte_rate)}/s", f"{snapshot.in_flight} in flight"]
        if snapshot.retries:
            facts.append(f"{snapshot.retries:,} retries")
        facts.append(f"eta {duration(snapshot.eta)}" if snapshot.eta is not None else duration(snapshot.elapsed))
        failed = Text(f"  {snapshot.failed:,} failed", "red") if snapshot.failed else Text("")
        lines: list[ConsoleRenderable] = [
            head,
            Text("  " + " · ".join(facts), no_wrap=True, overflow="ellipsis") + failed,
        ]
        if waits := _waits(snapshot):
            lines.append(Text("  " + waits, "dim", no_wrap=True, overflow="ellipsis"))
        return Group(*lines)


class ProgressFile:
    """progress.jsonl in the run's folder: a line every ten seconds and one at the end."""

    def __init__(self, run_folder: Path) -> None:
        self._file = open(run_folder / "progress.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self._lines = LineProgress(self._file, as_json=True)

    def update(self, snapshot: Snapshot) -> None:
        """Append when due."""
        self._lines.update(snapshot)

    def close(self, last: Snapshot) -> None:
        """Append the last moment."""
        self._lines.message(json_line(last))
        self._file.close()


def choose(stream: IO[str], *, quiet: bool, as_json: bool) -> Progress:
    """The display that fits: nothing when quiet, a bar on a terminal, lines elsewhere."""
    if quiet:
        return QuietProgress(stream)
    if not as_json and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return BarProgress(stream)
    return LineProgress(stream, as_json=as_json)


def plain_line(snapshot: Snapshot) -> str:
    """One moment as a line of text."""
    done, known = snapshot.done, snapshot.known
    share = f"{100 * done // known}%" if known else "0%"
    eta = f" eta={duration(snapshot.eta)}" if snapshot.eta is not None else ""
    waits = f" ({_waits(snapshot)})" if _waits(snapshot) else ""
    at = f"{datetime.fromtimestamp(snapshot.at):%H:%M:%S}"
    speed = f"{snapshot.rate:.1f}/s {size(snapshot.byte_rate)}/s"
    ends = f"fetched={snapshot.fetched} failed={snapshot.failed} skipped={snapshot.skipped} retries={snapshot.retries}"
    left = f"in_flight={snapshot.in_flight} waiting={snapshot.waiting} hosts={snapshot.hosts}{eta}{waits}"
    return f"{at} {snapshot.job} {done}/{known}{'+' if snapshot.importing else ''} {share} {speed} {ends} {left}"


def json_line(snapshot: Snapshot) -> str:
    """One moment as a line of JSON; the keys are those of Snapshot."""
    data = snapshot._asdict()
    if snapshot.longest:
        data["longest"] = {"url": snapshot.longest[0], "age": round(snapshot.longest[1], 3)}
    return orjson.dumps({"event": "progress", **data}).decode()


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _waits(snapshot: Snapshot) -> str:
    """What is waited for, where something is."""
    parts = []
    if snapshot.next_at is not None and snapshot.next_at > 0.5 and snapshot.in_flight == 0:
        parts.append(f"next request in {duration(snapshot.next_at)}")
    if snapshot.longest and snapshot.longest[1] > 2:
        parts.append(f"{duration(snapshot.longest[1])} for {printable(snapshot.longest[0], 60)}")
    return ", ".join(parts)
