"""Cookie files: read with care, replaced as a whole."""

from __future__ import annotations

import os
import stat
from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest

from crawler.cookiefiles import MAX_SIZE, load_jar, save
from crawler.cookies import Jar

NOW = 1_700_000_000.0
URL = "https://www.example.org/"


@pytest.fixture
def jar() -> Jar:
    jar = Jar()
    jar.accept(
        URL, ["sid=s3cr3t; HttpOnly", "all=1; Domain=example.org; Secure; Max-Age=86400", "short=1; Max-Age=9"], NOW
    )
    return jar


@pytest.mark.parametrize("name", ["cookies.txt", "cookies.json", "COOKIES.TXT", "jar"])
def test_saved_and_loaded(tmp_path: Path, jar: Jar, name: str) -> None:
    """Session cookies and who gets what survive in either format; what has expired does not."""
    path = tmp_path / name
    assert list(save(path, jar, NOW + 9)) == []
    loaded = load_jar(path)
    assert loaded.faults == []
    again = Jar()
    again.restore(loaded.cookies, NOW + 9)
    assert again.cookies(NOW + 9) == jar.cookies(NOW + 9)
    assert again.header(URL, NOW + 9) == "sid=s3cr3t; all=1"
    assert again.header("https://a.www.example.org/", NOW + 9) == "all=1"
    assert path.read_bytes().startswith(b"# Netscape" if name.lower().endswith(".txt") else b"{")


def test_a_cookies_txt_is_read_by_others(tmp_path: Path, jar: Jar) -> None:
    """The standard library reads the same cookies for the same hosts."""
    path = tmp_path / "cookies.txt"
    jar.accept("https://127.0.0.1/", ["ip=1; Max-Age=60"], NOW)
    save(path, jar, NOW)
    theirs = MozillaCookieJar(path)
    theirs.load(ignore_discard=True, ignore_expires=True)
    assert {(c.name, c.value, c.domain, c.domain_specified, c.path, c.secure) for c in theirs} == {
        ("sid", "s3cr3t", "www.example.org", False, "/", False),
        ("all", "1", ".example.org", True, "/", True),
        ("short", "1", "www.example.org", False, "/", False),
        ("ip", "1", "127.0.0.1", False, "/", False),
    }


@pytest.mark.parametrize("name", ["cookies.txt", "jar.json"])
def test_nobody_else_may_read_it(tmp_path: Path, jar: Jar, name: str) -> None:
    """Mode 0600 whatever the umask and the old file's mode; no other file stays behind."""
    path = tmp_path / name
    path.write_text("old")
    path.chmod(0o644)
    (tmp_path / f"{name}.tmp").write_text("left by a crash")
    (tmp_path / f"{name}.tmp").chmod(0o666)
    before = os.umask(0)
    try:
        save(path, jar, NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_link_under_its_name_is_replaced_not_followed(tmp_path: Path, jar: Jar) -> None:
    """Nor is one under the name of the temporary file."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "jar.json"
    path.symlink_to(victim)
    (tmp_path / "jar.json.tmp").symlink_to(victim)
    save(path, jar, NOW)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert len(load_jar(path).cookies) == 3


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, jar: Jar) -> None:
    """Here the target is a folder; and nothing temporary stays."""
    path = tmp_path / "jar.json"
    path.mkdir()
    with pytest.raises(OSError):
        save(path, jar, NOW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["jar.json"]
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "missing" / "jar.json", jar, NOW)


def test_a_cookie_that_a_cookies_txt_cannot_hold_is_told(tmp_path: Path, jar: Jar) -> None:
    """By its domain; JSON holds it."""
    jar.accept(URL, ["tab=s3c\tr3t"], NOW)
    (warning,) = save(tmp_path / "cookies.txt", jar, NOW)
    assert str(tmp_path / "cookies.txt") in warning
    assert "s3c" not in warning
    assert list(save(tmp_path / "jar.json", jar, NOW)) == []
    assert len(load_jar(tmp_path / "jar.json").cookies) == len(load_jar(tmp_path / "cookies.txt").cookies) + 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
def test_a_file_that_others_may_read_is_told(tmp_path: Path, jar: Jar, mode: int) -> None:
    """It is read all the same; its owner learns of it."""
    path = tmp_path / "jar.json"
    save(path, jar, NOW)
    path.chmod(mode)
    loaded = load_jar(path)
    assert len(loaded.cookies) == 3
    (warning,) = loaded.faults
    assert str(path) in warning
    assert f"{mode:04o}" in warning


def test_faults_name_the_file(tmp_path: Path) -> None:
    """And the line, not what stands there."""
    path = tmp_path / "cookies.txt"
    path.write_text("example.org\tTRUE\t/\tFALSE\t0\ta\tb\ns3cr3t\n")
    path.chmod(0o600)
    (warning,) = load_jar(path).faults
    assert warning.startswith(f"{path}: ")
    assert "line 2" in warning
    assert "s3cr3t" not in warning


def test_what_is_no_jar_is_named(tmp_path: Path) -> None:
    """A page, a pickle, a file of more than 16 MiB."""
    path = tmp_path / "jar.json"
    for data in (b"<html>s3cr3t", b"\x80\x04\x95s3cr3t.", b'{"version": 1, "s3cr3t": 1}'):
        path.write_bytes(data)
        with pytest.raises(ValueError) as caught:
            load_jar(path)
        assert str(caught.value).startswith(f"{path}: is ")
        assert "s3cr3t" not in str(caught.value)
    path.write_bytes(b"# x\n")
    os.truncate(path, MAX_SIZE + 1)
    with pytest.raises(ValueError, match="16 MiB"):
        load_jar(path)


def test_pipes_folders_and_what_is_missing(tmp_path: Path) -> None:
    """Nothing waits for a writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="not a regular file"):
        load_jar(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        load_jar(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_jar(tmp_path / "missing")
