"""Body files: names are never shared, overwritten or led astray, and a group is whole or absent."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.entry import Entry
from crawler.errors import StorageError
from crawler.model import Body
from crawler.sinks.bodies import BodyFiles
from crawler.store import ContentStore
from tests.fakes import record_of, stored


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def bodies_in(run: Path) -> dict[str, bytes]:
    return files_below(run / "bodies")


def check(run: Path, items: list[Entry], data: list[bytes]) -> None:
    """Each record names a file of its own below `bodies` that holds its body."""
    names = [item.file for item in items]
    assert all(name is not None and name.startswith("bodies/") for name in names)
    assert [(run / str(name)).read_bytes() for name in names] == data
    assert all((run / str(name)).resolve().is_relative_to(run.resolve() / "bodies") for name in names)


def files(run: Path, layout: str, store: ContentStore | None = None) -> BodyFiles:
    (run / "parts").mkdir(exist_ok=True)
    return BodyFiles(run, layout, run / "parts", store=store)


def large(run: Path, id: int, data: bytes) -> Entry:
    (run / "parts").mkdir(exist_ok=True)
    part = run / "parts" / f"run-{id}-1-0.part"
    part.write_bytes(data)
    return Entry(record_of(id, data), Body(len(data), sha256(data).hexdigest(), part=str(part)), None)


def test_small_and_large_bodies_are_stored_alike(tmp_path: Path) -> None:
    """A body in memory and one in a part file end under names by their digest; no part is left."""
    bodies = files(tmp_path, "hash")
    items = [stored(1, b"small"), large(tmp_path, 2, b"large" * 1000), stored(3, b"")]
    bodies.store(1, items)
    check(tmp_path, items, [b"small", b"large" * 1000, b""])
    digest = sha256(b"small").hexdigest()
    assert items[0].file == f"bodies/{digest[:2]}/{digest[2:4]}/{digest}.html"
    assert os.listdir(tmp_path / "parts") == []


def test_a_write_that_stops_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take fewer bytes than it is given; none are left out."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    items = [stored(1, b"0123456789" * 5)]
    files(tmp_path, "hash").store(1, items)
    check(tmp_path, items, [b"0123456789" * 5])


def test_a_content_is_stored_once(tmp_path: Path) -> None:
    """With content-addressed names equal bodies share a file, in one group and across groups."""
    bodies = files(tmp_path, "hash")
    first, second, third = stored(1, b"same"), large(tmp_path, 2, b"same"), large(tmp_path, 3, b"same")
    bodies.store(1, [first, second])
    bodies.store(2, [third])
    assert first.file == second.file == third.file
    assert list(bodies_in(tmp_path).values()) == [b"same"]
    assert os.listdir(tmp_path / "parts") == []


def test_a_body_that_was_only_counted_needs_no_file(tmp_path: Path) -> None:
    """The answer to a HEAD has neither bytes nor part: its record names no body."""
    item = Entry(record_of(1, b""), Body(0, sha256(b"").hexdigest()), None)
    files(tmp_path, "hash").store(1, [item])
    assert item.file is None
    assert bodies_in(tmp_path) == {}


NAMES = st.sampled_from(
    [
        "a",
        "a/b",
        "a/b/c",
        "A",
        "a/B",
        "b",
        "b/a.html",
        "a.html",
        "../a",
        "/a",
        "a//b",
        "./a",
        "..",
        "ab",
        "ab/cd",
        "CON",
    ]
)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    layout=st.sampled_from(["hash", "mirror", "{id}/{name}", "{host}"]),
    groups=st.lists(
        st.lists(st.tuples(st.none() | NAMES, st.sampled_from(["/", "/a", "/a/b", "/A?q"])), max_size=6), max_size=3
    ),
)
def test_every_body_gets_a_file_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, layout: str, groups: list[list[tuple[str | None, str]]]
) -> None:
    """Same names, names that differ in case, and names that are another's folder never overwrite, fail or escape."""
    root = tmp_path_factory.mktemp("bodies")
    run = root / "run"
    run.mkdir()
    bodies = files(run, layout)
    items: list[Entry] = []
    data: list[bytes] = []
    for number, group in enumerate(groups):
        these = []
        for filename, path in group:
            body = f"body {len(data)}".encode()
            data.append(body)
            these.append(stored(len(data), body, filename=filename, url=f"http://h{path}"))
        bodies.store(number + 1, these)
        items += these
    check(run, items, data)
    assert len({item.file for item in items}) == len(items)
    assert len(bodies_in(run)) == len(items)
    assert set(os.listdir(root)) == {"run"}
    assert set(os.listdir(run)) <= {"bodies", "parts", "pending"}


