"""The user's crontab and unit files, as other programs have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from crawler.crontabs import read_crontab, remove_unit, unit_folder, write_crontab, write_unit
from crawler.errors import StorageError


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `crontab` of this text, and no other program."""
    (folder / "crontab").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.slow
def test_no_crontab_is_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other refusal is told, so that nobody's table is taken for empty and replaced."""
    program(tmp_path, 'echo "no crontab for me" >&2; exit 1', monkeypatch)
    assert read_crontab() == ""
    program(tmp_path, 'echo "you may not use this program (crontab)" >&2; exit 1', monkeypatch)
    with pytest.raises(StorageError, match="crontab -l: you may not use"):
        read_crontab()
    with pytest.raises(StorageError, match=r"you may not use .*; nothing was changed"):
        write_crontab("x\n")
    (tmp_path / "crontab").unlink()
    with pytest.raises(StorageError, match="there is no such program"):
        read_crontab()


def test_a_unit_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """Ours are told by their first line."""
    path, text = tmp_path / "new" / "u.timer", "# crawler: /a.toml\n[Timer]\n"
    assert write_unit(path, text, "/a.toml")
    assert not write_unit(path, text, "/a.toml")
    for change in (lambda: write_unit(path, text, "/b.toml"), lambda: remove_unit(path, "/b.toml")):
        with pytest.raises(StorageError, match=r"was not written for /b\.toml"):
            change()
    assert path.read_text() == text
    (tmp_path / "new" / "timers.target.wants").mkdir()
    (tmp_path / "new" / "timers.target.wants" / "u.timer").symlink_to(path)
    assert remove_unit(path, "/a.toml")
    assert not remove_unit(path, "/a.toml")
    assert list((tmp_path / "new" / "timers.target.wants").iterdir()) == []


def test_units_stand_where_systemd_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.unit(5): XDG_CONFIG_HOME, else .config of the home."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/conf")
    assert unit_folder() == Path("/conf/systemd/user")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert unit_folder() == Path("/home/me/.config/systemd/user")
