"""Reading job files: three formats, one tree, and every bad file a sentence in bounded time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crawler.errors import JobError
from crawler.jobfile import load
from crawler.jobformats import read

LETTERS = "abcdefg"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n"
BOMB += "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in pairwise(LETTERS))
CHAIN = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{y: *a{n}}}\n" for n in range(100))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n + 1}: &a{n + 1} {{<<: [*a{n}, *a{n}]}}\n" for n in range(60))


def fault(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(JobError) as caught:
        read(path)
    [problem] = caught.value.problems
    return problem.removeprefix(str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", "name = 't'\n[a]\n'b.c' = [1, 2.5, true, 'x']\nday = 2026-11-21\n"),
        ("a.yaml", "name: t\na:\n  b.c: [1, 2.5, true, x]\n  day: 2026-11-21\n"),
        ("a.json", '{"name": "t", "a": {"b.c": [1, 2.5, true, "x"], "day": "2026-11-21"}}'),
    ],
)
def test_three_formats_one_tree(tmp_path: Path, name: str, text: str) -> None:
    """What is said is the same in each; a date is the text that was written."""
    (tmp_path / name).write_text("\ufeff" + text)
    assert read(tmp_path / name).data == {"name": "t", "a": {"b.c": [1, 2.5, True, "x"], "day": "2026-11-21"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b\nc: d\na: e\n", ":3: the key 'a' stands twice in one table"),
        ("a:\n  b: !!int ''\n", ":2: a value does not fit its tag"),
        ("a: 1\nb: !!timestamp x\n", ":2: a value does not fit its tag"),
        ("b: 2026-99-99\n", ":1: a value does not fit its tag"),
        (f"b: {'9' * 5000}\n", ":1: a value does not fit its tag, or has more digits"),
        (f"a: 1\nb: 0x{'f' * 5000}\n", ":2: b: is a larger number than 64 bits hold"),
        ("a:\n  b: .nan\n", ":2: a.b: nan is not a number that can be used"),
        ("a: !!set {b}\n", ":1: a: is not text, a number"),
        ("? [a]\n: b\n", ":1: found unhashable key"),
        ("null: b\n", ": None: this key is not text"),
        ("a: !!python/name:os.system ''\n", ":1: could not determine a constructor"),
        ("a: &a [*a, *a]\n", ":1: an alias stands within what it stands for"),
        ("a: &a {<<: *a}\n", ":1: an alias stands within what it stands for"),
        (BOMB, ": its aliases unfold to more than 100000 values"),
        (CHAIN, ": is nested more than 50 deep"),
        (MERGES, ": is nested more than 50 deep"),
        ("a: &a x\nb: [" + "*a," * 1001 + "]", ":2: has more than 1000 aliases"),
        ("- a\n", ": is not a table of sections"),
        ("a: 1\n---\nb: 1\n", ":2: but found another document"),
        ("a: \0", "control characters are not allowed"),
        ("a: [\n", "did not find expected node content"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, said: str) -> None:
    """Tags, numbers, keys, circles and bombs: each told with its line, where there is one."""
    assert said in fault(tmp_path, "a.yaml", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', ": the key 'c' stands twice in one table"),
        ('{"a": NaN}', ": NaN is not a number that can be used"),
        ('{"a": 1e999}', ": a: inf is not a number that can be used"),
        ('{"a": ' + "9" * 30 + "}", ": a: is a larger number than 64 bits hold"),
        ('{"a": ' + "9" * 5000 + "}", ": a number in it has more digits"),
        ('{"a": ["\\ud800"]}', ": a.0: has characters that no text has"),
        ('{"\\ud800": 1}', "this key is not text"),
        ("null", ": is not a table of sections"),
        ("", ": Expecting value: line 1"),
    ],
)
def test_bad_json(tmp_path: Path, text: str, said: str) -> None:
    """What JSON allows and no job means is told with its key."""
    assert said in fault(tmp_path, "a.json", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a = {'9' * 5000}", ": a number in it has more digits"),
        (f"\na = 0x{'f' * 5000}", ":2: a: is a larger number than 64 bits hold"),
        ("[a]\nb = inf", ":2: a.b: inf is not a number that can be used"),
        ("a = 1\na = 2", "Cannot overwrite a value"),
        ("a\0b", "line 1"),
        (b"\xff\xfe", ": is not UTF-8 (byte 0)"),
        ("a." * 60 + "b = 1", ": is nested more than 50 deep"),
        ("x = {" + "'a'." * 60 + "b = 1}", ": is nested more than 50 deep"),
        ("x = " + "[" * 60 + "]" * 60, ": is nested more than 50 deep"),
    ],
)
def test_bad_toml(tmp_path: Path, text: str | bytes, said: str) -> None:
    """Numbers, bytes and depths that no job needs."""
    assert said in fault(tmp_path, "a.toml", text)


def test_dots_in_text_are_no_depth(tmp_path: Path) -> None:
    """A long dotted text or comment in a TOML file is none of a key's parts."""
    dots = "a." * 100
    text = f'# {dots}\nx = \'{dots}\'\ny = """\n\\"""{dots}""""\nz = \'\'\'{dots}\'\'\'\'\n'
    (tmp_path / "a.toml").write_text(text)
    assert set(read(tmp_path / "a.toml").data) == {"x", "y", "z"}


