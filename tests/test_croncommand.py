"""`crawler cron`, as it is called."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from crawler.croncommand import cron
from crawler.errors import JobError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "j.toml").write_text('name = "j"\n[input]\nurls = ["http://a.example/"]\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(cron, [*words], standalone_mode=False, catch_exceptions=True)


def test_the_line_is_absolute_and_quiet(folder: Path) -> None:
    """Folder, program, job file and output; with --log both streams go there, --set comes along."""
    done = call("j.toml", "*/15 * * * *", "--set", "limits.rate=5/s", "--log", "j.log")
    assert done.output.startswith(f"*/15 * * * * cd {folder} && PATH=")
    words = shlex.split(done.output)
    at = words.index("run")
    assert Path(words[at - 1]).is_absolute() or words[at - 3 : at] == [words[at - 3], "-m", "crawler"]
    assert words[at + 1 :] == [
        *("--quiet", f"{folder}/j.toml", "--set", "limits.rate=5/s", "--set", f"output.dir={folder}/output"),
        *(f">>{folder}/j.log", "2>&1"),
    ]
    absolute = call("j.toml", "@daily", "--set", "output.dir=/srv/out").output
    assert absolute.count("output.dir") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["j.toml", "61 * * * *"], "schedule: minute: 61"),
        (["j.toml"], "SCHEDULE is missing"),
        (["none.toml", "@daily"], "none.toml"),
        (["j.toml", "@daily", "--set", "limits.rat=5/s"], "did you mean 'rate'"),
        (["j.toml", "@daily", "--set", 'input.files=["-"]'], "stdin"),
        (["j.toml", "@daily", "--set", 'input.files=["gone.txt"]'], "gone.txt"),
        (["j.toml", "@daily", "--remove"], "--remove takes nothing"),
        (["j.toml", "@daily", "--systemd", "--log", "x"], "--log is for crontabs"),
    ],
)
def test_nothing_is_printed_for_what_is_wrong(folder: Path, words: list[str], said: str) -> None:
    """Job, inputs and schedule are checked before."""
    done = call(*words)
    assert isinstance(done.exception, JobError)
    assert said in str(done.exception)
    assert done.output == ""
    assert not (folder / "config").exists()


def test_the_timer_waits_instead_of_the_job(folder: Path) -> None:
    """Else a start would be put off twice."""
    text = call("j.toml", "@daily", "--systemd", "--set", "run.jitter=5m").output
    assert "RandomizedDelaySec=300\n" in text
    assert "--set run.jitter=5m --set run.jitter=0s" in text
    assert "run.jitter" not in call("j.toml", "@daily", "--systemd").output


def test_units_are_found_again_when_the_job_file_is_gone(folder: Path) -> None:
    """They are removed by the path that stands in them; those of other jobs stay."""
    (folder / "k.toml").write_text((folder / "j.toml").read_text().replace('"j"', '"k"'))
    for job in ("j.toml", "k.toml"):
        assert call(job, "@daily", "--systemd", "--install").exception is None
    (folder / "j.toml").unlink()
    assert call("j.toml", "--remove", "--systemd").exception is None
    units = folder / "config" / "systemd" / "user"
    assert sorted(path.name for path in units.iterdir()) == ["crawler-k.service", "crawler-k.timer"]