def test_names_in_one_group_differ_in_more_than_case_where_case_does_not_count(tmp_path: Path) -> None:
    """On a file system that folds case (here feigned by a second folder) twins of one group get a suffix."""
    (tmp_path / "BODIES").mkdir()
    items = [stored(1, b"one", filename="Read.me"), stored(2, b"two", filename="READ.ME")]
    files(tmp_path, "hash").store(1, items)
    check(tmp_path, items, [b"one", b"two"])
    assert len({str(item.file).casefold() for item in items}) == 2


def test_a_long_name_that_must_move_still_fits(tmp_path: Path) -> None:
    """A file where a folder is needed moves the other to the top, by a name that no file system refuses."""
    wide = "ü" * 110 + ".html"
    items = [stored(1, b"one", filename="a"), stored(2, b"two", filename=f"a/{wide}/{wide}/{wide}")]
    files(tmp_path, "hash").store(1, items)
    check(tmp_path, items, [b"one", b"two"])


def test_what_stands_there_already_is_kept(tmp_path: Path) -> None:
    """Foreign files, links and folders under a wanted name stay as they are; the body goes beside them."""
    bodies = files(tmp_path, "hash")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"precious")
    top = tmp_path / "bodies"
    (top / "file").write_bytes(b"theirs")
    (top / "link").symlink_to(outside / "victim")
    (top / "dangling").symlink_to(outside / "absent")
    (top / "folder").mkdir()
    (top / "linked").symlink_to(outside)
    wishes = ["file", "link", "dangling", "folder", "linked", "linked/x", "linked/deep/x", "file/x"]
    items = [stored(id, wish.encode(), filename=wish) for id, wish in enumerate(wishes)]
    bodies.store(1, items)
    check(tmp_path, items, [wish.encode() for wish in wishes])
    assert (top / "file").read_bytes() == b"theirs"
    assert files_below(outside) == {"victim": b"precious"}


def test_a_link_in_place_of_a_hash_folder_stops_the_run(tmp_path: Path) -> None:
    """Content-addressed names cannot move aside, so a planted link is told and nothing is written through it."""
    item = stored(1, b"body")
    assert item.record.sha256 is not None
    bodies = files(tmp_path, "hash")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "bodies" / item.record.sha256[:2]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is not a folder"):
        bodies.store(1, [item])
    assert files_below(tmp_path / "elsewhere") == {}


def test_a_file_that_breaks_the_promise_of_its_name_is_told(tmp_path: Path) -> None:
    """A cut file under a content-addressed name is neither taken for the body nor overwritten."""
    bodies = files(tmp_path, "hash")
    item = stored(1, b"whole")
    bodies.store(1, [item])
    path = tmp_path / str(item.file)
    path.write_bytes(b"who")
    with pytest.raises(StorageError, match=r"is not the body its name promises \(3 bytes, not 5\)"):
        bodies.store(2, [stored(2, b"whole")])
    assert path.read_bytes() == b"who"


def test_a_link_in_place_of_the_list_is_not_written_through(tmp_path: Path) -> None:
    """The list of pending names is written by us into a file of ours only."""
    (tmp_path / "victim").write_bytes(b"precious")
    bodies = files(tmp_path, "hash")
    (tmp_path / "pending").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        bodies.store(1, [stored(1, b"x")])
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("layout", ["hash", "mirror"])
def test_recovery_removes_what_no_commit_names(tmp_path: Path, layout: str) -> None:
    """Files of the group after the committed one go, and the same bodies get the same names again."""
    bodies = files(tmp_path, layout)
    bodies.store(1, [stored(1, b"committed")])
    kept = bodies_in(tmp_path)
    lost = [stored(2, b"lost"), stored(3, b"committed", url="http://site.example/1")]
    bodies.store(2, lost)
    after = bodies_in(tmp_path)
    again = files(tmp_path, layout)
    assert again.recover(1) == len(after) - len(kept)
    assert bodies_in(tmp_path) == kept
    assert set(os.listdir(tmp_path)) == {"bodies", "parts"}
    assert os.listdir(tmp_path / "parts") == []
    repeated = [stored(2, b"lost"), stored(3, b"committed", url="http://site.example/1")]
    again.store(2, repeated)
    assert [item.file for item in repeated] == [item.file for item in lost]
    assert bodies_in(tmp_path) == after