def test_what_is_no_file(tmp_path: Path) -> None:
    """Folders, pipes, devices, circles of links and names that are wrong are told; nothing waits for a pipe."""
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for path, said in [
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "pipe.toml", "is a pipe or device"),
        (Path("/dev/null"), "is a pipe or device"),
        (tmp_path / "loop.toml", "cannot be read: Too many levels"),
        (tmp_path / "pip.toml", "did you mean 'pipe.toml'?"),
        (tmp_path / "pipe.toml" / "a", "does not exist"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (tmp_path / "a\0b", "cannot be the name of a file"),
    ]:
        with pytest.raises(JobError) as caught:
            read(path)
        assert said in str(caught.value)
    (tmp_path / "big.toml").write_bytes(b"#" * (5 * 1024 * 1024 + 1))
    with pytest.raises(JobError, match="larger than 5 MiB"):
        read(tmp_path / "big.toml")


SLOW = {
    "flow.yaml": "[" * 5_000_000,
    "block.yaml": "- " * 2_500_000,
    "wide.yaml": "a: [" + "[]," * 1_700_000 + "]",
    "deep.json": "[" * 5_000_000,
    "deep.toml": "x = " + "[" * 5_000_000,
    "dots.toml": "a." * 2_000_000 + "b = 1",
    "word.toml": "a" * 5_000_000,
    "digits.toml": f"a = 0x{'f' * 5_000_000}",
    "quotes.toml": 'a = "' + '\\"' * 2_000_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_large_bad_files_end_soon(tmp_path: Path, name: str) -> None:
    """Five megabytes of the worst end in a sentence, within a second or two and a few hundred megabytes."""
    (tmp_path / name).write_text(SLOW[name])
    code = (
        "import sys; from pathlib import Path; from crawler.errors import JobError; from crawler.jobfile import load\n"
        "try: load(Path(sys.argv[1]))\n"
        "except JobError as error: print(len(error.problems))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)],
        capture_output=True,
        timeout=20,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )
    assert (ended.stdout, ended.stderr) == (b"1\n", b"")


PIECES = [
    "a",
    "name",
    "limits",
    "hosts",
    "1",
    "0x",
    "-",
    ".",
    ":",
    "=",
    "[",
    "]",
    "{",
    "}",
    ",",
    '"',
    "'",
    '"""',
    "'''",
]
PIECES += [
    "\n",
    " ",
    "  ",
    "#",
    "&a",
    "*a",
    "<<",
    "!!int",
    "!",
    "|",
    ">",
    "?",
    "%",
    "@",
    "\\",
    "\\ud800",
    "\0",
    "é",
    "~",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["a.toml", "a.yaml", "a.json"]), st.one_of(st.lists(st.sampled_from(PIECES)), st.binary()))
def test_any_text_is_a_tree_or_a_sentence(tmp_path: Path, name: str, said: list[str] | bytes) -> None:
    """No text of any format leads to anything but a job or a JobError of sentences that fit a terminal."""
    path = tmp_path / name
    path.write_bytes(said if isinstance(said, bytes) else "".join(said).encode())
    with pytest.raises(JobError) as caught:  # `name` and `input` are never both there
        load(path)
    assert all(problem.isprintable() for problem in caught.value.problems)
