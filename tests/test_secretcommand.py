"""Programs that print secrets: real ones, their bad ends, and that none of them goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic

import pytest

from crawler.secretcommand import output_of
from crawler.secretrefs import Absent


def script(folder: Path, text: str) -> str:
    """A command that runs a Python program."""
    (folder / "program.py").write_text(text)
    return f"'{sys.executable}' program.py"


def gone(process: int) -> bool:
    """Is a process no more, or dead and not yet buried."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


def test_the_words_are_a_shells_but_no_shell_runs(tmp_path: Path) -> None:
    """Quotes group words; variables, substitutions and separators are plain text."""
    assert output_of("printf %s 'a b' $HOME", tmp_path, 1000) == b"a b$HOME"
    assert output_of("printf '%s\\n' ';' '$(id)'", tmp_path, 1000) == b";\n$(id)\n"


def test_it_runs_in_the_folder_and_reads_nothing(tmp_path: Path) -> None:
    """A program beside the job file is found, and one that asks for input gets its end at once."""
    program = tmp_path / "token.sh"
    program.write_text("#!/bin/sh\npwd\ncat\n")
    program.chmod(0o755)
    assert output_of("./token.sh", tmp_path, 1000) == f"{tmp_path}\n".encode()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; print('hunter2'); sys.exit('hunter2 is wrong')", "the program ended with exit status 1"),
        ("import os; print('hunter2', flush=True); os.abort()", "the program was ended by signal 6"),
        ("", "the program printed nothing"),
        ("print()", "the program printed nothing"),
        ("while True: print('hunter2' * 100)", "the program prints too much for a secret"),
    ],
)
def test_bad_ends(tmp_path: Path, code: str, why: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each is told in a sentence, which holds nothing that was printed; nor does the terminal."""
    with pytest.raises(Absent) as caught:
        output_of(script(tmp_path, code), tmp_path, 1000)
    assert str(caught.value) == why
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    """As well as one that may not be run."""
    with pytest.raises(Absent, match="cannot be started: No such file"):
        output_of("no-such-program-of-any-kind x", tmp_path, 1000)
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    with pytest.raises(Absent, match="cannot be started: Permission denied"):
        output_of("./plain", tmp_path, 1000)


@pytest.mark.parametrize("closes", [False, True])
def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path, closes: bool) -> None:
    """At the limit the whole group is killed, also where the output was closed before."""
    code = (
        "import os, sys\nchild = os.fork()\n"
        "if child:\n    open('pids', 'w').write(f'{os.getpid()} {child}')\n"
        + ("os.close(1)\n" if closes else "print('hunter2', flush=True)\n")
        + "import signal\nsignal.pause()\n"
    )
    with pytest.raises(Absent, match="the program has not ended after 1 s"):
        output_of(script(tmp_path, code), tmp_path, 1000, limit=1.0)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = monotonic() + 20
    while not all(map(gone, pids)):
        assert monotonic() < deadline


def test_what_a_program_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """An agent that the program started, and that holds its output open, goes on; the secret is there at once."""
    code = (
        "import os\nread, write = os.pipe()\nchild = os.fork()\n"
        "if not child:\n    os.close(write)\n    os.read(read, 1)\n    import signal\n    signal.pause()\n"
        "open('pid', 'w').write(str(child))\nprint('hunter2')\n"
    )
    began = monotonic()
    assert output_of(script(tmp_path, code), tmp_path, 1000, limit=30.0) == b"hunter2\n"
    assert monotonic() - began < 10.0
    child = int((tmp_path / "pid").read_text())
    assert not gone(child)
    os.kill(child, 9)