def test_recovery_keeps_a_committed_group(tmp_path: Path) -> None:
    """A kill right after the commit leaves the list behind, which then names nothing to remove; twice is as once."""
    files(tmp_path, "mirror").store(1, [stored(1, b"x")])
    again = files(tmp_path, "mirror")
    assert [again.recover(1), again.recover(1)] == [0, 0]
    assert list(bodies_in(tmp_path).values()) == [b"x"]


def test_a_list_that_was_cut_short_names_nothing(tmp_path: Path) -> None:
    """A kill while the list is written comes before any file of it."""
    bodies = files(tmp_path, "mirror")
    bodies.store(1, [stored(1, b"x")])
    (tmp_path / "pending").write_bytes(b'{"group":2,"names":["bodi')
    assert files(tmp_path, "mirror").recover(1) == 0
    assert list(bodies_in(tmp_path).values()) == [b"x"]


def test_a_finished_run_keeps_only_its_bodies(tmp_path: Path) -> None:
    """The list of names to come goes with the end of the run."""
    bodies = files(tmp_path, "hash")
    bodies.store(1, [stored(1, b"x")])
    bodies.finish()
    bodies.finish()
    assert sorted(os.listdir(tmp_path)) == ["bodies", "parts"]


def inode(path: Path) -> int:
    return path.stat().st_ino


@pytest.mark.parametrize("layout", ["hash", "mirror", "{id}"])
def test_runs_share_what_is_identical(tmp_path: Path, layout: str) -> None:
    """A body that a run before had, small or large, is a link to the same file; the store has it once."""
    store, inodes = tmp_path / "store", set()
    for run in (tmp_path / "one", tmp_path / "two"):
        run.mkdir()
        bodies = files(run, layout, ContentStore(store))
        entries = [stored(1, b"same", url="http://h/a"), large(run, 2, b"same"), stored(3, b"other")]
        bodies.store(1, entries)
        assert [(run / str(entry.file)).read_bytes() for entry in entries] == [b"same", b"same", b"other"]
        inodes |= {inode(run / str(entry.file)) for entry in entries[:2]}
        assert os.listdir(run / "parts") == []
    assert len(inodes) == 1
    assert sorted(files_below(store).values()) == [b"other", b"same"]


def test_an_edited_body_is_not_handed_on(tmp_path: Path) -> None:
    """Who edits a file of one run spoils neither the next run nor loses the edit."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = stored(1, b"whole"), stored(1, b"whole")
    files(tmp_path / "one", "mirror", ContentStore(tmp_path / "store")).store(1, [first])
    (tmp_path / "one" / str(first.file)).write_bytes(b"wrong")
    files(tmp_path / "two", "mirror", ContentStore(tmp_path / "store")).store(1, [second])
    assert (tmp_path / "two" / str(second.file)).read_bytes() == b"whole"
    assert (tmp_path / "one" / str(first.file)).read_bytes() == b"wrong"


def test_recovery_removes_a_content_that_no_commit_names_and_keeps_what_others_use(tmp_path: Path) -> None:
    """Only what the lost group itself brought into the store goes."""
    store = tmp_path / "store"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    files(tmp_path / "one", "mirror", ContentStore(store)).store(1, [stored(1, b"old")])
    files(tmp_path / "two", "mirror", ContentStore(store)).store(
        1, [stored(1, b"old"), stored(2, b"new", url="http://h/n")]
    )
    assert files(tmp_path / "two", "mirror", ContentStore(store)).recover(0) == 3
    assert list(files_below(store).values()) == [b"old"]
    assert list(bodies_in(tmp_path / "one").values()) == [b"old"]


def test_without_links_bodies_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, or with too many of one file, costs room and nothing else."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "too many links")

    monkeypatch.setattr(os, "link", refuse)
    store = ContentStore(tmp_path / "store")
    items = [stored(1, b"same", url="http://h/a"), stored(2, b"same", url="http://h/b"), large(tmp_path, 3, b"same")]
    files(tmp_path, "mirror", store).store(1, items)
    check(tmp_path, items, [b"same"] * 3)
    assert len({inode(tmp_path / str(item.file)) for item in items}) == 3
    assert os.listdir(tmp_path / "parts") == []
