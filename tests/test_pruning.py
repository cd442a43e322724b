"""Old runs go, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from crawler import pruning
from crawler.checkpoint import Checkpoint
from crawler.folders import JobFolder
from crawler.pruning import prune


class Kept:
    """A job with runs, each with a folder that holds a file; `of` runs hold what is known."""

    def __init__(self, where: Path) -> None:
        self.folder = JobFolder(where, "t")
        self.folder.path.mkdir(parents=True)
        self.checkpoint = Checkpoint(self.folder.state)

    def runs(self, *states: str) -> None:
        for number, state in enumerate(states, 1):
            run = f"run-{number}"
            self.checkpoint.begin_run(run, float(number), "{}")
            self.folder.run(run).mkdir(parents=True)
            (self.folder.run(run) / "records.jsonl").write_text("x")
            if state != "running":
                self.checkpoint.end_run(run, number + 0.5, state, 0)

    def holds(self, number: int) -> None:
        from crawler import historylog

        known = ["http://a/", number, 1.0, 1.0, 1.0]
        historylog.append(self.checkpoint._db, number, orjson.dumps([[number, known]]))
        self.checkpoint.fold()

    def prune(self, keep: int) -> list[str]:
        return prune(self.folder, self.checkpoint, keep, bodies=True)

    def there(self) -> list[str]:
        return sorted(path.name for path in (self.folder.path / "runs").iterdir())


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.checkpoint.close()


def test_the_oldest_go_first(kept: Kept) -> None:
    """All but the last so many; asked again there is nothing to do."""
    kept.runs("finished", "abandoned", "finished", "finished")
    assert kept.prune(2) == ["run-1", "run-2"]
    assert kept.there() == ["run-3", "run-4"]
    assert kept.prune(2) == []


def test_a_run_that_is_led_to_stays(kept: Kept) -> None:
    """What was last fetched of some URL is never removed."""
    kept.runs("finished", "finished", "finished")
    kept.holds(1)
    assert kept.prune(1) == ["run-2"]
    assert kept.there() == ["run-1", "run-3"]


def test_without_bodies_nothing_leads_to_a_run(kept: Kept) -> None:
    """Where no bodies are kept, records alone hold no run."""
    kept.runs("finished", "finished")
    kept.holds(1)
    assert prune(kept.folder, kept.checkpoint, 1, bodies=False) == ["run-1"]


def test_a_run_that_is_not_finished_stays(kept: Kept) -> None:
    """One that was stopped is gone on with."""
    kept.runs("finished", "stopped")
    kept.checkpoint._db.execute("INSERT INTO runs (id, started, state, job) VALUES ('run-3', 3, 'finished', '{}')")
    assert kept.prune(1) == ["run-1"]
    assert kept.there() == ["run-2"]


def test_a_kill_between_the_steps_leaves_no_half_a_run(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when its folder has another name, or is half removed: the next call ends it."""
    kept.runs("finished", "finished")

    def killed(path: Path, *, ignore_errors: bool) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pruning.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.prune(1)
    assert "run-1" not in kept.there()
    assert kept.prune(1) == []
    assert kept.there() == ["run-2"]


def test_a_kill_before_the_run_is_forgotten(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder has gone, its row goes with the next call."""
    kept.runs("finished", "finished")

    def killed(run: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept.checkpoint, "forget_run", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.prune(1)
    assert kept.prune(1) == ["run-1"]
    assert kept.there() == ["run-2"]


def test_a_link_in_place_of_a_run_is_not_followed(kept: Kept, tmp_path: Path) -> None:
    """Somebody put one there: what it leads to stays."""
    kept.runs("finished", "finished")
    elsewhere = tmp_path / "elsewhere"
    (kept.folder.path / "runs" / "run-1").rename(elsewhere)
    (kept.folder.path / "runs" / "run-1").symlink_to(elsewhere)
    kept.prune(1)
    assert (elsewhere / "records.jsonl").exists()


def test_contents_that_no_run_has_go(kept: Kept) -> None:
    """Of the content store what has no other name; what a run links stays."""
    kept.runs("finished", "finished")
    store = kept.folder.store / "aa"
    store.mkdir(parents=True)
    (store / "gone").write_text("x")
    (store / "used").write_text("x")
    (kept.folder.run("run-2") / "body").hardlink_to(store / "used")
    kept.prune(1)
    assert [path.name for path in store.iterdir()] == ["used"]
